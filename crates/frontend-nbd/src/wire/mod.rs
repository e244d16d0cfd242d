//! The protocol without a socket: bytes in, events and bytes out.
//!
//! What must hold:
//! - Nothing here knows a stream, a volume or memory of operations; so any bytes can be played to it.
//! - The outcome does not depend on how the bytes were cut on their way.

mod export;
mod handshake;
mod numbers;
mod option;
mod reply;
mod request;
mod session;
mod violation;

pub use export::{Allocation, Export, Refusal};
pub use handshake::{Handshake, Heard, MAX_OPTION, MAX_OPTIONS, MAX_SKIPPED};
pub use numbers::{BLOCK_MAXIMUM, BLOCK_MINIMUM, BLOCK_PREFERRED, Errno};
pub use option::{ContextWish, ExportWish};
pub use reply::MAX_EXTENTS;
pub use request::{Cookie, REQUEST_BYTES, Request};
pub use session::{Command, Refused, Session};
pub use violation::Violation;
