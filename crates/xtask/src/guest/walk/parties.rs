//! LVM2 and Foldback as programs: doing a step, and saying what they see.
//!
//! Holds: nobody's word is taken alone: names, attributes, sizes, origins, fill and tags come from both and must be the same; who
//! carries a merge and what is suspended, the kernel says.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::walk::{Model, Party, Row, Seen, VG};

/// What `lvs` is asked for; of a running merge the last one changes between two looks.
const FIELDS: &str = "lv_name,lv_attr,lv_size,origin,lv_tags,origin_size,snap_percent";
/// Looks of both parties until they must agree: a merge may end between two.
const LOOKS: u32 = 8;

/// In what the two parties must agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Exact {
    /// Everything.
    All,
    /// A merge runs, and the fill changes by itself.
    ButFill,
    /// LVM2 does not find the merge in the kernel where the snapshot is not as long as its origin or the origin lies in several
    /// pieces: it warns, and shows neither fill nor state.
    ButAttributes,
}

/// What LVM2 says of such a merge.
const OF_LONGER_ONES: [&str; 2] = [
    "WARNING: Cannot find matching snapshot segment for",
    "WARNING: Detected error segment type does not match expected type snapshot for",
];

/// The two programs.
#[derive(Debug)]
pub(super) struct Parties {
    /// The path of `foldback`.
    pub(super) foldback: PathBuf,
}

impl Parties {
    /// Runs a command. Whether it went well, and what it said.
    pub(super) fn run(&self, party: Party, words: &[String]) -> Result<(bool, String)> {
        let mut command = match party {
            Party::Lvm2 => Command::new("lvm"),
            Party::Foldback => Command::new(&self.foldback),
        };
        command.args(words);
        // A process that ends merges in the background keeps what it inherits: so no pipe.
        let said = File::create("/run/said").context("making /run/said")?;
        let errors = said.try_clone().context("sharing /run/said")?;
        let status = command.stdin(Stdio::null()).stdout(said).stderr(errors).status();
        let status = status.with_context(|| format!("starting {command:?}"))?;
        let said = std::fs::read_to_string("/run/said").context("reading /run/said")?;
        ensure!(status.code().is_some(), "{words:?} ended by a signal: {status}");
        Ok((status.success(), said.trim().replace('\n', "; ")))
    }

