//! The demo keeps every promise that it makes (issue, item 6).
//!
//! Goal: it runs without arguments, says what it does within 80 columns, and leaves nothing behind, also when it is
//! interrupted. It checks its own claims and ends with an error where one fails; so this only runs it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed step fails the test")]

mod lab;

use lab::{Lab, skip};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;

fn has_e2fsprogs() -> bool {
    ["mkfs.ext4", "debugfs", "e2fsck"].iter().all(|tool| {
        ["/sbin", "/usr/sbin", "/usr/local/sbin"].iter().any(|place| Path::new(place).join(tool).is_file())
    })
}

#[test]
fn it_breaks_a_system_folds_it_back_and_leaves_nothing() {
    if !has_e2fsprogs() {
        return skip("the demo", "e2fsprogs is not installed (apt install e2fsprogs)");
    }
    let lab = Lab::empty(1);
    let mut command = lab.command(&["demo"]);
    let output = command.env("TMPDIR", lab.path("")).env_remove("FOLDBACK_DEVICES").output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("<- killed here") && said.contains("goes on"), "{said}");
    assert!(said.contains("files have the checksum they had before the upgrade"), "{said}");
    let folder = lab.path("").display().to_string();
    // The folder's name is as long as the test's place makes it.
    let long: Vec<&str> = said.lines().filter(|line| line.len() > 80 && !line.contains(&folder)).collect();
    assert!(long.is_empty(), "{long:?}");
    assert_eq!(std::fs::read_dir(lab.path("")).unwrap().count(), 1);
}

#[test]
fn interrupted_it_cleans_up_as_well() {
    if !has_e2fsprogs() {
        return skip("interrupting the demo", "e2fsprogs is not installed (apt install e2fsprogs)");
    }
    for signal in [Signal::INT, Signal::HUP] {
        let lab = Lab::empty(1);
        let mut command = lab.command(&["demo"]);
        command.env("TMPDIR", lab.path("")).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        for line in lines.map(Result::unwrap) {
            if line.contains("import root.img") {
                kill_process(Pid::from_child(&child), signal).unwrap();
            }
        }
        assert_eq!(child.wait().unwrap().code(), Some(5));
        assert_eq!(std::fs::read_dir(lab.path("")).unwrap().count(), 1);
    }
}
