//! Reports against what LVM2 2.03.16 printed on a real kernel, byte for byte (lvm2.md 3.4).
//!
//! Goal: `pvs`, `vgs` and `lvs` say what LVM2 says. Method: the first 64 KiB of four PVs that LVM2 made (every field,
//! unit and format was then asked of LVM2 itself, `reports/make.sh`), grown to their sizes again; each command of
//! `reports/lvm2-2.03.16.txt` is run on them and compared: standard output, standard error, exit code.
//! The PVs are named by paths as long as the devices' were, so that columns are as wide.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a failed step fails the test"
)]
#![allow(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    reason = "test code"
)]
#![allow(clippy::format_push_string, clippy::format_collect, reason = "test code")]

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

/// The path of a PV in LVM2's output, and one as long that a test can have.
const NAMES: (&str, &str) = ("/dev/ubd", "./pv/ubd");

struct Case {
    command: String,
    stdout: String,
    stderr: String,
    code: i32,
}

fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for line in include_str!("reports/lvm2-2.03.16.txt").lines() {
        if let Some(command) = line.strip_prefix("$ ") {
            let command = command.to_owned();
            cases.push(Case { command, stdout: String::new(), stderr: String::new(), code: -1 });
            continue;
        }
        let case = cases.last_mut().expect("the file begins with a command");
        if let Some(line) = line.strip_prefix("! ") {
            case.stderr.push_str(&format!("{line}\n"));
        } else if let Some(code) = line.strip_prefix("= ") {
            case.code = code.parse().unwrap();
        } else if !line.is_empty() {
            case.stdout.push_str(&format!("{line}\n"));
        }
    }
    cases
}

/// Splits as a shell does, as far as the file needs it.
fn words(command: &str) -> Vec<String> {
    let mut words = vec![];
    let (mut word, mut quote, mut open) = (String::new(), None, false);
    for character in command.chars() {
        match (quote, character) {
            (Some(end), c) if c == end => quote = None,
            (None, '\'' | '"') => (quote, open) = (Some(character), true),
            (None, ' ') => {
                if open || !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                open = false;
            }
            (_, c) => word.push(c),
        }
    }
    if open || !word.is_empty() {
        words.push(word);
    }
    words
}

fn make_pvs(directory: &Path) {
    std::fs::create_dir(directory.join("pv")).unwrap();
    let images: [(&str, u64, &[u8]); 4] = [
        ("a", 256, include_bytes!("reports/ubda.64KiB.img")),
        ("b", 128, include_bytes!("reports/ubdb.64KiB.img")),
        ("c", 64, include_bytes!("reports/ubdc.64KiB.img")),
        ("d", 64, include_bytes!("reports/ubdd.64KiB.img")),
    ];
    for (letter, mebibytes, start) in images {
        let file = File::create(directory.join("pv").join(format!("ubd{letter}"))).unwrap();
        file.write_all_at(start, 0).unwrap();
        file.set_len(mebibytes << 20).unwrap();
    }
}

#[test]
fn every_report_is_lvm2s() {
    let directory = tempfile::tempdir().unwrap();
    make_pvs(directory.path());
    for name in ["lvs", "vgs", "pvs"] {
        // As `foldback lvs` it says more than LVM2 does.
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_foldback"), directory.path().join(name)).unwrap();
    }
    let cases = cases();
    assert!(cases.len() > 800, "{} cases", cases.len());
    let mut wrong = Vec::new();
    for case in &cases {
        let arguments: Vec<String> =
            words(&case.command).iter().map(|word| word.replace(NAMES.0, NAMES.1)).collect();
        let output = Command::new(directory.path().join(&arguments[0]))
            .args(&arguments[1..])
            .args(["--devices", "./pv/ubda,./pv/ubdb,./pv/ubdc,./pv/ubdd"])
            .current_dir(directory.path())
            .env("TZ", "UTC")
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(NAMES.1, NAMES.0);
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        let stderr: String = stderr
            .lines()
            .filter(|line| !line.starts_with("  Hint: "))
            .map(|line| format!("{line}\n"))
            .collect();
        if (stdout.as_str(), stderr.as_str(), output.status.code())
            != (case.stdout.as_str(), case.stderr.as_str(), Some(case.code))
        {
            wrong.push(format!(
                "$ {}\n--- LVM2, code {}\n{}{}--- here, code {:?}\n{stdout}{stderr}",
                case.command,
                case.code,
                case.stdout,
                case.stderr,
                output.status.code()
            ));
        }
    }
    assert!(wrong.is_empty(), "{} of {} differ\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}
