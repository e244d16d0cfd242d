//! Jobs: what takes longer than a command's look at the metadata.

mod error;
mod host;
mod keep;
mod live;
mod merge;
mod overflow;
mod poll;
mod room;
mod stores;
mod undo;
mod watch;

#[cfg(test)]
mod tests;

pub use error::MergeError;
pub use host::{Carried, Counted, InUse, MergeHost, Observer, Progress};
pub use merge::{MergeOutcome, MergeRequest, finish, merge};
pub use poll::{Polled, poll};
pub use watch::{WatchError, first_open, watch_merge};
