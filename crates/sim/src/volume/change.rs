//! Changes of a VG, as the commands make them: find, plan, apply.

use super::vg_world::{Repeatable, find, paths};
use crate::report::Failure;
use foldback_device::Disks;
use foldback_lvm2_format::vg::Vg;
use foldback_manager::apply;
use foldback_manager::ops::lv_create::{self, NewLv};
use foldback_manager::ops::snapshot_create::{self, NewSnapshot};
use foldback_manager::ops::{Layout, SizeRequest, lv_remove, merge};
use foldback_manager::store::DiskSet;
use foldback_testkit::Rng;
use foldback_units::{ChunkSize, LvName};

/// One change.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    /// `lvcreate`, with zeroing.
    Create { name: LvName, extents: u32 },
    /// `lvcreate -s`.
    Snapshot { name: LvName, origin: LvName, extents: u32, chunk: u32 },
    /// `lvremove`.
    Remove { name: LvName },
    /// The mark of `lvconvert --merge`.
    MarkMerge { name: LvName },
}

/// Why a change was not made.
#[derive(Debug)]
pub(crate) enum NotMade {
    /// It makes no sense for this VG.
    Refused(String),
    /// The manager says that the VG is as before.
    Unchanged(String),
    /// The manager says that it does not know.
    Unknown,
    /// The VG cannot be found.
    Broken(Failure),
}

fn lv_name(name: &str) -> Option<LvName> {
    LvName::new(name).ok()
}

impl Change {
    /// Something that fits the VG.
    pub(crate) fn any(vg: &Vg, rng: &mut Rng) -> Option<Self> {
        let links = vg.snapshots();
        let fresh = lv_name(&format!("lv{}", rng.below(1000)))?;
        let plain: Vec<&LvName> = vg
            .lvs
            .iter()
            .filter(|lv| lv.snapshot().is_none() && links.of_cow(&lv.name).is_none())
            .map(|lv| &lv.name)
            .collect();
        let stores: Vec<&LvName> = vg
            .lvs
            .iter()
            .filter(|lv| links.of_cow(&lv.name).is_some_and(|snapshot| !snapshot.segment.merging))
            .map(|lv| &lv.name)
            .collect();
        let create = Self::Create { name: fresh.clone(), extents: rng.between(1, 5) as u32 };
        Some(match rng.below(8) {
            0..=2 => create,
            3 | 4 if !plain.is_empty() => {
                let origin = (*rng.pick(&plain)).clone();
                let chunk = 8 << rng.below(2);
                Self::Snapshot { name: fresh, origin, extents: rng.between(3, 6) as u32, chunk }
            }
            5 if !stores.is_empty() => Self::MarkMerge { name: (*rng.pick(&stores)).clone() },
            _ if !plain.is_empty() || !stores.is_empty() => {
                let all: Vec<&LvName> = plain.into_iter().chain(stores).collect();
                Self::Remove { name: (*rng.pick(&all)).clone() }
            }
            _ => create,
        })
    }

    /// Makes it.
    pub(crate) fn make(&self, disks: &mut impl Disks, environment: &mut Repeatable) -> Result<(), NotMade> {
        let paths = paths(disks.count() as usize);
        let mut set = DiskSet::new(disks, &paths);
        let found = find(&mut set).map_err(NotMade::Broken)?;
        let refused = |why: String| NotMade::Refused(why);
        let made = match self {
            Self::Create { name, extents } => {
                let new = NewLv {
                    name: Some(name.clone()),
                    size: SizeRequest::Extents(*extents),
                    layout: Layout::LINEAR,
                    pvs: Vec::new(),
                    read_only: false,
                    tags: Vec::new(),
                };
                let planned =
                    lv_create::plan(&found.vg, &new, environment).map_err(|why| refused(why.to_string()))?;
                apply::create_lv(&mut set, &found, &planned, true, environment)
            }
            Self::Snapshot { name, origin, extents, chunk } => {
                let new = NewSnapshot {
                    origin: origin.clone(),
                    name: Some(name.clone()),
                    size: SizeRequest::Extents(*extents),
                    chunk_sectors: *chunk,
                    layout: Layout::LINEAR,
                    pvs: Vec::new(),
                    read_only: false,
                    tags: Vec::new(),
                };
                let planned = snapshot_create::plan(&found.vg, &new, environment)
                    .map_err(|why| refused(why.to_string()))?;
                let chunk = ChunkSize::from_sectors(*chunk).map_err(|why| refused(why.to_string()))?;
                apply::create_snapshot(&mut set, &found, &planned, chunk, environment)
            }
            Self::Remove { name } => {
                let removal = lv_remove::plan(&found.vg, name).map_err(|why| refused(why.to_string()))?;
                apply::commit(&mut set, &found, removal.vg, environment)
            }
            Self::MarkMerge { name } => {
                let merge = merge::check(&found.vg, name).map_err(|why| refused(why.to_string()))?;
                match merge::mark(&found.vg, &merge) {
                    merge::Mark::Marked(vg) => apply::commit(&mut set, &found, *vg, environment),
                    merge::Mark::Already => return Ok(()),
                }
            }
        };
        made.map(|_| ()).map_err(|error| {
            use foldback_manager::store::CommitError;
            match error {
                apply::ApplyError::Commit(CommitError::Unknown { .. }) => NotMade::Unknown,
                error => NotMade::Unchanged(error.to_string()),
            }
        })
    }
}
