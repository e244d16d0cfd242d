//! `lvcreate --type snapshot -V`: a sparse volume, which is a snapshot of zeros.
//!
//! What must hold (lvm2.md 1.9): as with any snapshot its store is empty on disk before the commit that names it. It touches nothing
//! that is active.

use super::{LvCreate, Made, Permission, pv_keys, tags};
use crate::changing::{Change, refused, tell};
use crate::error::CliError;
use crate::sizes::KibSize;
use foldback_lvm2_format::vg::Vg;
use foldback_manager::apply::{commit, prepare_stores};
use foldback_manager::ops::SizeRequest;
use foldback_manager::ops::snapshot_create::{CHUNK_MIN, NewSnapshot, chunk_size};
use foldback_manager::ops::sparse::plan;
use foldback_manager::store::FoundVg;
use foldback_units::{LvName, Sectors};

impl LvCreate {
    /// Makes it, `None` where only words are wanted; it is not brought up. Of a VG that is `carried` whoever does has the disks.
    pub(super) fn sparse(
        &self,
        change: &mut Change<'_>,
        carried: bool,
        found: &FoundVg,
        (name, size, virtual_size): (Option<LvName>, SizeRequest, Sectors),
    ) -> Result<Made, CliError> {
        let context = change.context;
        let chunk = self.chunksize.map_or(Sectors(CHUNK_MIN.into()), |KibSize(size)| size);
        let chunk_sectors = u32::try_from(chunk.get()).unwrap_or(u32::MAX);
        let chunk = chunk_size(chunk_sectors).map_err(|refusal| refused(context, &refusal))?;
        let new = NewSnapshot {
            origin: name.clone().map_or_else(|| placeholder(&found.vg), Ok)?,
            name,
            size,
            chunk_sectors,
            layout: self.layout(),
            pvs: pv_keys(context, found, &self.pvs)?,
            read_only: self.permission == Some(Permission::Read),
            tags: tags(context, &self.addtag)?,
        };
        let mut planned = plan(&found.vg, &new, virtual_size, &mut change.machine)
            .map_err(|refusal| refused(context, &refusal))?;
        self.mark(context.console, &mut planned.vg, &planned.lv);
        tell(context, &planned.notices);
        if !change.is_test() {
            let _data = if carried { Vec::new() } else { change.session.hold_vg(found)? };
            change.apply(&found.vg, |set, machine| {
                prepare_stores(set, found, &planned.vg, std::slice::from_ref(&planned.lv), chunk)?;
                commit(set, found, planned.vg.clone(), machine)
            })?;
        }
        Ok(Made { lv: planned.lv, done: planned.done })
    }
}

/// A name that the plan does not look at.
fn placeholder(vg: &Vg) -> Result<LvName, CliError> {
    LvName::new(vg.name.as_str()).map_err(|error| CliError::failed(error.to_string()))
}
