//! The protocol's numbers, under its names.
//!
//! What must hold:
//! - They are what `doc/proto.md` says; nothing here is our choice but the block sizes.

/// `NBDMAGIC`, the first eight bytes of a server.
pub(crate) const GREETING: u64 = 0x4e42_444d_4147_4943;
/// `IHAVEOPT`, before the flags of a server and before each option.
pub(crate) const OPTION: u64 = 0x4948_4156_454f_5054;
/// Before each reply to an option.
pub(crate) const OPTION_REPLY: u64 = 0x0003_e889_0455_65a9;
/// Before each request.
pub(crate) const REQUEST: u32 = 0x2560_9513;
/// Before a simple reply.
pub(crate) const SIMPLE_REPLY: u32 = 0x6744_6698;
/// Before a chunk of a structured reply.
pub(crate) const STRUCTURED_REPLY: u32 = 0x668e_33ef;

/// Handshake flags; a client's have the same bits as a server's.
pub(crate) const FIXED_NEWSTYLE: u16 = 1;
pub(crate) const NO_ZEROES: u16 = 1 << 1;
/// The zeros behind the reply to `NBD_OPT_EXPORT_NAME`, unless both sides set `NO_ZEROES`.
pub(crate) const ZEROES: usize = 124;

/// `NBD_OPT_*`.
pub(crate) mod opt {
    pub(crate) const EXPORT_NAME: u32 = 1;
    pub(crate) const ABORT: u32 = 2;
    pub(crate) const LIST: u32 = 3;
    pub(crate) const INFO: u32 = 6;
    pub(crate) const GO: u32 = 7;
    pub(crate) const STRUCTURED_REPLY: u32 = 8;
    pub(crate) const LIST_META_CONTEXT: u32 = 9;
    pub(crate) const SET_META_CONTEXT: u32 = 10;
}

/// `NBD_REP_*`; errors have the top bit.
pub(crate) mod rep {
    pub(crate) const ACK: u32 = 1;
    pub(crate) const SERVER: u32 = 2;
    pub(crate) const INFO: u32 = 3;
    pub(crate) const META_CONTEXT: u32 = 4;
    pub(crate) const ERR_UNSUP: u32 = (1 << 31) + 1;
    pub(crate) const ERR_POLICY: u32 = (1 << 31) + 2;
    pub(crate) const ERR_INVALID: u32 = (1 << 31) + 3;
    pub(crate) const ERR_UNKNOWN: u32 = (1 << 31) + 6;
    pub(crate) const ERR_SHUTDOWN: u32 = (1 << 31) + 7;
    pub(crate) const ERR_TOO_BIG: u32 = (1 << 31) + 9;
}

/// `NBD_INFO_*`.
pub(crate) mod info {
    pub(crate) const EXPORT: u16 = 0;
    pub(crate) const NAME: u16 = 1;
    pub(crate) const DESCRIPTION: u16 = 2;
    pub(crate) const BLOCK_SIZE: u16 = 3;
}

/// Transmission flags, `NBD_FLAG_*`.
pub(crate) mod flag {
    pub(crate) const HAS_FLAGS: u16 = 1;
    pub(crate) const READ_ONLY: u16 = 1 << 1;
    pub(crate) const SEND_FLUSH: u16 = 1 << 2;
    pub(crate) const SEND_FUA: u16 = 1 << 3;
    pub(crate) const SEND_TRIM: u16 = 1 << 5;
    pub(crate) const SEND_WRITE_ZEROES: u16 = 1 << 6;
    pub(crate) const SEND_DF: u16 = 1 << 7;
    pub(crate) const CAN_MULTI_CONN: u16 = 1 << 8;
    pub(crate) const SEND_FAST_ZERO: u16 = 1 << 11;
}

/// `NBD_CMD_*`.
pub(crate) mod cmd {
    pub(crate) const READ: u16 = 0;
    pub(crate) const WRITE: u16 = 1;
    pub(crate) const DISC: u16 = 2;
    pub(crate) const FLUSH: u16 = 3;
    pub(crate) const TRIM: u16 = 4;
    pub(crate) const WRITE_ZEROES: u16 = 6;
    pub(crate) const BLOCK_STATUS: u16 = 7;
}

/// `NBD_CMD_FLAG_*`.
pub(crate) mod cmd_flag {
    pub(crate) const FUA: u16 = 1;
    pub(crate) const NO_HOLE: u16 = 1 << 1;
    pub(crate) const DF: u16 = 1 << 2;
    pub(crate) const REQ_ONE: u16 = 1 << 3;
    pub(crate) const FAST_ZERO: u16 = 1 << 4;
}

/// `NBD_REPLY_TYPE_*`, and the one flag of a chunk.
pub(crate) mod chunk {
    pub(crate) const DONE: u16 = 1;
    pub(crate) const NONE: u16 = 0;
    pub(crate) const OFFSET_DATA: u16 = 1;
    pub(crate) const BLOCK_STATUS: u16 = 5;
    pub(crate) const ERROR: u16 = (1 << 15) + 1;
    pub(crate) const ERROR_OFFSET: u16 = (1 << 15) + 2;
}

/// The one metadata context, its namespace, and the number by which replies name it.
pub(crate) const BASE_ALLOCATION: &str = "base:allocation";
pub(crate) const BASE: &str = "base:";
pub(crate) const CONTEXT_ID: u32 = 1;
/// Flags of an extent in it.
pub(crate) const STATE_HOLE: u32 = 1;
pub(crate) const STATE_ZERO: u32 = 1 << 1;

/// The smallest request, and what every offset and length is a multiple of, in bytes: a sector.
pub const BLOCK_MINIMUM: u32 = 512;
/// The request size that clients should prefer, in bytes.
pub const BLOCK_PREFERRED: u32 = 4096;
/// The longest data of one request, in bytes. A request that moves no data may be longer.
pub const BLOCK_MAXIMUM: u32 = 32 << 20;

/// The error values of the protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Errno {
    /// EPERM: the export is read-only.
    Permission,
    /// EIO.
    Io,
    /// ENOMEM.
    Memory,
    /// EINVAL.
    Invalid,
    /// ENOSPC: a write behind the export's end.
    Space,
    /// ENOTSUP: zeros would not be faster than a write.
    Unsupported,
    /// ESHUTDOWN: the volume went away.
    Shutdown,
}

impl Errno {
    /// As it is sent.
    pub const fn code(self) -> u32 {
        match self {
            Self::Permission => 1,
            Self::Io => 5,
            Self::Memory => 12,
            Self::Invalid => 22,
            Self::Space => 28,
            Self::Unsupported => 95,
            Self::Shutdown => 108,
        }
    }
}
