//! Goal: every operation on live volumes is one transaction that leaves each volume showing what it must, from the first
//! moment on and after everything was taken down and brought up again.
//! Method: the manager's plans are carried out by a real `UserDm` over simulated disks, beside a model of every volume.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::arithmetic_side_effects, clippy::as_conversions, clippy::cast_possible_truncation)]

mod recovery;
mod world;

use foldback_dm_table::{DeviceMapper, DmName, HeaderWrite, Stage, Transaction};
use foldback_lvm2_format::vg::LvStatus;
use foldback_manager::activation::{self, Change, Group};
use foldback_manager::ops::extend::{self, Amount, Extension, Situation};
use foldback_manager::ops::keep::{self, Keep};
use foldback_manager::ops::merge::{self, Begun, Mark};
use foldback_manager::ops::{Refusal, SizeRequest, lv_remove, lv_rename};
use foldback_manager::store::FoundVg;
use world::{EXTENT, World, device, lv};

/// A transaction for a VG before and after.
type Plan = fn(&FoundVg, &FoundVg, Vec<HeaderWrite>) -> Transaction;

fn group(found: &FoundVg, name: &str) -> Group {
    Group::of(found, &lv(name)).unwrap()
}

/// Issue 3: several LVs of a VG at one instant.
#[test]
fn snapshots_of_several_origins_are_one_commit() {
    let mut world = World::new(1);
    world.create("root", 4);
    world.create("var", 3);
    let seqno = world.found().vg.seqno;
    world.take(&[("root", "r1", 2), ("var", "v1", 2), ("root", "r2", 2)]);
    assert_eq!(world.found().vg.seqno, seqno + 1);
    world.scribble("root", 20);
    world.scribble("var", 20);
    world.scribble("r2", 5);
    world.verify();
    world.take(&[("var", "v2", 2)]);
    world.scribble("var", 10);
    world.verify();
    world.reactivate();
    world.verify();
}

fn remove(world: &mut World, names: &[&str]) {
    let found = world.found();
    let names: Vec<_> = names.iter().map(|name| lv(name)).collect();
    let removal = lv_remove::plan_several(&found.vg, &names, &|_| true).unwrap();
    let removed = removal.removed.clone();
    world.change(removal.vg, |before, after, headers| {
        activation::remove_lvs(&Change::all(before, after, &removed).unwrap(), headers)
    });
    for name in &removed {
        drop(world.shown.remove(name.as_str()));
    }
}

/// lvm2.md 2.9: the last one swaps the origin's table, and takes `-real` along.
#[test]
fn removing_live_snapshots_ends_in_a_plain_origin() {
    let mut world = World::new(2);
    world.create("root", 4);
    world.take(&[("root", "a", 2), ("root", "b", 2)]);
    world.scribble("root", 10);
    remove(&mut world, &["a"]);
    assert_eq!(world.devices(), ["vg-b", "vg-b-cow", "vg-root", "vg-root-real"]);
    world.scribble("root", 10);
    world.verify();
    remove(&mut world, &["b"]);
    assert_eq!(world.devices(), ["vg-root"]);
    assert!(world.table("vg-root").contains(" linear "), "{}", world.table("vg-root"));
    world.scribble("root", 10);
    world.verify();
    world.reactivate();
    world.verify();
}

#[test]
fn a_whole_group_goes_in_one_transaction_and_others_stay() {
    let mut world = World::new(3);
    world.create("root", 3);
    world.create("other", 3);
    world.take(&[("root", "a", 2), ("other", "o", 2)]);
    remove(&mut world, &["root"]);
    assert_eq!(world.devices(), ["vg-o", "vg-o-cow", "vg-other", "vg-other-real"]);
    assert_eq!(world.found().vg.lvs.len(), 3);
    world.scribble("other", 10);
    world.verify();
    remove(&mut world, &["other", "o"]);
    assert_eq!(world.devices(), Vec::<String>::new());
}

/// What was freed may be another's the moment after: an open device is cut off from it before.
#[test]
fn who_has_a_removed_snapshot_open_reads_and_writes_nothing() {
    let mut world = World::new(4);
    world.create("root", 3);
    world.take(&[("root", "a", 2)]);
    let a = world.dm.number(&device("a")).unwrap();
    world.dm.open(a).unwrap();
    let found = world.found();
    let removal = lv_remove::plan_several(&found.vg, &[lv("a")], &|_| true).unwrap();
    let outcome = world.try_change(removal.vg, |before, after, headers| {
        activation::remove_lvs(&[Change::of(before, after, &lv("a")).unwrap()], headers)
    });
    assert_eq!(outcome.unwrap_err().0, Stage::Clean);
    assert!(!world.is_served("a"));
    drop(world.shown.remove("a"));
    world.scribble("root", 10);
    world.verify();
}

