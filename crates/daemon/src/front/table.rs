//! Which volumes of a VG are served, and under which names.
//!
//! What must hold:
//! - A file's number means one LV for as long as the VG is served: names, devices and sizes may change under it.
//! - A request goes to a device by its number. What is told here of a renaming comes later than the renaming, and a request
//!   in between must not find nobody.

use crate::carrier::{CarrierHandle, CarrierRequest};
use crate::vg::locked;
use foldback_dm_table::DmName;
use foldback_frontend_fuse::{Done, Entry, FileId, Opener, Request, Shape, Volumes};
use foldback_units::LvmUuid;
use foldback_user_dm::{DeviceId, IoError};
use std::sync::{Arc, Mutex};

/// A volume that is served.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ServedLv {
    pub(crate) lv: LvmUuid,
    pub(crate) name: String,
    pub(crate) device: DmName,
    /// What its requests go to, whatever it is called meanwhile.
    pub(crate) number: DeviceId,
    pub(crate) shape: Shape,
    /// Discards of it reach the disks.
    pub(crate) discards: bool,
}

#[derive(Debug, Default)]
struct Known {
    /// Numbers that were given, by LV, in the order in which they were.
    numbers: Vec<LvmUuid>,
    served: Vec<(FileId, ServedLv)>,
}

/// The served volumes of one VG, as FUSE asks for them.
#[derive(Debug)]
pub(crate) struct Table {
    carrier: CarrierHandle,
    known: Mutex<Known>,
}

/// Inode 1 is the directory.
const FIRST: u64 = 2;

impl Table {
    pub(crate) fn new(carrier: CarrierHandle) -> Arc<Self> {
        Arc::new(Self { carrier, known: Mutex::default() })
    }

    /// Replaces what is served.
    pub(crate) fn set(&self, lvs: Vec<ServedLv>) {
        let mut known = locked(&self.known);
        let mut served = Vec::with_capacity(lvs.len());
        for lv in lvs {
            let place = known.numbers.iter().position(|number| *number == lv.lv).unwrap_or_else(|| {
                known.numbers.push(lv.lv);
                known.numbers.len().saturating_sub(1)
            });
            let number = u64::try_from(place).unwrap_or(u64::MAX).saturating_add(FIRST);
            if let Some(id) = FileId::new(number) {
                served.push((id, lv));
            }
        }
        known.served = served;
    }

    /// What is served now.
    pub(crate) fn served(&self) -> Vec<(FileId, ServedLv)> {
        locked(&self.known).served.clone()
    }
}

fn entry((id, lv): &(FileId, ServedLv)) -> Entry {
    Entry { name: lv.name.clone(), id: *id, shape: lv.shape }
}

impl Volumes for Table {
    fn list(&self) -> Vec<Entry> {
        locked(&self.known).served.iter().map(entry).collect()
    }

    fn find(&self, name: &str) -> Option<Entry> {
        locked(&self.known).served.iter().find(|(_, lv)| lv.name == name).map(entry)
    }

    fn shape(&self, file: FileId) -> Option<Shape> {
        locked(&self.known).served.iter().find(|(id, _)| *id == file).map(|(_, lv)| lv.shape)
    }

    fn opened(&self, _: FileId, _: Opener) {}

    fn released(&self, _: FileId, _: Opener) {}

    fn submit(&self, file: FileId, request: Request, done: Done) {
        let device = {
            let known = locked(&self.known);
            known.served.iter().find(|(id, _)| *id == file).map(|(_, lv)| lv.number)
        };
        let Some(device) = device else { return done(Err(IoError::NoDevice)) };
        let Request { kind, range, bytes } = request;
        self.carrier.submit(CarrierRequest { device, kind, range, bytes, done });
    }
}
