//! What was negotiated, and what a request may ask for under it.
//!
//! What must hold:
//! - A range that is admitted lies in the export, is whole sectors, and its data is at most [`BLOCK_MAXIMUM`] bytes.
//! - A read-only export admits nothing that writes.
//! - A refusal names the protocol's error; the connection goes on.

use super::numbers::{BLOCK_MAXIMUM, Errno, cmd, cmd_flag};
use super::request::Request;
use foldback_units::{Bytes, SectorRange, Sectors};

/// An export that a client has entered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Session {
    /// The export's length.
    pub size: Sectors,
    /// Whether it refuses writes.
    pub read_only: bool,
    /// Whether replies are structured.
    pub structured: bool,
    /// Whether `base:allocation` was selected.
    pub contexts: bool,
}

/// What an admitted request wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Command {
    /// Fill this many sectors.
    Read(SectorRange),
    /// Write them.
    Write {
        /// Which.
        range: SectorRange,
        /// The answer means durable.
        fua: bool,
    },
    /// Write zeros.
    WriteZeroes {
        /// Which.
        range: SectorRange,
        /// The answer means durable.
        fua: bool,
    },
    /// The content may be forgotten.
    Trim(SectorRange),
    /// Make durable what was answered. The range is empty.
    Flush(SectorRange),
    /// What is known without reading.
    BlockStatus {
        /// Of which sectors.
        range: SectorRange,
        /// One extent is enough.
        one: bool,
    },
    /// It has no length: there is nothing to do, and the answer is success.
    Nothing,
    /// The client is leaving.
    Disconnect,
}

/// Why a request is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refused {
    /// For the client's program.
    pub error: Errno,
    /// For people, where replies are structured.
    pub why: &'static str,
}

const fn refused<T>(error: Errno, why: &'static str) -> Result<T, Refused> {
    Err(Refused { error, why })
}

impl Session {
    /// Checks a request.
    ///
    /// # Errors
    /// The error for its answer. Data that follows it has to be skipped.
    pub fn admit(&self, request: &Request) -> Result<Command, Refused> {
        self.check_flags(request)?;
        let fua = request.flags & cmd_flag::FUA != 0;
        let command = request.command;
        match command {
            cmd::DISC => return Ok(Command::Disconnect),
            // Offset and length are reserved; clients are known that set them.
            cmd::FLUSH => {
                return self.range(&Request { offset: 0, length: 0, ..*request }).map(Command::Flush);
            }
            cmd::BLOCK_STATUS if !self.contexts => {
                return refused(Errno::Invalid, "no metadata context was negotiated");
            }
            cmd::BLOCK_STATUS if request.length == 0 => {
                return refused(Errno::Invalid, "the status of nothing has no extent");
            }
            cmd::WRITE | cmd::WRITE_ZEROES | cmd::TRIM if self.read_only => {
                return refused(Errno::Permission, "the export is read-only");
            }
            cmd::READ | cmd::WRITE if request.length > BLOCK_MAXIMUM => {
                return refused(Errno::Invalid, "the request is longer than the maximum block size");
            }
            _ => {}
        }
        let range = self.range(request)?;
        Ok(match command {
            _ if range.is_empty() => Command::Nothing,
            cmd::READ => Command::Read(range),
            cmd::WRITE => Command::Write { range, fua },
            // Zeros may have to be copied out before, and written as any data is.
            cmd::WRITE_ZEROES if request.flags & cmd_flag::FAST_ZERO != 0 => {
                return refused(Errno::Unsupported, "zeros are not faster than a write");
            }
            // NO_HOLE asks for nothing more: a volume's extents are its own, whatever it holds.
            cmd::WRITE_ZEROES => Command::WriteZeroes { range, fua },
            // What is trimmed has no content that could be made durable: FUA asks for nothing.
            cmd::TRIM => Command::Trim(range),
            _ => Command::BlockStatus { range, one: request.flags & cmd_flag::REQ_ONE != 0 },
        })
    }

    /// Refuses commands and flags that are not known, and flags that are not documented for their command.
    fn check_flags(&self, request: &Request) -> Result<(), Refused> {
        let own = match request.command {
            // Only offered with structured replies.
            cmd::READ if self.structured => cmd_flag::DF,
            cmd::WRITE_ZEROES => cmd_flag::NO_HOLE | cmd_flag::FAST_ZERO,
            cmd::BLOCK_STATUS => cmd_flag::REQ_ONE,
            cmd::READ | cmd::WRITE | cmd::DISC | cmd::FLUSH | cmd::TRIM => 0,
            _ => return refused(Errno::Invalid, "the command is not known"),
        };
        if request.flags & !(own | cmd_flag::FUA) != 0 && request.command != cmd::DISC {
            return refused(Errno::Invalid, "a flag is not valid for this command");
        }
        Ok(())
    }

    fn range(&self, request: &Request) -> Result<SectorRange, Refused> {
        let (start, len) = (Bytes(request.offset).to_sectors(), Bytes(request.length.into()).to_sectors());
        let (Some(start), Some(len)) = (start, len) else {
            return refused(Errno::Invalid, "offset and length must be multiples of 512");
        };
        match SectorRange::new(start, len).filter(|range| range.end() <= self.size) {
            Some(range) => Ok(range),
            None if matches!(request.command, cmd::WRITE | cmd::WRITE_ZEROES) => {
                refused(Errno::Space, "it reaches behind the end of the export")
            }
            None => refused(Errno::Invalid, "it reaches behind the end of the export"),
        }
    }
}

#[cfg(test)]
mod tests;
