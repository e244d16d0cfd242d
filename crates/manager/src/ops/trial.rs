//! Trials: a snapshot on which a machine runs until its result is kept or dropped (architecture.md, "Merging"). Pure.
//!
//! What must hold:
//! - A trial is an ordinary snapshot with a tag: LVM2 can do with it whatever it does with others.
//! - What is kept gets the origin's old name once the merge has ended, so that fstab stays right. That it is to be renamed is a
//!   tag, too: whoever comes after a crash or a reboot knows.
//! - A name that somebody else has taken meanwhile is left to him.

use crate::ops::lv_rename;
use crate::ops::notice::Notice;
use crate::ops::refusal::Refusal;
use foldback_lvm2_format::vg::{Lv, Vg};
use foldback_units::{LvName, TagName};

/// The tag of a snapshot that is a trial.
pub const TRIAL: &str = "foldback.trial";
/// In front of the name that the LV is to have when its merge has ended.
const RENAME: &str = "foldback.rename=";

/// How far a trial is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// A snapshot.
    Running,
    /// It merges.
    Kept,
    /// It is the volume, and does not have its name yet.
    Renaming,
}

/// A trial of a VG.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Trial {
    /// The LV on which the machine runs.
    pub lv: LvName,
    /// What is tried on; while it merges and afterwards the name that it had.
    pub origin: Option<LvName>,
    /// How far it is.
    pub state: State,
}

/// All trials of a VG.
pub fn all(vg: &Vg) -> Vec<Trial> {
    let links = vg.snapshots();
    let trial = |lv: &Lv| {
        let named = || wanted_name(lv);
        if !lv.tags.iter().any(|tag| tag.as_str() == TRIAL) {
            return None;
        }
        let (origin, state) = match links.of_cow(&lv.name) {
            Some(snapshot) => (Some(snapshot.segment.origin.clone()), State::Running),
            None if links.merging_into(&lv.name).is_some() => (named(), State::Kept),
            None => (named(), State::Renaming),
        };
        Some(Trial { lv: lv.name.clone(), origin, state })
    };
    vg.lvs.iter().filter(|lv| lv.snapshot().is_none()).filter_map(trial).collect()
}

/// The trial that `name` means: its own name, or that of the origin on which it runs.
///
/// # Errors
/// There is none, or several.
pub fn find(vg: &Vg, name: &LvName) -> Result<Trial, Refusal> {
    let means = |trial: &Trial| trial.lv == *name || trial.origin.as_ref() == Some(name);
    let mut found = all(vg).into_iter().filter(means);
    let not_one = || Refusal::NotATrial { lv: format!("{}/{name}", vg.name) };
    match (found.next(), found.next()) {
        (Some(trial), None) => Ok(trial),
        (Some(one), Some(other)) => {
            // Several on one origin: each by its own name.
            [one, other].into_iter().chain(found).find(|trial| trial.lv == *name).ok_or_else(not_one)
        }
        (None, _) => Err(not_one()),
    }
}

/// The VG with the name that `lv` is to have once it is kept; without one it keeps its own.
///
/// # Errors
/// The name makes no tag.
pub fn to_be_named(vg: &Vg, lv: &LvName, name: Option<&LvName>) -> Result<Vg, Refusal> {
    let bad = || Refusal::NotATrial { lv: format!("{}/{lv}", vg.name) };
    let tag = name.map(|name| TagName::new(&format!("{RENAME}{name}"))).transpose().map_err(|_| bad())?;
    let mut after = vg.clone();
    let lv = after.lv_mut(lv).ok_or_else(bad)?;
    lv.tags.retain(|tag| !tag.as_str().starts_with(RENAME));
    lv.tags.extend(tag);
    Ok(after)
}

/// What ends a trial whose merge has ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ended {
    /// The VG without its tags, and with its name.
    pub vg: Vg,
    /// As it was called.
    pub from: LvName,
    /// As it is called.
    pub to: LvName,
    /// What to say when it is done.
    pub done: Vec<Notice>,
}

