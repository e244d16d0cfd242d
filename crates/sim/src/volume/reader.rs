//! Reads a VG from disks as LVM2 does (lvm2.md 1.2 to 1.6), with nothing of `foldback-lvm2-format`: the judge of what
//! a power cut has left of a metadata commit.
//!
//! What must hold:
//! - Of all committed texts with a right checksum the one with the highest seqno holds.
//! - A label, an area's header or a committed text that is damaged is a failure: no power cut may leave one.

use foldback_testkit::{Image, Sector};

const SECTOR: usize = 512;
const AREA_MAGIC: &[u8] = b" LVM2 x[5A%r0N*>";

/// A committed text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Text {
    pub(crate) seqno: u64,
    pub(crate) bytes: Vec<u8>,
}

/// What the low byte of the register comes to, bit by bit.
const STEPS: [u32; 256] = {
    let mut steps = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut register = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            let carry = register & 1;
            register >>= 1;
            if carry == 1 {
                register ^= 0xedb8_8320;
            }
            bit += 1;
        }
        steps[byte] = register;
        byte += 1;
    }
    steps
};

/// CRC-32 as LVM2 has it.
pub(crate) fn crc(bytes: &[u8]) -> u32 {
    let step =
        |register: u32, byte: &u8| register >> 8 ^ STEPS[((register ^ u32::from(*byte)) & 0xff) as usize];
    bytes.iter().fold(0xf597_a6cf, step)
}

fn number32(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word)
}

fn number64(bytes: &[u8], at: usize) -> u64 {
    u64::from(number32(bytes, at)) | u64::from(number32(bytes, at + 4)) << 32
}

fn sector(disk: &[Sector], at: u64) -> Result<[u8; SECTOR], String> {
    disk.get(at as usize).map(Sector::to_bytes).ok_or_else(|| format!("sector {at} is past the disk's end"))
}

/// Where the metadata areas of a PV start.
fn areas(disk: &[Sector]) -> Result<Vec<u64>, String> {
    for at in 0..4 {
        let label = sector(disk, at)?;
        if &label[..8] != b"LABELONE" {
            continue;
        }
        if number64(&label, 8) != at || number32(&label, 16) != crc(&label[20..]) {
            return Err(format!("the label in sector {at} is damaged"));
        }
        let mut here = number32(&label, 20) as usize + 40;
        while number64(&label, here) != 0 {
            here += 16;
        }
        here += 16;
        let mut found = Vec::new();
        while number64(&label, here) != 0 {
            found.push(number64(&label, here));
            here += 16;
        }
        return Ok(found);
    }
    Ok(Vec::new())
}

/// The committed text of one area; `None` where there is none.
fn committed(disk: &[Sector], start: u64) -> Result<Option<Text>, String> {
    let header = sector(disk, start / 512)?;
    if number32(&header, 0) != crc(&header[4..]) || &header[4..20] != AREA_MAGIC {
        return Err(format!("the header of the metadata area at byte {start} is damaged"));
    }
    let size = number64(&header, 32);
    let (offset, len) = (number64(&header, 40), number64(&header, 48));
    if offset == 0 {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    for index in 0..len {
        let place = offset + index;
        let place = if place < size { place } else { place - size + 512 };
        let at = start + place;
        bytes.push(sector(disk, at / 512)?[(at % 512) as usize]);
    }
    if crc(&bytes) != number32(&header, 56) {
        return Err(format!("the committed text of the area at byte {start} is damaged"));
    }
    let text = String::from_utf8_lossy(&bytes);
    let seqno = text.split("seqno = ").nth(1).and_then(|rest| rest.split_whitespace().next());
    let seqno = seqno.and_then(|word| word.parse().ok());
    let seqno =
        seqno.ok_or_else(|| format!("the committed text of the area at byte {start} has no seqno"))?;
    Ok(Some(Text { seqno, bytes }))
}

/// The text that holds; `None` where no disk has any.
pub(crate) fn newest(image: &Image) -> Result<Option<Text>, String> {
    let mut best: Option<Text> = None;
    for (number, disk) in image.disks.iter().enumerate() {
        for start in areas(disk).map_err(|what| format!("disk {number}: {what}"))? {
            let text = committed(disk, start).map_err(|what| format!("disk {number}: {what}"))?;
            if let Some(text) = text.filter(|text| best.as_ref().is_none_or(|best| text.seqno > best.seqno)) {
                best = Some(text);
            }
        }
    }
    Ok(best)
}

#[cfg(test)]
mod tests {
    use super::crc;

    /// lvm2.md 1.2: the register starts at 0xf597a6cf and is not inverted in the end.
    #[test]
    fn the_checksum_is_zlibs_with_another_start() {
        assert_eq!(crc(b""), 0xf597_a6cf);
        // zlib's CRC-32 of "123456789" is 0xcbf43926; by the same steps, started otherwise:
        let mut register: u32 = !0;
        for byte in b"123456789" {
            register ^= u32::from(*byte);
            for _ in 0..8 {
                register = if register & 1 == 1 { register >> 1 ^ 0xedb8_8320 } else { register >> 1 };
            }
        }
        assert_eq!(!register, 0xcbf4_3926);
        assert_ne!(crc(b"123456789"), register);
    }
}
