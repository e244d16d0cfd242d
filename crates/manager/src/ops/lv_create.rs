//! `lvcreate` of a linear or striped LV. Pure.
//!
//! What must hold:
//! - The new VG differs from the old by one LV; every other LV lies where it lay.
//! - Sizes, defaults and words are LVM2's (compared with 2.03.16).

use crate::environment::{Environment, fresh_uuid};
use crate::ops::allocation::Policy;
use crate::ops::names;
use crate::ops::notice::Notice;
use crate::ops::refusal::Refusal;
use crate::ops::size::{PercentOf, SizeRequest};
use crate::ops::space::{Layout, Space};
use crate::report::Units;
use foldback_lvm2_format::vg::{AllocationPolicy, Creation, Lv, LvStatus, PvKey, Vg};
use foldback_units::{LvName, Sectors, TagName};

/// What is to be made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewLv {
    /// Its name; `None` for the next `lvolN`.
    pub name: Option<LvName>,
    /// How large.
    pub size: SizeRequest,
    /// How it lies.
    pub layout: Layout,
    /// The PVs it may lie on; empty for all.
    pub pvs: Vec<PvKey>,
    /// Without WRITE.
    pub read_only: bool,
    /// Its tags.
    pub tags: Vec<TagName>,
}

/// A planned change that adds an LV.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Planned {
    /// The VG as it will be.
    pub vg: Vg,
    /// The LV that users asked for.
    pub lv: LvName,
    /// What to say before it is done.
    pub notices: Vec<Notice>,
    /// What to say when it is done.
    pub done: Vec<Notice>,
}

/// Plans the LV.
pub fn plan(vg: &Vg, new: &NewLv, environment: &mut dyn Environment) -> Result<Planned, Refusal> {
    check_room_for(vg, 1)?;
    let name = choose_name(vg, new.name.as_ref())?;
    check_layout(vg, new.layout)?;
    let mut notices = Vec::new();
    let space = Space::of(vg, &new.pvs)?;
    let (extents, cut_from) = space.extents(vg, new.size, None)?;
    if let (Some(_), SizeRequest::Percent(percent, PercentOf::Vg)) = (cut_from, new.size) {
        let left = Units::in_words(vg.extent_size.of(extents));
        notices.push(Notice::print(format!("Reducing {percent}%VG to remaining free space {left} in VG.")));
    }
    let extents = rounded(vg, new, extents, &mut notices)?;
    let segments = space.allocate(vg, &name, extents, new.layout)?;
    let mut lv = Lv::new(name.clone(), fresh_uuid(environment), creation(environment));
    lv.segments = segments;
    lv.tags.clone_from(&new.tags);
    lv.set_status(LvStatus::Write, !new.read_only);
    if new.layout.policy == Some(Policy::Contiguous) {
        lv.allocation_policy = Some(AllocationPolicy::Contiguous);
    }
    let mut vg = vg.clone();
    vg.lvs.push(lv);
    let done = vec![Notice::print(format!("Logical volume \"{name}\" created."))];
    Ok(Planned { vg, lv: name, notices, done })
}

pub(crate) fn creation(environment: &mut dyn Environment) -> Creation {
    Creation { time: i64::try_from(environment.now()).unwrap_or(i64::MAX), host: environment.host() }
}

/// Whether `count` more LVs may be added.
pub(crate) fn check_room_for(vg: &Vg, count: usize) -> Result<(), Refusal> {
    let visible = visible_lvs(vg).saturating_add(count);
    let max = usize::try_from(vg.max_lv).unwrap_or(usize::MAX);
    if max != 0 && visible > max {
        return Err(Refusal::TooManyLvs { vg: vg.name.clone(), max: vg.max_lv });
    }
    Ok(())
}

/// What counts for LVM2 are the LVs that users see.
pub(crate) fn visible_lvs(vg: &Vg) -> usize {
    let links = vg.snapshots();
    vg.lvs.iter().filter(|lv| links.is_visible(lv)).count()
}

pub(crate) fn choose_name(vg: &Vg, asked: Option<&LvName>) -> Result<LvName, Refusal> {
    let name = match asked {
        Some(name) => names::user_lv_name(name.as_str())?,
        None => names::next_numbered(vg, "lvol")?,
    };
    names::check_free(vg, &name)?;
    Ok(name)
}

pub(crate) fn check_layout(vg: &Vg, layout: Layout) -> Result<(), Refusal> {
    let size = layout.stripe_size.get();
    let fits = size.is_power_of_two() && size >= 8 && size <= u64::from(vg.extent_size.sectors());
    if layout.stripes > 1 && !fits {
        Err(Refusal::StripeSize(Units::in_words(layout.stripe_size)))
    } else {
        Ok(())
    }
}

/// Says when a size was rounded, and rounds to whole stripes.
fn rounded(vg: &Vg, new: &NewLv, extents: u32, notices: &mut Vec<Notice>) -> Result<u32, Refusal> {
    say_rounding(vg, new.size, extents, notices);
    round_to_stripes(vg, new.size, new.layout.stripes, extents, notices)
}

pub(crate) fn say_rounding(vg: &Vg, size: SizeRequest, extents: u32, notices: &mut Vec<Notice>) {
    let whole: Sectors = vg.extent_size.of(extents);
    if let SizeRequest::Sectors(asked) = size
        && asked != whole
    {
        let text = format!("Rounding up size to full physical extent {}", Units::in_words(whole));
        notices.push(Notice::print(text));
    }
}

pub(crate) fn round_to_stripes(
    vg: &Vg,
    size: SizeRequest,
    stripes: u32,
    extents: u32,
    notices: &mut Vec<Notice>,
) -> Result<u32, Refusal> {
    let rest = extents.checked_rem(stripes).unwrap_or(0);
    if rest == 0 {
        return Ok(extents);
    }
    let old = Units::in_words(vg.extent_size.of(extents));
    // What a percentage gave must not grow beyond what is there.
    let (to, way) = if matches!(size, SizeRequest::Percent(..)) {
        (extents.checked_sub(rest), "down")
    } else {
        (extents.checked_next_multiple_of(stripes), "up")
    };
    let to = to.ok_or(Refusal::TooLarge)?;
    if to == 0 {
        return Err(Refusal::CalculatedZero);
    }
    let new = Units::in_words(vg.extent_size.of(to));
    notices.push(Notice::print(format!(
        "Rounding size {old} ({extents} extents) {way} to stripe boundary size {new} ({to} extents)."
    )));
    Ok(to)
}
