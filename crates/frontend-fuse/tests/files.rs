//! Served files, used as programs use them, through the kernel.
//!
//! Goal: every rule of the file system holds for a program that knows nothing of Foldback. Method: volumes in memory,
//! mounted; std::fs and a few system calls on one side, what reached the volumes on the other.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "tests: a panic is the verdict"
)]

mod lab;

use foldback_engine::RequestKind;
use foldback_frontend_fuse::{FuseErrorKind, MountOptions, Opener, Session, User, unmount_stale};
use lab::{Lab, id};
use rustix::fs::{FallocateFlags, OFlags};
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::process::{Command, Stdio};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

fn edit(lab: &Lab, name: &str) -> File {
    OpenOptions::new().read(true).write(true).open(lab.path(name)).unwrap()
}

fn code<T: std::fmt::Debug>(outcome: io::Result<T>) -> i32 {
    outcome.unwrap_err().raw_os_error().unwrap()
}

fn writes(lab: &Lab) -> Vec<RequestKind> {
    lab.asked().iter().map(|asked| asked.kind).filter(|kind| *kind != RequestKind::Read).collect()
}

#[test]
fn a_volume_is_a_file_of_its_size_and_what_is_written_is_read() {
    let Some(lab) = Lab::new("files") else { return };
    let mut names: Vec<_> = lab
        .session()
        .dir()
        .read_dir()
        .unwrap()
        .map(|it| it.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["home", "old", "root"]);
    let stat = lab.path("root").metadata().unwrap();
    assert_eq!((stat.len(), stat.mode() & 0o7777, stat.ino()), (8 << 20, 0o600, 10));
    assert_eq!(lab.path("old").metadata().unwrap().mode() & 0o7777, 0o400);
    let bytes: Vec<u8> = (0..3 << 20).map(|at| (at % 249) as u8).collect();
    let file = edit(&lab, "root");
    file.write_all_at(&bytes, 4096).unwrap();
    let mut back = vec![0; bytes.len()];
    file.read_exact_at(&mut back, 4096).unwrap();
    assert!(back == bytes && lab.bytes(10)[4096..][..bytes.len()] == bytes);
    let most = lab.asked().iter().map(|asked| asked.len).max();
    // The kernel cuts at the pages of the program's buffer, so a request may begin inside a sector.
    assert!(most <= Some(2049), "{most:?}: a request has at most 1 MiB");
    assert_eq!(lab.path("none").metadata().unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn nobody_makes_removes_renames_or_truncates_a_file() {
    let Some(lab) = Lab::new("files that stay") else { return };
    let denied = libc::EPERM;
    assert_eq!(code(File::create(lab.path("new"))), denied);
    assert_eq!(code(std::fs::remove_file(lab.path("root"))), denied);
    assert_eq!(code(std::fs::rename(lab.path("root"), lab.path("new"))), denied);
    assert_eq!(code(std::fs::create_dir(lab.path("new"))), denied);
    let file = edit(&lab, "home");
    file.set_len(1 << 20).unwrap();
    assert_eq!(code(file.set_len(1 << 19)), denied);
    assert_eq!(code(file.set_len(1 << 21)), denied);
    // With O_TRUNC cp would leave the zeros of a sparse file out.
    assert_eq!(code(OpenOptions::new().write(true).truncate(true).open(lab.path("home"))), denied);
    assert_eq!(lab.path("home").metadata().unwrap().len(), 1 << 20);
}

#[test]
fn unaligned_writes_keep_their_neighbours_also_when_they_come_together() {
    let Some(lab) = Lab::new("unaligned writes") else { return };
    let file = Arc::new(edit(&lab, "home"));
    file.write_all_at(&[1; 4096], 0).unwrap();
    file.write_all_at(&[2; 100], 700).unwrap();
    file.write_all_at(&[3; 1000], 1500).unwrap();
    let mut wanted = vec![1; 4096];
    wanted[700..800].fill(2);
    wanted[1500..2500].fill(3);
    assert_eq!(lab.bytes(11)[..4096], wanted);
    // Eight writers of interleaved bytes: each sector is written by all of them.
    let writers: Vec<_> = (0..8_usize)
        .map(|writer| {
            let file = Arc::clone(&file);
            thread::spawn(move || {
                for at in (writer..400).step_by(8) {
                    file.write_all_at(&[writer as u8 + 10; 10], 8192 + at as u64 * 10).unwrap();
                }
            })
        })
        .collect();
    for writer in writers {
        writer.join().unwrap();
    }
    let bytes = lab.bytes(11);
    for at in 0..400 {
        assert_eq!(bytes[8192 + at * 10..][..10], [(at % 8) as u8 + 10; 10]);
    }
    let mut few = [0; 30];
    file.read_exact_at(&mut few, 8195).unwrap();
    assert_eq!(few[..7], [10; 7]);
    assert_eq!(few[7..17], [11; 10]);
}

#[test]
fn the_end_is_a_block_devices_end() {
    let Some(lab) = Lab::new("the end of a file") else { return };
    let mut file = edit(&lab, "home");
    assert_eq!(code(file.write_at(&[1], 1 << 20)), libc::ENOSPC);
    assert_eq!(file.write_at(&[1; 1000], (1 << 20) - 600).unwrap(), 600);
    assert_eq!(file.read_at(&mut [0; 1000], (1 << 20) - 600).unwrap(), 600);
    assert_eq!(file.read_at(&mut [0; 10], 1 << 20).unwrap(), 0);
    assert_eq!(file.seek(SeekFrom::End(0)).unwrap(), 1 << 20);
    assert_eq!(file.read(&mut [0; 10]).unwrap(), 0);
    assert_eq!(rustix::fs::seek(&file, rustix::fs::SeekFrom::Data(5)).unwrap(), 5);
    assert_eq!(rustix::fs::seek(&file, rustix::fs::SeekFrom::Hole(5)).unwrap(), 1 << 20);
}

#[test]
fn a_read_only_volume_is_read_and_not_opened_to_write() {
    let Some(lab) = Lab::new("read-only volumes") else { return };
    assert_eq!(std::fs::read(lab.path("old")).unwrap(), vec![7; 1 << 20]);
    assert_eq!(code(OpenOptions::new().write(true).open(lab.path("old"))), libc::EROFS);
    assert_eq!(code(OpenOptions::new().read(true).write(true).open(lab.path("old"))), libc::EROFS);
}

#[test]
fn what_asks_to_be_durable_is_and_closing_flushes_only_what_was_written() {
    let Some(lab) = Lab::new("durable writes") else { return };
    drop(File::open(lab.path("home")).unwrap());
    assert_eq!(writes(&lab), [], "nothing was written");
    let file = edit(&lab, "home");
    file.write_all_at(&[1; 512], 0).unwrap();
    drop(file);
    assert_eq!(writes(&lab), [RequestKind::Write { fua: false }, RequestKind::Flush]);
    let file = edit(&lab, "home");
    file.write_all_at(&[1; 512], 0).unwrap();
    file.sync_all().unwrap();
    drop(file);
    assert_eq!(writes(&lab), [RequestKind::Write { fua: false }, RequestKind::Flush]);
    for flags in [OFlags::SYNC, OFlags::DSYNC] {
        let flags = flags.bits().cast_signed();
        let file = OpenOptions::new().write(true).custom_flags(flags).open(lab.path("home")).unwrap();
        file.write_all_at(&[1; 100], 100).unwrap();
        assert_eq!(writes(&lab)[0], RequestKind::Write { fua: true });
        drop(file);
        assert!(!writes(&lab).contains(&RequestKind::Write { fua: false }));
    }
}

#[test]
fn a_hole_is_zeros_and_never_a_discard() {
    let Some(lab) = Lab::new("holes") else { return };
    let file = edit(&lab, "home");
    file.write_all_at(&[9; 16384], 0).unwrap();
    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    rustix::fs::fallocate(&file, punch, 4096, 4096).unwrap();
    rustix::fs::fallocate(&file, FallocateFlags::ZERO_RANGE, 1000, 100).unwrap();
    let mut wanted = vec![9; 16384];
    wanted[4096..8192].fill(0);
    wanted[1000..1100].fill(0);
    assert_eq!(lab.bytes(11)[..16384], wanted);
    assert!(writes(&lab).contains(&RequestKind::WriteZeroes { fua: false }));
    rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, 1 << 20).unwrap();
    let outside = rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, (1 << 20) + 1);
    assert_eq!(outside, Err(rustix::io::Errno::NOSPC));
    let collapse = rustix::fs::fallocate(&file, FallocateFlags::COLLAPSE_RANGE, 0, 4096);
    assert_eq!(collapse, Err(rustix::io::Errno::OPNOTSUPP));
    assert_eq!(lab.bytes(11)[..16384], wanted);
}

