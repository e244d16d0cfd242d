//! What a step is, and what it may lead to.
//!
//! Holds: every command has a set of outcomes that is told from the model alone, and where LVM2's and Foldback's rules leave no
//! doubt one of refusing or doing is ruled out.

use super::model::{Lv, Merge, Model};

/// Who does a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Party {
    /// LVM2 2.03.
    Lvm2,
    /// The program under test.
    Foldback,
}

impl Party {
    /// The other one.
    pub(crate) fn other(self) -> Self {
        match self {
            Self::Lvm2 => Self::Foldback,
            Self::Foldback => Self::Lvm2,
        }
    }
}

/// Blocks that are written by the walk itself, and synced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Write {
    /// The LV.
    pub(crate) lv: String,
    /// The first block.
    pub(crate) from: usize,
    /// One past the last.
    pub(crate) until: usize,
    /// What the blocks are known by afterwards.
    pub(crate) stamp: u64,
}

/// A way of merging.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// `--merge`, until it is done.
    Wait,
    /// `--merge -b`.
    Background,
    /// Foldback under LVM2's name.
    Name,
    /// Foldback's `--onactivate`.
    OnActivate,
    /// Foldback's `--namesnapshot -b`.
    NameSnapshot,
}

/// What a party is told to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    /// A new LV.
    Create { name: String, mib: usize },
    /// A new snapshot; blocks of a chunk.
    Take { name: String, origin: String, chunk: usize, store_mib: u64 },
    /// Snapshots of several origins at one instant, `ORIGIN_NAME` (Foldback's).
    TakeAll { name: String, origins: Vec<String>, chunk: usize, store_mib: u64 },
    /// A longer origin or plain LV.
    Lengthen { name: String, mib: usize },
    /// A longer store.
    LengthenStore { name: String, mib: u64 },
    /// Another name.
    Rename { name: String, to: String },
    /// Gone, with its snapshots.
    Remove { name: String },
    /// The VG, or an LV's group, up or down; `poll`: with who ends the merges.
    Activate { which: Option<String>, up: bool, poll: bool },
    /// Merge a snapshot.
    Merge { name: String, how: How },
    /// Merge a snapshot, after another one of the origin as it is (Foldback's `--undo`).
    MergeBack { name: String, back: String },
    /// Take a merge back that waits (Foldback's).
    Cancel { name: String },
    /// Go on with merges of what is not active (Foldback's).
    Premerge,
    /// See to it that running merges end.
    Finish,
    /// `lvchange --refresh`.
    Refresh { name: String },
    /// A tag, put on or off.
    Tag { name: String, tag: String, on: bool },
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step {
    /// Who.
    pub(crate) party: Party,
    /// An LV to hold open from here on, or to let go of.
    pub(crate) hold: Option<(String, bool)>,
    /// What is written before.
    pub(crate) writes: Vec<Write>,
    /// What is done.
    pub(crate) command: Command,
    /// From here on a write to the disk takes so many milliseconds, as long as this kernel runs.
    pub(crate) pace_ms: Option<u64>,
    /// The kernel's end, so many milliseconds after the command was started.
    pub(crate) kill_ms: Option<u64>,
}

/// What the parties' rules say of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It must be done.
    Must,
    /// It must be refused.
    MustNot,
    /// Either.
    May,
}

impl Step {
    /// What the VG may be, besides what it was, when the kernel was ended during the command. A merge may be anywhere between its mark
    /// and its end; what is marked begins with the next activation, so that nothing tells it from what has begun.
    pub(crate) fn left_by_kill(&self, before: &Model) -> Vec<Model> {
        let mut left = self.command.done(self.party, before);
        if let Command::Merge { name, how } = &self.command {
            let mut begun = before.clone();
            let merging = if *how == How::NameSnapshot { begun.group(name).to_owned() } else { name.clone() };
            if *how == How::NameSnapshot {
                begun.swap(name);
            }
            begun.begin(&merging);
            left.push(begun);
        }
        if self.command == Command::Premerge {
            // One after the other.
            let mut begun = before.clone();
            for name in waiting(before) {
                begun.begin(&name);
            }
            left.push(begun);
        }
        if let Command::MergeBack { name, back } = &self.command {
            let taken = with_way_back(before, name, back);
            let mut marked = taken.clone();
            marked.mark(name, Merge::Marked);
            let mut begun = marked.clone();
            begun.begin(name);
            left.extend([taken, marked, begun]);
        }
        left
    }
}

