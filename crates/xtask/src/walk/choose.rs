//! Which step comes next: from the seed, its number, and what the VG holds.
//!
//! Holds: the parties take turns; no write and no merge is chosen that a store might be too small for, but for those that
//! certainly make a snapshot invalid; after the random steps come three that bring everything up, end the merges, and take everything
//! down.

use super::model::{Lv, MIB_BLOCKS, Merge, Model};
use super::step::{Command, How, Party, Step, Write, one_of_all};
use super::{STEPS, Verdict};
use crate::guest::Random;

/// Names with and without what device-mapper has to write twice.
const NAMES: &[&str] = &["root", "ho-me", "var", "s1", "s-2", "s3", "old", "ne-w", "tmp"];
const ORIGINS_MAX: usize = 3;
const SNAPSHOTS_MAX: usize = 3;
const WRITES_MAX: u64 = 20;
/// Milliseconds of a write.
const PACES_MS: &[u64] = &[0, 12, 25, 40];
/// Those where the kernel lives on.
const MILD_MS: &[u64] = &[0, 12];
/// Attempts at a command that makes sense here.
const ATTEMPTS: u32 = 60;

/// What the blocks are known by that a step writes; 0 for what it fills.
pub(super) fn stamp(step: u64, write: u64) -> u64 {
    (step + 1) * 1000 + write
}

/// Random numbers with bounds.
struct Dice(Random);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound.max(1)).unwrap_or(1);
        usize::try_from(self.0.next() % bound).unwrap_or(0)
    }

    fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.0.next() % (high - low + 1)
    }

    fn percent(&mut self, share: u64) -> bool {
        self.0.next() % 100 < share
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> Option<T> {
        from.get(self.below(from.len())).cloned()
    }
}

/// A name that nothing has.
pub(crate) fn fresh(model: &Model, start: usize) -> Option<String> {
    let names = NAMES.iter().cycle().skip(start % NAMES.len()).take(NAMES.len());
    names.map(|name| (*name).to_owned()).find(|name| !model.lvs.contains_key(name))
}

/// The step of that number.
pub(crate) fn choose(seed: u64, number: u64, before: &Model) -> Step {
    let mut dice = Dice(Random::new(seed.wrapping_mul(0x1_0000_0001) ^ number.rotate_left(40)));
    let party = if (seed + number).is_multiple_of(2) { Party::Lvm2 } else { Party::Foldback };
    if number >= STEPS {
        return last(party, number, before);
    }
    let mut model = before.clone();
    let hold = hold(&mut dice, &model);
    if let Some((name, held)) = &hold
        && let Some(lv) = model.lvs.get_mut(name)
    {
        lv.held = *held;
    }
    let writes = writes(&mut dice, number, &mut model);
    let command = command(&mut dice, party, &model);
    let merges = matches!(command, Command::Merge { .. } | Command::Premerge) || model.any_begun();
    let kills = kills(&command, &model) && dice.percent(if merges { 25 } else { 8 });
    // A commit takes a few writes, a merge many.
    let kill_ms = kills.then(|| dice.between(0, if merges { 1500 } else { 350 }));
    let pace_ms = if kills { Some(PACES_MS) } else { dice.percent(15).then_some(MILD_MS) };
    let pace_ms = pace_ms.and_then(|paces| dice.pick(paces));
    Step { party, hold, writes, command, pace_ms, kill_ms }
}

/// The three that end a walk.
fn last(party: Party, number: u64, model: &Model) -> Step {
    let command = match number - STEPS {
        0 => Command::Activate { which: None, up: true, poll: true },
        1 => Command::Finish,
        _ => Command::Activate { which: None, up: false, poll: true },
    };
    // One LV is open at most.
    let open = model.lvs.iter().find(|(_, lv)| lv.held).map(|(name, _)| (name.clone(), false));
    Step { party, hold: open, writes: Vec::new(), command, pace_ms: Some(0), kill_ms: None }
}

