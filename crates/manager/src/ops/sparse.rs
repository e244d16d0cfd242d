//! `lvcreate --type snapshot -V`: a snapshot of nothing, a sparse volume. Pure.
//!
//! What must hold (lvm2.md 1.9; compared with 2.03.16):
//! - Its origin `NAME_vorigin` is a hidden, read-only LV of type zero; the rest is as `lvcreate -s` makes it.

use crate::environment::{Environment, fresh_uuid};
use crate::ops::lv_create::{Planned, creation, say_rounding};
use crate::ops::names;
use crate::ops::refusal::Refusal;
use crate::ops::size::SizeRequest;
use crate::ops::snapshot_create::{NewSnapshot, WhileMerging, plan_several};
use foldback_lvm2_format::vg::{Lv, LvStatus, Segment, SegmentKind, Vg};
use foldback_units::{LvName, Sectors};

/// What hidden origins end with.
const SUFFIX: &str = "_vorigin";

/// What the hidden origin of a sparse volume is called; `None` where that would be too long.
pub(super) fn origin_name(sparse: &LvName) -> Option<LvName> {
    LvName::new(&format!("{sparse}{SUFFIX}")).ok()
}

/// Plans the volume: `new.origin` is not looked at, and `virtual_size` is rounded up to whole extents.
///
/// # Errors
/// [`Refusal`], in LVM2's words where LVM2 refuses it, too.
pub fn plan(
    vg: &Vg,
    new: &NewSnapshot,
    virtual_size: Sectors,
    environment: &mut dyn Environment,
) -> Result<Planned, Refusal> {
    let name = match &new.name {
        Some(name) => name.clone(),
        None => names::next_numbered(vg, "lvol")?,
    };
    let too_long = || Refusal::DeviceNameTooLong { vg: vg.name.clone(), lv: name.clone() };
    let origin_name = origin_name(&name).ok_or_else(too_long)?;
    names::check_free(vg, &origin_name)?;
    let extents = vg.extent_size.to_hold(virtual_size).filter(|count| *count > 0);
    let mut origin = Lv::new(origin_name.clone(), fresh_uuid(environment), creation(environment));
    origin.set_status(LvStatus::Write, false);
    origin.segments = vec![Segment {
        start_extent: 0,
        extent_count: extents.ok_or(Refusal::Zero("virtualsize"))?,
        tags: Vec::new(),
        kind: SegmentKind::Zero,
        merge_view: false,
        other: Vec::new(),
    }];
    let mut notices = Vec::new();
    say_rounding(vg, SizeRequest::Sectors(virtual_size), origin.extent_count(), &mut notices);
    let mut with_origin = vg.clone();
    with_origin.lvs.push(origin);
    let new = NewSnapshot { origin: origin_name.clone(), name: Some(name.clone()), ..new.clone() };
    let planned = plan_several(&with_origin, &[new], WhileMerging::Refused, environment)?;
    let mut after = planned.vg;
    // Hidden only now: users could not take a snapshot of it.
    if let Some(origin) = after.lv_mut(&origin_name) {
        origin.set_status(LvStatus::Visible, false);
    }
    let stores_first = |lv: &Lv| u8::from(lv.name != name);
    let from = vg.lvs.len();
    if let Some(added) = after.lvs.get_mut(from..) {
        added.sort_by_key(stores_first);
    }
    notices.extend(planned.notices);
    Ok(Planned { vg: after, lv: name, notices, done: planned.done })
}

#[cfg(test)]
mod tests {
    use super::plan;
    use crate::ops::lv_remove;
    use crate::ops::snapshot_create::NewSnapshot;
    use crate::ops::{Layout, Refusal, SizeRequest};
    use crate::testing::{TestEnvironment, lv_name, with_snapshots};
    use foldback_lvm2_format::vg::{LvStatus, SegmentKind};
    use foldback_units::Sectors;

    #[test]
    fn the_origin_is_hidden_read_only_and_takes_no_extents() {
        let vg = with_snapshots(&[]);
        let new = NewSnapshot {
            origin: lv_name("ignored"),
            name: Some(lv_name("sparse")),
            size: SizeRequest::Extents(1),
            chunk_sectors: 8,
            layout: Layout::LINEAR,
            pvs: Vec::new(),
            read_only: false,
            tags: Vec::new(),
        };
        let planned = plan(&vg, &new, Sectors(8192 * 9 + 1), &mut TestEnvironment::new()).unwrap();
        let origin = planned.vg.lv(&lv_name("sparse_vorigin")).unwrap();
        assert_eq!((origin.extent_count(), &origin.segments[0].kind), (10, &SegmentKind::Zero));
        assert!(!origin.status.contains(&LvStatus::Visible) && !origin.is_writable());
        let links = planned.vg.snapshots();
        assert_eq!(links.of_cow(&planned.lv).unwrap().segment.origin, origin.name);
        assert!(links.is_visible(planned.vg.lv(&planned.lv).unwrap()));
        let gone = lv_remove::plan(&planned.vg, &planned.lv).unwrap();
        assert_eq!(gone.vg.lvs, vg.lvs, "its origin goes with it");
        let again = plan(&planned.vg, &new, Sectors(8), &mut TestEnvironment::new());
        assert!(matches!(again, Err(Refusal::LvExists { .. })));
    }
}
