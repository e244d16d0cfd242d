//! Case `acceptance`: the same commands under the same names, by LVM2 and by Foldback; what they say and what they write
//! is compared.
//!
//! Holds: both start from disks that LVM2 made, each case anew; what is not compared names the paragraph of
//! docs/lvm2-differences.md that says why, and a paragraph that is not there fails the case.

mod cases;
mod heard;
mod normal;

use std::fmt::Write as _;
use std::os::unix::fs::symlink;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};

use self::cases::{Case, How, Step};
use self::heard::Heard;
use super::Length;
use crate::places;
use crate::program::Foldback;
use crate::rig::{Guest, Scratch};

const SCRIPT: &str = include_str!("../../../../../rig/acceptance.sh");
/// Where LVM2's programs lie.
const LVM2: &str = "/usr/sbin";
/// LVM2's programs that a case can call.
const NAMES: &[&str] = &[
    "lvm",
    "lvchange",
    "lvconvert",
    "lvcreate",
    "lvdisplay",
    "lvextend",
    "lvmconfig",
    "lvreduce",
    "lvremove",
    "lvrename",
    "lvresize",
    "lvs",
    "lvscan",
    "pvcreate",
    "pvdisplay",
    "pvremove",
    "pvs",
    "pvscan",
    "vgchange",
    "vgcreate",
    "vgdisplay",
    "vgremove",
    "vgs",
    "vgscan",
];
/// The disks, in MiB: two of the VG, one that is empty.
const DISKS: &[u64] = &[256, 128, 64];
const FEWEST_CASES: usize = 140;
/// Names one file of cases, for whoever works on it.
const ONLY: &str = "FOLDBACK_CASES";

/// Runs the case.
pub(super) fn run(length: Length) -> Result<String> {
    let only = std::env::var(ONLY).ok();
    let cases = cases::all(length, only.as_deref())?;
    let fewest = if only.is_some() { 1 } else { FEWEST_CASES };
    ensure!(cases.len() >= fewest, "there are only {} cases", cases.len());
    let differences = std::fs::read_to_string(places::root()?.join("docs/lvm2-differences.md"))
        .context("reading the list of differences")?;
    for case in &cases {
        case.check_reasons(&differences)?;
    }
    let program = super::program()?;
    // One guest each, side by side: most of the time goes into starting programs.
    let (lvm2, ours) = std::thread::scope(|scope| {
        let lvm2 = scope.spawn(|| hear(&cases, &program, "lvm2"));
        let ours = hear(&cases, &program, "foldback");
        (lvm2.join(), ours)
    });
    let lvm2 = lvm2.map_err(|_| anyhow!("the guest of LVM2 was given up"))?;
    let told = compare(&cases, &lvm2?, &ours?);
    if !told.is_empty() {
        bail!("{}", told.join("\n"));
    }
    let steps: usize = cases.iter().map(|case| case.steps.len()).sum();
    Ok(format!("{} cases, {steps} commands on both sides", cases.len()))
}

/// Runs the cases in a guest of its own, by LVM2 or by Foldback, and reads what was said.
fn hear(cases: &[Case], program: &Foldback, side: &str) -> Result<Heard> {
    let name = format!("acceptance-{side}");
    let scratch = Scratch::new(&name)?;
    let bin = scratch.path().join("bin");
    std::fs::create_dir(&bin).context("making the directory of links")?;
    for name in NAMES {
        symlink(program.path(), bin.join(name)).with_context(|| format!("linking {name}"))?;
    }
    let mut guest = Guest::new(&scratch, &name, Duration::from_mins(25));
    let mut disks = Vec::new();
    for (index, mib) in DISKS.iter().enumerate() {
        disks.push(guest.disk(&scratch.disk(&format!("disk{index}"), *mib)?)?);
    }
    let bin = if side == "lvm2" { LVM2.to_owned() } else { bin.display().to_string() };
    guest.set("DISKS", &disks.join(" ")).set("SIDE", side).set("BIN", &bin);
    guest.run(&format!("{SCRIPT}\n{}", script(cases)?))?;
    let text = |kind: &str| {
        let path = scratch.path().join(kind);
        let bytes = std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        // Where a program lies stands in what it says of its options.
        Ok::<_, anyhow::Error>(String::from_utf8_lossy(&bytes).replace(&format!("{bin}/"), ""))
    };
    Heard::parse(&text("out")?, &text("err")?)
}

/// The cases as shell.
fn script(cases: &[Case]) -> Result<String> {
    let mut text = String::new();
    for case in cases {
        writeln!(text, "begin {}", case.name)?;
        for (number, Step { command, how, .. }) in case.steps.iter().enumerate() {
            let runner = if matches!(how, How::Shell | How::Look) { "shell" } else { "step" };
            writeln!(text, "{runner} {number} {command}")?;
        }
        writeln!(text, "end")?;
    }
    Ok(text)
}

/// What differs and should not.
fn compare(cases: &[Case], lvm2: &Heard, ours: &Heard) -> Vec<String> {
    let mut wrong = Vec::new();
    for case in cases {
        let (Some(theirs), Some(mine)) = (lvm2.case(&case.name), ours.case(&case.name)) else {
            wrong.push(format!("{}: was not run on both sides", case.name));
            continue;
        };
        for (number, step) in case.steps.iter().enumerate() {
            let number = number.to_string();
            let (one, other) = (theirs.step(&number), mine.step(&number));
            if let Some(why) = step.differs(&one, &other) {
                wrong.push(format!("{}: {}: {why}", case.name, step.command));
            }
        }
        let (one, other) = (theirs.step("metadata"), mine.step("metadata"));
        if case.metadata && one.out != other.out {
            wrong.push(format!(
                "{}: the metadata differ{}",
                case.name,
                heard::difference(&one.out, &other.out)
            ));
        }
        let (one, other) = (theirs.step("vgck"), mine.step("vgck"));
        if case.metadata && one != other {
            let why = heard::difference(&one.all(), &other.all());
            wrong.push(format!("{}: vgck of what was written differs{why}", case.name));
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::cases::parse;
    use super::compare;
    use super::heard::Heard;

    const CASES: &str = "= one\n  lvcreate -n a\n$ lvs\n~ [Words] vgs\n";

    fn heard(lvs: &str, code: u8, metadata: &str) -> Heard {
        let out = format!(
            "@case one\n@step 0\n@code 0\n@step 1\n{lvs}\n@code {code}\n@step 2\n{code}\n@code 0\n@step metadata\n{metadata}\n@code 0\n"
        );
        Heard::parse(&out, "@case one\n@step 0\n@step 1\n@step 2\n").unwrap()
    }

    #[test]
    fn one_line_one_code_and_the_metadata_are_noticed() {
        let cases = parse("file", CASES).unwrap();
        let same = compare(&cases, &heard("a", 0, "seqno = 4"), &heard("a", 0, "seqno = 5"));
        assert!(same.is_empty(), "{same:?}");
        for other in [heard("b", 0, "x"), heard("a", 5, "x"), heard("a", 0, "y")] {
            assert_eq!(compare(&cases, &heard("a", 0, "x"), &other).len(), 1);
        }
    }
}
