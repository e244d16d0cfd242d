//! `lvchange` of what only the metadata say: permission, tags, the mark to skip activation, numbers, policy. Pure.
//!
//! What must hold (compared with 2.03.16): tags are in the order in which they were added, each once; nothing else changes.

use crate::ops::notice::Notice;
use crate::ops::refusal::Refusal;
use foldback_lvm2_format::vg::{AllocationPolicy, LvFlag, LvStatus, Segment, Vg};
use foldback_units::{LvName, TagName};

/// What becomes of something that an LV may have of its own.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Setting<T> {
    /// It stays as it is.
    #[default]
    Kept,
    /// The LV has none.
    Unset,
    /// This.
    To(T),
}

impl<T> From<Option<T>> for Setting<T> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Unset, Self::To)
    }
}

impl<T: Clone> Setting<T> {
    /// Sets it; whether that may change anything.
    fn set(&self, there: &mut Option<T>) -> bool {
        match self {
            Self::Kept => return false,
            Self::Unset => *there = None,
            Self::To(value) => *there = Some(value.clone()),
        }
        true
    }
}

/// What is to be different.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct LvWish {
    /// Whether it may be written.
    pub writable: Option<bool>,
    /// Whether activation skips it.
    pub skip: Option<bool>,
    /// Whether events may bring it up.
    pub autoactivation: Option<bool>,
    /// What the kernel is to read ahead, in sectors.
    pub read_ahead: Setting<i32>,
    /// The device number that it is to have for good.
    pub number: Setting<(i32, i32)>,
    /// How extents are chosen.
    pub policy: Setting<AllocationPolicy>,
    /// Tags.
    pub tags: TagWish,
}

/// Tags that come and go.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct TagWish {
    /// To be added.
    pub add: Vec<TagName>,
    /// To be taken off; those that are not there are no error.
    pub remove: Vec<TagName>,
}

impl TagWish {
    /// Whether anything is wished.
    pub fn is_empty(&self) -> bool {
        self.add.is_empty() && self.remove.is_empty()
    }

    pub(crate) fn apply(&self, tags: &mut Vec<TagName>) {
        tags.retain(|tag| !self.remove.contains(tag));
        for tag in &self.add {
            if !tags.contains(tag) {
                tags.push(tag.clone());
            }
        }
    }
}

/// Plans the change of an LV: the VG as it will be, and what to say then.
///
/// # Errors
/// [`Refusal`]: no such LV, one that merges, a permission that it has, or what LVM2 changes of no origin.
pub fn plan(vg: &Vg, name: &LvName, wish: &LvWish) -> Result<(Vg, Vec<Notice>), Refusal> {
    let named = || (vg.name.clone(), name.clone());
    let links = vg.snapshots();
    if links.of_cow(name).is_some_and(|snapshot| snapshot.segment.merging) {
        let (vg, lv) = named();
        return Err(Refusal::HiddenLv { vg, lv });
    }
    let of_device = wish.read_ahead != Setting::Kept || wish.number != Setting::Kept;
    if links.is_origin(name) && (of_device || wish.policy != Setting::Kept) {
        let (vg, lv) = named();
        return Err(Refusal::WrongOptions { vg, lv, property: "lv_is_thick_origin" });
    }
    let mut after = vg.clone();
    let lv = after.lv_mut(name).filter(|lv| lv.snapshot().is_none());
    let Some(lv) = lv else {
        let (vg, lv) = named();
        return Err(Refusal::LvNotFound { vg, lv });
    };
    if lv.status.contains(&LvStatus::Locked) || lv.status.contains(&LvStatus::Pvmove) {
        let (vg, lv) = named();
        return Err(Refusal::Locked { vg, lv });
    }
    if let Some(writable) = wish.writable {
        if lv.is_writable() == writable {
            let (vg, lv) = named();
            return Err(Refusal::AlreadySo { vg, lv, writable });
        }
        // The bytes of a thin volume or a cache follow the permission of what they are made of.
        if !lv.is_understood() {
            let type_text = lv.segments.first().map(Segment::type_text).unwrap_or_default();
            let (vg, lv) = named();
            return Err(Refusal::NotUnderstood { vg, lv, type_text });
        }
        lv.set_status(LvStatus::Write, writable);
    }
    if let Some(skip) = wish.skip {
        lv.flags.set(LvFlag::ActivationSkip, skip);
    }
    if let Some(auto) = wish.autoactivation {
        lv.flags.set(LvFlag::NoAutoactivate, !auto);
    }
    wish.read_ahead.set(&mut lv.read_ahead);
    let mut number = lv.major.zip(lv.minor);
    if wish.number.set(&mut number) {
        lv.set_status(LvStatus::FixedMinor, number.is_some());
        (lv.major, lv.minor) = number.unzip();
    }
    wish.policy.set(&mut lv.allocation_policy);
    wish.tags.apply(&mut lv.tags);
    Ok((after, vec![Notice::print(format!("Logical volume {}/{name} changed.", vg.name))]))
}

