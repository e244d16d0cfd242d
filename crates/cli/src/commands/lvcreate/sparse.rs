//! `lvcreate --type snapshot -V`: a sparse volume, which is a snapshot of zeros.
//!
//! What must hold (lvm2.md 1.9): as with any snapshot its store is empty on disk before the commit that names it.

use super::{LvCreate, Permission, pv_keys, tags};
use crate::changing::{Change, refused, tell};
use crate::error::CliError;
use crate::exit::Exit;
use crate::sizes::KibSize;
use foldback_lvm2_format::vg::Vg;
use foldback_manager::apply::{commit, prepare_stores};
use foldback_manager::ops::SizeRequest;
use foldback_manager::ops::snapshot_create::{CHUNK_MIN, NewSnapshot, chunk_size};
use foldback_manager::ops::sparse::plan;
use foldback_manager::store::FoundVg;
use foldback_units::{LvName, Sectors};

impl LvCreate {
    /// Makes it; it is not brought up.
    pub(super) fn sparse(
        &self,
        change: &mut Change<'_>,
        served: bool,
        found: &FoundVg,
        (name, size, virtual_size): (Option<LvName>, SizeRequest, Sectors),
    ) -> Result<Exit, CliError> {
        let context = change.context;
        if served {
            return Err(CliError::failed(format!(
                "Volume group {} is active: a sparse volume is made while nothing of it is.",
                found.vg.name
            ))
            .hint(format!("vgchange -an {}", found.vg.name)));
        }
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
        self.mark(&mut planned.vg, &planned.lv);
        tell(context, &planned.notices);
        if !change.is_test() {
            let _data = change.session.hold_vg(found)?;
            change.apply(&found.vg, |set, machine| {
                prepare_stores(set, found, &planned.vg, std::slice::from_ref(&planned.lv), chunk)?;
                commit(set, found, planned.vg.clone(), machine)
            })?;
        }
        tell(context, &planned.done);
        Ok(Exit::Success)
    }
}

/// A name that the plan does not look at.
fn placeholder(vg: &Vg) -> Result<LvName, CliError> {
    LvName::new(vg.name.as_str()).map_err(|error| CliError::failed(error.to_string()))
}
