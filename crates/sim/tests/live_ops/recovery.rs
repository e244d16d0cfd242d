//! Transactions that failed: taken back, gone on with, or as if they had never been.

use super::world::{World, device, lv};
use super::{Plan, fresh, group, marked};
use foldback_dm_table::{DeviceMapper, DeviceRef, DmName, Stage, Transaction, Verb};
use foldback_manager::activation::{self, Change};
use foldback_manager::ops::keep;
use foldback_manager::ops::lv_remove;
use foldback_manager::ops::snapshot_create::WhileMerging;

/// architecture.md, "Merging": a failure after the commit commits the reverse swap.
#[test]
fn a_kept_snapshot_that_cannot_be_resumed_is_taken_back() {
    let mut world = World::new(12);
    world.create("root", 4);
    world.take(&[("root", "trial", 4)]);
    world.scribble("root", 10);
    world.scribble("trial", 10);
    let before = world.found();
    let kept = keep::swap_and_mark(&before.vg, &fresh(&before, "trial"));
    let mut states = None;
    let outcome = world.try_change(*kept.vg, |before, after, headers| {
        let (before, after) = (group(before, "root"), group(after, "root"));
        let mut transaction = activation::keep_snapshot(&before, &after, headers);
        // Without a table below, the merge cannot start.
        let real = Verb::Resume { name: after.origin.real.name.clone() };
        transaction.suspend.retain(|verb| *verb != real);
        states = Some((before, after));
        transaction
    });
    assert_eq!(outcome.unwrap_err().0, Stage::Resume);
    world.verify();
    let (live, swapped) = states.unwrap();
    let changes = [Change::between(&live, &swapped)];
    let there = activation::tables(&mut world.dm).unwrap();
    assert!(!activation::merge_came_up(&changes, &there));
    let now = world.found();
    assert_ne!(now.vg.lvs, before.vg.lvs);
    let back = keep::take_back(&now.vg, &kept.merge);
    world.change(*back, |_, _, headers| activation::take_back(&changes, headers, &there));
    let mut after = world.found().vg;
    after.seqno = before.vg.seqno;
    assert_eq!(after, before.vg);
    assert_eq!(world.devices(), ["vg-root", "vg-root-real", "vg-trial", "vg-trial-cow"]);
    world.scribble("root", 10);
    world.scribble("trial", 10);
    world.verify();
    world.reactivate();
    world.verify();
}

/// What the old origin held is being overwritten: the names stay swapped, and what stayed behind follows.
#[test]
fn a_kept_snapshot_whose_merge_came_up_is_gone_on_with() {
    let mut world = World::new(16);
    world.create("root", 4);
    world.take(&[("root", "trial", 4)]);
    world.scribble("root", 10);
    world.scribble("trial", 10);
    let before = world.found();
    let kept = keep::swap_and_mark(&before.vg, &fresh(&before, "trial"));
    let mut changes = Vec::new();
    let outcome = world.try_change(*kept.vg, |before, after, headers| {
        let (before, after) = (group(before, "root"), group(after, "root"));
        changes = vec![Change::between(&before, &after)];
        let mut transaction = activation::keep_snapshot(&before, &after, headers);
        // The last device to come back is the error device in the old origin's place.
        let at = transaction.resume.len() - 1;
        transaction.resume.insert(at, Verb::Resume { name: device("none") });
        transaction
    });
    assert_eq!(outcome.unwrap_err().0, Stage::Resume);
    let there = activation::tables(&mut world.dm).unwrap();
    assert!(activation::merge_came_up(&changes, &there));
    world.dm.transact(&activation::go_on(&changes, &there)).unwrap();
    assert_eq!(world.devices(), ["vg-root", "vg-root-cow", "vg-trial", "vg-trial-real"]);
    assert!(world.table("vg-root").ends_with(" error"), "{}", world.table("vg-root"));
    drop(world.shown.remove("root"));
    world.verify();
    world.scribble("trial", 10);
    world.merge_to_the_end("trial");
    world.verify();
}

