//! The disks, lent to whoever has metadata to read or write, while devices go on being served.
//!
//! What must hold:
//! - The borrower sees its own operations only; those of the devices go where they belong.

use crate::run::UserDm;
use crate::traffic::Owner;
use foldback_device::{Completion, DiskId, Disks, Geometry, Op, Tag};
use std::fmt;
use std::io;

/// The disks of a [`UserDm`]; every wait of the borrower is also a step of its devices.
pub struct LentDisks<'a, D>(&'a mut UserDm<D>);

impl<D: Disks> UserDm<D> {
    /// The disks, for metadata.
    pub fn disks_mut(&mut self) -> LentDisks<'_, D> {
        LentDisks(self)
    }
}

impl<D: Disks> Disks for LentDisks<'_, D> {
    fn count(&self) -> u32 {
        self.0.traffic.disks.count()
    }

    fn geometry(&self, disk: DiskId) -> io::Result<Geometry> {
        self.0.traffic.disks.geometry(disk)
    }

    fn submit(&mut self, tag: Tag, disk: DiskId, op: Op) {
        self.0.lent_under_way = self.0.lent_under_way.saturating_add(1);
        let begun = self.0.traffic.begin(Owner::Caller(tag), None);
        self.0.traffic.part(begun, disk, op);
        self.0.traffic.all_given(begun);
    }

    fn reap(&mut self, wait: bool) -> io::Result<Option<Completion>> {
        loop {
            if let Some(completion) = self.0.lent.pop_front() {
                return Ok(Some(completion));
            }
            if self.0.lent_under_way == 0 {
                return Ok(None);
            }
            let moved = self.0.step(wait).map_err(io::Error::other)?;
            if !moved && self.0.lent.is_empty() {
                return Ok(None);
            }
        }
    }
}

impl<D> fmt::Debug for LentDisks<'_, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LentDisks").finish_non_exhaustive()
    }
}