fn hold(dice: &mut Dice, model: &Model) -> Option<(String, bool)> {
    if let Some((name, _)) = model.lvs.iter().find(|(_, lv)| lv.held) {
        return dice.percent(35).then(|| (name.clone(), false));
    }
    let names: Vec<String> =
        model.lvs.iter().filter(|(_, lv)| lv.readable()).map(|(name, _)| name.clone()).collect();
    if dice.percent(16) { dice.pick(&names).map(|name| (name, true)) } else { None }
}

/// Scattered pieces, in what can be written and has room.
fn writes(dice: &mut Dice, number: u64, model: &mut Model) -> Vec<Write> {
    let names: Vec<String> =
        model.lvs.iter().filter(|(_, lv)| lv.readable()).map(|(name, _)| name.clone()).collect();
    let mut writes = Vec::new();
    if dice.percent(8)
        && let Some(write) = overflow(dice, number, model)
    {
        model.write(&write.lv, write.from, write.until, write.stamp);
        return vec![write];
    }
    if !dice.percent(75) {
        return writes;
    }
    for which in 1..=dice.between(1, WRITES_MAX) {
        let Some(lv) = dice.pick(&names) else { break };
        let size = model.lvs.get(&lv).map_or(0, |lv| lv.blocks.len());
        let length = if dice.percent(10) { 1 + dice.below(100) } else { 1 + dice.below(6) };
        let from = dice.below(size);
        let until = size.min(from + length);
        if model.room_for(&lv, from, until) {
            let stamp = stamp(number, which);
            model.write(&lv, from, until, stamp);
            writes.push(Write { lv, from, until, stamp });
        }
    }
    writes
}

/// A write to the whole of an origin that nothing merges into, and that snapshots of it cannot survive.
fn overflow(dice: &mut Dice, number: u64, model: &Model) -> Option<Write> {
    let quiet = |name: &str| model.members(name).all(|(_, lv)| lv.merge() == Merge::No);
    let names: Vec<&String> = model
        .lvs
        .iter()
        .filter(|(name, lv)| lv.readable() && lv.snapshot.is_none() && quiet(name) && model.overflows(name))
        .map(|(name, _)| name)
        .collect();
    let lv = dice.pick(&names)?;
    let until = model.lvs.get(lv)?.blocks.len();
    Some(Write { lv: lv.clone(), from: 0, until, stamp: stamp(number, WRITES_MAX + 1) })
}

/// Whether it can be told what a kernel that ends in the middle of it may leave.
fn kills(command: &Command, model: &Model) -> bool {
    match command {
        Command::Remove { name } => model.snapshots(name).next().is_none(),
        _ => true,
    }
}

fn command(dice: &mut Dice, party: Party, model: &Model) -> Command {
    let idle = Command::Activate { which: None, up: true, poll: true };
    let down = !model.lvs.is_empty() && model.lvs.values().all(|lv| !lv.active);
    let waits = model.lvs.values().any(|lv| lv.merge() != Merge::No && !lv.active);
    if waits && party == Party::Foldback && dice.percent(20) {
        return Command::Premerge;
    }
    if down && dice.percent(60) {
        return Command::Activate { which: None, up: true, poll: dice.percent(70) };
    }
    for _ in 0..ATTEMPTS {
        if let Some(command) = attempt(dice, party, model) {
            // What is refused is worth a step now and then only.
            if command.verdict(party, model) == Verdict::Must || dice.percent(80) {
                return command;
            }
        }
    }
    idle
}

