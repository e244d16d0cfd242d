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
use std::os::unix::fs::FileExt;

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

/// Pages that the process has touched for the first time: the tenth field of proc(5).
fn first_touches(pid: Pid) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap();
    stat.rsplit_once(") ").unwrap().1.split(' ').nth(7).unwrap().parse().unwrap()
}

/// Architecture.md, "Waiting for oneself": buffers preallocated.
#[test]
fn requests_take_memory_that_the_daemon_has_already() {
    const MIB: usize = 1 << 20;
    let live = Live::new("reserve", 96);
    live.ok("lvcreate -L 64M -n root VG");
    live.ok("vgchange -ay VG");
    let daemon = live.daemon().unwrap();
    let file = live.file("root");
    let before = first_touches(daemon);
    std::thread::scope(|scope| {
        for part in 0..4 {
            let file = fs::File::options().read(true).write(true).open(&file).unwrap();
            scope.spawn(move || {
                let mut bytes = vec![part as u8 + 1; MIB];
                for at in part * 16..(part + 1) * 16 {
                    file.write_all_at(&bytes, (at * MIB) as u64).unwrap();
                }
                file.read_exact_at(&mut bytes, (part * 16 * MIB) as u64).unwrap();
                assert!(bytes.iter().all(|byte| *byte == part as u8 + 1));
            });
        }
    });
    let touched = first_touches(daemon) - before;
    // 64 MiB went through: 16,384 pages. Each of the two threads that receive from the kernel touches its buffer with its first
    // large request, 257 pages; stacks and the daemon's other work take a few. Without the reserve there were 2,000.
    assert!(touched < 2 * 257 + 100, "{touched} pages");
}
