//! Plans judged by the tables of lvm2.md 2.2 and the orders of 2.5 to 2.8.

use crate::activation::{Group, activate, deactivate, finish_merge, start_merge, take_snapshot};
use crate::ops::merge::{self, Finish, Mark};
use crate::store::FoundVg;
use crate::testing::{Bench, lv_name};
use foldback_dm_table::{Table, Verb};

pub(super) fn show(verbs: &[Verb]) -> Vec<String> {
    verbs
        .iter()
        .map(|verb| match verb {
            Verb::Create { name, .. } => format!("create {name}"),
            Verb::Load { name, table, read_only } => {
                format!("load{} {name}: {}", if *read_only { " ro" } else { "" }, text(table))
            }
            Verb::Suspend { name, lockfs } => {
                format!("suspend{} {name}", if *lockfs { " lockfs" } else { "" })
            }
            Verb::Resume { name } => format!("resume {name}"),
            Verb::Clear { name } => format!("clear {name}"),
            Verb::Remove { name } => format!("remove {name}"),
            Verb::Rename { name, new } => format!("rename {name} {new}"),
        })
        .collect()
}

fn text(table: &Table) -> String {
    table.to_string().trim_end().replace('\n', " | ")
}

pub(super) fn found(snapshots: &[&str]) -> FoundVg {
    let mut bench = Bench::with_vg(&[32], 2048);
    bench.lv("root", 4);
    for name in snapshots {
        bench.snapshot("root", name, 2);
    }
    bench.vg()
}

pub(super) fn changed(found: &FoundVg, change: impl FnOnce(&mut FoundVg)) -> FoundVg {
    let mut after = found.clone();
    change(&mut after);
    after
}

pub(super) fn marked(found: &FoundVg, name: &str) -> FoundVg {
    let checked = merge::check(&found.vg, &lv_name(name)).unwrap();
    let Mark::Marked(vg) = merge::mark(&found.vg, &checked) else { panic!() };
    changed(found, |after| after.vg = *vg)
}

pub(super) fn group(found: &FoundVg) -> Group {
    Group::of(found, &lv_name("root")).unwrap()
}

#[test]
fn an_lv_alone_is_one_device() {
    let group = group(&found(&[]));
    assert_eq!(
        show(&activate(&group)),
        ["create vg-root", "load vg-root: 0 8192 linear /dev/sim0 2048", "resume vg-root"]
    );
    assert_eq!(show(&deactivate(&group)), ["remove vg-root"]);
}

#[test]
fn names_and_uuids_are_lvm2s() {
    let found = found(&["my-snap"]);
    let group = group(&found);
    let (vg, snap) = (found.vg.id.compact(), found.vg.lv(&lv_name("my-snap")).unwrap().id.compact());
    let root = found.vg.lvs[0].id.compact();
    let snapshot = &group.snapshots[0];
    assert_eq!(snapshot.top.name.0, "vg-my--snap");
    assert_eq!(snapshot.top.uuid, format!("LVM-{vg}{snap}"));
    assert_eq!(snapshot.cow.name.0, "vg-my--snap-cow");
    assert_eq!(snapshot.cow.uuid, format!("LVM-{vg}{snap}-cow"));
    assert_eq!(group.origin.real.uuid, format!("LVM-{vg}{root}-real"));
    // A snapshot and its origin are one group.
    assert_eq!(Group::of(&found, &lv_name("my-snap")).unwrap(), group);
}

#[test]
fn stores_are_live_before_the_origin() {
    let group = group(&found(&["snap"]));
    assert_eq!(
        show(&activate(&group)),
        [
            "create vg-root-real",
            "load vg-root-real: 0 8192 linear /dev/sim0 2048",
            "resume vg-root-real",
            "create vg-snap-cow",
            "load vg-snap-cow: 0 4096 linear /dev/sim0 10240",
            "resume vg-snap-cow",
            "create vg-snap",
            "load vg-snap: 0 8192 snapshot vg-root-real vg-snap-cow P 8",
            "resume vg-snap",
            "create vg-root",
            "load vg-root: 0 8192 snapshot-origin vg-root-real",
            "resume vg-root",
        ]
    );
    // R3, I3: a merge may still be running; without its snapshots it would overwrite what they have not copied out.
    assert_eq!(
        show(&deactivate(&group)),
        ["remove vg-root", "remove vg-snap", "remove vg-snap-cow", "remove vg-root-real"]
    );
}

