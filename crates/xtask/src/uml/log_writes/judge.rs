//! Whether a disk after a power cut is what it may be: the state before the command in flight or the one after it.
//!
//! Holds: never less than what was acknowledged; every snapshot reads bit for bit; a merge that was under way is ended by
//! `lvconvert --merge`, and the origin is then the snapshot. Only what a step writes may be part old, part new, by sector.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::life::{ORIGIN, Rows, Step};
use crate::program::Foldback;

const VG: &str = "vgl";
/// What is written at once of an image; zeros are holes.
const PIECE: usize = 64 << 10;
const SECTOR: usize = 512;

/// Reads disks with Foldback.
#[derive(Debug)]
pub(super) struct Judge<'j> {
    program: &'j Foldback,
    steps: &'j [Step],
    image: PathBuf,
    volume: PathBuf,
    /// Every content that was acknowledged, by its SHA-256.
    known: BTreeMap<String, Vec<u8>>,
}

impl<'j> Judge<'j> {
    /// Knows nothing yet, and works in that directory.
    pub(super) fn new(program: &'j Foldback, steps: &'j [Step], dir: &Path) -> Self {
        let (image, volume) = (dir.join("prefix.img"), dir.join("volume"));
        Self { program, steps, image, volume, known: BTreeMap::new() }
    }

    /// The disk right when a step was acknowledged: Foldback reads it as LVM2 and the kernel did. Contents are remembered.
    pub(super) fn learn(&mut self, step: &Step, disk: &[u8]) -> Result<()> {
        write_sparse(&self.image, disk)?;
        let rows = self.rows()?;
        ensure!(
            rows == step.rows,
            "after {}: {}, and LVM2 said {}",
            step.name,
            rows.line(),
            step.rows.line()
        );
        for (lv, digest) in &step.contents {
            if self.known.contains_key(digest) || rows.merging().is_some() {
                continue;
            }
            let bytes = self.content(lv)?;
            let found = sha256(&self.volume)?;
            ensure!(found == *digest, "after {}: {lv} is {found}, and the kernel read {digest}", step.name);
            self.known.insert(digest.clone(), bytes);
        }
        Ok(())
    }

    /// A disk after a power cut while the step behind `before` was under way. How the VG reads.
    pub(super) fn judge(&self, before: usize, disk: &[u8]) -> Result<Rows> {
        let old = self.steps.get(before).context("no such step")?;
        let new = self.steps.get(before + 1).unwrap_or(old);
        write_sparse(&self.image, disk)?;
        let rows = self.rows()?;
        let now = if rows == old.rows {
            old
        } else if rows == new.rows {
            new
        } else {
            bail!("the VG reads as {}: neither {} nor {}", rows.line(), old.rows.line(), new.rows.line());
        };
        if let Some(snapshot) = rows.merging() {
            self.merge(now, snapshot)?;
            return Ok(rows);
        }
        for lv in rows.names() {
            let bytes = self.content(lv)?;
            if old.rows == new.rows {
                self.is_between(lv, &bytes, old, new)?;
            } else {
                self.is(lv, &bytes, now.contents.get(lv))?;
            }
        }
        Ok(rows)
    }

    fn merge(&self, now: &Step, snapshot: &str) -> Result<()> {
        self.program
            .run(&[&self.image], &["lvconvert", "--merge", "-i", "0", &format!("{VG}/{snapshot}")])?;
        let rows = self.rows()?;
        let left = now.rows.names().filter(|name| *name != snapshot);
        ensure!(rows.names().eq(left), "the merge has left {}", rows.line());
        for lv in rows.names() {
            let content = now.contents.get(if lv == ORIGIN { snapshot } else { lv });
            self.is(lv, &self.content(lv)?, content).with_context(|| format!("{snapshot} is merged"))?;
        }
        Ok(())
    }

    fn is(&self, lv: &str, bytes: &[u8], digest: Option<&String>) -> Result<()> {
        let expected = self.expected(lv, digest)?;
        let wrong = expected.chunks(SECTOR).zip(bytes.chunks(SECTOR)).position(|(old, new)| old != new);
        ensure!(expected.len() == bytes.len() && wrong.is_none(), "{lv} is wrong from sector {wrong:?} on");
        Ok(())
    }

    fn is_between(&self, lv: &str, bytes: &[u8], old: &Step, new: &Step) -> Result<()> {
        let old = self.expected(lv, old.contents.get(lv))?;
        let new = self.expected(lv, new.contents.get(lv))?;
        ensure!(old.len() == bytes.len() && new.len() == bytes.len(), "{lv} has another size");
        let known = old.chunks(SECTOR).zip(new.chunks(SECTOR));
        let wrong = bytes.chunks(SECTOR).zip(known).position(|(is, (old, new))| is != old && is != new);
        ensure!(wrong.is_none(), "{lv} is neither old nor new at sector {wrong:?}");
        Ok(())
    }

    fn expected(&self, lv: &str, digest: Option<&String>) -> Result<&Vec<u8>> {
        let digest = digest.with_context(|| format!("nobody knows what {lv} was"))?;
        self.known.get(digest).with_context(|| format!("nobody has seen {digest} of {lv}"))
    }

    fn rows(&self) -> Result<Rows> {
        let columns = "lv_name,lv_size,origin,lv_merging,vg_seqno";
        let words = [
            "lvs",
            "-a",
            "--noheadings",
            "--nosuffix",
            "--units",
            "s",
            "--separator",
            ",",
            "-o",
            columns,
            VG,
        ];
        Ok(Rows::of(&self.program.run(&[&self.image], &words)?))
    }

    fn content(&self, lv: &str) -> Result<Vec<u8>> {
        let file = self.volume.display().to_string();
        if self.volume.exists() {
            std::fs::remove_file(&self.volume).context("removing an exported volume")?;
        }
        self.program.run(&[&self.image], &["export", &format!("{VG}/{lv}"), &file])?;
        std::fs::read(&self.volume).context("reading an exported volume")
    }
}

/// Writes an image in which zeros are holes.
pub(super) fn write_sparse(path: &Path, disk: &[u8]) -> Result<()> {
    let file = File::create(path).with_context(|| format!("making {}", path.display()))?;
    file.set_len(u64::try_from(disk.len())?).context("sizing an image")?;
    for (at, piece) in (0_u64..).zip(disk.chunks(PIECE)) {
        if piece.iter().any(|byte| *byte != 0) {
            file.write_all_at(piece, at * u64::try_from(PIECE)?).context("writing an image")?;
        }
    }
    Ok(())
}

fn sha256(path: &Path) -> Result<String> {
    let output = Command::new("sha256sum").arg(path).output().context("running sha256sum")?;
    ensure!(output.status.success(), "sha256sum of {}: {}", path.display(), output.status);
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.split_whitespace().next().context("sha256sum said nothing")?.to_owned())
}
