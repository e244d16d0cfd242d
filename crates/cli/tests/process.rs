//! The daemon as a process among others (architecture.md, "Waiting for oneself", "Processes").
//!
//! Goal: a machine that is short of memory does not make the daemon wait for its own volumes. Method: what the kernel says of
//! the daemon's process and of each of its threads.
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
use rustix::process::Pid;
use std::fs;

/// `PF_MEMALLOC_NOIO`, what `PR_SET_IO_FLUSHER` sets: an allocation never waits for a write.
const NO_IO: u64 = 0x0008_0000;
/// Two capabilities, as capabilities(7) numbers them.
const IPC_LOCK: u32 = 14;
const SYS_RESOURCE: u32 = 24;

/// A line of `/proc/PID/status`.
fn status(pid: &str, key: &str) -> String {
    let all = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = all.lines().find_map(|line| line.strip_prefix(key)).unwrap();
    line.trim_start_matches(':').trim().to_owned()
}

fn kibibytes(text: &str) -> u64 {
    text.split_whitespace().next().unwrap().parse().unwrap()
}

/// The kernel's flags of each thread, with its name.
fn thread_flags(pid: Pid) -> Vec<(String, u64)> {
    let tasks = fs::read_dir(format!("/proc/{}/task", pid.as_raw_nonzero())).unwrap();
    tasks
        .map(|task| {
            let stat = fs::read_to_string(task.unwrap().path().join("stat")).unwrap();
            let (name, fields) = stat.rsplit_once(") ").unwrap();
            // `flags` is the ninth field of proc(5); the third comes right after the name.
            let flags = fields.split(' ').nth(6).unwrap().parse().unwrap();
            (name.split_once('(').unwrap().1.to_owned(), flags)
        })
        .collect()
}

/// Whether this process, and so the daemon that it starts, has a capability.
fn has(capability: u32) -> bool {
    u64::from_str_radix(&status("self", "CapEff"), 16).unwrap() >> capability & 1 == 1
}

#[test]
fn a_daemon_does_what_it_may_against_waiting_for_itself_and_says_once_what_it_may_not() {
    let live = Live::new("own", 64);
    live.ok("lvcreate -L 16M -n root VG");
    live.ok("vgchange -ay VG");
    let daemon = live.daemon().unwrap();
    let threads = thread_flags(daemon);
    assert!(threads.iter().any(|(name, _)| name.starts_with("carrier")), "{threads:?}");
    let pid = daemon.as_raw_nonzero().to_string();
    let spared = has(SYS_RESOURCE);
    for (name, flags) in &threads {
        // In rig 2, case `memory`, it always has the privilege.
        assert_eq!(flags & NO_IO == NO_IO, spared, "{name}");
    }
    let score = fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap();
    assert_eq!(score.trim() == "-1000", spared, "{score}");
    let (locked, program) = (kibibytes(&status(&pid, "VmLck")), kibibytes(&status(&pid, "VmExe")));
    if has(IPC_LOCK) {
        // What was mapped at the start, the program among it, is there; what came later is locked once it is touched.
        assert!(locked >= program, "{locked} KiB locked, {program} KiB of program");
    }
    let told = live.log().lines().filter(|line| line.contains("memory pressure")).count();
    assert_eq!(told, usize::from(!spared || !has(IPC_LOCK)), "{}", live.log());
}
