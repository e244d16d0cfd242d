//! Changes of live groups judged by lvm2.md 2.9 and trap 8, and by architecture.md, "Merging".

use super::tests::{changed, found, group, marked, show};
use crate::activation::{
    self, Change, Group, Wish, activate, deactivate, finish_merge, keep_snapshot, take_snapshots,
    to_activate, to_deactivate,
};
use crate::ops::extend::{self, Amount, Extension, Situation};
use crate::ops::keep::{self, Keep};
use crate::ops::merge::{self, Finish};
use crate::ops::snapshot_create::{self, WhileMerging};
use crate::ops::{SizeRequest, lv_remove, lv_rename};
use crate::store::FoundVg;
use crate::testing::{Bench, TestEnvironment, lv_name, new_snapshot};
use foldback_dm_table::Transaction;
use foldback_lvm2_format::vg::{LvFlag, SegmentKind, Vg, VgFlag};

fn with(found: &FoundVg, vg: Vg) -> FoundVg {
    changed(found, |after| after.vg = vg)
}

fn suspended(transaction: &Transaction) -> Vec<String> {
    show(&transaction.suspend).iter().map(|verb| verb.replace("suspend ", "")).collect()
}

fn resumed(transaction: &Transaction) -> Vec<String> {
    show(&transaction.resume).iter().map(|verb| verb.replace("resume ", "")).collect()
}

/// Two origins, one with a snapshot already.
#[test]
fn several_origins_are_suspended_before_the_commit_and_resumed_after_it() {
    let mut bench = Bench::with_vg(&[32], 2048);
    bench.lv("root", 4);
    bench.lv("var", 4);
    bench.snapshot("root", "old", 2);
    let before = bench.vg();
    let new = [new_snapshot("root", "r", 2), new_snapshot("var", "v", 2)];
    let planned =
        snapshot_create::plan_several(&before.vg, &new, WhileMerging::Refused, &mut TestEnvironment::new());
    let after = with(&before, planned.unwrap().vg);
    let lvs = [lv_name("root"), lv_name("var"), lv_name("old")];
    let changes = Change::all(&before, &after, &lvs).unwrap();
    assert_eq!(changes.len(), 2, "a group counts once");
    let transaction = take_snapshots(&changes, Vec::new());
    assert_eq!(
        suspended(&transaction),
        ["lockfs vg-root", "lockfs vg-old", "vg-root-real", "vg-old-cow", "lockfs vg-var"]
    );
    assert_eq!(
        resumed(&transaction),
        [
            "vg-root-real",
            "vg-old-cow",
            "vg-r-cow",
            "vg-old",
            "vg-r",
            "vg-root",
            "vg-var-real",
            "vg-v-cow",
            "vg-v",
            "vg-var"
        ]
    );
    assert!(transaction.clean.is_empty());
    assert!(Change::all(&before, &before, &lvs).unwrap().is_empty(), "what stays is left out");
}

fn removal(before: &FoundVg, name: &str) -> Transaction {
    let planned = lv_remove::plan_several(&before.vg, &[lv_name(name)], &|_| true).unwrap();
    let after = with(before, planned.vg);
    activation::remove_lvs(&[Change::of(before, &after, &lv_name(name)).unwrap()], Vec::new())
}

/// lvm2.md 2.9: store, `-real`, snapshot, origin; without freezing a file system.
#[test]
fn the_last_snapshot_goes_and_real_with_it() {
    let transaction = removal(&found(&["snap"]), "snap");
    assert_eq!(
        show(&transaction.preload),
        ["load vg-root: 0 8192 linear /dev/sim0 2048", "load vg-snap: 0 8192 error"]
    );
    assert_eq!(suspended(&transaction), ["vg-root", "vg-snap", "vg-root-real", "vg-snap-cow"]);
    assert_eq!(resumed(&transaction), ["vg-snap-cow", "vg-root-real", "vg-snap", "vg-root"]);
    assert_eq!(show(&transaction.clean), ["remove vg-snap", "remove vg-snap-cow", "remove vg-root-real"]);
}

#[test]
fn one_of_several_snapshots_goes_and_the_origin_keeps_its_table() {
    let transaction = removal(&found(&["a", "b"]), "a");
    assert_eq!(show(&transaction.preload), ["load vg-a: 0 8192 error"]);
    assert_eq!(resumed(&transaction), ["vg-a-cow", "vg-root-real", "vg-a", "vg-b-cow", "vg-b", "vg-root"]);
    assert_eq!(show(&transaction.clean), ["remove vg-a", "remove vg-a-cow"]);
}

/// From the commit on nobody writes to what is free.
#[test]
fn a_group_that_goes_answers_with_errors_before_its_devices_are_removed() {
    let transaction = removal(&found(&["a"]), "root");
    assert_eq!(show(&transaction.preload), ["load vg-a: 0 8192 error", "load vg-root: 0 8192 error"]);
    assert_eq!(
        show(&transaction.clean),
        ["remove vg-a", "remove vg-root", "remove vg-a-cow", "remove vg-root-real"]
    );
}

