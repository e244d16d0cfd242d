//! Transactions on a stand-in for the kernel, with failures at every call.

mod counting;
mod failures;
mod fake;
