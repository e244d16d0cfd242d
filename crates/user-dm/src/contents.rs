//! What is known of a device's content without reading it.
//!
//! What must hold (docs/decisions/0006-block-status.md):
//! - Zeros are told only where a read begun now returns zeros; what is not known may be data.
//! - A device whose sectors may come from an exception store tells nothing.
//! - One question costs a bounded number of questions to the file system.

use crate::map::{Map, Piece, Place};
use crate::mapped::Route;
use crate::run::UserDm;
use crate::which::Which;
use foldback_device::Disks;
use foldback_engine::Volume;
use foldback_units::{SECTOR, SectorRange, Sectors};

/// The most sectors that one question looks at.
const MAX_SECTORS: u64 = 1 << 21;
/// The most questions to disks.
const MAX_QUESTIONS: usize = 256;

/// What some sectors hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Content {
    /// Anything.
    Data,
    /// Zeros, without taking room.
    Zeros,
}

impl<D: Disks> UserDm<D> {
    /// What a range of a device holds, from its first sector on; it may end early, and an empty list says that nothing is
    /// known.
    pub fn contents<'a>(&self, device: impl Into<Which<'a>>, range: SectorRange) -> Vec<(Sectors, Content)> {
        self.plain_map(device.into()).map_or_else(Vec::new, |map| self.look(map, range))
    }

    /// Where the device's sectors lie, if that is all there is to them: of an origin, while nothing merges into it.
    fn plain_map(&self, device: Which<'_>) -> Option<&Map> {
        let device = self.devices.get(&self.which(device)?)?;
        match &device.route {
            _ if device.suspended => None,
            Route::Plain(map) => Some(map),
            Route::Group(id, Volume::Origin) => {
                let group = self.groups.get(id).filter(|group| group.merging().is_none())?;
                Some(&group.map)
            }
            Route::Group(..) | Route::Nowhere | Route::Stale => None,
        }
    }

    fn look(&self, map: &Map, range: SectorRange) -> Vec<(Sectors, Content)> {
        let mut told = Told::default();
        let mut questions: usize = 0;
        for Piece { place, len } in map.pieces(range.start().get(), range.len().get().min(MAX_SECTORS)) {
            let Place::Disk { disk, at } = place else {
                // What can only fail is not zero.
                told.say(len, if place == Place::Zero { Content::Zeros } else { Content::Data });
                continue;
            };
            let end = at.saturating_add(len);
            let mut at = at;
            while at < end {
                if questions == MAX_QUESTIONS {
                    return told.0;
                }
                questions = questions.saturating_add(1);
                let within = at.saturating_mul(SECTOR)..end.saturating_mul(SECTOR);
                let (start, stop) = match self.traffic.disks.first_data(disk, within) {
                    // A sector of which a part is data is data.
                    Some(data) => (data.start.div_euclid(SECTOR), data.end.div_ceil(SECTOR)),
                    None => (end, end),
                };
                let (start, stop) = (start.clamp(at, end), stop.clamp(at, end));
                told.say(start.saturating_sub(at), Content::Zeros);
                told.say(stop.saturating_sub(start), Content::Data);
                // A disk that answers nothing must not be asked for ever.
                at = if stop > at { stop } else { end };
            }
        }
        told.0
    }
}

/// Neighbours that are alike are one.
#[derive(Default)]
struct Told(Vec<(Sectors, Content)>);

impl Told {
    fn say(&mut self, len: u64, content: Content) {
        match self.0.last_mut() {
            _ if len == 0 => {}
            Some((before, same)) if *same == content => *before = Sectors(before.get().saturating_add(len)),
            _ => self.0.push((Sectors(len), content)),
        }
    }
}
