//! The log of dm-log-writes: what was written to a disk, in the order in which it became durable.
//!
//! Holds (the kernel's admin-guide/device-mapper/log-writes.rst and drivers/md/dm-log-writes.c): sector 0 is the super block;
//! each entry takes one sector of the size that it names, followed by its data; a mark's text is in the entry's own sector.
//! A write that was not flushed stands in the log only before the flush that made it durable; a durable write (FUA) as
//! soon as it was done. Every number is bounded before it is used.

use std::ops::Range;

use anyhow::{Context, Result, ensure};

const MAGIC: u64 = 0x006a_7366_7773_6872;
const VERSION: u64 = 1;
const FLUSH: u64 = 1;
const FUA: u64 = 1 << 1;
const DISCARD: u64 = 1 << 2;
const MARK: u64 = 1 << 3;
/// Bytes of an entry's head.
const HEAD: usize = 32;

/// What an entry is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// Bytes at a place of the disk; the range is where they are in the log. A flush alone has none.
    Write {
        /// Byte of the disk.
        at: usize,
        /// Where the bytes are.
        data: Range<usize>,
    },
    /// A range of the disk whose content nobody wants any more, in bytes.
    Discard(Range<usize>),
    /// A word of whoever ran the workload.
    Mark(String),
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// What it is about.
    pub(super) kind: Kind,
    /// All before it was durable when it was written.
    pub(super) flush: bool,
    /// It was durable itself when it was done.
    pub(super) fua: bool,
}

impl Entry {
    /// Whether everything up to here is durable.
    pub(super) fn is_border(&self) -> bool {
        self.flush || self.fua
    }
}

/// Reads a whole log.
pub(super) fn parse(log: &[u8]) -> Result<Vec<Entry>> {
    ensure!(word(log, 0)? == MAGIC, "the log has no super block of dm-log-writes");
    ensure!(word(log, 8)? == VERSION, "the log is of version {}", word(log, 8)?);
    let count = usize::try_from(word(log, 16)?)?;
    let sector = log.get(24..28).and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes);
    let sector = usize::try_from(sector.context("the super block is cut off")?)?;
    ensure!(matches!(sector, 512 | 1024 | 2048 | 4096), "the log has sectors of {sector} bytes");
    ensure!(count <= log.len() / sector, "{count} entries do not fit the log");
    let mut entries = Vec::with_capacity(count);
    let mut at = sector;
    for number in 0..count {
        let (entry, next) = entry(log, at, sector).with_context(|| format!("entry {number} at byte {at}"))?;
        entries.push(entry);
        at = next;
    }
    Ok(entries)
}

/// The entry at a byte of the log, and where the next one is.
fn entry(log: &[u8], at: usize, sector: usize) -> Result<(Entry, usize)> {
    let field = |index: usize| word(log, at.saturating_add(index * 8));
    let bytes = |sectors: u64| {
        usize::try_from(sectors)?.checked_mul(sector).context("the number of sectors is out of bounds")
    };
    let (place, len, flags) = (bytes(field(0)?)?, bytes(field(1)?)?, field(2)?);
    let behind = at.saturating_add(sector);
    let (kind, next) = if flags & MARK != 0 {
        let text = at + HEAD..at.saturating_add(HEAD).saturating_add(usize::try_from(field(3)?)?);
        ensure!(text.end <= behind, "a mark is longer than its sector");
        let text = log.get(text).context("a mark is cut off")?;
        (Kind::Mark(String::from_utf8_lossy(text).trim_end_matches('\0').to_owned()), behind)
    } else if flags & DISCARD != 0 {
        (Kind::Discard(place..place.saturating_add(len)), behind)
    } else {
        let data = behind..behind.saturating_add(len);
        ensure!(data.end <= log.len(), "{len} bytes of data are cut off");
        (Kind::Write { at: place, data: data.clone() }, data.end)
    };
    Ok((Entry { kind, flush: flags & FLUSH != 0, fua: flags & FUA != 0 }, next))
}

fn word(log: &[u8], at: usize) -> Result<u64> {
    let bytes = log.get(at..at.saturating_add(8)).and_then(|bytes| bytes.try_into().ok());
    Ok(u64::from_le_bytes(bytes.with_context(|| format!("the log is cut off at byte {at}"))?))
}

#[cfg(test)]
pub(super) mod tests {
    use super::{DISCARD, Entry, FLUSH, FUA, Kind, MAGIC, MARK, parse};

    /// A log of entries: sector, flags, data or a mark's text.
    pub(in super::super) fn written(entries: &[(u64, u64, &[u8])]) -> Vec<u8> {
        let mut log = Vec::new();
        for word in [MAGIC, 1, u64::try_from(entries.len()).unwrap(), 512] {
            log.extend(word.to_le_bytes());
        }
        log.resize(512, 0);
        for (sector, flags, data) in entries {
            let inline = flags & MARK != 0;
            let sectors = if inline { 0 } else { data.len().div_ceil(512) };
            let data_len = if inline { data.len() } else { 0 };
            let head = [*sector, u64::try_from(sectors).unwrap(), *flags, u64::try_from(data_len).unwrap()];
            let start = log.len();
            for word in head {
                log.extend(word.to_le_bytes());
            }
            if inline {
                log.extend(*data);
            }
            log.resize(start + 512, 0);
            if !inline && flags & DISCARD == 0 {
                log.extend(*data);
                log.resize(start + 512 * (1 + sectors), 0);
            }
        }
        log
    }

    #[test]
    fn writes_flushes_discards_and_marks_are_told_apart() {
        let log = written(&[
            (8, 0, &[7; 1024]),
            (0, FLUSH, &[]),
            (0, MARK, b"made"),
            (3, FLUSH | FUA, &[9; 512]),
            (16, DISCARD, &[0; 512]),
        ]);
        let write = |at, data, flush, fua| Entry { kind: Kind::Write { at, data }, flush, fua };
        let expected = vec![
            write(4096, 1024..2048, false, false),
            write(0, 2560..2560, true, false),
            Entry { kind: Kind::Mark("made".to_owned()), flush: false, fua: false },
            write(1536, 3584..4096, true, true),
            Entry { kind: Kind::Discard(8192..8704), flush: false, fua: false },
        ];
        assert_eq!(parse(&log).unwrap(), expected);
    }

    #[test]
    fn a_log_that_is_cut_off_at_any_length_is_refused() {
        let log = written(&[(8, 0, &[7; 1024]), (0, MARK, b"made"), (0, FLUSH, &[])]);
        // The last entry's sector may end behind its head.
        for len in 0..log.len() - 512 + super::HEAD {
            assert!(parse(&log[..len]).is_err(), "{len}");
        }
    }

    #[test]
    fn numbers_out_of_bounds_are_refused() {
        let spoilt = |at: usize, value: u64| {
            let mut log = written(&[(8, 0, &[7; 1024]), (0, MARK, b"made")]);
            log[at..at + 8].copy_from_slice(&value.to_le_bytes());
            parse(&log)
        };
        assert!(spoilt(512 + 16, 0).is_ok());
        for (at, value) in
            [(0, 1), (8, 2), (16, 1 << 40), (24, 0), (24, 513), (520, 1 << 60), (2048 + 24, 481)]
        {
            assert!(spoilt(at, value).is_err(), "{value} at {at}");
        }
    }
}
