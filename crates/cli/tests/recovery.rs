//! Devices that do not follow a change of their VG (docs/decisions/0002-user-dm.md, "A transaction and its failures").
//!
//! Goal: what was committed and not followed is brought on, and is not taken for somebody else's doing meanwhile. Method: the
//! real daemon on an image; the test is the command: it stages the metadata, and its transaction has a step that fails.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]
#![allow(clippy::arithmetic_side_effects, clippy::as_conversions, reason = "a test")]

mod lab;

use foldback_daemon::RunDir;
use foldback_daemon::api::{ApiError, Client};
use foldback_device::{Access, Backend, open_disks, open_files};
use foldback_dm_table::{DmName, HeaderWrite, Stage, Table, Transaction, Verb};
use foldback_lvm2_format::vg::Vg;
use foldback_manager::activation::{Change, Group, Tables, go_on, reload};
use foldback_manager::environment::Machine;
use foldback_manager::ops::extend::{Amount, Extension, Situation, plan};
use foldback_manager::ops::{SizeRequest, lv_rename};
use foldback_manager::store::{DiskSet, FoundVg, discover, stage};
use foldback_units::LvName;
use lab::live::Live;
use std::time::{Duration, Instant};

fn client(live: &Live) -> Client {
    Client::connect(&RunDir::at(&live.lab.path("run"))).unwrap()
}

/// Stages a change of the VG: as it is, as it will be, and the headers that commit it.
fn staged(live: &Live, change: impl FnOnce(&FoundVg) -> Vg) -> (FoundVg, FoundVg, Vec<HeaderWrite>) {
    let paths = client(live).list().unwrap()[0].devices.clone();
    let files = open_files(&paths, Access::Write).unwrap();
    let mut disks = open_disks(&files, Backend::from_environment()).unwrap();
    let mut set = DiskSet::new(&mut *disks, &paths);
    let found = discover(&mut set, None).vgs.remove(0);
    let after = change(&found);
    let handover = stage(&mut set, &found, after, &mut Machine::new("test")).unwrap().hand_over();
    (found, handover.next, handover.headers)
}

#[test]
fn devices_that_did_not_follow_an_extension_are_brought_on_and_not_held_before() {
    let Some(live) = Live::as_root("follow", 128) else { return };
    live.ok("lvcreate -L 16M -n root VG");
    live.ok("lvcreate -s -L 8M -n snap VG/root");
    live.ok("vgchange -ay VG");
    let lv = LvName::new("root").unwrap();
    let (found, next, headers) = staged(&live, |found| {
        let by = Amount::By(SizeRequest::Extents(2));
        let extension = Extension { lv: lv.clone(), amount: by, pvs: Vec::new(), policy: None };
        plan(&found.vg, &extension, Situation { active: true, as_lvm2: false }).unwrap().vg
    });
    let (before, after) = (Group::of(&found, &lv).unwrap(), Group::of(&next, &lv).unwrap());
    let mut transaction = reload(&before, &after, headers);
    transaction.resume.insert(0, Verb::Resume { name: DmName("none".to_owned()) });
    let mut client = client(&live);
    let failed = client.transact(&live.vg, &transaction).unwrap_err();
    assert!(matches!(failed, ApiError::Failed { stage: Some(Stage::Resume), .. }), "{failed}");
    let root = live.open("root");
    assert_eq!(root.metadata().unwrap().len(), 16 << 20, "the old table");
    // The keeper looks every second.
    std::thread::sleep(Duration::from_millis(1500));
    let table = |text: &str| Some(Table::parse(text).unwrap()).filter(|table| !table.is_empty());
    let devices = client.devices(&live.vg).unwrap().into_iter();
    let there: Tables = devices.map(|device| (DmName(device.name), table(&device.table))).collect();
    client.transact(&live.vg, &go_on(&[Change::between(&before, &after)], &there)).unwrap();
    assert_eq!(root.metadata().unwrap().len(), 24 << 20);
    drop(root);
    live.ok("lvs");
}

/// A renaming that was committed, and a device that has its old name still.
#[test]
fn a_device_that_was_not_renamed_is_renamed_later_under_whoever_has_it_open() {
    let Some(live) = Live::as_root("rename", 128) else { return };
    live.ok("lvcreate -L 16M -n old VG");
    live.ok("lvcreate -s -L 8M -n snap VG/old");
    live.ok("vgchange -ay VG");
    let open = live.open("old");
    let (_, _, headers) =
        staged(&live, |found| lv_rename::plan(&found.vg, &LvName::new("old").unwrap(), "new").unwrap().vg);
    client(&live).transact(&live.vg, &Transaction { headers, ..Transaction::default() }).unwrap();
    let begun = Instant::now();
    while !live.file("new").exists() {
        assert!(begun.elapsed() < Duration::from_secs(20), "it is not renamed\n{}", live.log());
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(!live.file("old").exists() && open.sync_all().is_ok());
    let devices = client(&live).devices(&live.vg).unwrap();
    assert!(devices.iter().all(|device| !device.name.contains("-old")), "{devices:?}");
    drop(open);
    live.ok("lvremove -y VG/snap");
    live.ok("lvchange -an VG/new");
}