fn attempt(dice: &mut Dice, party: Party, model: &Model) -> Option<Command> {
    let all: Vec<String> = model.lvs.keys().cloned().collect();
    let of = |which: &dyn Fn(&Lv) -> bool| -> Vec<String> {
        model.lvs.iter().filter(|(_, lv)| which(lv)).map(|(name, _)| name.clone()).collect()
    };
    let origins = of(&|lv| lv.snapshot.is_none());
    let snapshots = of(&|lv| lv.snapshot.is_some());
    let name = fresh(model, dice.below(NAMES.len()));
    let roll = match (origins.is_empty(), snapshots.is_empty()) {
        (true, _) => 0,
        (false, true) if dice.percent(50) => 10,
        _ => dice.below(110),
    };
    match roll {
        0..8 => (origins.len() < ORIGINS_MAX && model.free_mib() > 20)
            .then_some(Command::Create { name: name?, mib: usize::try_from(dice.between(4, 12)).ok()? }),
        8..12 if party == Party::Foldback => take_all(dice, model, &origins, &name?),
        8..26 => take(dice, model, &origins, name?),
        26..32 => (model.free_mib() > 8)
            .then_some(())
            .and_then(|()| Some(Command::Lengthen { name: dice.pick(&origins)?, mib: 1 + dice.below(3) })),
        32..39 => lengthen_store(dice, model, &snapshots),
        39..45 => Some(Command::Rename { name: dice.pick(&all)?, to: name? }),
        45..50 => Some(Command::Remove { name: dice.pick(&snapshots)? }),
        50..52 => Some(Command::Remove { name: dice.pick(&origins)? }),
        52..64 => {
            let which = if dice.percent(50) { Some(dice.pick(&origins)?) } else { None };
            let up = dice.percent(45);
            Some(Command::Activate { which, up, poll: !up || dice.percent(70) })
        }
        64..70 if party == Party::Foldback => merge_back(dice, model, &snapshots, name?),
        64..84 | 100.. => merge(dice, party, model, &snapshots),
        84..88 => dice
            .pick(&of(&|lv| lv.merge() == Merge::Marked))
            .and_then(|name| (party == Party::Foldback).then_some(Command::Cancel { name })),
        88..92 => model.any_begun().then_some(Command::Finish),
        92..96 => {
            let marked = dice.pick(&of(&|lv| lv.merge() == Merge::Marked && lv.active));
            let name = marked.as_ref().map(|name| model.group(name).to_owned()).or(dice.pick(&origins))?;
            Some(Command::Refresh { name })
        }
        _ => {
            let name = dice.pick(&all)?;
            let old = model.lvs.get(&name).and_then(|lv| lv.tags.first().cloned());
            let (on, tag) = (old.is_none(), old.unwrap_or_else(|| format!("t{}", dice.below(9))));
            Some(Command::Tag { name, tag, on })
        }
    }
}

fn take(dice: &mut Dice, model: &Model, origins: &[String], name: String) -> Option<Command> {
    let origin = dice.pick(origins)?;
    let lv = model.lvs.get(&origin)?;
    let (chunk, mib) = (1_usize << dice.below(5), u64::try_from(lv.mib()).ok()?);
    let store_mib = dice.between(2, mib.min(6));
    // What is filled later would go into the store.
    let known = !lv.blocks.contains(&0);
    let few = model.snapshots(&origin).count() < SNAPSHOTS_MAX;
    (known && few && model.free_mib() > store_mib + 4).then_some(Command::Take {
        name,
        origin,
        chunk,
        store_mib,
    })
}

/// Of two origins at least.
fn take_all(dice: &mut Dice, model: &Model, origins: &[String], name: &str) -> Option<Command> {
    let fit = |origin: &&String| {
        let known = model.lvs.get(*origin).is_some_and(|lv| !lv.blocks.contains(&0));
        let few = model.snapshots(origin).count() < SNAPSHOTS_MAX;
        known && few && !model.lvs.contains_key(&one_of_all(origin, name))
    };
    let origins: Vec<String> = origins.iter().filter(fit).cloned().collect();
    let (chunk, store_mib) = (1_usize << dice.below(5), dice.between(2, 3));
    let needed = store_mib * u64::try_from(origins.len()).ok()?;
    (origins.len() > 1 && model.free_mib() > needed + 4).then(|| Command::TakeAll {
        name: name.to_owned(),
        origins,
        chunk,
        store_mib,
    })
}

