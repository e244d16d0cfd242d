//! What ends a connection at once: after it, nobody can tell where the next message begins, or who is speaking.
//!
//! What must hold:
//! - Only what leaves no way to answer and go on is here; everything else is an error reply.

/// What a client did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Violation {
    /// "the server MUST drop the TCP connection if the client sets an unknown flag".
    #[error("the client set the unknown flags {0:#x}")]
    ClientFlags(u32),
    /// An option does not begin with `IHAVEOPT`.
    #[error("an option begins with {0:#018x}")]
    OptionMagic(u64),
    /// An option has more data than is skipped.
    #[error("an option of {0} bytes")]
    OptionLength(u32),
    /// More options than any client needs.
    #[error("more than {0} options")]
    Options(u32),
    /// An option that only has an answer in fixed newstyle, which the client did not choose.
    #[error("option {0} without fixed newstyle")]
    NotFixed(u32),
    /// `NBD_OPT_EXPORT_NAME` has no error reply: its refusal is the end.
    #[error("an export that cannot be had was asked for by NBD_OPT_EXPORT_NAME")]
    ExportName,
    /// A request does not begin with its magic.
    #[error("a request begins with {0:#010x}")]
    RequestMagic(u32),
    /// A write has more data than is skipped.
    #[error("a write of {0} bytes")]
    PayloadLength(u32),
}
