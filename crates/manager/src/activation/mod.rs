//! From VGs to device-mapper: names, UUIDs, tables, and the plans of verbs that bring devices up, change and end them.
//!
//! What must hold (lvm2.md 2):
//! - Names, UUIDs and tables are LVM2's, so that LVM2 and the kernel know the devices for what they are.
//! - Plans are pure, and say nothing about who carries them out.

mod change;
mod claimed;
mod down;
mod group;
mod keep;
mod placed;
mod recovery;
mod sets;
mod tables;
mod transactions;
mod whole;

#[cfg(test)]
mod live_tests;
#[cfg(test)]
mod tests;

pub use change::Change;
pub use claimed::{claimed, claimed_and_changed};
pub use down::to_take_down;
pub use group::{Group, GroupSnapshot, Origin, activate, deactivate, device_of};
pub use keep::keep_snapshot;
pub use recovery::{Tables, go_on, merge_came_up, tables, take_back};
pub use sets::{ActivationSet, Wish, to_activate, to_deactivate};
pub use tables::{ActivationError, Device, Layer, lv_table};
pub use transactions::{
    finish_merge, merge_again, origin_anew, reload, remove_lvs, rename, start_merge, take_snapshot,
    take_snapshots,
};
pub use whole::complete;
