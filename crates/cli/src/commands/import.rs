//! `import`: a file's content into a volume or snapshot.
//!
//! What must hold:
//! - Only what differs is written, so that snapshots copy out only what changes.
//! - A source larger than the volume is refused before anything is written, where its size can be known.
//! - Everything is durable when the command ends with 0.

use super::Context;
use crate::carrying::Carrier;
use crate::changing::one_vg;
use crate::error::CliError;
use crate::exit::Exit;
use crate::interrupt::Interrupt;
use crate::live::refuse_live;
use crate::names::Target;
use crate::progress::{Progress, bytes_in_words};
use crate::reading::refuse_merging;
use crate::reporting::no_lv;
use crate::session::Session;
use clap::Args;
use foldback_device::{Access, Memory};
use foldback_manager::store::FoundVg;
use foldback_units::{Bytes, LvName, SectorRange, Sectors};
use foldback_user_dm::{DmError, DmErrorKind, RequestKind, VolumeRequest};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;

/// How much is compared at once.
const PIECE: usize = 4 << 20;
/// The unit in which differences are looked for.
const BLOCK: usize = 4096;

/// Fill a volume or snapshot from a file
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  foldback import before.img vg/root\n  zstd -dc root.zst | foldback import - vg/root\n\n\
                  Only what differs is written. Where the file is smaller, the volume's rest stays as it is."
)]
pub(crate) struct Import {
    /// The file, or - for standard input
    #[arg(value_name = "FILE")]
    file: String,
    /// The volume or snapshot
    #[arg(value_name = "VG/LV")]
    volume: String,
}

impl Import {
    pub(crate) fn run(&self, context: &Context) -> Result<Exit, CliError> {
        let Target::Lv(vg, lv) = Target::parse(&self.volume)? else {
            return Err(CliError::usage(&context.command, format!("Name a volume as VG/{}.", self.volume)));
        };
        let interrupt = Interrupt::watch()?;
        let mut source = Source::open(&self.file)?;
        let access = if context.options.test { Access::Read } else { Access::Write };
        // The content is held before anything is read: whoever holds it may be ending a merge, or removing the volume.
        let mut session = Session::open_unlocked(&context.options, &[], access)?;
        refuse_live(&vg, &lv, &session.paths)?;
        let data = if context.options.test { Vec::new() } else { session.hold_all_data()? };
        session.share_metadata()?;
        let discovery = session.discover();
        let found = one_vg(&discovery, &vg)?;
        let size = writable(found, &lv)?;
        session.refuse_own_disk(&self.file)?;
        let name = format!("{vg}/{lv}");
        if let Some(length) = source.length.filter(|length| *length > size.get()) {
            return Err(too_large(&self.file, length, &name, size));
        }
        if context.options.test {
            return Ok(Exit::Success);
        }
        session.unlock_metadata();
        let mut carrier = Carrier::bring_up(session, data, found, &lv)?;
        let mut progress = Progress::new(context.console, &name, source.length);
        let copied = Copy { carrier: &mut carrier, source: &mut source, size, name: &name, file: &self.file }
            .all(&mut progress, &interrupt);
        progress.end();
        let invalid = carrier.invalid_snapshots();
        let down = carrier.take_down();
        for snapshot in invalid.iter().filter(|snapshot| **snapshot != lv) {
            context.console.warn(&format!(
                "Snapshot {vg}/{snapshot} is invalid: its store could not take what changed. Its content is lost."
            ));
        }
        if invalid.contains(&lv) {
            return Err(overflowed(&name, copied.err()));
        }
        let (taken, written) = copied?;
        down?;
        let (taken, written) = (bytes_in_words(taken), bytes_in_words(written));
        context
            .console
            .say(&format!("Imported {} to \"{name}\": {taken}, {written} of it differed.", source.name()));
        Ok(Exit::Success)
    }
}

