//! Volumes as files and block devices: a FUSE file system with one file per LV, and loop devices on those files.
//!
//! What must hold:
//! - Nothing here touches a disk or waits for one: a request goes to [`Volumes`] with a closure that answers it, and the
//!   thread that read it from the kernel reads the next.
//! - Every request is answered once; a closure that is dropped answers EIO, and lets go of what waited behind it.
//! - Only whole blocks of the disks reach [`Volumes`]. A write that begins or ends inside a block reads that block first,
//!   and no write to the same block is under way meanwhile.
//! - The kernel keeps no data, sizes or names of served files for longer than the call that asked for them.
//! - A hole that is punched reads as zeros: it leaves this crate as zeros, never as a discard, and the disks make of it a hole
//!   where they can (architecture.md, "Discard"). A loop device takes discards only where its owner wants that.
//! - `unsafe` is in `loopdev/ioctl.rs` and nowhere else.
#![deny(unsafe_code)]
#![cfg_attr(
    test,
    allow(
        clippy::arithmetic_side_effects,
        clippy::as_conversions,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss
    )
)]

mod carry;
mod error;
mod filesystem;
mod frozen;
mod gate;
mod handles;
mod in_use;
mod loopdev;
mod mount;
mod mountinfo;
mod served;
mod session;
mod steps;
mod volumes;

pub use error::{FuseError, FuseErrorKind};
pub use frozen::{Frozen, mounted_on, write_back};
pub use handles::Opener;
pub use in_use::{InUse, User};
pub use loopdev::{LoopClaim, LoopDevice, LoopOptions, Stale, detach_stale};
pub use mount::{MountOptions, unmount_stale};
pub use session::{FileClaim, Session};
pub use volumes::{Done, Entry, FileId, Request, Shape, Volumes};
