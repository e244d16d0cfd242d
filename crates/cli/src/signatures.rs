//! What else may lie on a disk that is to become a PV, or where a new LV is to be.
//!
//! What must hold:
//! - A file system, a swap area, an encrypted disk or a partition table is never overwritten without a yes.
//! - With a yes its signature is zeroed, so that nothing takes the disk for what it was.

use crate::console::Console;
use crate::error::CliError;
use foldback_device::DiskId;
use foldback_manager::store::DiskSet;
use foldback_units::Bytes;

/// A signature: the type's name, where it lies, its bytes.
struct Signature {
    name: &'static str,
    at: u64,
    magic: &'static [u8],
}

/// Names and offsets are those that LVM2 tells, which come from libblkid.
const SIGNATURES: &[Signature] = &[
    Signature { name: "ext4", at: 1080, magic: &[0x53, 0xef] },
    Signature { name: "xfs", at: 0, magic: b"XFSB" },
    Signature { name: "btrfs", at: 65_600, magic: b"_BHRfS_M" },
    Signature { name: "swap", at: 4086, magic: b"SWAPSPACE2" },
    Signature { name: "crypto_LUKS", at: 0, magic: b"LUKS\xba\xbe" },
    Signature { name: "gpt", at: 512, magic: b"EFI PART" },
    Signature { name: "dos", at: 510, magic: &[0x55, 0xaa] },
];

/// How much of a disk is looked at.
const LOOKED_AT: u64 = 68 << 10;
const SECTOR: u64 = 512;
const HAS_JOURNAL: u32 = 0x4;
/// File types in directories, a journal to be replayed, groups of block groups.
const EXT3_INCOMPATIBLE: u32 = 0x2 | 0x4 | 0x10;
/// Few superblocks, large files, trees of directories.
const EXT3_READ_ONLY: u32 = 0x1 | 0x2 | 0x4;

/// Where signatures are looked for.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// How it is called.
    pub(crate) path: String,
    pub(crate) disk: DiskId,
    /// Where on the disk it begins.
    pub(crate) at: Bytes,
    /// How long it is.
    pub(crate) len: Bytes,
}

impl Place {
    /// A whole disk.
    pub(crate) fn disk(set: &mut DiskSet<'_>, disk: DiskId) -> Result<Self, CliError> {
        Ok(Self { path: set.path(disk).to_owned(), disk, at: Bytes::ZERO, len: set.size(disk)? })
    }
}

/// Asks about every signature there, and zeroes those for which the answer is yes; with `test` it only asks.
pub(crate) fn wipe(
    console: Console,
    set: &mut DiskSet<'_>,
    place: &Place,
    yes: bool,
    test: bool,
) -> Result<(), CliError> {
    let path = &place.path;
    let size = place.len.get();
    let len = Bytes(size.min(LOOKED_AT)).to_sectors_floor().to_bytes().and_then(Bytes::to_usize).unwrap_or(0);
    if len == 0 {
        return Ok(());
    }
    let start = set.read("looking for file systems on", place.disk, place.at, len)?;
    for signature in SIGNATURES.iter().filter(|signature| is_on(&start, signature)) {
        let Signature { name, at, .. } = signature;
        let name = if *name == "ext4" { ext(&start) } else { name };
        let question = format!("WARNING: {name} signature detected on {path} at offset {at}. Wipe it?");
        if !yes && !console.ask(&question) {
            let left = "1 existing signature left on the device.";
            return Err(CliError::failed(format!("Aborted wiping of {name}.\n{left}")));
        }
        console.say(&format!("Wiping {name} signature on {path}."));
        if !test {
            zero(set, place, &start, signature)?;
        }
    }
    Ok(())
}

/// Which of the ext file systems, by the features in its superblock, as libblkid tells them apart.
fn ext(start: &[u8]) -> &'static str {
    let word = |at: usize| {
        let bytes = start.get(at..at.saturating_add(4)).and_then(|bytes| bytes.try_into().ok());
        bytes.map_or(0, u32::from_le_bytes)
    };
    let (compatible, incompatible, read_only) = (word(1116), word(1120), word(1124));
    if incompatible & !EXT3_INCOMPATIBLE != 0 || read_only & !EXT3_READ_ONLY != 0 {
        return "ext4";
    }
    if compatible & HAS_JOURNAL == 0 { "ext2" } else { "ext3" }
}

fn range(signature: &Signature) -> Option<std::ops::Range<usize>> {
    let start = usize::try_from(signature.at).ok()?;
    Some(start..start.checked_add(signature.magic.len())?)
}

fn is_on(start: &[u8], signature: &Signature) -> bool {
    range(signature).and_then(|range| start.get(range)) == Some(signature.magic)
}

/// Writes the sectors of a signature again, without it.
fn zero(set: &mut DiskSet<'_>, place: &Place, start: &[u8], signature: &Signature) -> Result<(), CliError> {
    let mut without = start.to_vec();
    if let Some(bytes) = range(signature).and_then(|range| without.get_mut(range)) {
        bytes.fill(0);
    }
    let first = signature.at.div_euclid(SECTOR).saturating_mul(SECTOR);
    let end = signature.at.saturating_add(u64::try_from(signature.magic.len()).unwrap_or(0));
    let end = end.next_multiple_of(SECTOR);
    let sectors = usize::try_from(first).ok().zip(usize::try_from(end).ok());
    let sectors = sectors.and_then(|(first, end)| without.get(first..end)).unwrap_or_default();
    let at = Bytes(place.at.get().saturating_add(first));
    Ok(set.write("wiping a signature", place.disk, at, sectors, true)?)
}
