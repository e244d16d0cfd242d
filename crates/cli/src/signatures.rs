//! What else may lie on a disk that is to become a PV.
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

/// Asks about every signature on the disk, and zeroes those for which the answer is yes; with `test` it only asks.
pub(crate) fn wipe(
    console: Console,
    set: &mut DiskSet<'_>,
    disk: DiskId,
    yes: bool,
    test: bool,
) -> Result<(), CliError> {
    let path = set.path(disk).to_owned();
    let size = set.size(disk)?.get();
    let len = Bytes(size.min(LOOKED_AT)).to_sectors_floor().to_bytes().and_then(Bytes::to_usize).unwrap_or(0);
    if len == 0 {
        return Ok(());
    }
    let start = set.read("looking for file systems on", disk, Bytes::ZERO, len)?;
    for signature in SIGNATURES.iter().filter(|signature| is_on(&start, signature)) {
        let Signature { name, at, .. } = signature;
        let question = format!("WARNING: {name} signature detected on {path} at offset {at}. Wipe it?");
        if !yes && !console.ask(&question) {
            let left = "1 existing signature left on the device.";
            return Err(CliError::failed(format!("Aborted wiping of {name}.\n{left}")));
        }
        console.say(&format!("Wiping {name} signature on {path}."));
        if !test {
            zero(set, disk, &start, signature)?;
        }
    }
    Ok(())
}

fn range(signature: &Signature) -> Option<std::ops::Range<usize>> {
    let start = usize::try_from(signature.at).ok()?;
    Some(start..start.checked_add(signature.magic.len())?)
}

fn is_on(start: &[u8], signature: &Signature) -> bool {
    range(signature).and_then(|range| start.get(range)) == Some(signature.magic)
}

/// Writes the sectors of a signature again, without it.
fn zero(set: &mut DiskSet<'_>, disk: DiskId, start: &[u8], signature: &Signature) -> Result<(), CliError> {
    let mut without = start.to_vec();
    if let Some(bytes) = range(signature).and_then(|range| without.get_mut(range)) {
        bytes.fill(0);
    }
    let first = signature.at.div_euclid(SECTOR).saturating_mul(SECTOR);
    let end = signature.at.saturating_add(u64::try_from(signature.magic.len()).unwrap_or(0));
    let end = end.next_multiple_of(SECTOR);
    let sectors = usize::try_from(first).ok().zip(usize::try_from(end).ok());
    let sectors = sectors.and_then(|(first, end)| without.get(first..end)).unwrap_or_default();
    Ok(set.write("wiping a signature", disk, Bytes(first), sectors, true)?)
}
