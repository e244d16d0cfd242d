//! `export`: a volume or snapshot as a file.
//!
//! What must hold:
//! - The file appears under its name when it is complete and durable, or not at all; a file that was there is replaced
//!   only with `-f`.
//! - Zeros become holes. Nothing is written to the volume group.
//! - When it fails, what was written so far is removed, and nothing else.

use super::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::interrupt::Interrupt;
use crate::live::refuse_live;
use crate::names::Target;
use crate::progress::{Progress, bytes_in_words};
use crate::reading::Volume;
use crate::reporting::tell_findings;
use crate::session::Session;
use clap::Args;
use foldback_device::Access;
use foldback_manager::store::DiskSet;
use foldback_units::{Bytes, SectorRange, Sectors};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RenameFlags};
use std::fs::File;
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// How much is read at once.
const PIECE: Sectors = Sectors(8192);
/// The unit in which zeros become holes.
const BLOCK: usize = 4096;

/// Copy a volume or snapshot into a file
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  foldback export vg/snap before.img\n  foldback export vg/root - | zstd > root.zst\n\n\
                  An existing file is replaced only with -f. The volume must not be in use."
)]
pub(crate) struct Export {
    /// The volume or snapshot
    #[arg(value_name = "VG/LV")]
    volume: String,
    /// The file, or - for standard output
    #[arg(value_name = "FILE")]
    file: String,
}

impl Export {
    pub(crate) fn run(&self, context: &Context) -> Result<Exit, CliError> {
        let Target::Lv(vg, lv) = Target::parse(&self.volume)? else {
            return Err(CliError::usage(&context.command, format!("Name a volume as VG/{}.", self.volume)));
        };
        let interrupt = Interrupt::watch()?;
        let mut session = Session::open(&context.options, Access::Read)?;
        refuse_live(&vg, &lv, &session.paths)?;
        let _data = session.share_all_data()?;
        let discovery = session.discover();
        tell_findings(context, &discovery);
        let volume = Volume::open(&mut session, &discovery, &vg, &lv)?;
        let name = format!("{vg}/{lv}");
        if context.options.test {
            return Ok(Exit::Success);
        }
        session.refuse_own_disk(&self.file)?;
        let mut sink = Sink::open(&self.file, context.options.force > 0)?;
        let mut progress = Progress::new(context.console, &name, Some(volume.len().get()));
        let mut set = DiskSet::new(&mut *session.disks, &session.paths);
        let written = copy(&volume, &mut set, &mut sink, &mut progress, &interrupt);
        progress.end();
        let written = written.and_then(|written| sink.complete(volume.len()).map(|()| written))?;
        if !sink.is_standard_output() {
            let (size, written) = (bytes_in_words(volume.len().get()), bytes_in_words(written));
            let file = &self.file;
            context.console.say(&format!("Exported \"{name}\" to {file}: {size}, {written} of it data."));
        }
        Ok(Exit::Success)
    }
}

/// Copies everything; how many bytes were no hole.
fn copy(
    volume: &Volume,
    set: &mut DiskSet<'_>,
    sink: &mut Sink,
    progress: &mut Progress,
    interrupt: &Interrupt,
) -> Result<u64, CliError> {
    let end = volume.len().to_sectors_floor();
    let mut at = Sectors::ZERO;
    let mut written: u64 = 0;
    while at < end {
        interrupt.check()?;
        let len = Sectors(PIECE.get().min(end.saturating_sub(at).get()));
        let range = SectorRange::new(at, len).ok_or_else(|| CliError::failed("The volume is too large."))?;
        let place = at.to_bytes().unwrap_or(Bytes::ZERO).get();
        let bytes = len.to_bytes().unwrap_or(Bytes::ZERO);
        match volume.read(set, range)? {
            Some(content) => written = written.saturating_add(sink.put(place, &content)?),
            None => sink.skip(place, bytes)?,
        }
        progress.add(bytes.get());
        at = at.saturating_add(len);
    }
    Ok(written)
}

/// Where the content goes.
enum Sink {
    /// A new file under a name of its own until it is complete.
    New { file: File, partial: PathBuf, path: PathBuf, replace: bool, complete: bool },
    /// A block device: holes must be written.
    Device { file: File, path: PathBuf },
    /// Standard output.
    Stream,
}

/// Standard output, which may be a file or a pipe that somebody else keeps.
fn failed_stream(error: &io::Error) -> CliError {
    let failed = CliError::failed(format!("writing standard output: {error}."));
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => failed
            .hint("there is not enough room where standard output goes; what is there now is incomplete, the volume is untouched"),
        _ => failed,
    }
}

fn failed(path: &Path, error: &io::Error) -> CliError {
    let failed = CliError::failed(format!("writing {}: {error}.", path.display()));
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => failed
            .hint("there is not enough room; what was written so far was removed, the volume is untouched"),
        _ => failed,
    }
}