/// Of two origins the second cannot be switched: neither snapshot may stay in the VG, since one of them takes no copies.
#[test]
fn snapshots_of_which_one_origin_was_not_switched_are_taken_back() {
    let mut world = World::new(13);
    world.create("root", 3);
    world.create("var", 3);
    world.take(&[("root", "old", 2)]);
    world.scribble("root", 5);
    let before = world.found();
    let vg = world.planned(&[("root", "r", 2), ("var", "v", 2)], WhileMerging::Refused);
    let lvs = [lv("root"), lv("var")];
    let mut changes = Vec::new();
    let outcome = world.try_change(vg, |before, after, headers| {
        changes = Change::all(before, after, &lvs).unwrap();
        let mut transaction = activation::take_snapshots(&changes, headers);
        let real = DmName("vg-var-real".to_owned());
        transaction.resume.retain(|verb| *verb != Verb::Resume { name: real.clone() });
        transaction
    });
    assert_eq!(outcome.unwrap_err().0, Stage::Resume);
    world.verify();
    let there = activation::tables(&mut world.dm).unwrap();
    world.change(before.vg.clone(), |_, _, headers| activation::take_back(&changes, headers, &there));
    assert_eq!(world.devices(), ["vg-old", "vg-old-cow", "vg-root", "vg-root-real", "vg-var"]);
    assert!(world.table("vg-var").contains(" linear "));
    world.scribble("root", 10);
    world.scribble("var", 10);
    world.verify();
    world.reactivate();
    world.verify();
}

/// Old tables of what was removed write to extents that are free: the removal is gone on with.
#[test]
fn a_removal_that_stopped_half_way_is_gone_on_with() {
    for stuck in ["vg-a-cow", "vg-root-real", "vg-a", "vg-root"] {
        let mut world = World::new(14);
        world.create("root", 3);
        world.take(&[("root", "a", 2)]);
        let found = world.found();
        let removal = lv_remove::plan_several(&found.vg, &[lv("a")], &|_| true).unwrap();
        let mut changes = Vec::new();
        let outcome = world.try_change(removal.vg, |before, after, headers| {
            changes = Change::all(before, after, &[lv("a")]).unwrap();
            let mut transaction = activation::remove_lvs(&changes, headers);
            let at = Verb::Resume { name: DmName(stuck.to_owned()) };
            let at = transaction.resume.iter().position(|verb| *verb == at).unwrap();
            // A verb that fails: all from there on keep their old tables.
            transaction.resume.insert(at, Verb::Resume { name: device("none") });
            transaction
        });
        assert_eq!(outcome.unwrap_err().0, Stage::Resume);
        let there = activation::tables(&mut world.dm).unwrap();
        world.dm.transact(&activation::go_on(&changes, &there)).unwrap();
        drop(world.shown.remove("a"));
        assert_eq!(world.devices(), ["vg-root"], "stuck at {stuck}");
        world.scribble("root", 10);
        world.verify();
    }
}

/// No header can be written: nothing has changed, and nothing is left over.
#[test]
fn what_is_not_committed_leaves_every_group_as_it_was() {
    let mut world = World::new(15);
    world.create("root", 3);
    world.take(&[("root", "trial", 3)]);
    world.scribble("trial", 5);
    let before = world.found();
    let (devices, tables) = (world.devices(), activation::tables(&mut world.dm).unwrap());
    let nowhere = |mut transaction: Transaction| {
        let pv = || DeviceRef("/dev/none".to_owned());
        transaction.headers.iter_mut().for_each(|header| header.pv = pv());
        transaction
    };
    let kept = *keep::swap_and_mark(&before.vg, &fresh(&before, "trial")).vg;
    let plans: [(_, Plan); 4] = [
        (kept, |b, a, headers| activation::keep_snapshot(&group(b, "root"), &group(a, "root"), headers)),
        (marked(&before, "trial"), |b, a, headers| {
            activation::start_merge(&group(b, "root"), &group(a, "root"), headers)
        }),
        (world.planned(&[("root", "b", 2)], WhileMerging::Refused), |b, a, headers| {
            activation::take_snapshots(&Change::all(b, a, &[lv("root")]).unwrap(), headers)
        }),
        (lv_remove::plan(&before.vg, &lv("root")).unwrap().vg, |b, a, headers| {
            activation::remove_lvs(&Change::all(b, a, &[lv("root")]).unwrap(), headers)
        }),
    ];
    for (vg, plan) in plans {
        let outcome = world.try_change(vg, |before, after, headers| nowhere(plan(before, after, headers)));
        assert_eq!(outcome.unwrap_err().0, Stage::Commit);
        assert_eq!(world.devices(), devices);
        assert_eq!(activation::tables(&mut world.dm).unwrap(), tables);
        assert!(world.dm.list().unwrap().iter().all(|info| !info.suspended && !info.inactive));
        assert_eq!(world.found().vg, before.vg);
        world.scribble("root", 3);
        world.scribble("trial", 3);
        world.verify();
    }
}