fn lengthen_store(dice: &mut Dice, model: &Model, snapshots: &[String]) -> Option<Command> {
    let name = dice.pick(snapshots)?;
    let lv = model.lvs.get(&name)?;
    let mib = dice.between(1, 3);
    // A store is of no use beyond its origin's size, and LVM2 would make less of the wish.
    let useful = !lv.invalid()
        && lv.snapshot.as_ref()?.store_mib + mib <= u64::try_from(lv.blocks.len() / MIB_BLOCKS).ok()?;
    (useful && model.free_mib() > mib).then_some(Command::LengthenStore { name, mib })
}

fn merge(dice: &mut Dice, party: Party, model: &Model, snapshots: &[String]) -> Option<Command> {
    let name = dice.pick(snapshots)?;
    let again = model.lvs.get(&name)?.merge() != Merge::No;
    let fits = again || model.room_for_merge(&name);
    let own = [How::Wait, How::Background, How::Background, How::Name, How::OnActivate, How::NameSnapshot];
    let theirs = [How::Wait, How::Background, How::Background];
    let how = if party == Party::Foldback { dice.pick(&own)? } else { dice.pick(&theirs)? };
    // LVM2 cannot see whether an inactive one is lost, and marks it for a merge that never begins.
    let lv = model.lvs.get(&name)?;
    let seen = !lv.invalid() || lv.active || (party == Party::Foldback && how != How::Name);
    (fits && seen && !(again && how == How::NameSnapshot)).then_some(Command::Merge { name, how })
}

/// With room for what the merge overwrites, which is as much as the origin has at most.
fn merge_back(dice: &mut Dice, model: &Model, snapshots: &[String], back: String) -> Option<Command> {
    let name = dice.pick(snapshots)?;
    let origin = model.group(&name);
    let mib = u64::try_from(model.lvs.get(origin)?.mib()).ok()?;
    let quiet = model.members(&name).all(|(_, lv)| lv.merge() == Merge::No);
    let known = model.lvs.get(origin).is_some_and(|lv| !lv.blocks.contains(&0));
    (quiet && known && model.room_for_merge(&name) && model.free_mib() > mib + 4)
        .then_some(Command::MergeBack { name, back })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::choose;
    use crate::walk::{Party, STEPS_AND_END, Verdict, replay};

    #[test]
    fn parties_take_turns_and_either_begins() {
        let model = crate::walk::Model::default();
        let of = |seed, number| choose(seed, number, &model).party;
        assert_eq!((of(0, 0), of(0, 1), of(1, 0)), (Party::Lvm2, Party::Foldback, Party::Foldback));
    }

    /// Walks in which all is done that must be, so that the choices are seen without parties.
    #[test]
    fn walks_have_every_command_and_kills_and_never_fill_a_store() {
        let (mut kinds, mut kills, mut held, mut lost) = (BTreeSet::new(), 0, 0, 0);
        for seed in 0..200 {
            let mut place = replay(seed, "").unwrap();
            while place.next < STEPS_AND_END {
                let step = place.begin(seed);
                let kind = format!("{:?}", step.command);
                let how = format!("{:?}", step.command).split("how: ").nth(1).unwrap_or_default().to_owned();
                kinds.insert(format!("{} {how}", kind.split([' ', '{']).next().unwrap()));
                kills += u32::from(step.kill_ms.is_some());
                held += u32::from(step.hold.is_some());
                lost += u32::from(step.writes.iter().any(|write| write.stamp % 1000 > super::WRITES_MAX));
                if step.command.verdict(step.party, &place.model) == Verdict::Must {
                    place.model = step.command.done(step.party, &place.model).remove(0);
                    for snapshot in place.model.lvs.values_mut().filter_map(|lv| lv.snapshot.as_mut()) {
                        // As large as a party that chooses the size makes it at most.
                        snapshot.store_mib = if snapshot.store_mib == 0 { 13 } else { snapshot.store_mib };
                    }
                }
                let number = place.next;
                place.fill(number);
                assert!(place.model.stores_fit(), "seed {seed} step {number}: {step:?}");
                place.next += 1;
            }
        }
        assert_eq!(kinds.len(), 14 + 5, "{kinds:?}");
        assert!(kills > 200 && held > 200 && lost > 20, "{kills} {held} {lost}");
    }
}
