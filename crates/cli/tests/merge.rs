//! Merging as a user sees it: killed, interrupted, repeated, several at once (architecture.md, "Merging"; R1-R10, I1).
//!
//! Goal: whatever ends the command, the same command goes on, and at the end the origin holds what the snapshot held, bit
//! for bit, and every other snapshot what it held. Method: real images, the real program, real signals.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a failed step fails the test"
)]
#![allow(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    reason = "test code"
)]

mod lab;

use lab::{Lab, lock_metadata, random, scattered};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

const SIZE: usize = 48 << 20;

/// A volume of which most blocks were changed since its snapshots; what they hold, and what the volume holds now.
fn changed_lab(others: &[&str]) -> (Lab, Vec<u8>, Vec<u8>) {
    let lab = Lab::with_vg(512);
    let before = random(1, SIZE);
    let after = scattered(&before, 2, 9000);
    lab.ok(&["lvcreate", "-L", "48M", "-n", "root", "vg"]);
    lab.write("before.raw", &before);
    lab.write("after.raw", &after);
    lab.ok(&["import", "before.raw", "vg/root"]);
    lab.ok(&["lvcreate", "-s", "-l", "100%ORIGIN", "-n", "snap", "vg/root"]);
    for (number, chunk) in others.iter().enumerate() {
        let name = format!("other{number}");
        lab.ok(&["lvcreate", "-s", "-l", "100%ORIGIN", "-c", chunk, "-n", &name, "vg/root"]);
    }
    lab.ok(&["import", "after.raw", "vg/root"]);
    (lab, before, after)
}

/// Starts the merge and sends `signal` after the first durable step. One that is over before the signal comes, on a machine
/// that is busy with something else, is begun again.
fn stopped_in_the_middle(lab: &Lab, signal: Signal) -> Option<i32> {
    std::fs::copy(lab.path("disk.img"), lab.path("begin.img")).unwrap();
    for _ in 0..20 {
        let status = signalled_in_the_middle(lab, signal);
        if !status.success() {
            std::fs::remove_file(lab.path("begin.img")).unwrap();
            return status.code();
        }
        std::fs::copy(lab.path("begin.img"), lab.path("disk.img")).unwrap();
    }
    panic!("it was over before the signal came, twenty times");
}

