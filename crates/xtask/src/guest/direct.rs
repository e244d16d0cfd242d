//! A block device without the page cache: O_DIRECT, one aligned buffer, positional.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use anyhow::{Context, Result, bail};

/// Memory alignment of direct I/O: a page satisfies every device.
const ALIGN: usize = 4096;
const BUFFER: usize = 2 << 20;

/// An open device and its buffer.
#[derive(Debug)]
pub(super) struct Direct {
    file: File,
    name: String,
    memory: Vec<u8>,
}

impl Direct {
    /// Opens for reading and writing.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_DIRECT)
            .open(path)
            .with_context(|| format!("opening {name}"))?;
        Ok(Self { file, name, memory: vec![0; BUFFER + ALIGN] })
    }

    /// Size in bytes. A block device tells it by where its end is.
    pub(super) fn size(&self) -> Result<u64> {
        use std::io::{Seek as _, SeekFrom};
        (&self.file).seek(SeekFrom::End(0)).with_context(|| format!("asking {} for its size", self.name))
    }

    /// Writes `len` bytes made from the seed.
    pub(super) fn write_seeded(&mut self, at: u64, len: u64, seed: u64) -> Result<()> {
        let (file, name, buffer) = self.parts(len)?;
        let mut random = Random::new(seed);
        for word in buffer.chunks_mut(8) {
            let bytes = random.next().to_le_bytes();
            word.copy_from_slice(bytes.get(..word.len()).unwrap_or_default());
        }
        file.write_all_at(buffer, at).with_context(|| format!("writing {len} bytes at {at} of {name}"))
    }

    /// Reads `len` bytes; fewer is an error.
    pub(super) fn read(&mut self, at: u64, len: u64) -> Result<&[u8]> {
        let (file, name, buffer) = self.parts(len)?;
        file.read_exact_at(buffer, at).with_context(|| format!("reading {len} bytes at {at} of {name}"))?;
        Ok(buffer)
    }

    /// Makes what was written durable.
    pub(super) fn flush(&self) -> Result<()> {
        self.file.sync_all().with_context(|| format!("flushing {}", self.name))
    }

    fn parts(&mut self, len: u64) -> Result<(&File, &str, &mut [u8])> {
        let skip = self.memory.as_ptr().align_offset(ALIGN);
        let end = usize::try_from(len).ok().filter(|len| *len <= BUFFER).map(|len| skip + len);
        match end.and_then(|end| self.memory.get_mut(skip..end)) {
            Some(buffer) => Ok((&self.file, &self.name, buffer)),
            None => bail!("{len} bytes for {} do not fit the buffer of {BUFFER}", self.name),
        }
    }
}

/// SplitMix64: small, and every seed gives another sequence.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
