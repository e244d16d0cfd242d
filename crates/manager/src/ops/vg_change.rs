//! `vgchange` of what a VG is: limits, whether it may grow, tags, extents, UUID, policy. Pure.
//!
//! What must hold (compared with 2.03.16): all that is wished is done, or nothing; in LVM2's order, so that the first refusal is
//! LVM2's. A limit is never below what there is.

use crate::environment::{Environment, fresh_uuid};
use crate::ops::extent_size::resized;
use crate::ops::lv_change::TagWish;
use crate::ops::lv_create::visible_lvs;
use crate::ops::notice::Notice;
use crate::ops::refusal::Refusal;
use crate::report::Units;
use foldback_lvm2_format::vg::{AllocationPolicy, Vg, VgFlag, VgStatus};
use foldback_units::Sectors;

/// What is to be different.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct VgWish {
    /// Most LVs it may have; 0: any number.
    pub max_lv: Option<u32>,
    /// Most PVs it may have; 0: any number.
    pub max_pv: Option<u32>,
    /// Whether PVs may join and leave.
    pub resizeable: Option<bool>,
    /// Tags.
    pub tags: TagWish,
    /// Of an extent.
    pub extent_size: Option<Sectors>,
    /// A UUID that nobody had.
    pub new_uuid: bool,
    /// How extents are chosen for LVs without a policy of their own.
    pub policy: Option<AllocationPolicy>,
    /// Whether events may bring its LVs up.
    pub autoactivation: Option<bool>,
}

/// Plans the change: the VG as it will be, and what to say then. `active`: devices of it are there.
///
/// # Errors
/// [`Refusal`]: the first of the wishes that cannot be.
pub fn plan(
    vg: &Vg,
    wish: &VgWish,
    active: bool,
    environment: &mut dyn Environment,
) -> Result<(Vg, Vec<Notice>), Refusal> {
    let mut after = vg.clone();
    let mut said = Vec::new();
    let resizeable = vg.status.contains(&VgStatus::Resizeable);
    let above = |there: usize, max: u32| max != 0 && usize::try_from(max).is_ok_and(|max| there > max);
    let must_be = |is: bool, what| {
        if is { Ok(()) } else { Err(Refusal::MustBeResizeable { vg: vg.name.clone(), what }) }
    };
    if let Some(max) = wish.max_lv {
        must_be(resizeable, "MaxLogicalVolume")?;
        let there = visible_lvs(vg);
        if above(there, max) {
            return Err(Refusal::FewerLvs { vg: vg.name.clone(), there });
        }
        after.max_lv = max;
    }
    if let Some(max) = wish.max_pv {
        must_be(resizeable, "MaxPhysicalVolumes")?;
        if above(vg.pvs.len(), max) {
            return Err(Refusal::FewerPvs { vg: vg.name.clone(), there: vg.pvs.len() });
        }
        after.max_pv = max;
    }
    if let Some(wanted) = wish.resizeable {
        if wanted == resizeable {
            return Err(Refusal::ResizeableAlready { vg: vg.name.clone(), resizeable });
        }
        if wanted {
            after.status.insert(VgStatus::Resizeable);
        } else {
            after.status.remove(&VgStatus::Resizeable);
        }
    }
    wish.tags.apply(&mut after.tags);
    if let Some(size) = wish.extent_size {
        must_be(after.status.contains(&VgStatus::Resizeable), "PE size")?;
        if size.get() == u64::from(vg.extent_size.sectors()) {
            let text =
                format!("Physical extent size of VG {} is already {}.", vg.name, Units::in_words(size));
            said.push(Notice::remark(text));
        } else {
            after = resized(&after, size)?;
        }
    }
    if wish.new_uuid {
        if active {
            return Err(Refusal::VgActive);
        }
        after.id = fresh_uuid(environment);
    }
    if let Some(policy) = &wish.policy {
        if *policy == *vg.allocation_policy.as_ref().unwrap_or(&AllocationPolicy::Normal) {
            return Err(Refusal::PolicyAlready(policy.as_str().to_owned()));
        }
        after.allocation_policy = stated(policy.clone());
    }
    if let Some(auto) = wish.autoactivation {
        after.flags.set(VgFlag::NoAutoactivate, !auto);
    }
    said.push(Notice::print(format!("Volume group \"{}\" successfully changed", vg.name)));
    Ok((after, said))
}

