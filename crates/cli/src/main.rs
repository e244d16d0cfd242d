//! The program `foldback`: LVM2's commands on image files and block devices, without device-mapper and without root.
//!
//! What must hold:
//! - Under an LVM2 command's name (`lvs -> foldback`) it is that command; as `foldback CMD` it is the same one.
//! - Exit codes are LVM2's: 0 done, 2 no such command, 3 bad command line, 5 it failed.
//! - Results go to standard output, everything else to standard error; lines begin with two blanks.
//! - A command that failed says what it attempted, on what, why, and what can be done.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::arithmetic_side_effects, clippy::as_conversions))]

mod activating;
mod backend;
mod beginning;
mod carried;
mod carrying;
mod changing;
mod choosing;
mod command_line;
mod commands;
mod console;
mod demo;
mod error;
mod exit;
mod exporting;
mod file_systems;
mod following;
mod freezing;
mod interrupt;
mod live;
mod map;
mod merging;
mod names;
mod of_lvm2;
mod options;
mod polling;
mod progress;
mod read_ahead;
mod reading;
mod reporting;
mod scanning;
mod session;
mod shell;
mod signatures;
mod sizes;
mod starting;
mod steering;
mod switching;
mod watch;

use std::process::ExitCode;

fn main() -> ExitCode {
    commands::run(std::env::args_os().collect()).into()
}
