//! The demo: an upgrade goes wrong, and the snapshot that was taken before it brings everything back.
//!
//! What must hold:
//! - It needs no argument, no root and no device-mapper, and leaves nothing behind, however it ends.
//! - Every command it tells of is really run, and every claim is checked; what is not as promised ends it with an error.
//! - What it prints fits 80 columns.

mod story;
mod system;
mod tools;

pub(crate) use story::tell;
