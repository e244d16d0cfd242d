//! `pvcreate`: labels for image files and disks.
//!
//! What must hold:
//! - A disk that a VG uses is left alone unless forced twice.
//! - Disks are independent: one that fails does not stop the others, and the exit code tells.

use super::Context;
use crate::changing::{Change, refused};
use crate::error::CliError;
use crate::exit::Exit;
use crate::options::YesNo;
use crate::scanning::refuse_rejected;
use crate::session::split_missing;
use crate::signatures::{self, Place};
use crate::sizes::{KibSize, Size};
use clap::Args;
use foldback_manager::ops::pv_create::{NewPv, check_unused, plan};
use foldback_manager::store::{Discovery, DiskSet, make_pv};
use foldback_units::{LvmUuid, Sectors};

/// Make image files or disks physical volumes
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  truncate -s 1G disk.img && pvcreate disk.img")]
pub(crate) struct PvCreate {
    #[command(flatten)]
    layout: PvLayout,
    /// Give the PV this UUID instead of a new one
    #[arg(short, long, value_name = "UUID")]
    uuid: Option<String>,
    /// Accepted as LVM2 does with --uuid; there is no file to restore from here
    #[arg(long, hide = true)]
    norestorefile: bool,
    /// Image files and disks
    #[arg(value_name = "PV", required = true)]
    pvs: Vec<String>,
}

/// What lies where on a new PV.
#[derive(Args, Debug)]
pub(super) struct PvLayout {
    /// Least size of the metadata area
    #[arg(long, value_name = "SIZE")]
    metadatasize: Option<Size>,
    /// Let extents begin at a multiple of this
    #[arg(long, value_name = "SIZE")]
    dataalignment: Option<KibSize>,
    /// And so much behind it
    #[arg(long, value_name = "SIZE")]
    dataalignmentoffset: Option<KibSize>,
    /// There is one
    #[arg(short = 'M', long, hide = true, value_parser = ["lvm2", "2"])]
    metadatatype: Option<String>,
    /// Accepted as LVM2 does; the start of the disk is always zeroed
    #[arg(short = 'Z', long, hide = true, value_name = "y|n")]
    zero: Option<YesNo>,
}

impl PvLayout {
    pub(super) fn new_pv(&self, id: Option<LvmUuid>) -> NewPv {
        NewPv {
            metadata_size: self.metadatasize.map(|Size(size)| size),
            alignment: self.dataalignment.map(|KibSize(size)| size),
            alignment_offset: self.dataalignmentoffset.map_or(Sectors::ZERO, |KibSize(size)| size),
            id,
        }
    }
}

impl PvCreate {
    pub(crate) fn run(&self, context: &Context) -> Result<Exit, CliError> {
        let uuid = self.uuid.as_deref().map(LvmUuid::parse).transpose();
        let id = uuid.map_err(|error| CliError::usage(&context.command, error.to_string()))?;
        let new = self.layout.new_pv(id);
        let (present, mut exit) = split_missing(context, &self.pvs);
        if present.is_empty() {
            return Ok(exit);
        }
        let mut change = Change::global(context, &present)?;
        let found = change.discover();
        for path in &present {
            if let Err(error) = create(&mut change, &found, path, &new) {
                error.tell(context.console);
                exit = exit.max(error.exit);
            }
        }
        Ok(exit)
    }
}

/// Makes one PV; also what `vgcreate` does for a disk without a label.
pub(super) fn create(
    change: &mut Change<'_>,
    found: &Discovery,
    path: &str,
    new: &NewPv,
) -> Result<(), CliError> {
    let context = change.context;
    refuse_rejected(&context.options, path)?;
    if let Some(id) = new.id
        && let Some(pv) = found.pvs.iter().find(|pv| pv.label.pv.id == id && pv.path != path)
    {
        return Err(CliError::failed(format!("UUID {id} already in use on \"{}\".", pv.path)));
    }
    let test = change.is_test();
    let _data = if test { None } else { Some(change.session.hold_data(path)?) };
    let mut set = DiskSet::new(&mut *change.session.disks, &change.session.paths);
    let disk = set.find(path).ok_or_else(|| CliError::failed(format!("No device found for {path}.")))?;
    if let Err(refusal) = check_unused(found, disk) {
        let forced = context.options.force > 1
            && (context.options.yes
                || context.console.ask(&format!("Really INITIALIZE physical volume \"{path}\"?")));
        if !forced {
            return Err(refused(context, &refusal));
        }
    }
    let size = set.size(disk)?;
    if !found.pvs.iter().any(|pv| pv.disk == disk) {
        let forced = context.options.yes || context.options.force > 0;
        let place = Place::disk(&mut set, disk)?;
        signatures::wipe(context.console, &mut set, &place, forced, test)?;
    }
    let label = plan(path, size, new, &mut change.machine).map_err(|refusal| refused(context, &refusal))?;
    if !test {
        make_pv(&mut set, disk, &label).map_err(|error| CliError::failed(format!("{error}.")))?;
    }
    context.console.say(&format!("Physical volume \"{path}\" successfully created."));
    Ok(())
}
