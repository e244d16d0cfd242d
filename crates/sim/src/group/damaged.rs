//! A damaged store is refused, and nothing is written to it (dm-snapshot.md 1.4, K5; architecture.md, "Findings").

use crate::report::{Failure, Scene, Scenes};
use foldback_engine::{
    FlushDomain, Io, IoId, OpenAccess, OpenError, Outcome, SpaceGeometry, StoreId, StoreOpen,
};
use foldback_testkit::cow::Builder;
use foldback_testkit::{Rng, Sector};
use foldback_units::{ChunkSize, Sectors};

const CHUNK: u64 = 2;
const ORIGIN: u64 = 200;
const DEVICE: u64 = 400;

/// A store that no one may use.
fn damaged(rng: &mut Rng) -> (Vec<Sector>, &'static str) {
    let mut builder = Builder::new(DEVICE, CHUNK, rng);
    for old in 0..rng.between(1, 70) {
        builder.push(old, &[Sector::Stamp(old), Sector::Stamp(old)]);
    }
    let kind = rng.below(8);
    let what = match kind {
        0 => {
            builder.push_raw(0, 150);
            "two different exceptions for one chunk"
        }
        1 => {
            builder.push_raw(90, 66);
            "an exception in an area"
        }
        2 => {
            builder.push_raw(90, DEVICE / CHUNK);
            "an exception past the device"
        }
        3 => {
            builder.push_raw(ORIGIN / CHUNK, 150);
            "an exception past the origin"
        }
        4 => {
            builder.push_raw(90, 150 + (1 << 56));
            "top bits"
        }
        5 => {
            builder.push_raw(90, 1);
            "an exception in the first area"
        }
        6 => "bad magic",
        _ => "bad chunk size",
    };
    let mut device = builder.finish(true, false);
    let mut header = device[0].to_bytes();
    match kind {
        6 => header[0] ^= 1,
        7 => header[12] = 3,
        _ => {}
    }
    device[0] = Sector::from_bytes(&header);
    (device, what)
}

/// Opens such a store.
pub(crate) fn is_refused(rng: &mut Rng, scenes: &mut Scenes) -> Result<(), Failure> {
    let (device, what) = damaged(rng);
    let geometry = SpaceGeometry {
        size: Sectors(DEVICE),
        domains: vec![FlushDomain(0)],
        physical_block: Sectors(*rng.pick(&[1, 8])),
    };
    let chunk = ChunkSize::from_sectors(CHUNK as u32);
    let chunk = chunk.map_err(|error| Failure::new("units", error.to_string()))?;
    let access = OpenAccess::ReadWrite;
    let mut open = StoreOpen::new(StoreId(0), geometry, Sectors(ORIGIN), chunk, access, IoId(0));
    for _ in 0..10_000 {
        match open.poll_opened() {
            Some(Err(OpenError::Refused { .. })) => {
                scenes.saw(Scene::DamagedRefused);
                return Ok(());
            }
            Some(Ok(_)) => return Err(Failure::new("open", format!("a store with {what} was opened"))),
            Some(Err(error)) => return Err(Failure::new("open", format!("a store with {what}: {error}"))),
            None => {}
        }
        let Some((id, io)) = open.poll_io() else { break };
        let Io::ReadMetadata { range, .. } = io else {
            return Err(Failure::new("open", format!("a store with {what} gets {io:?}")));
        };
        let sectors = device.get(range.start().get() as usize..range.end().get() as usize);
        let Some(sectors) = sectors else {
            return Err(Failure::new("range", format!("a store with {what} is read at {range}")));
        };
        open.complete_io(id, Outcome::Metadata(Sector::join(sectors)));
    }
    Err(Failure::new("liveness", format!("a store with {what} is neither refused nor opened")))
}