/// lvm2.md 2.7 and trap 8: an origin that grew after its snapshot was taken.
#[test]
fn a_merging_group_has_each_devices_own_length() {
    let before = found(&["snap", "other"]);
    let grown = changed(&marked(&before, "snap"), |after| {
        after.vg.lvs[0].segments[0].extent_count = 5;
    });
    let shown = show(&activate(&group(&grown)));
    assert!(shown.contains(&"load vg-root: 0 10240 snapshot-merge vg-root-real vg-snap-cow P 8".to_owned()));
    assert!(shown.contains(&"load vg-other: 0 8192 snapshot vg-root-real vg-other-cow P 8".to_owned()));
    assert!(shown.contains(&"load vg-snap: 0 8192 error".to_owned()));
    assert!(shown.contains(&"load vg-root-real: 0 10240 linear /dev/sim0 2048".to_owned()));
    assert_eq!(shown.last().unwrap(), "resume vg-snap", "the error device comes last");
}

#[test]
fn a_first_snapshot_is_taken_in_lvm2s_order() {
    let after = found(&["snap"]);
    let before = changed(&after, |before| before.vg.lvs.truncate(1));
    let transaction = take_snapshot(&group(&before), &group(&after), Vec::new());
    assert_eq!(
        show(&transaction.preload),
        [
            "create vg-root-real",
            "load vg-root-real: 0 8192 linear /dev/sim0 2048",
            "load vg-root: 0 8192 snapshot-origin vg-root-real",
            "create vg-snap-cow",
            "load vg-snap-cow: 0 4096 linear /dev/sim0 10240",
            "resume vg-snap-cow",
            "create vg-snap",
            "load vg-snap: 0 8192 snapshot vg-root-real vg-snap-cow P 8",
        ]
    );
    assert_eq!(show(&transaction.suspend), ["suspend lockfs vg-root"]);
    assert_eq!(
        show(&transaction.resume),
        ["resume vg-root-real", "resume vg-snap-cow", "resume vg-snap", "resume vg-root"]
    );
    assert!(transaction.clean.is_empty());
}

#[test]
fn a_second_snapshot_suspends_the_first_and_its_store() {
    let after = found(&["a", "b"]);
    let before = changed(&after, |before| {
        before.vg.lvs.retain(|lv| lv.name.as_str() != "b" && lv.name.as_str() != "snapshot1");
    });
    let transaction = take_snapshot(&group(&before), &group(&after), Vec::new());
    assert_eq!(show(&transaction.preload)[0], "create vg-b-cow");
    assert_eq!(
        show(&transaction.suspend),
        ["suspend lockfs vg-root", "suspend lockfs vg-a", "suspend vg-root-real", "suspend vg-a-cow"]
    );
}

/// Trap 10: the merge target is resumed before the error table takes its old device.
#[test]
fn a_merge_is_started_merge_target_first_error_table_second() {
    let before = found(&["snap", "other"]);
    let after = marked(&before, "snap");
    let transaction = start_merge(&group(&before), &group(&after), Vec::new());
    assert_eq!(
        show(&transaction.preload),
        ["load vg-root: 0 8192 snapshot-merge vg-root-real vg-snap-cow P 8", "load vg-snap: 0 8192 error"]
    );
    assert_eq!(
        show(&transaction.suspend),
        [
            "suspend lockfs vg-root",
            "suspend lockfs vg-snap",
            "suspend lockfs vg-other",
            "suspend vg-root-real",
            "suspend vg-snap-cow",
            "suspend vg-other-cow",
        ]
    );
    assert_eq!(
        show(&transaction.resume),
        [
            "resume vg-root-real",
            "resume vg-snap-cow",
            "resume vg-other-cow",
            "resume vg-other",
            "resume vg-root",
            "resume vg-snap"
        ]
    );
}

#[test]
fn a_merge_ends_in_one_transaction() {
    let before = marked(&found(&["snap"]), "snap");
    let id = before.vg.lv(&lv_name("snap")).unwrap().id;
    let Finish::Finished(vg) = merge::finish(&before.vg, &id) else { panic!() };
    let after = changed(&before, |after| after.vg = *vg);
    let transaction = finish_merge(&group(&before), &group(&after), Vec::new());
    assert_eq!(show(&transaction.preload), ["load vg-root: 0 8192 linear /dev/sim0 2048"]);
    assert_eq!(
        show(&transaction.suspend),
        ["suspend vg-root", "suspend vg-snap", "suspend vg-snap-cow", "suspend vg-root-real"]
    );
    assert_eq!(
        show(&transaction.resume),
        ["resume vg-snap", "resume vg-snap-cow", "resume vg-root-real", "resume vg-root"]
    );
    assert_eq!(show(&transaction.clean), ["remove vg-snap", "remove vg-snap-cow", "remove vg-root-real"]);
}