impl Sink {
    fn open(name: &str, replace: bool) -> Result<Self, CliError> {
        if name == "-" {
            return Ok(Self::Stream);
        }
        let path = PathBuf::from(name);
        let kind = rustix::fs::stat(&path).ok().map(|stat| FileType::from_raw_mode(stat.st_mode));
        match kind {
            Some(_) if !replace => {
                return Err(CliError::failed(format!("{name} exists.")).hint("-f replaces it"));
            }
            Some(FileType::BlockDevice) => {
                // EXCL: not one that is mounted, or that a volume lies on.
                let flags = OFlags::WRONLY | OFlags::EXCL | OFlags::CLOEXEC;
                let opened = rustix::fs::open(&path, flags, Mode::empty());
                let file = File::from(opened.map_err(|error| failed(&path, &error.into()))?);
                return Ok(Self::Device { file, path });
            }
            Some(FileType::RegularFile) | None => {}
            Some(_) => {
                return Err(CliError::failed(format!("{name} is neither a file nor a block device.")));
            }
        }
        let mut partial = path.clone().into_os_string();
        partial.push(format!(".partial-{}", std::process::id()));
        let partial = PathBuf::from(partial);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let opened = rustix::fs::open(&partial, flags, Mode::from_raw_mode(0o600));
        let file = File::from(opened.map_err(|error| failed(&path, &error.into()))?);
        Ok(Self::New { file, partial, path, replace, complete: false })
    }

    fn is_standard_output(&self) -> bool {
        matches!(self, Self::Stream)
    }

    /// Takes content for the place `at`; how many bytes were no hole.
    fn put(&mut self, at: u64, content: &[u8]) -> Result<u64, CliError> {
        let runs = data_runs(content);
        match self {
            Self::New { file, path, .. } => {
                for run in &runs {
                    let place = at.saturating_add(u64::try_from(run.start).unwrap_or(u64::MAX));
                    let bytes = content.get(run.clone()).unwrap_or_default();
                    file.write_all_at(bytes, place).map_err(|error| failed(path, &error))?;
                }
            }
            Self::Device { file, path } => {
                file.write_all_at(content, at).map_err(|error| failed(path, &error))?;
            }
            Self::Stream => stream(content)?,
        }
        Ok(runs.iter().map(|run| u64::try_from(run.len()).unwrap_or(0)).fold(0, u64::saturating_add))
    }

    /// Passes a hole by. A device keeps what it holds unless told otherwise; a stream cannot leave anything out.
    fn skip(&mut self, at: u64, len: Bytes) -> Result<(), CliError> {
        if let Self::New { .. } = self {
            return Ok(());
        }
        self.put(at, &vec![0; len.to_usize().unwrap_or(0)]).map(drop)
    }

    /// Everything was put: makes it durable and gives the file its name.
    fn complete(&mut self, len: Bytes) -> Result<(), CliError> {
        match self {
            Self::Stream => io::stdout().lock().flush().map_err(|error| failed_stream(&error)),
            Self::Device { file, path } => file.sync_all().map_err(|error| failed(path, &error)),
            Self::New { file, partial, path, replace, complete } => {
                let set = file.set_len(len.get()).and_then(|()| file.sync_all());
                set.map_err(|error| failed(path, &error))?;
                let flags = if *replace { RenameFlags::empty() } else { RenameFlags::NOREPLACE };
                let renamed = rustix::fs::renameat_with(CWD, &*partial, CWD, &*path, flags);
                renamed.map_err(|error| failed(path, &error.into()))?;
                *complete = true;
                let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
                let folder =
                    File::open(parent.unwrap_or(Path::new("."))).and_then(|folder| folder.sync_all());
                folder.map_err(|error| failed(path, &error))
            }
        }
    }
}

/// Where blocks are that are not zero, neighbours joined.
fn data_runs(content: &[u8]) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    let mut start: usize = 0;
    for block in content.chunks(BLOCK) {
        let end = start.saturating_add(block.len());
        if block.iter().any(|&byte| byte != 0) {
            match runs.last_mut() {
                Some(last) if last.end == start => last.end = end,
                _ => runs.push(start..end),
            }
        }
        start = end;
    }
    runs
}

fn stream(content: &[u8]) -> Result<(), CliError> {
    let written = io::stdout().lock().write_all(content);
    written.map_err(|error| failed_stream(&error))
}

impl Drop for Sink {
    fn drop(&mut self) {
        if let Self::New { partial, complete: false, .. } = self {
            // Nobody is left to be told that even removing it failed.
            rustix::fs::unlinkat(CWD, &*partial, AtFlags::empty()).ok();
        }
    }
}