fn extend(world: &mut World, name: &str, extents: u32) {
    let found = world.found();
    let amount = Amount::By(SizeRequest::Extents(extents));
    let wish = Extension { lv: lv(name), amount, pvs: Vec::new(), policy: None };
    let planned = extend::plan(&found.vg, &wish, Situation { active: true, as_lvm2: false }).unwrap();
    assert!(planned.changed);
    world.change(planned.vg, |before, after, headers| {
        activation::reload(&group(before, name), &group(after, name), headers)
    });
    let shown = world.shown.get_mut(name).unwrap();
    if found.vg.snapshots().of_cow(&lv(name)).is_none() {
        shown.resize(shown.len() + extents as usize * EXTENT, 0);
    }
}

#[test]
fn a_store_is_extended_while_it_is_written() {
    let mut world = World::new(5);
    world.create("root", 4);
    world.take(&[("root", "a", 1), ("root", "b", 3)]);
    world.scribble("root", 8);
    let usage = |world: &mut World| world.dm.status(&device("a")).unwrap().remove(0);
    assert!(usage(&mut world).contains("/2048 "));
    extend(&mut world, "a", 2);
    assert!(usage(&mut world).contains("/6144 "), "{}", usage(&mut world));
    // More than one extent would have held.
    world.scribble("root", 60);
    world.verify();
    world.reactivate();
    world.verify();
}

/// Trap 8: the snapshot keeps its length.
#[test]
fn an_origin_is_extended_live_and_its_snapshot_keeps_its_length() {
    let mut world = World::new(6);
    world.create("root", 3);
    extend(&mut world, "root", 1);
    world.scribble("root", 5);
    world.take(&[("root", "a", 3)]);
    world.scribble("root", 5);
    extend(&mut world, "root", 2);
    assert_eq!(world.dm.size(&device("root")).unwrap().get(), 6 * 2048);
    assert_eq!(world.dm.size(&device("a")).unwrap().get(), 4 * 2048);
    assert_eq!(world.dm.size(&DmName("vg-root-real".into())).unwrap().get(), 6 * 2048);
    // What lies on the new extents is what lay there before.
    let len = world.shown["root"].len();
    let zeros = vec![0; 2 * EXTENT];
    world
        .dm
        .write_at(&device("root"), foldback_units::Bytes((len - 2 * EXTENT) as u64), &zeros, true)
        .unwrap();
    world.scribble("root", 20);
    world.scribble("a", 5);
    world.verify();
    world.reactivate();
    world.verify();
}

fn rename(world: &mut World, from: &str, to: &str) {
    let found = world.found();
    let planned = lv_rename::plan(&found.vg, &lv(from), to).unwrap();
    world.change(planned.vg, |before, after, headers| {
        activation::rename(&group(before, from), &group(after, to), headers)
    });
    let shown = world.shown.remove(from).unwrap();
    world.shown.insert(to.to_owned(), shown);
}

#[test]
fn open_volumes_are_renamed_with_all_their_devices() {
    let mut world = World::new(7);
    world.create("root", 3);
    world.take(&[("root", "a", 2)]);
    let open = world.dm.number(&device("root")).unwrap();
    world.dm.open(open).unwrap();
    rename(&mut world, "root", "new-root");
    rename(&mut world, "a", "b");
    assert_eq!(world.devices(), ["vg-b", "vg-b-cow", "vg-new--root", "vg-new--root-real"]);
    assert!(world.table("vg-b").contains("snapshot vg-new--root-real vg-b-cow P 8"));
    world.scribble("new-root", 10);
    world.scribble("b", 5);
    world.verify();
    world.take(&[("new-root", "c", 2)]);
    world.scribble("new-root", 10);
    world.verify();
    world.dm.close(open);
    world.reactivate();
    world.verify();
}

fn marked(found: &FoundVg, name: &str) -> foldback_lvm2_format::vg::Vg {
    let Mark::Marked(vg) = merge::mark(&found.vg, &merge::check(&found.vg, &lv(name)).unwrap()) else {
        panic!()
    };
    *vg
}

/// The view after the merge is the snapshot's.
fn merged(world: &mut World, snapshot: &str, origin: &str) {
    let view = world.shown.remove(snapshot).unwrap();
    world.shown.insert(origin.to_owned(), view);
}

#[test]
fn a_merge_starts_and_ends_under_the_eyes_of_another_snapshot() {
    let mut world = World::new(8);
    world.create("root", 4);
    world.take(&[("root", "a", 3)]);
    world.scribble("root", 15);
    world.take(&[("root", "b", 4)]);
    world.scribble("root", 15);
    world.scribble("a", 5);
    let vg = marked(&world.found(), "a");
    world.change(vg, |before, after, headers| {
        activation::start_merge(&group(before, "root"), &group(after, "root"), headers)
    });
    merged(&mut world, "a", "root");
    world.verify();
    world.scribble("root", 10);
    world.merge_to_the_end("root");
    world.verify();
    assert_eq!(world.devices(), ["vg-b", "vg-b-cow", "vg-root", "vg-root-real"]);
}