/// As LVM2 writes a VG's policy: `normal` stands nowhere.
pub fn stated(policy: AllocationPolicy) -> Option<AllocationPolicy> {
    Some(policy).filter(|policy| *policy != AllocationPolicy::Normal)
}

#[cfg(test)]
mod tests {
    use super::{VgWish, plan};
    use crate::ops::Refusal;
    use crate::ops::lv_change::TagWish;
    use crate::testing::{TestEnvironment, with_snapshots};
    use foldback_lvm2_format::vg::{AllocationPolicy, Vg, VgFlag, VgStatus};
    use foldback_units::TagName;

    fn change(vg: &Vg, wish: &VgWish) -> Result<Vg, Refusal> {
        plan(vg, wish, false, &mut TestEnvironment::new()).map(|(after, _)| after)
    }

    fn told(vg: &Vg, wish: &VgWish) -> String {
        change(vg, wish).unwrap_err().to_string()
    }

    #[test]
    fn limits_are_never_below_what_there_is() {
        let vg = with_snapshots(&["one", "two"]);
        let lvs = |max| VgWish { max_lv: Some(max), ..VgWish::default() };
        assert_eq!(told(&vg, &lvs(1)), "MaxLogicalVolume is less than the current number 3 of LVs for vg");
        assert_eq!(change(&vg, &lvs(3)).unwrap().max_lv, 3);
        assert_eq!(change(&vg, &lvs(0)).unwrap().max_lv, 0);
        let fewer = u32::try_from(vg.pvs.len()).unwrap() - 1;
        let pvs = VgWish { max_pv: Some(fewer), ..VgWish::default() };
        assert_eq!(change(&vg, &pvs).is_ok(), fewer == 0);
    }

    #[test]
    fn a_vg_that_may_not_grow_keeps_its_limits_and_its_extents() {
        let vg = with_snapshots(&[]);
        let fixed = VgWish { resizeable: Some(false), ..VgWish::default() };
        let still = change(&vg, &fixed).unwrap();
        assert!(!still.status.contains(&VgStatus::Resizeable));
        assert_eq!(told(&still, &fixed), "Volume group \"vg\" is already not resizeable");
        let size = foldback_units::Sectors(8);
        for wish in [
            VgWish { max_lv: Some(9), ..VgWish::default() },
            VgWish { max_pv: Some(9), ..VgWish::default() },
            VgWish { extent_size: Some(size), ..VgWish::default() },
        ] {
            assert!(matches!(change(&still, &wish), Err(Refusal::MustBeResizeable { .. })));
        }
    }

    #[test]
    fn one_wish_that_cannot_be_stops_all_of_them() {
        let vg = with_snapshots(&[]);
        let tag = TagName::new("a").unwrap();
        let wish = VgWish {
            tags: TagWish { add: vec![tag.clone(), tag.clone()], remove: vec![] },
            new_uuid: true,
            policy: Some(AllocationPolicy::Cling),
            autoactivation: Some(false),
            ..VgWish::default()
        };
        let refused = plan(&vg, &wish, true, &mut TestEnvironment::new());
        assert_eq!(refused, Err(Refusal::VgActive));
        let after = change(&vg, &wish).unwrap();
        assert!(after.id != vg.id && after.flags.contains(VgFlag::NoAutoactivate));
        assert_eq!((after.tags, &after.allocation_policy), (vec![tag], &Some(AllocationPolicy::Cling)));
        let normal = VgWish { policy: Some(AllocationPolicy::Normal), ..VgWish::default() };
        assert_eq!(told(&vg, &normal), "Volume group allocation policy is already normal");
    }
}
