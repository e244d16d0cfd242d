//! A merge that carries itself, watched through the verbs: the kernel's.
//!
//! What must hold (lvm2.md 2.6, 2.8, 2.10, trap 16):
//! - The VG's lock is not needed for it; its end is seen within a tenth of a second, since nobody raises an event then.
//! - A status that is no number stands for itself: the merge is not called finished, and not called gone.
//! - Who opens a device for moments, as udev does, is waited for.

use crate::job::host::{Carried, Progress};
use foldback_dm_table::{DeviceMapper, DmName, SnapshotStatus, Target};
use std::error::Error;
use std::ops::ControlFlow;
use std::thread::sleep;
use std::time::Duration;

/// How often the device is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// How often an open device is looked at again.
const OPEN_TRIES: u32 = 25;
const OPEN_PAUSE: Duration = Duration::from_millis(20);

/// Why a merge is not watched any more.
#[derive(Debug, thiserror::Error)]
pub enum WatchError<E: Error + 'static> {
    /// The mapper's.
    #[error(transparent)]
    Device(#[from] E),
    /// The merge stands; all is still served.
    #[error("{device} says of its merge: {status}; all is still served")]
    Stands {
        /// Into which device.
        device: DmName,
        /// Its status.
        status: String,
    },
}

/// Watches the merge into `device` until it is finished, nothing merges into the device any more, or `look` breaks off.
///
/// # Errors
/// The mapper's, and a merge that has failed or whose store is not valid.
pub fn watch_merge<M: DeviceMapper>(
    mapper: &mut M,
    device: &DmName,
    look: &mut dyn FnMut(&Progress) -> ControlFlow<()>,
) -> Result<Carried, WatchError<M::Error>> {
    let mut most = 0;
    loop {
        let table = match mapper.table(device) {
            Ok(table) => table.unwrap_or_default(),
            // Taken down, or renamed, meanwhile.
            Err(_) if !mapper.list()?.iter().any(|info| info.name == *device) => return Ok(Carried::Gone),
            Err(error) => return Err(error.into()),
        };
        let Some(Target::SnapshotMerge(params)) = table.lines.first().map(|line| &line.target) else {
            return Ok(Carried::Gone);
        };
        let chunk_size = params.chunk_size;
        let status = mapper.status(device)?.concat();
        match SnapshotStatus::parse(&status) {
            Some(SnapshotStatus::Usage { allocated, metadata, .. }) => {
                let left = allocated.saturating_sub(metadata).get();
                let left = left.checked_div(chunk_size.sectors().into()).unwrap_or(0);
                most = left.max(most);
                let enough = look(&Progress { chunks_total: most, chunks_left: left, chunk_size }).is_break();
                if allocated == metadata {
                    return Ok(Carried::Finished);
                }
                if enough {
                    return Ok(Carried::Stopped);
                }
            }
            // The table was another one by then: the next look tells.
            None if status.is_empty() => {}
            _ => return Err(WatchError::Stands { device: device.clone(), status }),
        }
        sleep(LOOK);
    }
}

/// The first of these devices that somebody has open, and keeps open.
///
/// # Errors
/// The mapper's.
pub fn first_open<M: DeviceMapper>(mapper: &mut M, names: &[DmName]) -> Result<Option<DmName>, M::Error> {
    for _ in 1..OPEN_TRIES {
        if open_now(mapper, names)?.is_none() {
            return Ok(None);
        }
        sleep(OPEN_PAUSE);
    }
    open_now(mapper, names)
}

fn open_now<M: DeviceMapper>(mapper: &mut M, names: &[DmName]) -> Result<Option<DmName>, M::Error> {
    let there = mapper.list()?;
    let is_open = |name: &&DmName| there.iter().any(|info| info.name == **name && info.open_count > 0);
    Ok(names.iter().find(is_open).cloned())
}

#[cfg(test)]
mod tests {
    use super::{WatchError, first_open, watch_merge};
    use crate::job::host::{Carried, Progress};
    use foldback_dm_table::{DeviceMapper, DmName, Info, Stage, Table, Transaction, Verb};
    use std::collections::VecDeque;
    use std::ops::ControlFlow;

    #[derive(Debug, thiserror::Error)]
    #[error("no device")]
    struct NoDevice;

    /// One device, which has another table, status and number of openers at each look; the last stays.
    struct Looks(VecDeque<(Option<&'static str>, &'static str, u32)>);