impl Command {
    /// Whether it must be done, or refused.
    pub(crate) fn verdict(&self, party: Party, model: &Model) -> Verdict {
        let quiet = |name: &str| model.members(name).all(|(_, lv)| lv.merge() == Merge::No);
        let held = |name: &str| model.members(name).any(|(_, lv)| lv.held);
        let active = |name: &str| model.lvs.get(name).is_some_and(|lv| lv.active);
        let lost = |name: &str| model.lvs.get(name).is_some_and(Lv::invalid);
        let must = match self {
            Self::Create { .. } | Self::Finish | Self::Premerge | Self::Activate { up: true, .. } => true,
            Self::Take { origin, .. } => quiet(origin) && active(origin),
            Self::TakeAll { origins, .. } => origins.iter().all(|origin| quiet(origin) && active(origin)),
            Self::Lengthen { name, .. } => {
                let alone = model.snapshots(name).next().is_none();
                alone || (party == Party::Foldback && quiet(name))
            }
            Self::LengthenStore { name, .. } | Self::Rename { name, .. } | Self::Tag { name, .. } => {
                quiet(name)
            }
            Self::Refresh { name } => quiet(name) && active(name),
            Self::Remove { name } if model.lvs.get(name).is_some_and(|lv| lv.held) => {
                return Verdict::MustNot;
            }
            Self::Remove { name } => quiet(name) && !held(name),
            Self::Activate { which: Some(name), .. } if held(name) => return Verdict::MustNot,
            Self::Activate { which: None, .. } if model.lvs.values().any(|lv| lv.held) => {
                return Verdict::MustNot;
            }
            Self::Activate { .. } => true,
            Self::Merge { name, .. } | Self::MergeBack { name, .. } if lost(name) => return Verdict::MustNot,
            // Its snapshot would not show what the merge takes away.
            Self::MergeBack { name, .. } if active(name) && model.waits(name) => return Verdict::MustNot,
            // It would change its size.
            Self::Merge { name, how: How::NameSnapshot } if model.is_short(name) => return Verdict::MustNot,
            Self::Merge { name, how: How::NameSnapshot } => {
                quiet(name)
                    && active(name)
                    && model.members(name).count() == 2
                    && model.lvs.get(model.group(name)).is_some_and(|lv| !lv.held)
            }
            Self::Merge { name, .. } | Self::MergeBack { name, .. } => quiet(name),
            // Of what is not active nobody knows whether it has begun.
            Self::Cancel { name } => active(name),
        };
        if must { Verdict::Must } else { Verdict::May }
    }

    /// Whether it may start a process that ends merges.
    pub(crate) fn may_end_merges(&self) -> bool {
        matches!(
            self,
            Self::Merge { .. }
                | Self::MergeBack { .. }
                | Self::Activate { up: true, .. }
                | Self::Finish
                | Self::Refresh { .. }
        )
    }

    /// Whether all merges of active volumes end by it.
    pub(crate) fn ends_merges(&self) -> bool {
        *self == Self::Finish
    }

    /// What the VG may be once it was refused, besides what it was: LVM2 does not count an open snapshot whose merge waits before it
    /// takes a VG down, and stops at its group alone.
    pub(crate) fn left_by_refusal(&self, before: &Model) -> Vec<Model> {
        let waits = before.lvs.values().any(|lv| lv.held && lv.merge() == Merge::Marked);
        let down = matches!(self, Self::Activate { which: None, up: false, .. });
        if down && waits { vec![down_but_for_open(before)] } else { Vec::new() }
    }

