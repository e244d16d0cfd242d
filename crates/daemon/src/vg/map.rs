//! Maps of live volumes: which of their chunks are kept in stores, or merged.
//!
//! What must hold:
//! - The carrier draws a map slice by slice, between two steps of the volumes; nobody waits for a whole one.

use super::{ChangeError, Vg};
use foldback_dm_table::DmName;
use foldback_user_dm::ChunkMap;

/// Slices of one map at most. A table that grows faster than it is drawn must not keep anybody here.
const SLICES: usize = 100_000;

impl Vg {
    /// The map of a live volume, by its device. `None` where no snapshot is involved, or it is lost.
    ///
    /// # Errors
    /// The carrier is gone.
    pub fn map(&self, device: &DmName) -> Result<Option<ChunkMap>, ChangeError> {
        let name = device.clone();
        let Some(mut map) = self.carrier.call(move |carrier| carrier.dm.map(&name))? else { return Ok(None) };
        for _ in 0..SLICES {
            if map.next.is_none() {
                break;
            }
            let name = device.clone();
            let draw = move |carrier: &mut crate::carrier::Carrier| {
                carrier.dm.draw(&name, &mut map);
                map
            };
            map = self.carrier.call(draw)?;
        }
        Ok(Some(map))
    }
}
