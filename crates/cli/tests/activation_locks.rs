//! Activation and LVM2's lock of the VG (architecture.md, "Holding and locking").
//!
//! Goal: nobody changes a VG between the reading of its metadata and the moment when its volumes are served. Method: this
//! process holds the lock as a command that changes the VG does.
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

use lab::live::Live;
use lab::skip;
use rustix::fs::{FlockOperation, flock};
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

/// The VG's lock, as whoever changes it has it.
fn locked(live: &Live) -> (File, PathBuf) {
    let path = PathBuf::from(format!("/run/lock/lvm/V_{}", live.vg));
    let file = File::options().create(true).append(true).open(&path).unwrap();
    flock(&file, FlockOperation::NonBlockingLockExclusive).unwrap();
    (file, path)
}

#[test]
fn nobody_activates_a_vg_that_is_being_changed() {
    let test = "nobody_activates_a_vg_that_is_being_changed";
    if !rustix::process::geteuid().is_root() {
        return skip(test, "it needs root: LVM2's directory of locks is written");
    }
    let live = Live::new("actlock", 64);
    live.ok("lvcreate -L 8M -n first VG");
    live.ok("lvcreate -L 8M -n second VG");
    // The daemon runs, and holds the disks.
    live.ok("lvchange -ay VG/first");
    let (lock, path) = locked(&live);
    // The command.
    for words in ["lvchange -ay", "lvchange -an"] {
        let refused = live.run(&format!("{words} --config global/wait_for_locks=0 VG/first"));
        assert_eq!(refused.code, Some(5), "{words}: {}", refused.stderr);
        assert!(refused.stderr.contains("Can't get lock for"), "{words}: {}", refused.stderr);
    }
    // The daemon itself, asked by somebody who has no share of the lock.
    let mut client = UnixStream::connect(live.lab.path("run/api.sock")).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut ask = || {
        let (vg, disk) = (&live.vg, live.lab.path("disk.img"));
        let call = format!(
            "{{\"method\":\"org.foldback.Daemon.Activate\",\"parameters\":{{\"vg\":\"{vg}\",\"lvs\":[\"second\"],\
             \"devices\":[\"{}\"]}}}}\0",
            disk.display()
        );
        client.write_all(call.as_bytes()).unwrap();
        let (mut answer, mut byte) = (Vec::new(), [1]);
        while client.read(&mut byte).unwrap() == 1 && byte != [0] {
            answer.push(byte[0]);
        }
        String::from_utf8(answer).unwrap()
    };
    let refused = ask();
    assert!(refused.contains("Can't get lock for"), "{refused}");
    drop(lock);
    let done = ask();
    assert!(done.contains("\"now\":[\"second\"]"), "{done}");
    // The last who had it has removed it.
    assert!(!path.exists());
    live.ok("vgchange -an VG");
}