/// A snapshot that could not take what was imported into it is lost; there is nothing to repeat.
fn overflowed(name: &str, cause: Option<CliError>) -> CliError {
    let cause = cause.map(|cause| format!("{}\n", cause.message)).unwrap_or_default();
    let lost = "is invalid: its store could not take what was imported. Its content is lost";
    CliError::failed(format!("{cause}Snapshot {name} {lost}."))
        .hint(format!("remove it with: lvremove {name}"))
}

fn too_large(file: &str, length: u64, name: &str, size: Bytes) -> CliError {
    let (length, size) = (bytes_in_words(length), bytes_in_words(size.get()));
    CliError::failed(format!("{file} has {length}, {name} only {size}; nothing was written."))
}

/// How large the LV is, if it may be written.
fn writable(found: &FoundVg, lv: &LvName) -> Result<Bytes, CliError> {
    let vg = &found.vg;
    if let Some(finding) = found.refuses_use() {
        return Err(CliError::failed(finding.refusal(vg.name.as_str())));
    }
    let itself = vg.lv(lv).filter(|lv| lv.snapshot().is_none()).ok_or_else(|| no_lv(&vg.name, lv))?;
    refuse_merging(found, lv)?;
    let links = vg.snapshots();
    if let Some(snapshot) = links.of_cow(lv) {
        // Its origin's merge would begin with the first activation.
        refuse_merging(found, &snapshot.segment.origin)?;
    }
    if !itself.is_writable() {
        return Err(CliError::failed(format!("Logical volume {}/{lv} is read-only.", vg.name)));
    }
    let extents = links.of_cow(lv).map_or(itself.extent_count(), |snapshot| snapshot.extent_count);
    let size: Sectors = vg.extent_size.of(extents);
    size.to_bytes().ok_or_else(|| CliError::failed("The volume is too large."))
}

/// Where the content comes from.
struct Source {
    reader: Box<dyn Read>,
    /// Where it can be known beforehand.
    length: Option<u64>,
    name: Option<String>,
}

impl Source {
    fn open(name: &str) -> Result<Self, CliError> {
        if name == "-" {
            return Ok(Self { reader: Box::new(io::stdin()), length: None, name: None });
        }
        let failed = |error: io::Error| CliError::failed(format!("opening {name}: {error}."));
        let mut file = File::open(name).map_err(failed)?;
        if file.metadata().map_err(failed)?.is_dir() {
            return Err(CliError::failed(format!("opening {name}: it is a directory.")));
        }
        // A pipe has no end that one could go to; it is read like standard input.
        let length = file.seek(SeekFrom::End(0)).and_then(|end| file.rewind().map(|()| end)).ok();
        Ok(Self { reader: Box::new(file), length, name: Some(name.to_owned()) })
    }

    fn name(&self) -> &str {
        self.name.as_deref().unwrap_or("standard input")
    }

    /// Fills as much of `into` as there is; less only at the end.
    fn fill(&mut self, into: &mut [u8]) -> Result<usize, CliError> {
        let mut filled: usize = 0;
        while let Some(rest) = into.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.reader.read(rest) {
                Ok(0) => break,
                Ok(count) => filled = filled.saturating_add(count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(CliError::failed(format!("reading {}: {error}.", self.name()))),
            }
        }
        Ok(filled)
    }
}

/// An import under way.
struct Copy<'c> {
    carrier: &'c mut Carrier,
    source: &'c mut Source,
    size: Bytes,
    name: &'c str,
    file: &'c str,
}

