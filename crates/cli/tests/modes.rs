//! What a merge of live volumes can be told, and snapshots that are taken meanwhile (architecture.md, "Merging",
//! "Freezing"; I1, I3).
//!
//! Goal: whoever has a volume open sees what he wrote, whatever the merge is called, and however it goes. Method: the real
//! program and its real daemon, as in `live.rs`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed step fails the test"
)]
#![allow(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    reason = "test code"
)]

mod lab;

use foldback_daemon::api::Client;
use foldback_daemon::{RunDir, Terms};
use foldback_dm_table::{DmName, Transaction};
use foldback_manager::job::Counted;
use foldback_units::Sectors;
use lab::live::{Live, Mounted, sh};
use lab::{random, skip};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const SIZE: usize = 32 << 20;
const BLOCK: usize = 4096;

/// A served origin of 32 MiB with a snapshot that differs from it everywhere; what the two hold.
fn origin_and_snapshot(live: &Live, snapshot: &str, seed: u64) -> (Vec<u8>, Vec<u8>) {
    let (old, new) = (random(seed, SIZE), random(seed + 1, SIZE));
    live.ok("lvcreate -L 32M -n root VG");
    live.ok("vgchange -ay VG");
    write_all(live, "root", &old);
    live.ok(&format!("lvcreate -s -l 100%ORIGIN -n {snapshot} VG/root"));
    write_all(live, "root", &new);
    (old, new)
}

fn write_all(live: &Live, lv: &str, bytes: &[u8]) {
    let file = live.open(lv);
    file.write_all_at(bytes, 0).unwrap();
    file.sync_all().unwrap();
}

fn scribble(file: &File, expected: &mut [u8], seed: u64, count: usize) {
    for number in 0..count {
        let at = (number * 7919 + seed as usize * 104_729) * BLOCK % SIZE;
        let bytes = random(seed * 1000 + number as u64, BLOCK);
        file.write_all_at(&bytes, at as u64).unwrap();
        expected[at..at + BLOCK].copy_from_slice(&bytes);
    }
    file.sync_all().unwrap();
}

fn uuid(live: &Live, lv: &str) -> String {
    live.ok(&format!("lvs --noheadings -o lv_uuid VG/{lv}")).trim().to_owned()
}

/// The metadata as they were last committed.
fn metadata(live: &Live) -> String {
    std::fs::read_to_string(live.lab.path("disk.img.foldback-backup/backup").join(&live.vg)).unwrap()
}

/// `--namesnapshot`: the snapshot is open all the way through, keeps its UUID and its device, and has the origin's extents
/// in the end; whoever has the origin open is in the way.
#[test]
fn a_snapshot_in_use_becomes_the_volume() {
    let Some(live) = Live::as_root("keep", 256) else { return };
    let (old, new) = origin_and_snapshot(&live, "trial", 1);
    let id = uuid(&live, "trial");
    let trial = live.open("trial");
    let mut expected = old;
    scribble(&trial, &mut expected, 3, 50);
    let origin = live.open("root");
    live.run("lvconvert --merge --namesnapshot VG/trial").failed_with(5, &["root"]);
    assert!(live.content("root") == new);
    assert_eq!(live.ok("lvs --noheadings -o lv_attr VG/root"), "  owi-aos---\n");
    drop(origin);
    live.ok("lvcreate -s -L 8M -n other VG/root");
    live.run("lvconvert --merge --namesnapshot VG/trial").failed_with(5, &["other"]);
    live.ok("lvremove -y VG/other");
    live.ok("lvconvert --merge --namesnapshot -b --rate 1m VG/trial");
    assert!(!live.file("root").exists(), "the origin's name is the store's now");
    scribble(&trial, &mut expected, 4, 50);
    let mut found = vec![0; SIZE];
    trial.read_exact_at(&mut found, 0).unwrap();
    assert!(found == expected, "the merged view, through the same handle");
    // A daemon that dies in the middle is no matter: the metadata know an ordinary merge.
    live.kill_daemon();
    drop(trial);
    live.ok("lvs");
    let trial = live.open("trial");
    scribble(&trial, &mut expected, 5, 20);
    live.wait_until_merged();
    assert_eq!(live.ok("lvs -a --noheadings -o lv_name,lv_attr"), "  trial -wi-ao----\n");
    assert_eq!(uuid(&live, "trial"), id);
    scribble(&trial, &mut expected, 6, 20);
    drop(trial);
    assert!(live.content("trial") == expected);
    live.ok("vgchange -an VG");
    assert!(live.lab.content(&format!("{}/trial", live.vg)) == expected);
}

