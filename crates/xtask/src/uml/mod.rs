//! `cargo xtask uml`: Foldback, LVM2 and the kernel on the same disks, in rig 2.
//!
//! Holds: every comparison is between what two parties wrote or read; a case that could not run is a skip with
//! the reason and never a pass; the harness itself is tested by the case `control`, in which a single changed
//! byte has to be noticed.

mod accept;
mod acceptance;
mod cells;
mod control;
mod faults;
mod handover;
mod kernel_dm;
mod kernel_fs;
mod live;
mod log_writes;
mod matrix;
mod memory;
mod native;
mod premerge;
mod several;
mod walks;

use std::sync::Mutex;
use std::time::Instant;

use anyhow::{Result, anyhow, bail};

use crate::outcome::{Outcome, Verdict};
use crate::program::Foldback;
use crate::rig;

/// Whether to take the long form of a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Length {
    /// What the test command runs.
    Short,
    /// All combinations.
    Long,
    /// Of random walks these; other cases take their short form.
    Walks {
        /// The seed of the first; those that follow count on.
        seed: u64,
        /// How many.
        count: u64,
    },
}

/// How many cases run at the same time. A guest has one processor, and waits for its disks half of the time.
const AT_ONCE: usize = 2;

/// A case: its name, what it shows, and the function.
struct Case {
    name: &'static str,
    shows: &'static str,
    run: fn(Length) -> Result<String>,
}

const CASES: &[Case] = &[
    Case {
        name: "control",
        shows: "the comparison passes equal disks and notices one byte",
        run: control::run,
    },
    Case {
        name: "matrix",
        shows: "Foldback's merge equals the kernel's over fills, chunks, snapshots",
        run: matrix::run,
    },
    Case { name: "native", shows: "LVM2 and the kernel use and merge what Foldback made", run: native::run },
    Case {
        name: "kernel-finishes",
        shows: "the kernel finishes a merge that Foldback began",
        run: handover::to_kernel,
    },
    Case {
        name: "foldback-finishes",
        shows: "Foldback finishes a merge that the kernel began",
        run: handover::to_foldback,
    },
    Case {
        name: "accept",
        shows: "LVM2 takes each of Foldback's writes without a word, and writes on",
        run: accept::run,
    },
    Case {
        name: "acceptance",
        shows: "the same commands under LVM2's names: what LVM2 and Foldback say and write is the same",
        run: acceptance::run,
    },
    Case {
        name: "several-pvs",
        shows: "three PVs, striped origin, store in pieces: killed, resumed, equal to the kernel's merge",
        run: several::run,
    },
    Case {
        name: "memory",
        shows: "192 MiB of memory, ext4 on a served volume, more dirty pages than memory: nothing hangs",
        run: memory::run,
    },
    Case {
        name: "live-kernel",
        shows: "the kernel mounts our NBD export through a merge; LVM2 and the kernel agree afterwards",
        run: live::kernel,
    },
    Case {
        name: "live-behind",
        shows: "LVM2 changes the VG that is served: noticed, no other data touched",
        run: live::behind,
    },
    Case {
        name: "kernel-dm",
        shows: "the kernel carries out Foldback's plans under mounted file systems, LVM2 every second step",
        run: kernel_dm::plans,
    },
    Case {
        name: "kernel-live",
        shows: "live volumes of the kernel through every change, beside LVM2's; merges end by themselves",
        run: kernel_dm::live,
    },
    Case {
        name: "kernel-left",
        shows: "activations that were killed, tables that nobody brought up, two at once, disks that come and go",
        run: kernel_dm::left,
    },
    Case {
        name: "kernel-fs",
        shows: "ext4 and XFS mounted, fio verifying, through snapshots, every kind of merge, and the kernel's end",
        run: kernel_fs::run,
    },
    Case {
        name: "premerge",
        shows: "inactive volumes are merged at once, and nobody can activate them meanwhile",
        run: premerge::run,
    },
    Case {
        name: "walks",
        shows: "random walks through a VG's life, LVM2 and Foldback in turns, the kernel killed: all as the model says",
        run: walks::run,
    },
    Case {
        name: "faults",
        shows: "disks that fail at each write of the metadata of a snapshot and a merge: the old state or the new, told, nothing suspended",
        run: faults::metadata,
    },
    Case {
        name: "faults-switch",
        shows: "disks that fail as devices are switched and at the end of merges, with what is in use in use",
        run: faults::switch,
    },
    Case {
        name: "faults-stores",
        shows: "other snapshots' stores that fail, stores that read other than written, one of two metadata areas",
        run: faults::stores,
    },
    Case {
        name: "log-writes",
        shows: "power cuts at borders of flushes: LVM2 and Foldback read old or new, merges end, snapshots stay",
        run: log_writes::run,
    },
];

/// Runs the named cases, or all, and prints a line for each.
pub(crate) fn run(wanted: &[String], length: Length) -> Result<Vec<Outcome>> {
    for name in wanted {
        if !CASES.iter().any(|case| case.name == name) {
            let known: Vec<&str> = CASES.iter().map(|case| case.name).collect();
            bail!("there is no case {name}; there are: {}", known.join(", "));
        }
    }
    let chosen = CASES.iter().filter(|case| wanted.is_empty() || wanted.iter().any(|name| name == case.name));
    let missing = rig::missing();
    if missing.is_empty() {
        // The first of two cases that begin at once would build it, and the other one, too.
        program()?;
    }
    let waiting = Mutex::new(chosen);
    let next = || waiting.lock().ok().and_then(|mut waiting| waiting.next());
    let work = || {
        let mut outcomes = Vec::new();
        while let Some(case) = next() {
            outcomes.push(run_one(case, length, &missing));
        }
        outcomes
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(work)).collect();
        let mut outcomes = Vec::new();
        for worker in workers {
            outcomes.extend(worker.join().map_err(|_| anyhow!("a case panicked"))?);
        }
        Ok(outcomes)
    })
}

fn run_one(case: &Case, length: Length, missing: &[&str]) -> Outcome {
    println!("uml {}: {}", case.name, case.shows);
    let start = Instant::now();
    let verdict = if missing.is_empty() {
        match (case.run)(length) {
            Ok(told) => Verdict::Passed(told),
            Err(error) => Verdict::Failed(format!("{error:#}")),
        }
    } else {
        Verdict::Skipped(format!("missing Debian packages: {}", missing.join(" ")))
    };
    let outcome = Outcome::new(format!("uml {}", case.name), verdict, start.elapsed());
    outcome.print();
    outcome
}

/// The program under test, built once.
fn program() -> Result<Foldback> {
    Foldback::build()
}
