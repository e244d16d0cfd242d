//! What a request may ask for, by the sentences of doc/proto.md.
//!
//! What must hold: each refusal has the error that the protocol names for it.

use super::{Command, Session};
use crate::wire::{BLOCK_MAXIMUM, Cookie, Errno, Request};
use foldback_units::{SectorRange, Sectors};

/// 64 MiB.
const SESSION: Session =
    Session { size: Sectors(131_072), read_only: false, structured: true, contexts: true };
const END: u64 = 64 << 20;
const ALL: [u16; 9] = [0, 1, 2, 3, 4, 5, 6, 7, 8];

fn request(command: u16, flags: u16, offset: u64, length: u32) -> Request {
    Request { flags, command, cookie: Cookie(1), offset, length }
}

fn admits(command: u16, flags: u16, offset: u64, length: u32) -> Result<Command, Errno> {
    SESSION.admit(&request(command, flags, offset, length)).map_err(|refused| refused.error)
}

fn range(start: u64, len: u64) -> SectorRange {
    SectorRange::new(Sectors(start), Sectors(len)).unwrap()
}

#[test]
fn each_command_is_told_apart() {
    let here = range(8, 1);
    let expected = [
        Ok(Command::Read(here)),
        Ok(Command::Write { range: here, fua: false }),
        Ok(Command::Disconnect),
        Ok(Command::Flush(range(0, 0))),
        Ok(Command::Trim(here)),
        Err(Errno::Invalid),
        Ok(Command::WriteZeroes { range: here, fua: false }),
        Ok(Command::BlockStatus { range: here, one: false }),
        Err(Errno::Invalid),
    ];
    assert_eq!(ALL.map(|command| admits(command, 0, 4096, 512)), expected);
}

/// `NBD_CMD_FLAG_FUA`: "the server MUST accept all commands with this bit set (even by ignoring the bit)".
#[test]
fn fua_is_accepted_everywhere_and_kept_where_data_is_written() {
    for command in ALL {
        assert_eq!(admits(command, 1, 0, 512).is_ok(), admits(command, 0, 0, 512).is_ok());
    }
    assert_eq!(admits(1, 1, 0, 512), Ok(Command::Write { range: range(0, 1), fua: true }));
    assert_eq!(admits(6, 1, 0, 512), Ok(Command::WriteZeroes { range: range(0, 1), fua: true }));
}

/// "It also SHOULD return `NBD_EINVAL` if it receives a request with a flag not explicitly documented as applicable to the
/// given request."
#[test]
fn a_flag_of_another_command_is_invalid() {
    let documented = [(0, 1 << 2), (6, 1 << 1), (6, 1 << 4), (7, 1 << 3)];
    for command in [0, 1, 3, 4, 6, 7] {
        for bit in 1..16 {
            let invalid = admits(command, 1 << bit, 0, 512) == Err(Errno::Invalid);
            assert_eq!(invalid, !documented.contains(&(command, 1 << bit)), "{command} with bit {bit}");
        }
    }
}

/// `NBD_CMD_FLAG_DF`: "MUST NOT be set unless the transmission flags include `NBD_FLAG_SEND_DF`".
#[test]
fn df_needs_structured_replies() {
    let simple = Session { structured: false, contexts: false, ..SESSION };
    assert_eq!(simple.admit(&request(0, 1 << 2, 0, 512)).unwrap_err().error, Errno::Invalid);
}

/// "if the server cannot perform the write zeroes any faster than it would for an equivalent `NBD_CMD_WRITE`, then the server
/// MUST fail quickly with an error of `NBD_ENOTSUP`".
#[test]
fn fast_zeroes_are_never_promised() {
    assert_eq!(admits(6, 1 << 4, 0, 512), Err(Errno::Unsupported));
    assert_eq!(admits(6, 1 << 4, END, 512), Err(Errno::Space));
}

/// "The server SHOULD return `NBD_ENOSPC` if it receives a write request including one or more sectors beyond the size of the
/// device"; for the others `EINVAL`.
#[test]
fn beyond_the_end() {
    let ends = [(END, 512), (END - 512, 1024), (u64::MAX - 511, 512), (u64::MAX - 511, 4096)];
    for (offset, length) in ends {
        for (command, error) in [
            (0, Errno::Invalid),
            (1, Errno::Space),
            (4, Errno::Invalid),
            (6, Errno::Space),
            (7, Errno::Invalid),
        ] {
            assert_eq!(admits(command, 0, offset, length), Err(error), "{command} at {offset}+{length}");
        }
    }
    assert!(admits(0, 0, END - 512, 512).is_ok());
}

/// "it SHOULD return `NBD_EPERM` if it receives a write or trim request on a read-only export".
#[test]
fn a_read_only_export_refuses_what_writes() {
    let session = Session { read_only: true, ..SESSION };
    for command in [1, 4, 6] {
        assert_eq!(session.admit(&request(command, 0, 0, 512)).unwrap_err().error, Errno::Permission);
    }
    for command in [0, 3, 7] {
        assert!(session.admit(&request(command, 0, 0, 512)).is_ok());
    }
}

/// What is not aligned to the minimum block size that `NBD_INFO_BLOCK_SIZE` told.
#[test]
fn unaligned_requests_are_invalid() {
    for command in [0, 1, 4, 6, 7] {
        assert_eq!(admits(command, 0, 1, 512), Err(Errno::Invalid));
        assert_eq!(admits(command, 0, 512, 511), Err(Errno::Invalid));
    }
}

/// Data is bounded by the maximum block size; a kernel trims and zeroes more than that at once.
#[test]
fn data_is_bounded_and_lengths_without_data_are_not() {
    for command in [0, 1] {
        assert!(admits(command, 0, 0, BLOCK_MAXIMUM).is_ok());
        assert_eq!(admits(command, 0, 0, BLOCK_MAXIMUM + 512), Err(Errno::Invalid));
    }
    for command in [4, 6, 7] {
        assert!(admits(command, 0, 0, BLOCK_MAXIMUM + 512).is_ok());
    }
}

/// "Servers SHOULD reply with `NBD_EINVAL` to clients sending `NBD_CMD_BLOCK_STATUS` without selecting at least one metadata
/// context."
#[test]
fn block_status_needs_a_context() {
    let session = Session { contexts: false, ..SESSION };
    assert_eq!(session.admit(&request(7, 0, 0, 512)).unwrap_err().error, Errno::Invalid);
    assert_eq!(admits(7, 1 << 3, 0, 512), Ok(Command::BlockStatus { range: range(0, 1), one: true }));
}

/// A length of 0: "the behavior of a server on such a request is unspecified although the server SHOULD NOT disconnect".
#[test]
fn nothing_is_done_at_once() {
    for command in [0, 1, 4, 6] {
        assert_eq!(admits(command, 0, 0, 0), Ok(Command::Nothing));
    }
    assert_eq!(admits(7, 0, 0, 0), Err(Errno::Invalid));
}