    /// What the VG may be once it was done; the merges' progress is looked at, within what is allowed here.
    pub(crate) fn done(&self, party: Party, before: &Model) -> Vec<Model> {
        let mut model = before.clone();
        match self {
            Self::Create { name, mib } => model.create(name, *mib),
            Self::Take { name, origin, chunk, store_mib } => model.take(name, origin, *chunk, *store_mib),
            Self::TakeAll { name, origins, chunk, store_mib } => {
                for origin in origins {
                    model.take(&one_of_all(origin, name), origin, *chunk, *store_mib);
                }
            }
            Self::Lengthen { name, mib } => model.lengthen(name, *mib),
            Self::LengthenStore { name, mib } => model.lengthen_store(name, *mib),
            Self::Rename { name, to } => model.rename(name, to),
            Self::Remove { name } => model.remove(name),
            Self::Activate { which, up, .. } => model.activate(which.as_deref(), *up),
            Self::Merge { name, how } => return merged(party, name, *how, before),
            Self::MergeBack { name, back } => {
                return merged(party, name, How::Wait, &with_way_back(before, name, back));
            }
            Self::Cancel { name } => model.mark(name, Merge::No),
            Self::Tag { name, tag, on } => {
                if let Some(lv) = model.lvs.get_mut(name) {
                    if *on {
                        lv.tags.insert(tag.clone())
                    } else {
                        lv.tags.remove(tag)
                    };
                }
            }
            Self::Premerge => {
                for name in waiting(before) {
                    model.end(&name);
                }
            }
            Self::Finish | Self::Refresh { .. } => {}
        }
        vec![model]
    }
}

/// The whole VG down, but for the group in which an LV is open.
fn down_but_for_open(before: &Model) -> Model {
    let mut model = before.clone();
    for name in before.lvs.keys() {
        if !before.members(name).any(|(_, lv)| lv.held) {
            model.activate(Some(name), false);
        }
    }
    model
}

/// Snapshots whose merges wait for an activation.
fn waiting(model: &Model) -> Vec<String> {
    let waits = |lv: &Lv| lv.merge() != Merge::No && !lv.active;
    model.lvs.iter().filter(|(_, lv)| waits(lv)).map(|(name, _)| name.clone()).collect()
}

/// What a snapshot is called that is taken together with others.
pub(super) fn one_of_all(origin: &str, name: &str) -> String {
    format!("{origin}_{name}")
}

/// With the snapshot that undoes the merge, whose size Foldback chooses.
fn with_way_back(before: &Model, name: &str, back: &str) -> Model {
    let mut model = before.clone();
    let chunk = before.lvs.get(name).and_then(|lv| lv.snapshot.as_ref()).map_or(1, |snapshot| snapshot.chunk);
    model.take(back, before.group(name), chunk, 0);
    model
}

/// Where a merge can be after the command: marked, begun, or ended.
fn merged(party: Party, name: &str, how: How, before: &Model) -> Vec<Model> {
    let active = before.lvs.get(name).is_some_and(|lv| lv.active);
    let held = before.waits(name);
    let mut marked = before.clone();
    if how == How::NameSnapshot {
        // The names change; what was the origin's name is the merging snapshot's.
        let hidden = before.group(name).to_owned();
        marked.swap(name);
        return with_progress(marked, &hidden, !active);
    }
    if marked.lvs.get(name).is_some_and(|lv| lv.merge() == Merge::No) {
        marked.mark(name, Merge::Marked);
    }
    let waits =
        how == How::OnActivate || (active && held) || (!active && (party == Party::Lvm2 || how == How::Name));
    if waits { vec![marked] } else { with_progress(marked, name, !active) }
}

fn with_progress(marked: Model, name: &str, at_once: bool) -> Vec<Model> {
    let (mut begun, mut ended) = (marked.clone(), marked);
    begun.begin(name);
    ended.end(name);
    if at_once { vec![ended] } else { vec![begun, ended] }
}

#[cfg(test)]
mod tests {
    use super::super::model::{Merge, Model};
    use super::{Command, How, Party, Verdict};

    fn model() -> Model {
        let mut model = Model::default();
        model.create("o", 2);
        model.take("s", "o", 1, 1);
        model
    }

