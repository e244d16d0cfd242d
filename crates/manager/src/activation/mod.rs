//! From VGs to device-mapper: names, UUIDs, tables, and the plans of verbs that bring devices up, change and end them.
//!
//! What must hold (lvm2.md 2):
//! - Names, UUIDs and tables are LVM2's, so that LVM2 and the kernel know the devices for what they are.
//! - Plans are pure, and say nothing about who carries them out.

mod group;
mod tables;
mod transactions;

#[cfg(test)]
mod tests;

pub use group::{Group, GroupSnapshot, Origin, activate, deactivate, device_of};
pub use tables::{ActivationError, Device, Layer, lv_table};
pub use transactions::{finish_merge, start_merge, take_snapshot};
