//! The daemon's API: Varlink on a Unix socket (`varlinkctl introspect` shows it).
//!
//! What must hold:
//! - Only the daemon's own user (and root) is answered: the directory and the socket are private, and the peer is looked at.
//! - A client that does not read, sends half a message or floods the daemon harms itself alone.
//! - A call that fails changes nothing that its error does not tell.

mod client;
mod clients;
mod guard;
mod listening;
mod seeing;
mod service;
mod serving;
pub mod types;

pub use client::{ApiError, Client};
pub use serving::{DaemonStopped, serve};

/// The interface.
pub const INTERFACE: &str = "org.foldback.Daemon";

/// Spoken by a program and a daemon of the same version only: they share more than this interface says.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
