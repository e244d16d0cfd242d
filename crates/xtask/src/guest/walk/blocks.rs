//! Content of LVs, block by block: each sector is a function of its place and of the write that it belongs to.
//!
//! Holds: writes and reads are direct and writes are synced, so that what is compared is what the devices hold.

use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::guest::direct::{Direct, Random};
use crate::walk::BLOCK;

const SECTOR: usize = 512;
/// Blocks that are read and written at once.
const PIECE: usize = 256;

/// Writes blocks `from..until` as the write `stamp`, and syncs.
pub(super) fn write(device: &Path, from: usize, until: usize, stamp: u64) -> Result<()> {
    let mut device = Direct::open(device)?;
    let mut at = from;
    while at < until {
        let end = until.min(at + PIECE);
        let bytes: Vec<u8> = (at..end).flat_map(|block| content(block, stamp)).collect();
        device.write(u64::try_from(at * BLOCK)?, &bytes)?;
        at = end;
    }
    device.flush()
}

/// Compares everything with the writes that the blocks should show; 0: anything. Says which are wrong.
pub(super) fn compare(device: &Path, wanted: &[u64]) -> Result<Vec<String>> {
    let mut open = Direct::open(device)?;
    let (size, expected) = (open.size()?, u64::try_from(wanted.len() * BLOCK)?);
    ensure!(size == expected, "{} has {size} bytes instead of {expected}", device.display());
    let mut wrong = Vec::new();
    for (piece, stamps) in wanted.chunks(PIECE).enumerate() {
        let at = u64::try_from(piece * PIECE * BLOCK)?;
        let bytes = open.read(at, u64::try_from(stamps.len() * BLOCK)?)?;
        for ((block, stamp), found) in (piece * PIECE..).zip(stamps).zip(bytes.chunks(BLOCK)) {
            if *stamp != 0 && found != content(block, *stamp) {
                let first: Vec<String> = found.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
                wrong.push(format!(
                    "block {block} is not of the write {stamp}, it begins with {}",
                    first.concat()
                ));
            }
        }
    }
    Ok(wrong)
}

/// Whether the device's first block can be read.
pub(super) fn answers(device: &Path) -> Result<bool> {
    Ok(Direct::open(device)?.read(0, u64::try_from(BLOCK)?).is_ok())
}

fn content(block: usize, stamp: u64) -> Vec<u8> {
    let place = u64::try_from(block).unwrap_or(u64::MAX);
    let first = Random::new(stamp.rotate_left(32) ^ place).next();
    let sectors = (0..BLOCK / SECTOR).zip(first..);
    sectors.flat_map(|(_, word)| word.to_le_bytes().repeat(SECTOR / 8)).collect()
}

/// Holds a device open, as a user of it would.
pub(super) fn hold(device: &Path) -> Result<std::fs::File> {
    std::fs::File::open(device).with_context(|| format!("opening {}", device.display()))
}

#[cfg(test)]
mod tests {
    use super::{compare, write};
    use crate::walk::BLOCK;

    #[test]
    fn one_changed_byte_is_noticed_and_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(u64::try_from(BLOCK * 300).unwrap()).unwrap();
        write(file.path(), 0, 300, 1).unwrap();
        write(file.path(), 280, 290, 2).unwrap();
        let mut wanted = vec![1; 300];
        assert_eq!(compare(file.path(), &wanted).unwrap().len(), 10);
        wanted[280..290].fill(2);
        assert!(compare(file.path(), &wanted).unwrap().is_empty());
        let mut bytes = std::fs::read(file.path()).unwrap();
        bytes[BLOCK * 7 + 4095] ^= 1;
        std::fs::write(file.path(), bytes).unwrap();
        assert!(compare(file.path(), &wanted).unwrap()[0].starts_with("block 7 is not of the write 1"));
        assert!(compare(file.path(), &wanted[1..]).is_err());
    }
}
