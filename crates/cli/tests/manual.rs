//! The man pages in docs/man are what the command line's definition gives: no option is described twice, none is left out.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed step fails the test")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

fn pages(folder: &Path) -> BTreeMap<String, String> {
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    entries
        .map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            (name, fs::read_to_string(entry.path()).unwrap())
        })
        .collect()
}

#[test]
fn the_man_pages_are_up_to_date() {
    let made = tempfile::tempdir().unwrap();
    let status =
        Command::new(env!("CARGO_BIN_EXE_foldback")).arg("generate").arg(made.path()).status().unwrap();
    assert!(status.success());
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/man");
    let (made, kept) = (pages(made.path()), pages(&kept));
    assert!(made.keys().eq(kept.keys()), "{:?}\n{:?}", made.keys(), kept.keys());
    for (name, text) in &made {
        assert!(Some(text) == kept.get(name), "{name} is old: run `foldback generate docs/man`");
    }
    assert!(made.contains_key("foldback-lvconvert.8"));
}

#[test]
fn completions_know_the_commands() {
    let made = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_foldback"));
    assert!(command.args(["generate", "--completions"]).arg(made.path()).status().unwrap().success());
    let shells = pages(made.path());
    assert_eq!(shells.len(), 3);
    assert!(shells.values().all(|text| text.contains("lvconvert") && text.contains("mergesnapshot")));
}
