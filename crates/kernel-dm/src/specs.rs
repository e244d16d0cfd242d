//! What lies behind a message's head: target specs, and lists of devices and of targets (pure).
//!
//! ```text
//! spec     0 sector_start u64   8 length u64   16 status i32   20 next u32   24 target_type[16]   40 parameters NUL
//! device   0 dev u64   8 next u32   12 name NUL          version   0 next u32   4 version[3]   16 name NUL
//! ```
//!
//! What must hold:
//! - `next` counts from the spec itself when a table is loaded, from the first one in an answer, and from the entry itself
//!   in lists (dm-snapshot.md section 6).
//! - An answer is walked only forwards, and never beyond its bytes.

use crate::message::{MessageError, text_of, to_usize};
use zerocopy::native_endian::{I32, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The most targets in a table that is read.
const MAX_TARGETS: u32 = 1 << 20;
/// Specs begin at multiples of this.
const ALIGN: usize = 8;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
struct RawSpec {
    sector_start: U64,
    length: U64,
    status: I32,
    next: U32,
    target_type: [u8; 16],
}
const SPEC: usize = 40;
const _: () = assert!(size_of::<RawSpec>() == SPEC);
const _: () = assert!(std::mem::offset_of!(RawSpec, next) == 20);

#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawName {
    dev: U64,
    next: U32,
}
const _: () = assert!(size_of::<RawName>() == 12);

#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawVersion {
    next: U32,
    version: [U32; 3],
}
const _: () = assert!(size_of::<RawVersion>() == 16);

/// One line, its target as text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Spec {
    /// The first sector.
    pub(crate) start: u64,
    /// How many.
    pub(crate) len: u64,
    /// The target's name.
    pub(crate) kind: String,
    /// Its parameters, or its status.
    pub(crate) params: String,
}

/// The specs of a table to load, and how many.
///
/// # Errors
/// A name or parameters that cannot be handed over.
pub(crate) fn encode(specs: &[Spec]) -> Result<(u32, Vec<u8>), MessageError> {
    let mut bytes = Vec::new();
    for spec in specs {
        let kind = spec.kind.as_bytes();
        let wrong = || MessageError::Target(spec.kind.clone());
        let many = || MessageError::Params(spec.kind.clone());
        let mut target_type = [0; 16];
        if kind.is_empty() || kind.len() >= target_type.len() || kind.contains(&0) {
            return Err(wrong());
        }
        target_type.get_mut(..kind.len()).ok_or_else(wrong)?.copy_from_slice(kind);
        if spec.params.as_bytes().contains(&0) {
            return Err(many());
        }
        let len = SPEC.saturating_add(spec.params.len()).saturating_add(1).next_multiple_of(ALIGN);
        let raw = RawSpec {
            sector_start: U64::new(spec.start),
            length: U64::new(spec.len),
            status: I32::new(0),
            next: U32::new(u32::try_from(len).map_err(|_| many())?),
            target_type,
        };
        let end = bytes.len().saturating_add(len);
        bytes.extend_from_slice(raw.as_bytes());
        bytes.extend_from_slice(spec.params.as_bytes());
        bytes.resize(end, 0);
    }
    let count = u32::try_from(specs.len()).map_err(|_| MessageError::Params(String::new()))?;
    Ok((count, bytes))
}

/// The specs of an answer.
///
/// # Errors
/// They do not lie in it as the kernel says.
pub(crate) fn decode(count: u32, data: &[u8]) -> Result<Vec<Spec>, MessageError> {
    const WRONG: MessageError = MessageError::Answer("a target in it lies outside of it");
    if count > MAX_TARGETS {
        return Err(MessageError::Answer("it has too many targets"));
    }
    let mut specs = Vec::new();
    let mut at = 0;
    for _ in 0..count {
        let rest = data.get(at..).ok_or(WRONG)?;
        let (raw, text) = RawSpec::read_from_prefix(rest).map_err(|_| WRONG)?;
        let next = to_usize(raw.next.get());
        let room = next.checked_sub(at).and_then(|len| len.checked_sub(SPEC)).ok_or(WRONG)?;
        specs.push(Spec {
            start: raw.sector_start.get(),
            len: raw.length.get(),
            kind: text_of(&raw.target_type)?,
            // The last one's `next` may reach beyond what was copied.
            params: text_of(text.get(..room).unwrap_or(text))?,
        });
        at = next;
    }
    Ok(specs)
}

/// The names of an answer to LIST, with the devices' numbers.
///
/// # Errors
/// As [`decode`].
pub(crate) fn names(data: &[u8]) -> Result<Vec<(u64, String)>, MessageError> {
    const WRONG: MessageError = MessageError::Answer("a name in it lies outside of it");
    let mut names = Vec::new();
    let mut rest = data;
    while !rest.is_empty() {
        let (raw, text) = RawName::read_from_prefix(rest).map_err(|_| WRONG)?;
        // An empty list is one entry without a number.
        if raw.dev.get() == 0 {
            break;
        }
        names.push((raw.dev.get(), text_of(text)?));
        rest = match to_usize(raw.next.get()) {
            0 => break,
            next => rest.get(next..).ok_or(WRONG)?,
        };
    }
    Ok(names)
}

