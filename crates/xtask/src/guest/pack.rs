//! Stores an exception store's metadata in a small file: its non-zero sectors, each behind its number.
//!
//! Holds: the header chunk and every area up to and including the one after the first that is not full are
//! taken as they lie on the device, so a stale tail is kept too; data chunks are left out.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::direct::Direct;

const SECTOR: u64 = 512;
const RECORD: usize = 16;
const MAGIC: u64 = 0x7041_6e53;

/// Writes the metadata of the store on `device` into `out`: repeated (u64 sector, 512 bytes), little-endian.
pub(super) fn pack(device: &mut Direct, out: &Path) -> Result<()> {
    let mut file = BufWriter::new(File::create(out).with_context(|| format!("making {}", out.display()))?);
    let header = device.read(0, SECTOR)?;
    ensure!(field(header, 0)? & 0xffff_ffff == MAGIC, "no exception store on this device");
    let chunk = (field(header, 8)? >> 32) * SECTOR;
    let per_area = chunk / 16;
    put(&mut file, device, 0, chunk)?;
    let mut area = 0;
    loop {
        let at = (1 + area * (per_area + 1)) * chunk;
        let full = put(&mut file, device, at, chunk)?;
        if !full {
            let next = (1 + (area + 1) * (per_area + 1)) * chunk;
            if next + chunk <= device.size()? {
                put(&mut file, device, next, chunk)?;
            }
            break;
        }
        area += 1;
    }
    file.flush().with_context(|| format!("writing {}", out.display()))
}

/// Stores one chunk; true when it holds no terminator.
fn put(file: &mut BufWriter<File>, device: &mut Direct, at: u64, chunk: u64) -> Result<bool> {
    let bytes = device.read(at, chunk)?;
    for (sector, content) in (at / SECTOR..).zip(bytes.chunks(usize::try_from(SECTOR)?)) {
        if content.iter().any(|byte| *byte != 0) {
            file.write_all(&sector.to_le_bytes())
                .and_then(|()| file.write_all(content))
                .context("packing")?;
        }
    }
    let mut full = true;
    for record in bytes.chunks(RECORD) {
        full &= field(record, 8)? != 0;
    }
    Ok(full)
}

fn field(bytes: &[u8], at: usize) -> Result<u64> {
    let word = bytes.get(at..at + 8).and_then(|word| word.try_into().ok()).context("reading a field")?;
    Ok(u64::from_le_bytes(word))
}