/// Ends the first trial whose merge has ended, if there is one.
///
/// # Errors
/// It cannot be renamed.
pub fn end_one(vg: &Vg) -> Result<Option<Ended>, Refusal> {
    let Some(trial) = all(vg).into_iter().find(|trial| trial.state == State::Renaming) else {
        return Ok(None);
    };
    let from = trial.lv;
    let mut after = vg.clone();
    if let Some(lv) = after.lv_mut(&from) {
        lv.tags.retain(|tag| tag.as_str() != TRIAL && !tag.as_str().starts_with(RENAME));
    }
    let Some(name) = trial.origin.filter(|name| *name != from) else {
        let done = vec![Notice::print(format!("Trial {}/{from} is kept.", vg.name))];
        return Ok(Some(Ended { vg: after, to: from.clone(), from, done }));
    };
    if vg.lv(&name).is_some() {
        let text = format!(
            "The name {}/{name} is taken meanwhile: what was kept of the trial stays {from}.",
            vg.name
        );
        return Ok(Some(Ended { vg: after, to: from.clone(), from, done: vec![Notice::warning(text)] }));
    }
    let renamed = lv_rename::plan(&after, &from, name.as_str())?;
    Ok(Some(Ended { vg: renamed.vg, from, to: renamed.lv, done: renamed.done }))
}

fn wanted_name(lv: &Lv) -> Option<LvName> {
    let mut names = lv.tags.iter().filter_map(|tag| tag.as_str().strip_prefix(RENAME));
    LvName::new(names.next()?).ok()
}

#[cfg(test)]
mod tests {
    use super::{State, TRIAL, all, end_one, find, to_be_named};
    use crate::ops::keep::{self, Keep};
    use crate::ops::merge::{self, Finish};
    use crate::testing::{lv_name, with_snapshots};
    use foldback_lvm2_format::vg::Vg;
    use foldback_units::TagName;

    fn on_trial() -> Vg {
        let mut vg = with_snapshots(&["snap"]);
        vg.lv_mut(&lv_name("snap")).unwrap().tags = vec![TagName::new(TRIAL).unwrap()];
        vg
    }

    fn state(vg: &Vg) -> Vec<(String, Option<String>, State)> {
        let text = |trial: super::Trial| {
            (trial.lv.to_string(), trial.origin.map(|origin| origin.to_string()), trial.state)
        };
        all(vg).into_iter().map(text).collect()
    }

    /// From the snapshot to the volume with the origin's name, by tags that every commit carries on.
    #[test]
    fn what_is_kept_has_the_origins_name_in_the_end() {
        let vg = on_trial();
        let (snap, root) = ("snap".to_owned(), Some("root".to_owned()));
        assert_eq!(state(&vg), [(snap.clone(), root.clone(), State::Running)]);
        assert_eq!(find(&vg, &lv_name("root")).unwrap(), find(&vg, &lv_name("snap")).unwrap());
        assert_eq!(end_one(&vg), Ok(None));
        let vg = to_be_named(&vg, &lv_name("snap"), Some(&lv_name("root"))).unwrap();
        let Keep::Fresh(merge) = keep::check(&vg, &lv_name("snap")).unwrap() else { panic!() };
        let kept = keep::swap_and_mark(&vg, &merge);
        assert_eq!(state(&kept.vg), [(snap.clone(), root.clone(), State::Kept)]);
        assert_eq!(end_one(&kept.vg), Ok(None), "the name is the store's still");
        let Finish::Finished(vg) = merge::finish(&kept.vg, &kept.merge.snapshot_id) else { panic!() };
        assert_eq!(state(&vg), [(snap, root, State::Renaming)]);
        let ended = end_one(&vg).unwrap().unwrap();
        assert_eq!((ended.from.as_str(), ended.to.as_str()), ("snap", "root"));
        let lv = ended.vg.lv(&lv_name("root")).unwrap();
        assert!(lv.tags.is_empty() && ended.vg.lvs.len() == 1);
        assert_eq!(end_one(&ended.vg), Ok(None));
    }

    #[test]
    fn a_name_that_is_taken_is_left_alone() {
        let mut vg = with_snapshots(&["snap"]);
        // Without the snapshot: an LV that was kept, and another one with the name that it was to have.
        let id = vg.lv(&lv_name("snap")).unwrap().id;
        let kept = vg.lv_mut(&lv_name("root")).unwrap();
        kept.tags = vec![TagName::new(TRIAL).unwrap()];
        let vg_kept = to_be_named(&vg, &lv_name("root"), Some(&lv_name("snap"))).unwrap();
        let mut plain = vg_kept.clone();
        plain.lvs.retain(|lv| lv.snapshot().is_none());
        assert_eq!(plain.lv(&lv_name("snap")).unwrap().id, id);
        let ended = end_one(&plain).unwrap().unwrap();
        assert_eq!(ended.from, ended.to);
        assert!(ended.done[0].text.contains("taken"));
        assert!(all(&ended.vg).is_empty());
    }

    #[test]
    fn an_ordinary_snapshot_is_no_trial() {
        let vg = with_snapshots(&["snap"]);
        let error = find(&vg, &lv_name("snap")).unwrap_err();
        assert!(error.to_string().contains("trial start"), "{error}");
    }
}