    fn merges(party: Party, how: How, model: &Model) -> Vec<Option<Merge>> {
        let command = Command::Merge { name: "s".to_owned(), how };
        let done = command.done(party, model);
        done.iter().map(|model| model.lvs.get("s").map(super::Lv::merge)).collect()
    }

    #[test]
    fn who_has_it_open_makes_a_merge_wait() {
        let mut model = model();
        assert_eq!(merges(Party::Lvm2, How::Wait, &model), [Some(Merge::Begun), None]);
        model.lvs.get_mut("o").unwrap().held = true;
        assert_eq!(merges(Party::Foldback, How::Wait, &model), [Some(Merge::Marked)]);
    }

    #[test]
    fn what_is_not_active_is_merged_at_once_by_foldback_alone() {
        let mut model = model();
        model.activate(None, false);
        assert_eq!(merges(Party::Lvm2, How::Wait, &model), [Some(Merge::Marked)]);
        assert_eq!(merges(Party::Foldback, How::Wait, &model), [None]);
        assert_eq!(merges(Party::Foldback, How::Name, &model), [Some(Merge::Marked)]);
    }

    #[test]
    fn a_snapshot_keeps_its_name_only_where_it_is_as_long_as_its_origin() {
        let mut model = model();
        let merge = Command::Merge { name: "s".to_owned(), how: How::NameSnapshot };
        assert_eq!(merge.verdict(Party::Foldback, &model), Verdict::Must);
        model.lengthen("o", 1);
        assert_eq!(merge.verdict(Party::Foldback, &model), Verdict::MustNot);
    }

    #[test]
    fn what_a_merge_takes_away_is_kept_where_that_is_wanted() {
        let mut model = model();
        model.write("o", 0, 2, 1);
        model.write("s", 0, 1, 2);
        let merge = Command::MergeBack { name: "s".to_owned(), back: "b".to_owned() };
        assert_eq!(merge.verdict(Party::Foldback, &model), Verdict::Must);
        let ended = merge.done(Party::Foldback, &model).pop().unwrap();
        assert_eq!(ended.lvs.keys().collect::<Vec<_>>(), ["b", "o"]);
        assert_eq!(
            (ended.lvs["b"].blocks[..2].to_vec(), ended.lvs["o"].blocks[..2].to_vec()),
            (vec![1, 1], vec![2, 0])
        );
        model.lvs.get_mut("o").unwrap().held = true;
        assert_eq!(merge.verdict(Party::Foldback, &model), Verdict::MustNot);
    }

    #[test]
    fn a_lost_snapshot_is_merged_by_nobody() {
        let mut model = model();
        model.write("o", 0, 512, 1);
        for how in [How::Wait, How::Background, How::OnActivate, How::NameSnapshot] {
            let merge = Command::Merge { name: "s".to_owned(), how };
            assert_eq!(merge.verdict(Party::Foldback, &model), Verdict::MustNot, "{how:?}");
        }
        assert_eq!(Command::Remove { name: "s".to_owned() }.verdict(Party::Lvm2, &model), Verdict::Must);
    }

    #[test]
    fn an_open_snapshot_whose_merge_waits_keeps_its_group_alone() {
        let mut model = model();
        model.create("x", 1);
        model.lvs.get_mut("s").unwrap().held = true;
        let down = Command::Activate { which: None, up: false, poll: true };
        assert!(down.left_by_refusal(&model).is_empty(), "LVM2 counts a snapshot that users see");
        model.mark("s", Merge::Marked);
        let left = down.left_by_refusal(&model).remove(0);
        assert_eq!(["o", "s", "x"].map(|name| left.lvs[name].active), [true, true, false]);
    }

    #[test]
    fn an_open_volume_cannot_go_down() {
        let mut model = model();
        model.lvs.get_mut("s").unwrap().held = true;
        let down = Command::Activate { which: None, up: false, poll: true };
        assert_eq!(down.verdict(Party::Lvm2, &model), Verdict::MustNot);
        assert_eq!(Command::Finish.verdict(Party::Lvm2, &model), Verdict::Must);
    }
}
