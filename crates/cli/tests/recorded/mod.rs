//! Commands and what LVM2 said to them, read from a file and run again.
//!
//! A block of the file is `$ COMMAND` (or `~ COMMAND`: run, not compared), its standard output, `! ` and each line of its
//! standard error, and `= EXIT CODE`. Our hints and LVM2's complaints about backups are left out on both sides.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a failed step fails the test"
)]
#![allow(clippy::format_push_string, clippy::format_collect, reason = "test code")]

use std::fs::File;
use std::os::unix::fs::{FileExt, symlink};
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// The path of a PV in LVM2's output, and one as long that a test can have.
const NAMES: (&str, &str) = ("/dev/ubd", "./pv/ubd");

struct Case {
    command: String,
    compared: bool,
    stdout: String,
    stderr: String,
    code: i32,
}

/// The four PVs on which the files were recorded.
pub(crate) struct Recorded {
    folder: TempDir,
}

impl Recorded {
    /// Grown to their sizes again, with the program beside them under its names.
    pub(crate) fn disks() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("pv")).unwrap();
        let images: [(&str, u64, &[u8]); 4] = [
            ("a", 256, include_bytes!("../reports/ubda.64KiB.img")),
            ("b", 128, include_bytes!("../reports/ubdb.64KiB.img")),
            ("c", 64, include_bytes!("../reports/ubdc.64KiB.img")),
            ("d", 64, include_bytes!("../reports/ubdd.64KiB.img")),
        ];
        for (letter, mebibytes, start) in images {
            let file = File::create(folder.path().join("pv").join(format!("ubd{letter}"))).unwrap();
            file.write_all_at(start, 0).unwrap();
            file.set_len(mebibytes << 20).unwrap();
        }
        for name in ["lvs", "vgs", "pvs", "lvcreate", "lvremove", "lvconvert", "pvcreate", "vgcreate"] {
            // As `foldback lvs` it says more than LVM2 does.
            symlink(env!("CARGO_BIN_EXE_foldback"), folder.path().join(name)).unwrap();
        }
        Self { folder }
    }

    fn run(&self, command: &str) -> (String, String, Option<i32>) {
        let arguments: Vec<String> =
            words(command).iter().map(|word| word.replace(NAMES.0, NAMES.1)).collect();
        let path = self.folder.path().join(&arguments[0]);
        let program = if path.exists() { path } else { env!("CARGO_BIN_EXE_foldback").into() };
        let from = usize::from(program.parent() == Some(self.folder.path()));
        let output = Command::new(program)
            .args(&arguments[from..1])
            .args([
                "--devices",
                "./pv/ubda,./pv/ubdb,./pv/ubdc,./pv/ubdd",
                "--config",
                "backup{backup=0 archive=0}",
            ])
            // An option without its value at the end would take what comes behind it.
            .args(&arguments[1..])
            .current_dir(self.folder.path())
            .env("TZ", "UTC")
            // No daemon can be started there: what was recorded is about metadata alone.
            .env("FOLDBACK_RUN_DIR", "/proc/none")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(NAMES.1, NAMES.0);
        let stderr = text(&output.stderr);
        let said = stderr.lines().filter(|line| !line.starts_with("  Hint: "));
        (text(&output.stdout), said.map(|line| format!("{line}\n")).collect(), output.status.code())
    }
}

fn cases(file: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for line in file.lines() {
        let begins = ["$ ", "~ "].iter().find_map(|sign| line.strip_prefix(sign).map(|rest| (*sign, rest)));
        if let Some((sign, command)) = begins {
            let (command, compared) = (command.to_owned(), sign == "$ ");
            cases.push(Case { command, compared, stdout: String::new(), stderr: String::new(), code: -1 });
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

/// Splits as a shell does, as far as the files need it.
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

/// Runs every command of `file`, of which there are at least `least`, and compares.
pub(crate) fn check_all(disks: &Recorded, file: &str, least: usize) {
    let cases = cases(file);
    assert!(cases.len() >= least, "{} cases", cases.len());
    let mut wrong = Vec::new();
    for case in &cases {
        let (stdout, stderr, code) = disks.run(&case.command);
        let same = (stdout.as_str(), stderr.as_str(), code)
            == (case.stdout.as_str(), case.stderr.as_str(), Some(case.code));
        if case.compared && !same {
            wrong.push(format!(
                "$ {}\n--- LVM2, code {}\n{}{}--- here, code {code:?}\n{stdout}{stderr}",
                case.command, case.code, case.stdout, case.stderr
            ));
        }
    }
    assert!(wrong.is_empty(), "{} of {} differ\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}