    /// What both see of a VG that is one of these.
    pub(super) fn look(&self, models: &[&Model]) -> Result<Seen> {
        let exact = if models.iter().any(|model| model.any_into_longer()) {
            Exact::ButAttributes
        } else if models.iter().any(|model| model.any_begun()) {
            Exact::ButFill
        } else {
            Exact::All
        };
        let mut last = String::new();
        for _ in 0..LOOKS {
            let (theirs, merging, ours) = (lvm2(exact)?, merging()?, self.ours()?);
            let (before, ours) = (comparable(&theirs, exact), comparable(&ours, exact));
            // A merge can end between the two looks; then LVM2 looks once more.
            if before == ours && merging == self::merging()? {
                let rows =
                    before.iter().map(|line| Row::parse(line).with_context(|| format!("reading {line}")));
                let rows: Result<Vec<Row>> = rows.collect();
                let rows = rows?.into_iter().map(|row| (row.name.clone(), row)).collect();
                return Ok(Seen { rows, merging });
            }
            last = format!("LVM2 sees {}, Foldback sees {}", before.join(" "), ours.join(" "));
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        bail!("{last}")
    }

    fn ours(&self) -> Result<String> {
        let mut command = Command::new(&self.foldback);
        command.args(["lvm", "lvs", "-a", "--noheadings", "--units", "m", "--nosuffix", "--separator", "|"]);
        output(command.args(["-o", FIELDS, VG]), true)
    }
}

/// LVM2's `lvs` and `vgck` in one process, silent but for the lines of `lvs`.
fn lvm2(exact: Exact) -> Result<String> {
    let mut child = Command::new("lvm")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("starting lvm")?;
    let script =
        format!("lvs -a --noheadings --units m --nosuffix --separator | -o {FIELDS} {VG}\nvgck {VG}\n");
    let mut input = child.stdin.take().context("taking the input of lvm")?;
    input.write_all(script.as_bytes()).context("telling lvm what to do")?;
    drop(input);
    let mut output = child.wait_with_output().context("waiting for lvm")?;
    if exact == Exact::ButAttributes {
        let known = |line: &&str| !OF_LONGER_ONES.iter().any(|words| line.trim().starts_with(words));
        output.stderr = text(&output.stderr).lines().filter(known).collect::<String>().into_bytes();
    }
    said(&output, "lvs and vgck")
}

/// The names of LVs of the VG whose devices carry a merge.
fn merging() -> Result<BTreeSet<String>> {
    let status = output(Command::new("dmsetup").args(["status", "--target", "snapshot-merge"]), false)?;
    let devices = status.lines().filter_map(|line| line.split_once(':'));
    let names = devices.filter_map(|(device, _)| device.strip_prefix(VG)?.strip_prefix('-'));
    Ok(names.map(|name| name.replace("--", "-")).collect())
}

/// Devices that are suspended.
pub(super) fn suspended() -> Result<Vec<String>> {
    let fields = ["info", "-c", "--noheadings", "-o", "name,suspended"];
    let info = output(Command::new("dmsetup").args(fields), false)?;
    Ok(info.lines().filter(|line| line.contains("Suspended")).map(str::to_owned).collect())
}

/// Makes every write to the disk that slow.
pub(super) fn delay(disk: &str, milliseconds: u64) -> Result<()> {
    let sectors = output(Command::new("blockdev").args(["--getsz", disk]), true)?;
    let table = format!("0 {} delay {disk} 0 0 {disk} 0 {milliseconds}", sectors.trim());
    output(Command::new("dmsetup").args(["reload", "slow", "--table", &table]), true)?;
    output(Command::new("dmsetup").args(["resume", "slow"]), true).map(|_| ())
}

fn output(command: &mut Command, quiet: bool) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("starting {command:?}"))?;
    if quiet { said(&output, &format!("{command:?}")) } else { Ok(text(&output.stdout)) }
}

fn said(output: &std::process::Output, what: &str) -> Result<String> {
    let errors = text(&output.stderr);
    ensure!(output.status.success() && errors.trim().is_empty(), "{what}: {}: {errors}", output.status);
    let said = text(&output.stdout);
    ensure!(!said.to_lowercase().contains("warning"), "{what}: {said}");
    Ok(said)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn comparable(lines: &str, exact: Exact) -> Vec<String> {
    let cut = |line: &str| match (exact, line.split('|').collect::<Vec<_>>().as_slice()) {
        (Exact::ButFill, [rest @ .., _]) => rest.join("|"),
        (Exact::ButAttributes, [name, attr, size, origin, tags, ..]) => {
            let attr = if name.starts_with('[') { attr.get(..4).unwrap_or(attr) } else { attr };
            [name, attr, size, origin, tags].join("|")
        }
        _ => line.to_owned(),
    };
    let lines = lines.lines().map(str::trim).filter(|line| !line.is_empty());
    let mut lines: Vec<String> = lines.map(cut).collect();
    lines.sort();
    lines
}

#[cfg(test)]
mod tests {
    use super::{Exact, comparable};

    #[test]
    fn what_changes_by_itself_is_left_out_and_nothing_else() {
        let lines = "  o|Owi-a-s---|9.00||t|9.00|1.00\n  [s]|Swi-XXs-X-|2.00|o||8.00|\n";
        assert_eq!(comparable(lines, Exact::All).len(), 2);
        assert_eq!(comparable(lines, Exact::ButFill)[1], "o|Owi-a-s---|9.00||t|9.00");
        assert_eq!(comparable(lines, Exact::ButAttributes), ["[s]|Swi-|2.00|o|", "o|Owi-a-s---|9.00||t"]);
    }
}
