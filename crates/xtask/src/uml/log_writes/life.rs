//! What the guest told of the life that was logged: after each command the VG as LVM2 reads it, and the content of volumes.
//!
//! Holds: content is what the kernel read, and of what was not active it follows from the step before: a merge makes the
//! snapshot's content the origin's, and every other command but a write leaves all content as it was.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};

use crate::rig::Console;

/// The origin.
pub(super) const ORIGIN: &str = "root";

/// A state that was acknowledged.
#[derive(Debug, Clone)]
pub(super) struct Step {
    /// Its mark in the log.
    pub(super) name: String,
    /// LVM2's line for each LV.
    pub(super) rows: Rows,
    /// SHA-256 of each volume that can be read.
    pub(super) contents: BTreeMap<String, String>,
}

/// Lines of `lvs`: name, size, origin, whether it merges, the VG's seqno.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Rows(Vec<String>);

impl Rows {
    /// As they are printed, in any order, with the marks of hidden LVs.
    pub(super) fn of(text: &str) -> Self {
        let clean = |line: &str| line.chars().filter(|at| !matches!(at, ' ' | '[' | ']')).collect();
        let mut rows: Vec<String> =
            text.lines().map(clean).filter(|line: &String| !line.is_empty()).collect();
        rows.sort_unstable();
        Self(rows)
    }

    /// Names of LVs.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|row| row.split(',').next())
    }

    /// The snapshot that merges.
    pub(super) fn merging(&self) -> Option<&str> {
        let snapshot = |row: &&String| {
            let mut fields = row.split(',');
            fields.nth(2).is_some_and(|origin| !origin.is_empty()) && fields.next() == Some("merging")
        };
        self.0.iter().find(snapshot)?.split(',').next()
    }

    /// All in one line, for a message.
    pub(super) fn line(&self) -> String {
        self.0.join(" ")
    }
}

/// All steps, in order.
pub(super) fn steps(console: &Console) -> Result<Vec<Step>> {
    let mut steps: Vec<Step> = Vec::new();
    for name in console.facts("step") {
        let rows =
            of_step(console.facts("rows"), name).next().with_context(|| format!("no rows of {name}"))?;
        let rows = Rows::of(&rows.replace(' ', "\n"));
        let mut contents = BTreeMap::new();
        if let Some(before) = steps.last() {
            contents.clone_from(&before.contents);
            if let Some(merged) = before.rows.merging().filter(|_| rows.merging().is_none()) {
                let content = contents.get(merged).context("a merge of unknown content")?.clone();
                contents.insert(ORIGIN.to_owned(), content);
            }
        }
        let told = of_step(console.facts("content"), name).filter_map(|told| told.split_once(' '));
        contents.extend(told.map(|(lv, digest)| (lv.to_owned(), digest.to_owned())));
        contents.retain(|lv, _| rows.names().any(|name| name == lv));
        steps.push(Step { name: name.to_owned(), rows, contents });
    }
    ensure!(steps.len() > 1, "the guest told of {} steps", steps.len());
    Ok(steps)
}

fn of_step<'f>(facts: impl Iterator<Item = &'f str>, step: &str) -> impl Iterator<Item = &'f str> {
    facts.filter_map(move |fact| fact.split_once(' ').filter(|(name, _)| *name == step).map(|(_, rest)| rest))
}

#[cfg(test)]
mod tests {
    use super::Rows;

    #[test]
    fn rows_are_compared_without_their_order_and_a_merging_snapshot_is_found() {
        let rows = Rows::of("  root,24576,,merging,9\n  [s1],8192,root,merging,9\n");
        assert_eq!(rows, Rows::of("s1,8192,root,merging,9\nroot,24576,,merging,9"));
        assert_eq!((rows.merging(), rows.names().collect::<Vec<_>>()), (Some("s1"), vec!["root", "s1"]));
        assert_eq!(Rows::of("root,24576,,,9\ns1,8192,root,,9").merging(), None);
    }
}
