//! One test per rule of dm-snapshot.md, on the order and the content of I/Os.

mod copy_on_write;
mod failing;
mod merging;
mod serving;
mod views;