/// lvm2.md 2.11: a deferred merge restores what the snapshot shows when it starts; until then it can be cancelled.
#[test]
fn a_deferred_merge_is_cancelled_or_starts_at_the_next_activation() {
    let mut world = World::new(9);
    world.create("root", 4);
    world.take(&[("root", "a", 3)]);
    world.scribble("root", 15);
    let before = world.found().vg;
    let vg = marked(&world.found(), "a");
    world.commit(vg);
    world.scribble("root", 5);
    world.scribble("a", 5);
    world.verify();
    assert!(world.table("vg-root").contains("snapshot-origin"));
    let cancelled = merge::cancel(&world.found().vg, &lv("a"), Begun::No).unwrap();
    world.commit(cancelled);
    let mut after = world.found().vg;
    after.seqno = before.seqno;
    assert_eq!(after, before, "the mark has left nothing");
    let vg = marked(&world.found(), "a");
    world.commit(vg);
    world.deactivate("root");
    world.activate("root");
    merged(&mut world, "a", "root");
    world.verify();
    let refused = merge::cancel(&world.found().vg, &lv("a"), Begun::Maybe).unwrap_err();
    assert!(matches!(refused, Refusal::MayHaveBegun { .. }));
    world.merge_to_the_end("root");
    world.verify();
    assert_eq!(world.devices(), ["vg-root"]);
}

fn fresh(found: &FoundVg, name: &str) -> merge::Merge {
    let Keep::Fresh(merge) = keep::check(&found.vg, &lv(name)).unwrap() else { panic!() };
    merge
}

/// architecture.md, "Merging": the snapshot stays open all the way, and keeps its name, UUID and device.
#[test]
fn a_kept_snapshot_is_served_without_a_break_and_ends_as_a_plain_volume() {
    let mut world = World::new(10);
    world.create("root", 4);
    world.take(&[("root", "trial", 4)]);
    world.scribble("root", 10);
    world.scribble("trial", 25);
    let open = world.dm.number(&device("trial")).unwrap();
    world.dm.open(open).unwrap();
    let (uuid, id) = (world.uuid("vg-trial"), world.found().vg.lv(&lv("trial")).unwrap().id);
    let found = world.found();
    let kept = keep::swap_and_mark(&found.vg, &fresh(&found, "trial"));
    world.change(*kept.vg, |before, after, headers| {
        activation::keep_snapshot(&group(before, "root"), &group(after, "root"), headers)
    });
    assert_eq!(
        world.devices(),
        ["vg-root", "vg-root-cow", "vg-trial", "vg-trial-real"],
        "the old lower devices are gone"
    );
    assert!(world.table("vg-trial").contains("snapshot-merge vg-trial-real vg-root-cow P 8"));
    assert!(world.table("vg-root").ends_with(" error"), "{}", world.table("vg-root"));
    assert_eq!(world.uuid("vg-trial-real"), format!("{uuid}-real"));
    drop(world.shown.remove("root"));
    world.verify();
    world.scribble("trial", 10);
    let again = keep::check(&world.found().vg, &lv("trial")).unwrap();
    assert_eq!(again, Keep::GoesOn(kept.merge));
    world.merge_to_the_end("trial");
    assert_eq!(world.devices(), ["vg-trial"]);
    assert_eq!(world.uuid("vg-trial"), uuid);
    world.scribble("trial", 10);
    // `trial keep` ends by giving it the origin's old name, while it is open.
    rename(&mut world, "trial", "root");
    world.verify();
    world.dm.close(open);
    let vg = world.found().vg;
    assert_eq!((vg.lvs.len(), vg.lvs[0].id), (1, id));
    assert!(vg.lvs[0].status.contains(&LvStatus::Visible));
    world.reactivate();
    world.verify();
}

/// After a power cut in the middle the next activation goes on, as with any merge.
#[test]
fn a_kept_merge_goes_on_after_it_was_taken_down() {
    let mut world = World::new(11);
    world.create("root", 4);
    world.take(&[("root", "trial", 4)]);
    world.scribble("trial", 40);
    let found = world.found();
    let kept = keep::swap_and_mark(&found.vg, &fresh(&found, "trial"));
    world.change(*kept.vg, |before, after, headers| {
        activation::keep_snapshot(&group(before, "root"), &group(after, "root"), headers)
    });
    drop(world.shown.remove("root"));
    world.reactivate();
    world.verify();
    world.merge_to_the_end("trial");
    world.verify();
}

/// lvm2.md 2.11: a deferred merge begins at the next activation, not with another change of its group.
#[test]
fn an_origin_is_extended_while_its_merge_is_deferred() {
    let mut world = World::new(17);
    world.create("root", 4);
    world.take(&[("root", "a", 3)]);
    world.scribble("root", 15);
    let vg = marked(&world.found(), "a");
    world.commit(vg);
    let found = world.found();
    let amount = Amount::By(SizeRequest::Extents(1));
    let wish = Extension { lv: lv("root"), amount, pvs: Vec::new(), policy: None };
    let planned = extend::plan(&found.vg, &wish, Situation { active: true, as_lvm2: false }).unwrap();
    world.change(planned.vg, |before, after, headers| {
        let live = |found| group(found, "root").while_deferred();
        activation::reload(&live(before), &live(after), headers)
    });
    assert!(world.table("vg-root").contains("snapshot-origin"), "{}", world.table("vg-root"));
    world.verify();
    assert_eq!(world.dm.size(&device("root")).unwrap().get(), 5 * 2048);
}