#[test]
fn an_error_and_a_forgotten_request_are_eio_and_the_next_request_goes_on() {
    let Some(lab) = Lab::new("errors") else { return };
    let file = edit(&lab, "home");
    lab.volumes.state().broken.push(id(11));
    assert_eq!(code(file.read_at(&mut [0; 512], 0)), libc::EIO);
    assert_eq!(code(file.write_at(&[0; 100], 50)), libc::EIO);
    assert_eq!(code(file.sync_all()), libc::EIO);
    lab.volumes.state().broken.clear();
    lab.volumes.state().forgotten.push(id(11));
    assert_eq!(code(file.read_at(&mut [0; 512], 0)), libc::EIO);
    assert_eq!(code(file.write_at(&[0; 100], 50)), libc::EIO);
    lab.volumes.state().forgotten.clear();
    // The write that was forgotten has left its sector.
    file.write_all_at(&[5; 100], 50).unwrap();
    file.sync_all().unwrap();
}

#[test]
fn a_new_size_is_seen_at_once() {
    let Some(lab) = Lab::new("a new size") else { return };
    let file = edit(&lab, "home");
    assert_eq!(file.metadata().unwrap().len(), 1 << 20);
    lab.volumes.state().volumes.get_mut(&id(11)).unwrap().bytes.resize(2 << 20, 0);
    lab.session().invalidate(id(11)).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 2 << 20);
    file.write_all_at(&[1; 512], (2 << 20) - 512).unwrap();
    lab.volumes.state().volumes.get_mut(&id(11)).unwrap().name = "house".to_owned();
    lab.session().forget_name("home").unwrap();
    assert!(!lab.path("home").exists() && lab.path("house").exists());
    lab.session().invalidate(id(99)).unwrap();
}