/// The same for volumes that nobody serves.
#[test]
fn a_snapshot_that_nobody_serves_becomes_the_volume() {
    let Some(live) = Live::as_root("keepdown", 256) else { return };
    let (old, _) = origin_and_snapshot(&live, "trial", 11);
    let id = uuid(&live, "trial");
    live.ok("vgchange -an VG");
    let said = live.ok("lvconvert --merge --namesnapshot VG/trial");
    assert!(said.contains("\"root\" successfully removed"), "{said}");
    assert_eq!(live.ok("lvs -a --noheadings -o lv_name"), "  trial\n");
    assert_eq!(uuid(&live, "trial"), id);
    assert!(live.lab.content(&format!("{}/trial", live.vg)) == old);
}

/// The mark of a merge that waits is taken back where it is certain that nothing was merged, and nowhere else.
#[test]
fn a_merge_that_waits_is_cancelled_and_one_that_runs_is_not() {
    let Some(live) = Live::as_root("cancel", 256) else { return };
    let (old, new) = origin_and_snapshot(&live, "snap", 21);
    live.run("lvconvert --cancel VG/snap").failed_with(5, &["is not merging"]);
    let root = live.open("root");
    live.ok("lvconvert --merge VG/snap");
    let said = live.ok("lvconvert --merge --cancel VG/snap");
    assert!(said.contains("cancelled; nothing was merged"), "{said}");
    drop(root);
    assert!(live.content("root") == new && live.content("snap") == old);
    assert!(live.ok("lvs --noheadings -o lv_attr VG/snap").contains("swi-a-s---"));
    live.ok("lvconvert --merge --onactivate VG/snap");
    let before = metadata(&live);
    live.ok("vgchange -an VG");
    let refused = ["may have begun", "--undo", "without --cancel"];
    live.run("lvconvert --cancel VG/snap").failed_with(5, &refused);
    assert_eq!(metadata(&live), before, "nothing was written");
    live.ok("vgchange -ay VG");
    live.wait_until_merged();
    assert!(live.content("root") == old);
    live.ok("lvcreate -s -l 100%ORIGIN -n snap VG/root");
    write_all(&live, "root", &new);
    live.ok("lvconvert --merge -b --rate 1m VG/snap");
    live.run("lvconvert --cancel VG/root").failed_with(5, &refused);
    live.ok("lvconvert --rate none VG/root");
    live.wait_until_merged();
    assert!(live.content("root") == old);
}

/// `--undo`: the rollback itself is rolled back, live and not; without room for that nothing begins.
#[test]
fn a_rollback_is_rolled_back() {
    let Some(live) = Live::as_root("undo", 128) else { return };
    let (old, new) = origin_and_snapshot(&live, "before", 31);
    // What would be delayed is refused: what is written until then would be in neither.
    let open = live.open("root");
    live.run("lvconvert --merge --undo after VG/before").failed_with(5, &["would be delayed", "in use"]);
    live.run("lvconvert --merge --onactivate --undo after VG/before").failed_with(3, &["--undo"]);
    drop(open);
    assert!(!live.ok("lvs --noheadings -o lv_name,lv_attr VG/before").contains('S'), "nothing is marked");
    assert!(!live.ok("lvs --noheadings -o lv_name").contains("after"));
    live.ok("lvconvert --merge --undo after VG/before");
    assert!(live.content("root") == old && live.content("after") == new);
    live.ok("lvcreate -L 24M -n full VG");
    live.run("lvconvert --merge --undo again VG/after").failed_with(5, &["extents"]);
    assert!(live.ok("lvs --noheadings -o lv_attr VG/after").contains("swi-a-s---"), "nothing was begun");
    live.ok("lvremove -y VG/full");
    live.ok("vgchange -an VG");
    live.ok("lvconvert --merge --undo again VG/after");
    assert!(live.lab.content(&format!("{}/root", live.vg)) == new);
    assert!(live.lab.content(&format!("{}/again", live.vg)) == old);
}