impl Copy<'_> {
    /// Bytes taken from the source, and bytes written.
    fn all(&mut self, progress: &mut Progress, interrupt: &Interrupt) -> Result<(u64, u64), CliError> {
        let mut buffer = vec![0; PIECE];
        let (mut at, mut written): (u64, u64) = (0, 0);
        loop {
            interrupt.check().map_err(|error| self.unfinished(error))?;
            let filled = self.source.fill(&mut buffer)?;
            let content = buffer.get(..filled).unwrap_or_default();
            if content.is_empty() {
                break;
            }
            let bytes = u64::try_from(filled).unwrap_or(u64::MAX);
            if at.saturating_add(bytes) > self.size.get() {
                return Err(CliError::failed(format!(
                    "{} goes on behind the end of {}, which has {}; what came before it was written.",
                    self.file,
                    self.name,
                    bytes_in_words(self.size.get())
                )));
            }
            written =
                written.saturating_add(self.piece(at, content).map_err(|error| self.unfinished(error))?);
            progress.add(bytes);
            at = at.saturating_add(bytes);
        }
        let device = &self.carrier.device;
        let flushed = self.carrier.mapper.flush(device).map_err(CliError::from);
        flushed.map_err(|error| self.unfinished(error))?;
        Ok((at, written))
    }

    fn unfinished(&self, error: CliError) -> CliError {
        if error.hint.is_some() {
            return error;
        }
        error.hint(format!("{} holds a part of the new content; repeat the import", self.name))
    }

    /// Writes what differs of one piece; how many bytes that were. All of its writes are under way at once, so that
    /// copies for snapshots share their commits.
    fn piece(&mut self, at: u64, content: &[u8]) -> Result<u64, CliError> {
        let no_memory = || CliError::failed("There is not enough memory.");
        let Carrier { mapper, device, .. } = &mut *self.carrier;
        // Whole blocks, so that a disk of 4 KiB sectors can write them; the volume may end before the block does.
        let room = usize::try_from(self.size.get().saturating_sub(at)).unwrap_or(usize::MAX);
        let mut now = vec![0; content.len().next_multiple_of(BLOCK).min(room)];
        mapper.read_at(device, Bytes(at), &mut now)?;
        let mut next = content.to_vec();
        // The last block, if the source has only a part of it, keeps its rest.
        next.extend(now.get(content.len()..).unwrap_or_default());
        let memory =
            Memory::new(next.len()).filter(|memory| memory.whole().copy_from(&next)).ok_or_else(no_memory)?;
        let mut written: u64 = 0;
        let mut tickets = Vec::new();
        for run in differing(&now, &next) {
            let start = u64::try_from(run.start).unwrap_or(u64::MAX);
            let len = u64::try_from(run.len()).unwrap_or(u64::MAX);
            let place = Bytes(at.saturating_add(start)).to_sectors_floor();
            let range = SectorRange::new(place, Bytes(len).to_sectors_floor()).ok_or_else(no_memory)?;
            let kind = RequestKind::Write { fua: false };
            let buffer = memory.slice(run.start, run.len());
            tickets.push(mapper.submit(&*device, VolumeRequest { kind, range, buffer }));
            written = written.saturating_add(len);
        }
        // Every ticket is waited for, also after one that failed: nothing may be under way when this returns.
        let mut outcome = Ok(());
        for ticket in tickets {
            let answer = mapper.wait_for_answer(ticket)?;
            let known = if answer.is_err() { mapper.take_disk_failure() } else { None };
            let answer = answer.map_err(|error| DmError {
                verb: "writing",
                device: self.name.to_owned(),
                kind: known.map_or(DmErrorKind::Request(error), DmErrorKind::Disk),
            });
            outcome = outcome.and(answer.map_err(CliError::from));
        }
        outcome.map(|()| written)
    }
}

/// Where two equally long pieces differ, in blocks, neighbours joined.
fn differing(now: &[u8], next: &[u8]) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    let mut start: usize = 0;
    for (a, b) in now.chunks(BLOCK).zip(next.chunks(BLOCK)) {
        let end = start.saturating_add(b.len());
        if a != b {
            match runs.last_mut() {
                Some(last) if last.end == start => last.end = end,
                _ => runs.push(start..end),
            }
        }
        start = end;
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::differing;

    #[test]
    fn neighbouring_differences_are_one_write() {
        let now = vec![0; 4096 * 4 + 512];
        let mut next = now.clone();
        assert!(differing(&now, &next).is_empty());
        next[4096] = 1;
        next[3 * 4096 - 1] = 1;
        next[4 * 4096 + 511] = 1;
        assert_eq!(differing(&now, &next), vec![4096..3 * 4096, 4 * 4096..4 * 4096 + 512]);
    }
}