/// The targets of an answer to LIST_VERSIONS.
///
/// # Errors
/// As [`decode`].
pub(crate) fn targets(data: &[u8]) -> Result<Vec<String>, MessageError> {
    const WRONG: MessageError = MessageError::Answer("a target's version in it lies outside of it");
    let mut targets = Vec::new();
    let mut rest = data;
    while !rest.is_empty() {
        let (raw, text) = RawVersion::read_from_prefix(rest).map_err(|_| WRONG)?;
        targets.push(text_of(text)?);
        rest = match to_usize(raw.next.get()) {
            0 => break,
            next => rest.get(next..).ok_or(WRONG)?,
        };
    }
    Ok(targets)
}

#[cfg(test)]
mod tests {
    use super::{SPEC, Spec, decode, encode, names, targets};
    use crate::message::MessageError;
    use proptest::prelude::*;

    fn spec(start: u64, len: u64, kind: &str, params: &str) -> Spec {
        Spec { start, len, kind: kind.to_owned(), params: params.to_owned() }
    }

    /// As an answer has them: the same specs, but `next` counts from the first.
    fn as_answer(specs: &[Spec]) -> Vec<u8> {
        let (_, mut bytes) = encode(specs).unwrap();
        let mut at = 0;
        for spec in specs {
            let next = at + (SPEC + spec.params.len() + 1).next_multiple_of(8);
            bytes[at + 20..at + 24].copy_from_slice(&u32::try_from(next).unwrap().to_ne_bytes());
            at = next;
        }
        bytes
    }

    #[test]
    fn specs_lie_as_the_kernel_reads_them() {
        let (count, bytes) = encode(&[spec(0, 8, "linear", "254:0 2048"), spec(8, 16, "error", "")]).unwrap();
        assert_eq!(count, 2);
        assert_eq!(bytes.len(), 56 + 48);
        assert_eq!(bytes[8..16], 8_u64.to_ne_bytes());
        assert_eq!(bytes[20..24], 56_u32.to_ne_bytes());
        assert_eq!(&bytes[24..31], b"linear\0");
        assert_eq!(&bytes[40..51], b"254:0 2048\0");
        // Counted from this spec, not from the first.
        assert_eq!(bytes[56 + 20..56 + 24], 48_u32.to_ne_bytes());
    }

    #[test]
    fn a_target_that_cannot_be_told_is_refused() {
        for kind in ["", "sixteen-letters-", "a\0b"] {
            assert_eq!(encode(&[spec(0, 1, kind, "")]).unwrap_err(), MessageError::Target(kind.to_owned()));
        }
        assert!(encode(&[spec(0, 1, "linear", "a\0b")]).is_err());
    }

    fn device(dev: u64, next: u32, name: &str) -> Vec<u8> {
        let mut bytes = [&dev.to_ne_bytes()[..], &next.to_ne_bytes(), name.as_bytes(), b"\0"].concat();
        // Behind the name newer kernels put the event's number, flags and the UUID.
        bytes.resize(to_len(next).max(bytes.len()), 0xaa);
        bytes
    }

    fn to_len(next: u32) -> usize {
        usize::try_from(next).unwrap()
    }

    #[test]
    fn devices_are_listed_and_an_empty_list_is_one_entry_of_zeros() {
        let list = [device(0xfd00, 32, "vg-root"), device(0xfd01, 0, "a")].concat();
        assert_eq!(names(&list).unwrap(), [(0xfd00, "vg-root".to_owned()), (0xfd01, "a".to_owned())]);
        assert!(names(&[0; 16]).unwrap().is_empty());
        assert!(names(&device(1, 4000, "a")[..20]).is_err(), "the next entry lies outside");
    }

    #[test]
    fn targets_are_listed() {
        let version = |next: u32, name: &str| {
            let mut bytes = [&next.to_ne_bytes()[..], &[0; 12], name.as_bytes(), b"\0"].concat();
            bytes.resize(to_len(next).max(bytes.len()), 0);
            bytes
        };
        let list = [version(40, "snapshot-merge"), version(0, "linear")].concat();
        assert_eq!(targets(&list).unwrap(), ["snapshot-merge", "linear"]);
    }

    fn any_spec() -> impl Strategy<Value = Spec> {
        (any::<u64>(), any::<u64>(), "[a-z-]{1,15}", "[ -~]{0,60}")
            .prop_map(|(start, len, kind, params)| spec(start, len, &kind, &params))
    }

    proptest! {
        #[test]
        fn specs_come_back_as_they_were(specs in prop::collection::vec(any_spec(), 0..20)) {
            let count = u32::try_from(specs.len()).unwrap();
            prop_assert_eq!(decode(count, &as_answer(&specs)).unwrap(), specs);
        }

        /// Cut, or with one byte changed: refused or read, never a panic and never more than there is.
        #[test]
        fn a_damaged_answer_is_bounded(
            specs in prop::collection::vec(any_spec(), 1..6),
            count in 0..9_u32,
            cut in any::<prop::sample::Index>(),
            at in any::<prop::sample::Index>(),
            byte in any::<u8>(),
        ) {
            let mut bytes = as_answer(&specs);
            let at = at.index(bytes.len());
            bytes[at] = byte;
            bytes.truncate(cut.index(bytes.len() + 1));
            if let Ok(read) = decode(count, &bytes) {
                prop_assert!(read.iter().map(|spec| spec.params.len()).sum::<usize>() <= bytes.len());
            }
            drop((names(&bytes), targets(&bytes)));
        }
    }
}