#[cfg(test)]
mod tests {
    use super::{LvFlag, LvWish, Setting, TagWish, plan};
    use crate::ops::Refusal;
    use crate::testing::{lv_name, merging, with_snapshots};
    use foldback_lvm2_format::vg::{AllocationPolicy, LvStatus};
    use foldback_units::TagName;

    fn tags(names: &[&str]) -> Vec<TagName> {
        names.iter().map(|name| TagName::new(name).unwrap()).collect()
    }

    #[test]
    fn tags_come_once_and_go() {
        let vg = with_snapshots(&["snap"]);
        let wish = TagWish { add: tags(&["a", "b", "a"]), remove: tags(&["c"]) };
        let mut vg_tags = tags(&["c"]);
        wish.apply(&mut vg_tags);
        assert_eq!(vg_tags, tags(&["a", "b"]));
        let wish = LvWish { tags: TagWish { add: tags(&["x"]), remove: vec![] }, ..LvWish::default() };
        let (vg, _) = plan(&vg, &lv_name("snap"), &wish).unwrap();
        assert_eq!(vg.lv(&lv_name("snap")).unwrap().tags, tags(&["x"]));
        assert!(matches!(plan(&vg, &lv_name("snapshot0"), &wish), Err(Refusal::LvNotFound { .. })));
    }

    #[test]
    fn what_an_lv_has_of_its_own_is_set_and_taken_away() {
        let vg = with_snapshots(&[]);
        let wish = LvWish {
            read_ahead: Setting::To(-1),
            number: Setting::To((254, 7)),
            policy: Setting::To(AllocationPolicy::Cling),
            autoactivation: Some(false),
            ..LvWish::default()
        };
        let (vg, _) = plan(&vg, &lv_name("root"), &wish).unwrap();
        let lv = vg.lv(&lv_name("root")).unwrap();
        assert!(lv.flags.contains(LvFlag::NoAutoactivate));
        assert_eq!((lv.read_ahead, lv.major, lv.minor), (Some(-1), Some(254), Some(7)));
        assert!(lv.status.contains(&LvStatus::FixedMinor));
        assert_eq!(lv.allocation_policy, Some(AllocationPolicy::Cling));
        let none = LvWish {
            read_ahead: Setting::Unset,
            number: Setting::Unset,
            policy: Setting::Unset,
            autoactivation: Some(true),
            ..LvWish::default()
        };
        let (vg, _) = plan(&vg, &lv_name("root"), &none).unwrap();
        let lv = vg.lv(&lv_name("root")).unwrap();
        assert!(!lv.flags.contains(LvFlag::NoAutoactivate));
        assert_eq!((lv.read_ahead, lv.major, lv.minor), (None, None, None));
        assert!(!lv.status.contains(&LvStatus::FixedMinor) && lv.allocation_policy.is_none());
    }

    /// Seen of 2.03.16: neither read-ahead nor number nor policy of an origin, and nothing of a snapshot that merges.
    #[test]
    fn what_lvm2_changes_of_no_origin_and_of_no_merging_snapshot_is_refused() {
        let vg = with_snapshots(&["snap"]);
        for wish in [
            LvWish { read_ahead: Setting::To(16), ..LvWish::default() },
            LvWish { number: Setting::Unset, ..LvWish::default() },
            LvWish { policy: Setting::To(AllocationPolicy::Contiguous), ..LvWish::default() },
        ] {
            assert!(plan(&vg, &lv_name("snap"), &wish).is_ok());
            let refused = plan(&vg, &lv_name("root"), &wish).unwrap_err().to_string();
            assert!(refused.contains("invalid with LV properties: lv_is_thick_origin ."), "{refused}");
        }
        let wish = LvWish { tags: TagWish { add: tags(&["x"]), remove: vec![] }, ..LvWish::default() };
        assert!(plan(&vg, &lv_name("root"), &wish).is_ok());
        let told = plan(&merging(&["snap"]), &lv_name("snap"), &wish).unwrap_err().to_string();
        assert_eq!(told, "Operation not permitted on hidden LV vg/snap.");
    }

    #[test]
    fn a_permission_that_is_there_is_refused_in_lvm2s_words() {
        let vg = with_snapshots(&[]);
        let wish = |writable| LvWish { writable: Some(writable), ..LvWish::default() };
        let told = |vg, writable| plan(vg, &lv_name("root"), &wish(writable)).unwrap_err().to_string();
        assert_eq!(told(&vg, true), "Logical volume vg/root is already writable.");
        let (vg, _) = plan(&vg, &lv_name("root"), &wish(false)).unwrap();
        assert_eq!(told(&vg, false), "Logical volume \"vg/root\" is already read only.");
    }
}
