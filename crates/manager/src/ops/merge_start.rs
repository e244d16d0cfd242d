//! Whether a merge starts now or at the next activation (lvm2.md 2.6, 2.11, 3.2; architecture.md, "Merging"). Pure.
//!
//! What must hold:
//! - The decision is made once, from what was found out before, and is data: who looks whether devices are in use, and for
//!   how long, is the caller.
//! - A default merge of volumes in use is deferred, and says so in LVM2's words.
//! - `--namesnapshot` is never deferred while the group is active: metadata would call live devices by others' UUIDs.

use crate::ops::merge::Merge;
use crate::ops::notice::Notice;
use crate::ops::refusal::Refusal;
use foldback_units::VgName;

/// Whose name, UUID and number the result has, and when the merge may start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Mode {
    /// The origin's; neither may be in use when it starts.
    #[default]
    NameOrigin,
    /// The snapshot's, which may be in use all the way through; see [`crate::ops::keep`].
    NameSnapshot,
    /// The origin's; it starts when the origin is activated the next time.
    OnActivate,
}

/// How the volumes are used, after retries (trap 16).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct InUse {
    /// The origin and its snapshots are active.
    pub active: bool,
    /// Somebody has the origin open.
    pub origin: bool,
    /// Somebody has the snapshot open.
    pub snapshot: bool,
}

/// When the merge starts. Marked it is either way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Start {
    /// With the commit of the mark, in one transaction. What to say when it has.
    Now(Vec<Notice>),
    /// At the next activation: the mark is metadata alone, no device is touched. What to say.
    Deferred(Vec<Notice>),
}

/// Decides for a merge that [`crate::ops::merge::check`] allows.
///
/// # Errors
/// [`Refusal::OriginOpen`] for `--namesnapshot`.
pub fn decide(vg: &VgName, merge: &Merge, mode: Mode, in_use: InUse) -> Result<Start, Refusal> {
    let (snapshot, origin) = (&merge.snapshot, &merge.origin);
    let started = || Notice::print(format!("Merging of volume {vg}/{snapshot} started."));
    let later = |activated| {
        Notice::print(format!(
            "Merging of snapshot {vg}/{snapshot} will occur on next activation of {vg}/{activated}."
        ))
    };
    let because = |what: &str| Notice::print(format!("Delaying merge since {what} is open."));
    Ok(match mode {
        Mode::NameSnapshot if in_use.active && in_use.origin => {
            let (vg, lv, origin) = (vg.clone(), snapshot.clone(), origin.clone());
            return Err(Refusal::OriginOpen { vg, lv, origin });
        }
        // The origin bears the snapshot's name by then.
        Mode::NameSnapshot if !in_use.active => Start::Deferred(vec![later(snapshot)]),
        Mode::NameSnapshot => Start::Now(vec![started()]),
        Mode::NameOrigin if in_use.active && in_use.origin => {
            Start::Deferred(vec![because("origin"), later(origin)])
        }
        Mode::NameOrigin if in_use.active && in_use.snapshot => {
            Start::Deferred(vec![because("snapshot"), later(origin)])
        }
        Mode::NameOrigin if in_use.active => Start::Now(vec![started()]),
        Mode::NameOrigin | Mode::OnActivate => Start::Deferred(vec![later(origin)]),
    })
}

#[cfg(test)]
mod tests {
    use super::{InUse, Mode, Start, decide};
    use crate::ops::{Refusal, merge};
    use crate::testing::{lv_name, with_snapshots};

    fn decision(
        mode: Mode,
        active: bool,
        origin: bool,
        snapshot: bool,
    ) -> Result<(bool, Vec<String>), Refusal> {
        let vg = with_snapshots(&["snap"]);
        let merge = merge::check(&vg, &lv_name("snap")).unwrap();
        let (now, notices) = match decide(&vg.name, &merge, mode, InUse { active, origin, snapshot })? {
            Start::Now(notices) => (true, notices),
            Start::Deferred(notices) => (false, notices),
        };
        Ok((now, notices.into_iter().map(|notice| notice.text).collect()))
    }

    /// lvm2.md 2.11 and 3.2, word by word.
    #[test]
    fn a_default_merge_waits_for_both_to_be_closed() {
        let mode = Mode::NameOrigin;
        let later = "Merging of snapshot vg/snap will occur on next activation of vg/root.";
        let started = (true, vec!["Merging of volume vg/snap started.".to_owned()]);
        assert_eq!(decision(mode, true, false, false), Ok(started));
        let origin = vec!["Delaying merge since origin is open.".to_owned(), later.to_owned()];
        assert_eq!(decision(mode, true, true, true), Ok((false, origin)));
        let snapshot = vec!["Delaying merge since snapshot is open.".to_owned(), later.to_owned()];
        assert_eq!(decision(mode, true, false, true), Ok((false, snapshot)));
        assert_eq!(decision(mode, false, false, false), Ok((false, vec![later.to_owned()])));
        for used in [false, true] {
            let asked = decision(Mode::OnActivate, true, used, used);
            assert_eq!(asked, Ok((false, vec![later.to_owned()])));
        }
    }

    /// architecture.md, "Merging": the snapshot may be in use all the way through, the origin not.
    #[test]
    fn a_kept_snapshot_may_be_open_and_its_origin_not() {
        let mode = Mode::NameSnapshot;
        assert!(decision(mode, true, false, true).unwrap().0);
        assert!(matches!(decision(mode, true, true, false), Err(Refusal::OriginOpen { .. })));
        let later = "Merging of snapshot vg/snap will occur on next activation of vg/snap.";
        assert_eq!(decision(mode, false, false, false), Ok((false, vec![later.to_owned()])));
    }
}
