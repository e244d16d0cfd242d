//! Stores that a group lets go while tables change, for whoever wants the same bytes next: unread (lvm2.md 2.6).
//!
//! What must hold:
//! - A store is what lies on its sectors. It is the same one under another device (`--namesnapshot` gives it the origin's
//!   name), and reading it again would hold writes for as long as that takes.
//! - Only from a quiet group: then its memory and its disks say the same.
//! - A store that was being merged is not handed on: its table shrinks on the disk.
//! - What nobody wants in the same change of tables is forgotten; the next one reads the disk.

use crate::group::{Attached, OriginGroup};
use crate::wanted::WantedStore;
use foldback_engine::{OpenedStore, StoreId};

/// Stores that are in no group.
#[derive(Debug, Default)]
pub(crate) struct LetGo(Vec<(Attached, OpenedStore)>);

impl LetGo {
    /// Takes a store out of its group, which is quiet; one that its engine does not let go stays there.
    pub(crate) fn detach(
        &mut self,
        group: &mut OriginGroup,
        store: StoreId,
    ) -> Result<(), foldback_engine::ConfigError> {
        let opened = group.engine.detach(store)?;
        if let Some(attached) = group.stores.remove(&store).filter(|attached| !attached.merging) {
            self.0.push((attached, opened));
        }
        Ok(())
    }

    /// The store that lies where this one is wanted, if it was let go.
    pub(crate) fn take(&mut self, wanted: &WantedStore) -> Option<OpenedStore> {
        let is_it = |(attached, _): &(Attached, OpenedStore)| {
            attached.map == wanted.map
                && attached.geometry == wanted.geometry
                && attached.len == wanted.len
                && attached.chunk == wanted.chunk
        };
        let at = self.0.iter().position(is_it)?;
        Some(self.0.swap_remove(at).1)
    }
}