fn extended(before: &FoundVg, name: &str, extents: u32) -> Transaction {
    let amount = Amount::By(SizeRequest::Extents(extents));
    let wish = Extension { lv: lv_name(name), amount, pvs: Vec::new(), policy: None };
    let after = with(before, extend::plan(&before.vg, &wish, Situation::default()).unwrap().vg);
    activation::reload(&group(before), &group(&after), Vec::new())
}

/// Trap 8.
#[test]
fn an_origin_grows_from_the_bottom_up_and_its_snapshot_does_not() {
    let transaction = extended(&found(&["snap"]), "root", 1);
    assert_eq!(
        show(&transaction.preload),
        [
            "load vg-root-real: 0 8192 linear /dev/sim0 2048 | 8192 2048 linear /dev/sim0 14336",
            "load vg-root: 0 10240 snapshot-origin vg-root-real"
        ]
    );
    assert_eq!(resumed(&transaction), ["vg-root-real", "vg-snap-cow", "vg-snap", "vg-root"]);
    assert!(transaction.clean.is_empty());
    let alone = extended(&found(&[]), "root", 1);
    assert_eq!(show(&alone.preload), ["load vg-root: 0 10240 linear /dev/sim0 2048"]);
    assert_eq!(
        (suspended(&alone), resumed(&alone)),
        (vec!["vg-root".to_owned()], vec!["vg-root".to_owned()])
    );
}

#[test]
fn a_store_grows_under_a_snapshot_that_keeps_its_table() {
    let transaction = extended(&found(&["snap"]), "snap", 1);
    assert_eq!(show(&transaction.preload), ["load vg-snap-cow: 0 6144 linear /dev/sim0 10240"]);
    assert_eq!(suspended(&transaction), ["vg-root", "vg-snap", "vg-root-real", "vg-snap-cow"]);
}

#[test]
fn every_layer_is_renamed_and_nothing_is_suspended() {
    let before = found(&["snap"]);
    let renamed = |from: &str, to: &str| {
        let after = with(&before, lv_rename::plan(&before.vg, &lv_name(from), to).unwrap().vg);
        let after = Group::of(&after, &lv_name(if from == "root" { to } else { "root" })).unwrap();
        let transaction = activation::rename(&group(&before), &after, Vec::new());
        assert!(transaction.preload.is_empty() && transaction.suspend.is_empty());
        show(&transaction.clean)
    };
    assert_eq!(renamed("root", "x-y"), ["rename vg-root-real vg-x--y-real", "rename vg-root vg-x--y"]);
    assert_eq!(renamed("snap", "z"), ["rename vg-snap-cow vg-z-cow", "rename vg-snap vg-z"]);
}

/// architecture.md, "Merging": suspend, then load, since the store is read when the table is loaded; then resume.
#[test]
fn a_kept_snapshot_becomes_the_merging_origin_on_lower_devices_made_anew() {
    let before = found(&["snap"]);
    let Keep::Fresh(merge) = keep::check(&before.vg, &lv_name("snap")).unwrap() else { panic!() };
    let after = with(&before, *keep::swap_and_mark(&before.vg, &merge).vg);
    let (old, new) = (group(&before), group(&after));
    let transaction = keep_snapshot(&old, &new, Vec::new());
    assert_eq!(
        show(&transaction.preload),
        [
            "create vg-snap-real",
            "load vg-snap-real: 0 8192 linear /dev/sim0 2048",
            "create vg-root-cow",
            "load vg-root-cow: 0 4096 linear /dev/sim0 10240",
            "load vg-root: 0 8192 error",
        ]
    );
    assert_eq!(
        show(&transaction.suspend),
        [
            "suspend vg-root",
            "suspend vg-snap",
            "suspend vg-root-real",
            "suspend vg-snap-cow",
            "resume vg-snap-real",
            "resume vg-root-cow",
            "load vg-snap: 0 8192 snapshot-merge vg-snap-real vg-root-cow P 8",
        ]
    );
    assert_eq!(resumed(&transaction), ["vg-root-real", "vg-snap-cow", "vg-snap", "vg-root"]);
    assert_eq!(show(&transaction.clean), ["remove vg-snap-cow", "remove vg-root-real"]);
    assert_eq!(new.origin.top, old.snapshots[0].top, "name and UUID stay");
}

/// `m` merges, `old` was there, `view` is taken meanwhile.
fn with_view() -> (FoundVg, FoundVg) {
    let before = marked(&found(&["m", "old"]), "m");
    let new = [new_snapshot("root", "view", 2)];
    let environment = &mut TestEnvironment::new();
    let mut vg =
        snapshot_create::plan_several(&before.vg, &new, WhileMerging::Running, environment).unwrap().vg;
    vg.lvs
        .iter_mut()
        .rev()
        .take(2)
        .enumerate()
        .for_each(|(index, lv)| lv.id = crate::testing::uuid(90 + index as u8));
    let after = with(&before, vg);
    (before, after)
}