    const MERGE: &str = "0 8192 snapshot-merge vg-root-real vg-snap-cow P 8";
    const LINEAR: &str = "0 8192 linear /dev/sda 2048";

    impl Looks {
        fn new<const N: usize>(looks: [(Option<&'static str>, &'static str, u32); N]) -> Self {
            Self(VecDeque::from(looks))
        }

        fn next(&mut self) {
            if self.0.len() > 1 {
                self.0.pop_front();
            }
        }
    }

    impl DeviceMapper for Looks {
        type Error = NoDevice;

        fn apply(&mut self, _: &Verb) -> Result<(), NoDevice> {
            Err(NoDevice)
        }

        fn transact(&mut self, _: &Transaction) -> Result<(), (Stage, NoDevice)> {
            Err((Stage::Preload, NoDevice))
        }

        fn list(&mut self) -> Result<Vec<Info>, NoDevice> {
            let (table, _, open_count) = self.0[0];
            let info = |_| Info {
                name: DmName("vg-root".to_owned()),
                uuid: String::new(),
                suspended: false,
                live: true,
                inactive: false,
                open_count,
                event: 0,
            };
            let list = table.map(info).into_iter().collect();
            self.next();
            Ok(list)
        }

        fn table(&mut self, _: &DmName) -> Result<Option<Table>, NoDevice> {
            self.0[0].0.map(|table| Some(Table::parse(table).unwrap())).ok_or(NoDevice)
        }

        fn status(&mut self, _: &DmName) -> Result<Vec<String>, NoDevice> {
            let status = self.0[0].1;
            self.next();
            Ok(vec![status.to_owned()])
        }
    }

    fn watch(looks: &mut Looks, stop: bool) -> (Result<Carried, WatchError<NoDevice>>, Vec<u64>) {
        let mut left = Vec::new();
        let ended = watch_merge(looks, &DmName("vg-root".to_owned()), &mut |progress: &Progress| {
            left.push(progress.chunks_left);
            if stop { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        (ended, left)
    }

    /// lvm2.md 2.2: done is `used == metadata`.
    #[test]
    fn a_merge_is_finished_when_only_metadata_is_left() {
        let looks =
            [(Some(MERGE), "32/8192 16", 0), (Some(MERGE), "24/8192 16", 0), (Some(MERGE), "16/8192 16", 0)];
        let (ended, left) = watch(&mut Looks::new(looks), false);
        assert_eq!((ended.unwrap(), left), (Carried::Finished, vec![2, 1, 0]));
        assert_eq!(watch(&mut Looks::new(looks), true).0.unwrap(), Carried::Stopped);
    }

    #[test]
    fn a_device_that_merges_no_more_or_is_not_there_is_gone() {
        let ended = [(Some(MERGE), "32/8192 16", 0), (Some(LINEAR), "", 0)];
        assert_eq!(watch(&mut Looks::new(ended), false).0.unwrap(), Carried::Gone);
        // Between the look at the table and the look at the status.
        let switched = [(Some(MERGE), "", 0), (Some(LINEAR), "", 0)];
        assert_eq!(watch(&mut Looks::new(switched), false).0.unwrap(), Carried::Gone);
        let removed = [(Some(MERGE), "32/8192 16", 0), (None, "", 0)];
        assert_eq!(watch(&mut Looks::new(removed), false).0.unwrap(), Carried::Gone);
    }

    /// lvm2.md 2.2: neither of these is finished, and neither is gone.
    #[test]
    fn a_merge_that_stands_is_an_error_with_the_kernels_word() {
        for word in ["Merge failed", "Invalid", "Overflow", "Unknown", "what?"] {
            let error = watch(&mut Looks::new([(Some(MERGE), word, 0)]), false).0.unwrap_err().to_string();
            assert_eq!(error, format!("vg-root says of its merge: {word}; all is still served"));
        }
    }

    /// lvm2.md trap 16.
    #[test]
    fn who_opens_a_device_for_a_moment_is_waited_for() {
        let name = DmName("vg-root".to_owned());
        let names = [DmName("other".to_owned()), name.clone()];
        let mut moment = Looks::new([(Some(LINEAR), "", 1), (Some(LINEAR), "", 1), (Some(LINEAR), "", 0)]);
        assert_eq!(first_open(&mut moment, &names).unwrap(), None);
        let mut mounted = Looks::new([(Some(LINEAR), "", 1)]);
        assert_eq!(first_open(&mut mounted, &names).unwrap(), Some(name));
    }
}
