//! What a disk holds that is no PV: so that `pvcreate` asks before it is overwritten, as LVM2 does.
//!
//! What must hold:
//! - Reading only. Finding nothing is no proof that nothing is there: these are the common ones.
//! - A partition table is told apart, since LVM2 refuses such a disk whatever the answer.

use crate::store::disk_set::{DiskFault, DiskSet};
use foldback_device::DiskId;
use foldback_units::Bytes;

/// Something that was recognised.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Signature {
    /// `ext4`, `xfs` and so on, as LVM2 calls it.
    pub name: &'static str,
    /// Where its mark lies, in bytes.
    pub at: u64,
    /// It divides the disk into others.
    pub is_partition_table: bool,
}

struct Mark {
    name: &'static str,
    at: u64,
    bytes: &'static [u8],
}

const fn mark(name: &'static str, at: u64, bytes: &'static [u8]) -> Mark {
    Mark { name, at, bytes }
}

const MARKS: &[Mark] = &[
    mark("gpt", 512, b"EFI PART"),
    mark("crypto_LUKS", 0, b"LUKS\xba\xbe"),
    mark("xfs", 0, b"XFSB"),
    mark("ext4", 1080, b"\x53\xef"),
    mark("swap", 4086, b"SWAPSPACE2"),
    mark("swap", 4086, b"SWAP-SPACE"),
    mark("linux_raid_member", 4096, b"\xfc\x4e\x2b\xa9"),
    mark("btrfs", 65_600, b"_BHRfS_M"),
    mark("vfat", 54, b"FAT1"),
    mark("vfat", 82, b"FAT32"),
    mark("ntfs", 3, b"NTFS    "),
    mark("squashfs", 0, b"hsqs"),
    mark("DM_snapshot_cow", 0, b"SnAp"),
];
/// Enough for all marks.
const LOOKED_AT: usize = 68 << 10;
/// Where the four entries of a DOS partition table start, and how long one is.
const DOS_ENTRIES: usize = 446;
const DOS_ENTRY: usize = 16;
const DOS_MARK: (usize, &[u8]) = (510, b"\x55\xaa");

/// What is recognised on a disk; partition tables first.
pub fn signatures(set: &mut DiskSet<'_>, disk: DiskId) -> Result<Vec<Signature>, DiskFault> {
    let len = LOOKED_AT.min(set.size(disk)?.to_usize().unwrap_or(usize::MAX));
    let bytes = set.read("looking for signatures", disk, Bytes::ZERO, len)?;
    let mut found: Vec<Signature> = MARKS
        .iter()
        .filter(|mark| {
            let from = usize::try_from(mark.at).unwrap_or(usize::MAX);
            bytes.get(from..).is_some_and(|bytes| bytes.starts_with(mark.bytes))
        })
        .map(|mark| Signature { name: mark.name, at: mark.at, is_partition_table: mark.name == "gpt" })
        .collect();
    if found.is_empty() && is_dos_table(&bytes) {
        found.push(Signature { name: "dos", at: 510, is_partition_table: true });
    }
    Ok(found)
}

/// A boot sector of which an entry says where a partition is. File systems have the same mark, and no such entries.
fn is_dos_table(bytes: &[u8]) -> bool {
    let (at, mark) = DOS_MARK;
    let Some(entries) = bytes.get(DOS_ENTRIES..at) else { return false };
    let (entries, _) = entries.as_chunks::<DOS_ENTRY>();
    let used = |[status, _, _, _, kind, _, _, _, s0, s1, s2, s3, ..]: &[u8; DOS_ENTRY]| {
        matches!(status, 0 | 0x80) && *kind != 0 && [s0, s1, s2, s3].iter().any(|byte| **byte != 0)
    };
    bytes.get(at..).is_some_and(|bytes| bytes.starts_with(mark)) && entries.iter().any(used)
}

#[cfg(test)]
mod tests {
    use super::signatures;
    use crate::testing::Bench;
    use foldback_device::DiskId;

    fn found(at: u64, bytes: &[u8]) -> Vec<&'static str> {
        let mut bench = Bench::blank(&[1]);
        let mut set = bench.set();
        set.write("test", DiskId(0), foldback_units::Bytes(at), bytes, true).unwrap();
        let found = signatures(&mut set, DiskId(0)).unwrap();
        found.iter().map(|signature| signature.name).collect()
    }

    #[test]
    fn what_lies_on_a_disk_is_recognised() {
        assert_eq!(found(0, &[0; 512]), Vec::<&str>::new());
        assert_eq!(found(1080, b"\x53\xef"), ["ext4"]);
        assert_eq!(found(512, b"EFI PART"), ["gpt"]);
        assert_eq!(found(65_600, b"_BHRfS_M"), ["btrfs"]);
        // The mark of a boot sector alone is no partition table.
        assert_eq!(found(510, b"\x55\xaa"), Vec::<&str>::new());
        let mut sector = [0; 512];
        sector[450] = 0x83;
        sector[454..458].copy_from_slice(&2048_u32.to_le_bytes());
        sector[510..].copy_from_slice(b"\x55\xaa");
        assert_eq!(found(0, &sector), ["dos"]);
    }
}