#[test]
fn a_request_that_is_never_answered_holds_up_no_other_and_not_the_end() {
    let Some(lab) = Lab::new("requests that hang") else { return };
    let file = Arc::new(edit(&lab, "root"));
    lab.volumes.state().stuck.push(id(10));
    let (told, hears) = mpsc::channel();
    for at in 0..4_u64 {
        let (file, told) = (Arc::clone(&file), told.clone());
        thread::spawn(move || told.send(file.write_at(&[1; 100], at * 4096)).unwrap());
    }
    while lab.volumes.state().asked.len() < 4 {
        thread::sleep(Duration::from_millis(5));
    }
    edit(&lab, "home").write_all_at(&[2; 512], 0).unwrap();
    assert_eq!(lab.bytes(11)[..512], [2; 512]);
    assert!(hears.try_recv().is_err());
    lab.session().detach().unwrap();
    assert!(!lab.path("home").exists());
    assert!(lab.session().is_serving(), "the file is still open");
    let begun = Instant::now();
    lab.session().abort().unwrap();
    for _ in 0..4 {
        let outcome = hears.recv_timeout(Duration::from_secs(10)).unwrap();
        assert_eq!(code(outcome), libc::ECONNABORTED);
    }
    let mut lab = lab;
    lab.session.take().unwrap().join().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_panic_of_the_volumes_is_an_error_of_one_request() {
    let Some(lab) = Lab::new("panics") else { return };
    let file = edit(&lab, "home");
    // More often than there are threads.
    for _ in 0..4 {
        lab.volumes.state().panics = 1;
        assert_eq!(code(file.read_at(&mut [0; 512], 0)), libc::EIO);
        file.write_all_at(&[1; 512], 0).unwrap();
    }
    assert!(lab.session().is_serving());
}

fn user(lab: &Lab, name: &str) -> std::process::Child {
    let path = lab.path(name);
    let mut child = Command::new("sh")
        .args(["-c", "exec 3<>\"$0\"; echo ready; exec sleep 60"])
        .arg(path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut ready = [0; 6];
    child.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
    child
}

#[test]
fn who_uses_a_file_is_named_and_a_claim_keeps_others_out() {
    let Some(lab) = Lab::new("users of files") else { return };
    let own = edit(&lab, "home");
    assert_eq!(lab.session().users(id(11)), [], "this process is no user");
    let mut child = user(&lab, "home");
    let refused = lab.session().claim(id(11)).unwrap_err();
    let pid = child.id();
    let users = &refused.in_use().unwrap().users;
    assert!(matches!(users.as_slice(), [User::Process { pid: found, .. }] if *found == pid), "{refused}");
    assert!(lab.session().users(id(10)).is_empty());
    assert!(lab.volumes.state().openings.contains(&(id(11), Opener::Foreign)));
    let busy = lab.session().unmount().unwrap_err();
    assert!(busy.in_use().is_some(), "{busy}");
    child.kill().unwrap();
    child.wait().unwrap();
    let claim = lab.session().claim(id(11)).unwrap();
    let outside = Command::new("cat").arg(lab.path("home")).output().unwrap();
    assert!(String::from_utf8_lossy(&outside.stderr).contains("busy"), "{outside:?}");
    own.sync_all().unwrap();
    drop(edit(&lab, "home"));
    drop(claim);
    assert_eq!(lab::run("head", &["-c4", lab.path("home").to_str().unwrap()]).len(), 4);
    drop(own);
    while !lab.volumes.state().openings.is_empty() {
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn unmounting_ends_the_session_and_nothing_is_mounted_twice() {
    let Some(mut lab) = Lab::new("unmounting") else { return };
    let dir = lab.session().dir().to_path_buf();
    let twice = Session::mount(&dir, Arc::clone(&lab.volumes) as _, MountOptions::default()).unwrap_err();
    assert!(matches!(twice.kind, FuseErrorKind::Mounted), "{twice}");
    let session = lab.session.take().unwrap();
    session.unmount().unwrap();
    session.unmount().unwrap();
    session.join().unwrap();
    assert!(!unmount_stale(&dir).unwrap(), "nothing is left");
    let again = Session::mount(&dir, Arc::clone(&lab.volumes) as _, MountOptions::default()).unwrap();
    assert!(dir.join("root").exists());
    // Somebody else ends it: nothing is unmounted that is mounted there afterwards.
    lab::run("umount", &[dir.to_str().unwrap()]);
    lab::run("mount", &["-t", "tmpfs", "none", dir.to_str().unwrap()]);
    again.unmount().unwrap();
    again.join().unwrap();
    lab::run("umount", &[dir.to_str().unwrap()]);
}

#[test]
fn many_programs_at_once_read_what_they_wrote() {
    let Some(lab) = Lab::new("many programs") else { return };
    let file = Arc::new(edit(&lab, "root"));
    let threads: Vec<_> = (0..8_u64)
        .map(|number| {
            let file = Arc::clone(&file);
            thread::spawn(move || {
                for round in 0..32_u64 {
                    let at = (number << 20) + round * 7000;
                    let bytes = vec![(number * 31 + round) as u8; 6999];
                    file.write_all_at(&bytes, at).unwrap();
                    let mut back = vec![0; bytes.len()];
                    file.read_exact_at(&mut back, at).unwrap();
                    assert_eq!(back, bytes);
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    let mut file = OpenOptions::new().append(true).open(lab.path("root")).unwrap();
    assert_eq!(code(file.write(&[1])), libc::ENOSPC, "appending is behind the end");
}
