//! Jobs: what takes longer than a command's look at the metadata.

mod host;
mod merge;

#[cfg(test)]
mod tests;

pub use host::{Carried, MergeHost, Observer, Progress};
pub use merge::{MergeError, MergeOutcome, MergeRequest, merge};