/// architecture.md, "Merging": its origin is the merging device, not `-real`.
#[test]
fn a_snapshot_taken_during_a_merge_stands_on_the_merged_view() {
    let (before, after) = with_view();
    let transaction = take_snapshots(&[Change::of(&before, &after, &lv_name("root")).unwrap()], Vec::new());
    assert_eq!(
        show(&transaction.preload),
        [
            "create vg-view-cow",
            "load vg-view-cow: 0 4096 linear /dev/sim0 18432",
            "resume vg-view-cow",
            "create vg-view",
            "load vg-view: 0 8192 snapshot vg-root vg-view-cow P 8",
        ]
    );
    assert_eq!(
        resumed(&transaction),
        ["vg-root-real", "vg-m-cow", "vg-old-cow", "vg-view-cow", "vg-old", "vg-view", "vg-root", "vg-m"]
    );
    let group = group(&after);
    assert!(
        group.check_kernel().is_err() && Group::of(&before, &lv_name("root")).unwrap().check_kernel().is_ok()
    );
    let shown = show(&activate(&group));
    let at = |verb: &str| shown.iter().position(|shown| shown == verb).unwrap();
    assert!(at("resume vg-root") < at("create vg-view"), "it is loaded on the origin when that is up");
    assert!(at("resume vg-view") < at("resume vg-m"));
    assert_eq!(show(&deactivate(&group))[..2], ["remove vg-view", "remove vg-root"]);
}

/// The merged view and the origin are the same at the end.
#[test]
fn the_end_of_the_merge_puts_such_a_snapshot_on_real() {
    let (_, live) = with_view();
    let id = live.vg.lv(&lv_name("m")).unwrap().id;
    let Finish::Finished(vg) = merge::finish(&live.vg, &id) else { panic!() };
    let transaction = finish_merge(&group(&live), &group(&with(&live, *vg)), Vec::new());
    assert_eq!(
        show(&transaction.preload),
        [
            "load vg-root: 0 8192 snapshot-origin vg-root-real",
            "load vg-view: 0 8192 snapshot vg-root-real vg-view-cow P 8"
        ]
    );
    assert_eq!(suspended(&transaction)[..2], ["vg-view", "vg-root"]);
    assert_eq!(resumed(&transaction), ["vg-m", "vg-m-cow", "vg-root-real", "vg-view", "vg-root"]);
    let transaction = removal(&live, "view");
    assert_eq!(show(&transaction.preload), ["load vg-view: 0 8192 error"]);
    assert_eq!(suspended(&transaction)[..2], ["vg-view", "vg-root"]);
    assert_eq!(show(&transaction.clean), ["remove vg-view", "remove vg-view-cow"]);
}

fn names(groups: &[Group]) -> Vec<&str> {
    groups.iter().map(|group| group.origin.lv.as_str()).collect()
}

/// lvm2.md 1.7 and 3.1.
#[test]
fn a_vg_is_activated_by_groups_and_what_cannot_be_is_told() {
    let mut bench = Bench::with_vg(&[32], 2048);
    for name in ["root", "skipped", "raid", "byhand"] {
        bench.lv(name, 2);
    }
    bench.snapshot("root", "a", 2);
    bench.snapshot("root", "b", 2);
    let flagged = changed(&bench.vg(), |found| {
        let vg = &mut found.vg;
        vg.lv_mut(&lv_name("skipped")).unwrap().flags.set(LvFlag::ActivationSkip, true);
        vg.lv_mut(&lv_name("byhand")).unwrap().flags.set(LvFlag::NoAutoactivate, true);
        // A snapshot's own flag does not count: it comes with its origin.
        vg.lv_mut(&lv_name("a")).unwrap().flags.set(LvFlag::ActivationSkip, true);
        vg.lv_mut(&lv_name("raid")).unwrap().segments[0].kind =
            SegmentKind::Unknown { type_text: "raid1".to_owned() };
    });
    let set = to_activate(&flagged, Wish::default());
    assert_eq!(names(&set.groups), ["root", "byhand"]);
    assert_eq!(set.groups[0].snapshots.len(), 2);
    assert_eq!(set.skipped, [lv_name("skipped")]);
    assert_eq!(set.refused.len(), 1);
    assert_eq!(
        set.refused[0].1.to_string(),
        "activating raid: its segment type \"raid1\" cannot be carried by this program"
    );
    let all = to_activate(&flagged, Wish { ignore_skip: true, auto: false });
    assert_eq!(names(&all.groups), ["root", "skipped", "byhand"]);
    let auto = to_activate(&flagged, Wish { ignore_skip: false, auto: true });
    assert_eq!(names(&auto.groups), ["root"]);
    let never = changed(&flagged, |found| found.vg.flags.set(VgFlag::NoAutoactivate, true));
    assert!(to_activate(&never, Wish { ignore_skip: true, auto: true }).groups.is_empty());
    assert_eq!(names(&to_deactivate(&never).groups), ["root", "skipped", "byhand"]);
}