fn signalled_in_the_middle(lab: &Lab, signal: Signal) -> ExitStatus {
    let mut command = lab.command(&["lvconvert", "--merge", "-i", "0", "vg/snap"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for line in lines.map(Result::unwrap) {
        if line.contains("Merged: ") && !line.contains(": 0.00%") {
            kill_process(Pid::from_child(&child), signal).unwrap();
            break;
        }
    }
    child.wait().unwrap()
}

#[test]
fn a_merge_says_lvm2s_words_and_leaves_one_volume() {
    let (lab, before, _) = changed_lab(&[]);
    let said = lab.ok(&["lvconvert", "--merge", "-i", "0", "vg/snap"]);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.first(), Some(&"  Merging of volume vg/snap started."));
    assert!(lines.contains(&"  vg/root: Merged: 100.00%"), "{said}");
    let end = [
        "  Merge of snapshot into logical volume vg/root has finished.",
        "  Logical volume \"snap\" successfully removed.",
    ];
    assert_eq!(lines[lines.len() - 2..], end);
    assert!(lab.content("vg/root") == before);
    assert_eq!(lab.ok(&["lvs", "-a", "--noheadings", "-o", "lv_name,lv_attr"]), "  root -wi-------\n");
}

/// Whatever ended the command, the same command ends with 0; under LVM2's name it ends as LVM2's does.
#[test]
fn once_ended_the_same_command_says_so() {
    let (lab, ..) = changed_lab(&["4k"]);
    lab.ok(&["lvconvert", "--merge", "vg/snap"]);
    let again = ["lvconvert", "--merge", "vg/snap"];
    let said = "  Merge of snapshot into logical volume vg/root has finished already.\n";
    assert_eq!(lab.ok(&again), said);
    lab.ok(&["lvrename", "vg/root", "vg/base"]);
    assert_eq!(lab.ok(&again), said.replace("root", "base"));
    let gone = ["Failed to find logical volume", "a merge that has ended has removed its snapshot"];
    let output = lab.command(&again).arg0("lvm").output().unwrap();
    assert_eq!(output.status.code(), Some(5));
    assert!(String::from_utf8(output.stderr).unwrap().contains(gone[0]));
    // Without archives nobody knows; one that was removed was not merged.
    lab.run(&[&again[..], &["--config", "backup/archive=0"]].concat()).failed_with(5, &gone);
    lab.ok(&["lvremove", "-y", "vg/other0"]);
    lab.run(&["lvconvert", "--merge", "vg/other0"]).failed_with(5, &gone);
}

/// Rounds in which the merge is killed at its first word, at its last, and in between; and the command repeated at once,
/// while the system still ends the last I/O of the process that was killed.
#[test]
fn killed_at_any_moment_the_same_command_ends_with_0() {
    let (lab, before, _) = changed_lab(&[]);
    std::fs::copy(lab.path("disk.img"), lab.path("good.img")).unwrap();
    // It started; 0 %; a share or two; 100 %; it has finished; the snapshot is removed.
    for line in 0..6 {
        std::fs::copy(lab.path("good.img"), lab.path("disk.img")).unwrap();
        let mut command = lab.command(&["lvconvert", "--merge", "-i", "0", "vg/snap"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        assert!(lines.nth(line).is_some() || line == 5, "line {line}");
        child.kill().unwrap();
        // Not waited for: what is left of it may still hold the disk.
        let again = lab.run(&["lvconvert", "--merge", "vg/snap"]);
        child.wait().unwrap();
        assert_eq!(again.code, Some(0), "killed at line {line}: {}{}", again.stdout, again.stderr);
        assert!(lab.content("vg/root") == before, "killed at line {line}");
    }
}

/// `nohup` and the like: a terminal that goes does not stop what was told not to care.
#[test]
fn a_hangup_that_is_ignored_stays_ignored() {
    let (lab, before, _) = changed_lab(&[]);
    let mut command = std::process::Command::new("sh");
    command.args([
        "-c",
        "trap '' HUP; exec $0 lvconvert --merge -i 0 vg/snap",
        env!("CARGO_BIN_EXE_foldback"),
    ]);
    command.current_dir(lab.path("")).env("FOLDBACK_DEVICES", "disk.img");
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    for line in BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap) {
        if line.contains("started") {
            kill_process(Pid::from_child(&child), Signal::HUP).unwrap();
        }
    }
    assert!(child.wait().unwrap().success());
    assert!(lab.content("vg/root") == before);
}

#[test]
fn killed_in_the_middle_the_same_command_goes_on() {
    let (lab, before, after) = changed_lab(&["64k"]);
    assert_eq!(stopped_in_the_middle(&lab, Signal::KILL), None);
    let attributes = lab.ok(&["lvs", "-a", "--noheadings", "-o", "lv_name,lv_attr", "vg/snap", "vg/root"]);
    assert_eq!(attributes, "  root   Owi---s---\n  [snap] Swi---s---\n");
    for volume in ["vg/root", "vg/snap"] {
        lab.run(&["export", volume, "x.raw"])
            .failed_with(5, &["is merging into vg/root", "lvconvert --merge vg/snap"]);
        lab.run(&["import", "after.raw", volume]).failed_with(5, &["is merging into vg/root"]);
    }
    lab.run(&["lvcreate", "-s", "-l", "1", "vg/root"])
        .failed_with(5, &["Snapshots of an origin that has a merging snapshot are not supported."]);
    // The other snapshot is whole also in between.
    assert!(lab.content("vg/other0") == before);
    let said = lab.ok(&["lvconvert", "--merge", "vg/snap"]);
    assert!(said.starts_with("  Merging of volume vg/snap goes on.\n"), "{said}");
    assert!(lab.content("vg/root") == before);
    assert!(lab.content("vg/other0") == before);
    drop(after);
}

#[test]
fn interrupted_it_stops_cleanly_and_says_how_to_go_on() {
    for signal in [Signal::INT, Signal::HUP] {
        let (lab, before, _) = changed_lab(&[]);
        assert_eq!(stopped_in_the_middle(&lab, signal), Some(5));
        let checked = lab.ok(&["check", "vg/snap"]);
        assert!(checked.contains(", merging") && checked.contains("in order"), "{checked}");
        lab.ok(&["lvconvert", "--mergesnapshot", "vg/snap"]);
        assert!(lab.content("vg/root") == before);
    }
}

#[test]
fn other_snapshots_stay_bit_exact_whatever_their_chunk_size() {
    let (lab, before, after) = changed_lab(&["4k", "32k", "512k"]);
    // One of them has content of its own, and one is of the state after the change.
    let own = scattered(&before, 3, 500);
    lab.write("own.raw", &own);
    lab.ok(&["import", "own.raw", "vg/other1"]);
    lab.ok(&["lvcreate", "-s", "-l", "100%ORIGIN", "-n", "late", "vg/root"]);
    lab.ok(&["lvconvert", "-M", "-q", "vg/snap"]);
    assert!(lab.content("vg/root") == before);
    assert!(lab.content("vg/other0") == before);
    assert!(lab.content("vg/other1") == own);
    assert!(lab.content("vg/other2") == before);
    assert!(lab.content("vg/late") == after);
}

#[test]
fn quiet_says_nothing_of_progress_and_twice_nothing_at_all() {
    let (lab, before, _) = changed_lab(&[]);
    assert_eq!(lab.ok(&["lvconvert", "--merge", "-qq", "-i", "0", "vg/snap"]), "");
    assert!(lab.content("vg/root") == before);
}

#[test]
fn several_snapshots_a_tag_and_a_whole_vg_are_merged() {
    let lab = Lab::with_vg(256);
    let content: Vec<Vec<u8>> = (0..4).map(|seed| random(seed, 4 << 20)).collect();
    for (number, content) in content.iter().enumerate() {
        let (lv, snapshot, origin) =
            (format!("lv{number}"), format!("snap{number}"), format!("vg/lv{number}"));
        lab.ok(&["lvcreate", "-L", "4M", "-n", &lv, "vg"]);
        lab.write("content.raw", content);
        lab.ok(&["import", "content.raw", &origin]);
        let tag = if number < 2 { "pair" } else { "later" };
        lab.ok(&["lvcreate", "-s", "-L", "8M", "-n", &snapshot, "--addtag", tag, &origin]);
        lab.write("other.raw", &random(100 + number as u64, 4 << 20));
        lab.ok(&["import", "other.raw", &origin]);
    }
    // What is misspelt is found before the first merge begins.
    let none = "no merge was begun";
    for (bad, said) in [
        ("vg/nosuch", "Failed to find logical volume \"vg/nosuch\""),
        ("nosuch/x", "Volume group \"nosuch\" not found"),
        ("vg/lv0", "vg/lv0 is not a mergeable logical volume"),
    ] {
        let fingerprint = lab.fingerprint();
        lab.run(&["lvconvert", "--merge", "@pair", bad]).failed_with(5, &[said, none]);
        assert_eq!(lab.fingerprint(), fingerprint, "{bad}");
    }
    lab.run(&["lvconvert", "--merge", "@pair", "a/b/c"]).failed_with(5, &["Invalid path"]);
    let merged = lab.ok(&["lvconvert", "--merge", "@pair"]);
    assert_eq!(merged.matches("successfully removed").count(), 2);
    // One that has ended does not stop the others: the same command goes on with them.
    let merged = lab.ok(&["lvconvert", "--merge", "vg/snap0", "vg/snap2"]);
    assert!(merged.contains("vg/lv0 has finished already"), "{merged}");
    assert_eq!(merged.matches("successfully removed").count(), 1);
    // LVM2 goes on, too, and the worst outcome counts. It leaves the merge to the next activation (lvm2.md 2.6).
    let arguments = ["lvconvert", "--merge", "vg/nosuch", "vg/snap3"];
    let output = lab.command(&arguments).arg0("lvm").output().unwrap();
    assert_eq!(output.status.code(), Some(5));
    let said = "Merging of snapshot vg/snap3 will occur on next activation of vg/lv3.";
    assert!(String::from_utf8(output.stdout).unwrap().contains(said));
    assert!(lab.ok(&["lvconvert", "--merge", "vg/snap3"]).contains("\"snap3\" successfully removed"));
    assert_eq!(lab.ok(&["lvconvert", "--merge", "vg"]), "");
    for (number, content) in content.iter().enumerate() {
        assert!(lab.content(&format!("vg/lv{number}")) == *content, "lv{number}");
    }
    assert_eq!(lab.ok(&["lvconvert", "--merge", "@none"]), "");
}

#[test]
fn what_cannot_be_merged_is_refused_and_nothing_is_written() {
    let (lab, ..) = changed_lab(&["4k"]);
    lab.ok(&["lvcreate", "-s", "-l", "1", "-n", "small", "vg/root"]);
    let spilled = lab.run(&["import", "before.raw", "vg/root"]);
    assert!(spilled.stderr.contains("Snapshot vg/small is invalid"), "{}", spilled.stderr);
    let before = lab.fingerprint();
    lab.run(&["lvconvert", "--merge", "vg/root"])
        .failed_with(5, &["vg/root is not a mergeable logical volume."]);
    lab.run(&["lvconvert", "--merge", "vg/small"])
        .failed_with(5, &["Unable to merge invalidated snapshot LV vg/small.", "lvremove vg/small"]);
    lab.run(&["lvconvert", "vg/snap"]).failed_with(3, &["No command with matching syntax recognised."]);
    assert_eq!(lab.fingerprint(), before);
    // Of what was done to the volume group before, the archives are there; of what was refused, none.
    let archives = std::fs::read_dir(lab.path("disk.img.foldback-backup/archive")).unwrap().count();
    assert_eq!(archives, 4);
}

/// I3: another snapshot that would be lost is not lost without having been asked for.
#[test]
fn another_snapshot_that_would_overflow_stops_the_merge_unless_forced() {
    let lab = Lab::with_vg(128);
    lab.write("before.raw", &random(1, 8 << 20));
    lab.write("after.raw", &random(2, 8 << 20));
    lab.ok(&["lvcreate", "-L", "8M", "-n", "root", "vg"]);
    lab.ok(&["import", "before.raw", "vg/root"]);
    lab.ok(&["lvcreate", "-s", "-l", "100%ORIGIN", "-n", "snap", "vg/root"]);
    lab.ok(&["import", "after.raw", "vg/root"]);
    lab.ok(&["lvcreate", "-s", "-L", "4M", "-n", "small", "vg/root"]);
    let fingerprint = lab.fingerprint();
    lab.run(&["lvconvert", "--merge", "vg/snap"]).failed_with(
        5,
        &["would overflow vg/small", "2048 chunks of 8 sectors", "Nothing was changed", "--force"],
    );
    assert_eq!(lab.fingerprint(), fingerprint);
    assert!(lab.content("vg/small") == lab.read("after.raw"));
    let forced = lab.run(&["lvconvert", "--merge", "--force", "vg/snap"]);
    assert!(forced.stderr.contains("Snapshot vg/small is invalid"), "{}", forced.stderr);
    assert!(lab.content("vg/root") == lab.read("before.raw"));
}

/// R2: a limit on file size stands for a full file system: the origin lies behind it, its snapshot's store before it.
#[test]
fn a_disk_that_takes_no_more_is_named_and_with_room_the_same_command_goes_on() {
    for backend in ["auto", "blocking"] {
        let lab = Lab::with_vg(64);
        let before = random(1, 16 << 20);
        lab.write("before.raw", &before);
        lab.write("after.raw", &random(2, 16 << 20));
        lab.ok(&["lvcreate", "-L", "32M", "-n", "place", "vg"]);
        lab.ok(&["lvcreate", "-L", "16M", "-n", "root", "vg"]);
        lab.ok(&["import", "before.raw", "vg/root"]);
        lab.ok(&["lvremove", "-y", "vg/place"]);
        lab.ok(&["lvcreate", "-s", "-L", "20M", "-n", "snap", "vg/root"]);
        lab.ok(&["import", "after.raw", "vg/root"]);
        let limit = lab.start_of("vg/root") + (1 << 20);
        assert!(lab.start_of("vg/snap") < limit, "the store lies before the origin");
        let limited = |arguments: &str| {
            let shell = format!("ulimit -f {}; exec $0 {arguments}", limit / 512);
            let mut command = std::process::Command::new("sh");
            command.args(["-c", &shell, env!("CARGO_BIN_EXE_foldback")]).current_dir(lab.path(""));
            command.env("FOLDBACK_DEVICES", "disk.img").env("FOLDBACK_IO", backend);
            let output = command.output().unwrap();
            let said = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(5), "{backend}: {said}");
            said
        };
        let said = limited("lvconvert --merge vg/snap");
        for part in [
            "merging into vg-root: writing ",
            " bytes at byte ",
            " of disk.img: File too large",
            "the merge stopped where it can go on",
            "Hint: a limit on the size of files stops disk.img",
            "the same command goes on with the merge",
        ] {
            assert!(said.contains(part), "{backend}: {part:?} is not in:\n{said}");
        }
        let said = lab.ok(&["lvconvert", "--merge", "vg/snap"]);
        assert!(said.starts_with("  Merging of volume vg/snap goes on.\n"), "{said}");
        assert!(lab.content("vg/root") == before, "{backend}");
        let said = limited("import after.raw vg/root");
        assert!(
            said.contains("writing vg/root: writing ") && said.contains(" of disk.img: File too"),
            "{said}"
        );
        assert!(said.contains("repeat the command"), "{said}");
    }
}

#[test]
fn asked_to_stop_while_it_waits_nothing_is_written() {
    let (lab, ..) = changed_lab(&[]);
    let fingerprint = lab.fingerprint();
    let metadata = lock_metadata(&lab.path("disk.img"));
    let mut child = lab.command(&["lvconvert", "--merge", "vg/snap"]).stderr(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(500));
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    drop(metadata);
    assert_eq!(child.wait().unwrap().code(), Some(5));
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(said.contains("Interrupted before anything was changed."), "{said}");
    assert_eq!(lab.fingerprint(), fingerprint);
}

#[test]
fn a_second_snapshot_waits_for_the_first() {
    let (lab, before, _) = changed_lab(&["4k"]);
    stopped_in_the_middle(&lab, Signal::KILL);
    let said = "Cannot merge snapshot vg/other0 into the origin vg/root with merging snapshot vg/snap.";
    lab.run(&["lvconvert", "--merge", "vg/other0"]).failed_with(5, &[said]);
    let asked = lab.run(&["lvremove", "vg/snap"]);
    asked.failed_with(5, &["can never be finished", "Logical volume vg/snap not removed."]);
    lab.ok(&["lvconvert", "--merge", "vg/snap"]);
    lab.ok(&["lvconvert", "--merge", "vg/other0"]);
    assert!(lab.content("vg/root") == before);
}

#[test]
fn two_at_once_are_told_from_each_other() {
    let (lab, before, _) = changed_lab(&[]);
    let mut command = lab.command(&["lvconvert", "--merge", "-i", "0", "vg/snap"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let started = lines.next().unwrap().unwrap();
    assert_eq!(started, "  Merging of volume vg/snap started.");
    // The first line comes while the content is held; only a merge that is over by now would let the second in.
    let second = lab.run(&["lvremove", "-y", "vg/snap"]);
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    assert!(child.wait().unwrap().success(), "{rest:?}");
    second.failed_with(5, &[]);
    let refused =
        second.stderr.contains("it is in use by process") || second.stderr.contains("Failed to find");
    assert!(refused, "{}", second.stderr);
    assert!(lab.content("vg/root") == before);
}

/// Who is to end a merge finds that another has ended it, and with it removed the snapshot (lvm2.md 2.10): `finish` starts one
/// for each merge that it sees, and must not fail then.
#[test]
fn who_comes_to_end_a_merge_that_is_over_does_not_fail() {
    let (lab, ..) = changed_lab(&[]);
    lab.ok(&["lvconvert", "--merge", "vg/snap"]);
    let polled = lab.run(&["-v", "lvpoll", "vg/snap"]);
    assert_eq!((polled.code, polled.stderr.trim()), (Some(0), "vg/snap is not there any more."));
    lab.ok(&["lvpoll", "--background", "vg/snap"]);
}