/// A merge stands, goes slowly, goes on, and everything is served meanwhile.
#[test]
fn a_merge_is_paused_and_paced() {
    let Some(live) = Live::as_root("pace", 256) else { return };
    let (old, _) = origin_and_snapshot(&live, "snap", 41);
    live.run("lvconvert --pause VG/snap").failed_with(5, &["is not merging"]);
    live.ok("lvconvert --merge -b --rate 1m/s VG/snap");
    live.ok("lvconvert --pause VG/snap");
    let left = || live.ok("lvs --noheadings --units b --nosuffix -o merge_left VG/root").trim().to_owned();
    // What was under way when it was paused comes to its end.
    let mut stands = left();
    loop {
        std::thread::sleep(Duration::from_millis(200));
        let now = left();
        if now == stands {
            break;
        }
        stands = now;
    }
    let root = live.open("root");
    let mut expected = old;
    scribble(&root, &mut expected, 42, 60);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(left(), stands, "it stands");
    assert_eq!(live.ok("lvs --noheadings -o merge_state VG/root").trim(), "paused");
    live.ok("lvconvert --resume VG/root");
    let begun = Instant::now();
    let number = |text: &str| text.parse::<u64>().unwrap();
    while number(&left()) == number(&stands) {
        assert!(begun.elapsed() < Duration::from_secs(20), "it does not go on");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(number(&left()) > 0, "a MiB in a second");
    live.ok("lvconvert --rate none VG/root");
    live.wait_until_merged();
    drop(root);
    assert!(live.content("root") == expected);
}

/// A snapshot of the merged view (nobody else can take one): bit for bit what the origin was when it was taken, through
/// writes, the death of the daemon and the end of the merge. LVM2 is kept away as long as it matters.
#[test]
fn a_snapshot_is_taken_while_another_merges() {
    let Some(live) = Live::as_root("view", 256) else { return };
    let (old, _) = origin_and_snapshot(&live, "snap", 51);
    live.ok("lvconvert --merge -b --rate 1m VG/snap");
    let mut expected = old;
    {
        let root = live.open("root");
        scribble(&root, &mut expected, 52, 40);
        live.ok("lvcreate -s -l 100%ORIGIN -n view VG/root");
        let frozen = expected.clone();
        assert!(metadata(&live).contains("snapshot+MERGEVIEW"));
        scribble(&root, &mut expected, 53, 40);
        assert!(live.content("view") == frozen, "C1: of the merged view");
        live.kill_daemon();
        drop(root);
        live.ok("lvs");
        let root = live.open("root");
        scribble(&root, &mut expected, 54, 40);
        assert!(live.content("view") == frozen, "I3");
        live.wait_until_merged();
        assert!(!metadata(&live).contains("MERGEVIEW"), "LVM2 may use it again");
        scribble(&root, &mut expected, 55, 40);
        assert!(live.content("view") == frozen && live.content("root") == expected);
    }
    live.ok("lvconvert --merge VG/view");
    live.ok("vgchange -an VG");
    // Of an inactive origin nobody knows how far it is: LVM2's words.
    live.ok("lvcreate -s -l 50%ORIGIN -n last VG/root");
    live.ok("lvconvert --merge --onactivate VG/last");
    live.run("lvcreate -s -L 8M -n no VG/root").failed_with(5, &["merging snapshot"]);
}

/// Snapshots of two volumes show one instant: what was written second is never there without what was written first.
#[test]
fn snapshots_of_several_volumes_show_one_instant() {
    let Some(live) = Live::as_root("instant", 256) else { return };
    live.ok("vgchange -ay VG");
    for lv in ["data", "log"] {
        live.ok(&format!("lvcreate -an -L 16M -n {lv} VG"));
    }
    live.ok("vgchange -ay VG");
    let (log, data) = (live.open("log"), live.open("data"));
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let writer = std::thread::spawn(move || {
        let mut number = 0_u64;
        while !stopped.load(Ordering::Relaxed) {
            number += 1;
            let block: Vec<u8> = number.to_le_bytes().repeat(BLOCK / 8);
            log.write_all_at(&block, 0).unwrap();
            data.write_all_at(&block, 0).unwrap();
        }
        number
    });
    let first = |lv: &str| u64::from_le_bytes(live.content(lv)[..8].try_into().unwrap());
    let mut seen = Vec::new();
    for name in ["a", "b", "c"] {
        live.ok(&format!("lvcreate -s -L 8M -n {name} VG/data VG/log"));
        let (data, log) = (first(&format!("data_{name}")), first(&format!("log_{name}")));
        assert!(log == data || log == data + 1, "log {log}, data {data}");
        seen.push(log);
    }
    stop.store(true, Ordering::Relaxed);
    let last = writer.join().unwrap();
    assert!(seen.is_sorted() && seen[2] > 0 && last >= seen[2], "{seen:?} {last}");
    // All or none.
    let before = metadata(&live);
    live.run("lvcreate -s -L 90M -n d VG/data VG/log VG/log_a").failed_with(5, &["snapshots"]);
    assert_eq!(metadata(&live), before);
}

/// `--freeze`: the file system in the snapshot needs no recovery; whatever becomes of the command, the mounted one thaws.
#[test]
fn a_frozen_file_system_is_whole_in_its_snapshot_and_thaws() {
    let Some(live) = Live::as_root("freeze", 256) else { return };
    if !Path::new("/dev/loop-control").exists() {
        return skip("a_frozen_file_system_is_whole", "there are no loop devices");
    }
    live.ok("vgchange -ay VG");
    live.ok("lvcreate -an -L 64M -n root VG");
    live.ok("vgchange -ay VG");
    let device = format!("/dev/{}/root", live.vg);
    sh(&format!("mkfs.ext4 -q {device}"));
    let mounted = Mounted::new(&device, &live.lab.path("mnt"));
    let at = mounted.at.display().to_string();
    sh(&format!("echo before > {at}/file"));
    live.ok("lvcreate -s -l 100%ORIGIN --freeze -n frozen VG/root");
    live.ok("lvcreate -s -l 100%ORIGIN -n pulled VG/root");
    sh(&format!("echo after > {at}/file && sync"));
    let features = |lv: &str| sh(&format!("dumpe2fs -h /dev/{}/{lv} 2>/dev/null | grep features", live.vg));
    assert!(!features("frozen").contains("needs_recovery"), "{}", features("frozen"));
    assert!(features("pulled").contains("needs_recovery"), "as if the plug had been pulled");
    assert_eq!(sh(&format!("debugfs -R 'cat file' /dev/{}/frozen 2>/dev/null", live.vg)), "before\n");
    // The helper thaws when its parent is gone, and by itself, and says so.
    for closes in [true, false] {
        let mut helper = live.lab.command(&["freeze", &at]);
        let mut helper = helper.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut said = String::new();
        BufReader::new(helper.stdout.take().unwrap()).read_line(&mut said).unwrap();
        assert_eq!(said, "frozen\n");
        let mut kept = helper.stdin.take();
        if closes {
            kept = None;
        }
        assert_eq!(helper.wait().unwrap().code(), Some(if closes { 0 } else { 5 }));
        drop(kept);
        sh(&format!("echo thawed > {at}/file && sync"));
    }
    mounted.unmount();
}

/// Merges run on several origins at once; of volumes that are not active, in a VG of which others are, too.
#[test]
fn several_merges_run_at_once_and_beside_active_volumes() {
    let Some(live) = Live::as_root("several", 256) else { return };
    live.ok("vgchange -ay VG");
    let mut old = Vec::new();
    for (number, lv) in ["a", "b", "c"].into_iter().enumerate() {
        live.ok(&format!("lvcreate -L 16M -n {lv} VG"));
        if number == 0 {
            live.ok("vgchange -ay VG");
        }
        let (before, after) = (random(60 + number as u64, SIZE / 2), random(70 + number as u64, SIZE / 2));
        write_all(&live, lv, &before);
        live.ok(&format!("lvcreate -s -l 100%ORIGIN -n {lv}_old VG/{lv}"));
        write_all(&live, lv, &after);
        old.push(before);
    }
    live.ok("lvchange -an VG/c");
    live.run("export VG/c c.raw").failed_with(5, &["its daemon holds the disks", "lvchange -ay"]);
    live.run("export VG/a a.raw").failed_with(5, &["read and write", "/a"]);
    for lv in ["a", "b"] {
        live.ok(&format!("lvconvert --merge -b --rate 1m VG/{lv}_old"));
    }
    let merging = live.ok("lvs -a --noheadings -o lv_attr");
    assert_eq!(merging.matches("  Owi").count(), 2, "{merging}");
    live.ok("lvconvert --merge VG/c_old");
    for lv in ["a", "b"] {
        live.ok(&format!("lvconvert --rate none VG/{lv}"));
    }
    live.wait_until_merged();
    live.ok("vgchange -ay VG");
    for (lv, before) in ["a", "b", "c"].into_iter().zip(old) {
        assert!(live.content(lv) == before, "{lv}");
    }
}

/// Merges that are named together all begin before one is waited for (lvm2.md 3.1), those of volumes that are not active,
/// too: what is undone together is not left half undone.
#[test]
fn merges_that_are_named_together_all_begin_first() {
    let Some(live) = Live::as_root("together", 256) else { return };
    live.ok("vgchange -ay VG");
    let mut old = Vec::new();
    for (seed, lv) in (90..).zip(["a", "b", "c"]) {
        live.ok(&format!("lvcreate -L 16M -n {lv} VG"));
        live.ok("vgchange -ay VG");
        let before = random(seed, SIZE / 2);
        write_all(&live, lv, &before);
        live.ok(&format!("lvcreate -s -l 100%ORIGIN -n {lv}_old VG/{lv}"));
        write_all(&live, lv, &random(seed + 10, SIZE / 2));
        old.push(before);
    }
    live.ok("lvchange -an VG/c");
    let words = "lvconvert --merge --rate 1m VG/a_old VG/c_old VG/b_old".replace("VG", &live.vg);
    let mut merges = live.lab.command(&words.split(' ').collect::<Vec<_>>());
    let child = merges.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let begun = Instant::now();
    let marks = || live.ok("lvs -a --noheadings -o lv_attr").matches("  Owi").count();
    while marks() < 3 {
        assert!(begun.elapsed() < Duration::from_mins(1), "{}", live.ok("lvs -a"));
    }
    // What is not active is waited for in its turn.
    while live.ok("lvs -a --noheadings -o lv_name").contains("_old") {
        for lv in ["a", "b", "c"] {
            drop(live.run(&format!("lvconvert --rate none VG/{lv}")));
        }
        assert!(begun.elapsed() < Duration::from_mins(2), "{}", live.ok("lvs -a"));
    }
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap().replace(&live.vg, "VG");
    assert_eq!(
        (output.status.code(), String::from_utf8(output.stderr).unwrap().as_str()),
        (Some(0), ""),
        "{said}"
    );
    let of = |start: &str| said.lines().filter(|line| line.trim_start().starts_with(start)).count();
    assert_eq!((of("Merging of volume"), of("Merge of snapshot into logical volume")), (3, 3), "{said}");
    let active = live.ok("lvs --noheadings -o lv_attr");
    assert_eq!((active.matches("-wi-a").count(), active.matches("-wi--").count()), (2, 1), "{active}");
    live.ok("vgchange -ay VG");
    for (lv, before) in ["a", "b", "c"].into_iter().zip(old) {
        assert!(live.content(lv) == before, "{lv}");
    }
}

/// Other snapshots are written, extended and removed while a merge runs, those of the merged view, too; with the last of
/// these LVM2 may use the VG again.
#[test]
fn other_snapshots_live_on_during_a_merge() {
    let Some(live) = Live::as_root("others", 384) else { return };
    let old = random(81, SIZE);
    live.ok("lvcreate -L 32M -n root VG");
    live.ok("vgchange -ay VG");
    write_all(&live, "root", &old);
    for name in ["snap", "other", "goes"] {
        live.ok(&format!("lvcreate -s -l 100%ORIGIN -n {name} VG/root"));
    }
    write_all(&live, "root", &random(82, SIZE));
    live.ok("lvconvert --merge -b --rate 1m VG/snap");
    live.ok("lvcreate -s -L 8M -n view VG/root");
    let (mut view, mut other) = (old.clone(), old.clone());
    scribble(&live.open("view"), &mut view, 83, 30);
    live.ok("lvextend -L +24M VG/view");
    live.ok("lvextend -L +4M VG/other");
    scribble(&live.open("other"), &mut other, 84, 30);
    let mut root = old;
    scribble(&live.open("root"), &mut root, 85, 200);
    live.ok("lvremove -y VG/goes");
    live.ok("lvrename VG/other kept");
    assert!(live.content("view") == view && live.content("kept") == other && live.content("root") == root);
    assert!(metadata(&live).contains("MERGEVIEW"));
    live.ok("lvremove -y VG/view");
    assert!(!metadata(&live).contains("MERGEVIEW"), "nothing is left that LVM2 would spoil");
    live.run("lvrename VG/snap no").failed_with(5, &["snap"]);
    live.ok("lvconvert --rate none VG/root");
    live.wait_until_merged();
    assert!(live.content("kept") == other && live.content("root") == root);
    assert_eq!(live.ok("lvs -a --noheadings -o lv_name").replace("  ", ""), "kept\nroot\n");
}

/// A merge that waits for its volumes to be closed does not begin because something else of them is changed.
#[test]
fn a_merge_that_waits_is_not_begun_by_other_changes() {
    let Some(live) = Live::as_root("waits", 256) else { return };
    let (old, new) = origin_and_snapshot(&live, "snap", 91);
    let root = live.open("root");
    live.ok("lvconvert --merge VG/snap");
    live.ok("lvextend -L +4M VG/root");
    live.ok("lvcreate -s -l 100%ORIGIN -n later VG/root");
    live.ok("lvcreate -s -L 8M -n goes VG/root");
    live.ok("lvextend -L +4M VG/goes");
    live.ok("lvremove -y VG/goes");
    assert!(live.content("root")[..SIZE] == new, "nothing of it is merged");
    let table = live.ok("dm table VG-root");
    assert!(table.contains("snapshot-origin"), "{table}");
    drop(root);
    live.ok("lvchange --refresh VG/root");
    live.wait_until_merged();
    assert!(live.content("root")[..SIZE] == old && live.content("later")[..SIZE] == new);
}

/// `--undo`: between the look and the switch somebody may open the snapshot, write, and close it again; then the merge does not
/// start, since the undo snapshot may not have room for that.
#[test]
fn a_merge_does_not_start_where_more_is_to_be_merged_than_was_counted() {
    let Some(live) = Live::as_root("counted", 128) else { return };
    live.ok("lvcreate -L 16M -n root VG");
    live.ok("vgchange -ay VG");
    live.ok("lvcreate -s -L 8M -n snap VG/root");
    let mut client = Client::connect(&RunDir::at(&live.lab.path("run"))).unwrap();
    let snapshot = DmName(format!("{}-snap", live.vg));
    let mut start = |data: u64| {
        let counted = Some(Counted { snapshot: snapshot.clone(), data: Sectors(data) });
        let terms = Terms { closed: vec![snapshot.clone()], merge_rate: None, counted };
        client.transact_on(&live.vg, &Transaction::default(), &terms)
    };
    start(0).unwrap();
    write_all(&live, "snap", &random(17, 10 * BLOCK));
    let refused = start(9 * 8).unwrap_err();
    assert!(refused.to_string().contains("somebody has written to it meanwhile"), "{refused}");
    start(10 * 8).unwrap();
}
