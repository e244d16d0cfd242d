//! Bringing a group up whatever is there of it already.
//!
//! What must hold:
//! - What is live is left alone. A group that somebody who was killed has left half is completed in the order of [`activate`], so
//!   that every store is live before the origin takes writes: where an origin is live, all that it writes to is.
//! - A device without a live table gets the one that the metadata say. The VG is locked, so that nobody is in the middle of it.

use crate::activation::group::{Group, activate};
use foldback_dm_table::{Info, Verb};

/// The verbs that are missing; none for a group that is up.
pub fn complete(group: &Group, there: &[Info]) -> Vec<Verb> {
    let is_there = |uuid: &str| there.iter().any(|info| info.uuid == uuid);
    let is_live = |verb: &Verb| there.iter().any(|info| info.name == *verb.name() && info.live);
    let missing = activate(group).into_iter().filter(|verb| match verb {
        Verb::Create { uuid, .. } => !is_there(uuid),
        other => !is_live(other),
    });
    missing.collect()
}

#[cfg(test)]
mod tests {
    use super::complete;
    use crate::activation::{Group, activate};
    use crate::testing::{Bench, lv_name};
    use foldback_dm_table::{Info, Verb};

    fn group() -> Group {
        let mut bench = Bench::with_vg(&[32], 2048);
        bench.lv("root", 4);
        bench.snapshot("root", "snap", 2);
        Group::of(&bench.vg(), &lv_name("root")).unwrap()
    }

    /// The devices after the first so many verbs.
    fn after(verbs: &[Verb]) -> Vec<Info> {
        let mut there: Vec<Info> = Vec::new();
        for verb in verbs {
            match verb {
                Verb::Create { name, uuid, .. } => there.push(Info {
                    name: name.clone(),
                    uuid: uuid.clone(),
                    suspended: false,
                    live: false,
                    inactive: false,
                    open_count: 0,
                    event: 0,
                }),
                Verb::Resume { name } => {
                    there.iter_mut().find(|info| info.name == *name).unwrap().live = true;
                }
                _ => {}
            }
        }
        there
    }

    /// Killed after any verb: what is left to do is the rest, with the table of a device that has none yet.
    #[test]
    fn a_killed_activation_is_gone_on_with() {
        let group = group();
        let verbs = activate(&group);
        for killed in 0..=verbs.len() {
            let there = after(&verbs[..killed]);
            let left = complete(&group, &there);
            let begun = killed - killed % 3;
            let expected: Vec<&Verb> = if killed % 3 == 0 {
                verbs[begun..].iter().collect()
            } else {
                verbs[begun + 1..].iter().collect()
            };
            assert_eq!(left.iter().collect::<Vec<_>>(), expected, "killed after {killed}");
        }
    }
}
