//! `cargo xtask machine`: Foldback beside LVM2 on a whole Debian machine with systemd and udev, in rig 3.
//!
//! Holds: the machine is what Debian's packages make of it, so rules, units and configuration are those that people have; the
//! system it boots from is never written to, each case has a layer of its own above it; a case that could not run is a skip with the
//! reason and never a pass.

mod boot;
mod cases;
mod emulator;
mod tree;

use std::time::Instant;

use anyhow::{Result, bail};

use crate::outcome::{Outcome, Verdict};
use tree::System;

/// Which cases to take when none is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Length {
    /// What the test command runs.
    Short,
    /// All.
    Long,
}

/// A case: its name, what it shows, whether the test command runs it, and the function.
struct Case {
    name: &'static str,
    shows: &'static str,
    short: bool,
    run: fn(&System) -> Result<String>,
}

const CASES: &[Case] = &[
    Case {
        name: "udev",
        shows: "every step by Foldback and by LVM2 on twins: udev's database, links and cookies are the same",
        short: true,
        run: cases::udev,
    },
    Case {
        name: "races",
        shows: "two processors: both tools, udev's activation, writers and kills at once; nothing is lost or left",
        short: true,
        run: cases::races,
    },
    Case {
        name: "service",
        shows: "systemd's units: on demand, killed, through a shutdown; the next boot's merge ends by itself",
        short: true,
        run: cases::service,
    },
    Case {
        name: "root",
        shows: "the root volume merges: begun by LVM2's initramfs, power cut, ended by the service; and by our hook",
        short: false,
        run: cases::root,
    },
];

/// Runs the named cases, or those of the length, and prints a line for each.
pub(crate) fn run(wanted: &[String], length: Length) -> Result<Vec<Outcome>> {
    for name in wanted {
        if !CASES.iter().any(|case| case.name == name) {
            let known: Vec<&str> = CASES.iter().map(|case| case.name).collect();
            bail!("there is no case {name}; there are: {}", known.join(", "));
        }
    }
    let chosen = CASES.iter().filter(|case| {
        let named = wanted.iter().any(|name| name == case.name);
        named || (wanted.is_empty() && (case.short || length == Length::Long))
    });
    let system = prepare()?;
    let mut outcomes = Vec::new();
    for case in chosen {
        println!("machine {}: {}", case.name, case.shows);
        let start = Instant::now();
        let verdict = match &system {
            Ok(system) => match (case.run)(system) {
                Ok(told) => Verdict::Passed(told),
                Err(error) => Verdict::Failed(format!("{error:#}")),
            },
            Err(why) => Verdict::Skipped(why.clone()),
        };
        let outcome = Outcome::new(format!("machine {}", case.name), verdict, start.elapsed());
        outcome.print();
        outcomes.push(outcome);
    }
    Ok(outcomes)
}

/// Makes what the cases need, which takes minutes the first time. The inner error is the reason for a skip.
pub(crate) fn prepare() -> Result<Result<System, String>> {
    if let Some(why) = tree::hindrance() {
        return Ok(Err(why));
    }
    let emulator = match emulator::find()? {
        Ok(emulator) => emulator,
        Err(why) => return Ok(Err(why)),
    };
    tree::build(emulator)
}
