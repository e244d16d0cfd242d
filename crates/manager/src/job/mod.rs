//! Jobs: what takes longer than a command's look at the metadata.

mod error;
mod host;
mod keep;
mod live;
mod merge;
mod overflow;
mod room;
mod stores;
mod undo;

#[cfg(test)]
mod tests;

pub use error::MergeError;
pub use host::{Carried, Counted, InUse, MergeHost, Observer, Progress};
pub use merge::{MergeOutcome, MergeRequest, finish, merge};
