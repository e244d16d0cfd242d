//! Who carries a VG's volumes: the kernel's device-mapper, or our daemon.
//!
//! What must hold (architecture.md, "Holding and locking"):
//! - The first activation fixes a VG's backend until none of its LVs is active. A command that names none follows it.
//! - The kernel carries block devices only; an image file is carried in user space.
//! - Without device-mapper, or without the right to it, nothing is different, unless the kernel was asked for.

mod activation;
mod claims;
mod host;
mod lost;
mod orphans;
mod pvs;
mod read_ahead;
mod refresh;
mod status;
mod trust;

use crate::carried::in_use_words;
use crate::changing::one_vg;
use crate::commands::Context;
use crate::error::CliError;
use crate::live::{LiveVg, disks_or_live};
use crate::session::Session;
use clap::ValueEnum;
use foldback_device::{Access, DiskKind};
use foldback_dm_table::{DeviceMapper, Info};
use foldback_kernel_dm::{KernelDm, KernelDmError};
use foldback_lvm2_format::vg::Lv;
use foldback_manager::activation::{Device, Group, Layer, claimed};
use foldback_manager::host::locks;
use foldback_manager::lock::LockMode;
use foldback_manager::store::{Discovery, FoundVg};
use foldback_units::{LvName, LvmUuid, VgName, dm_name};

pub(crate) use activation::Boot;
pub(crate) use claims::Claims;
use claims::clear_left_over;
pub(crate) use host::KernelHost;
pub(crate) use pvs::pvs_in_kernel;
pub(crate) use read_ahead::read_ahead_as_said;
pub(crate) use refresh::{Monitor, monitor};
pub(crate) use status::look_at_kernel;

/// The values of `--backend`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Backend {
    /// The kernel's device-mapper.
    Kernel,
    /// Our daemon.
    User,
    /// The kernel, where it has device-mapper and the PVs are block devices.
    Auto,
}

impl From<KernelDmError> for CliError {
    fn from(error: KernelDmError) -> Self {
        Self::failed(format!("{error}."))
    }
}

/// The kernel's device-mapper for a VG.
#[derive(Debug)]
pub(crate) struct Kernel {
    pub(crate) mapper: KernelDm,
    /// The devices of the VG that are there.
    pub(crate) there: Vec<Info>,
}

impl Kernel {
    /// Whether the kernel carries the VG, or is to; `None` where it is our daemon's business.
    pub(crate) fn of(
        context: &Context,
        vg: &VgName,
        goes_up: bool,
    ) -> Result<Option<(Self, Session, Discovery)>, CliError> {
        let wish = context.options.backend;
        let is_there = || KernelDm::is_there() && has_disks(context).unwrap_or(false);
        if wish != Some(Backend::Kernel) && !is_there() {
            return Ok(None);
        }
        let mut session = Session::open(&context.options, Access::Read)?;
        let discovery = session.discover();
        if is_on_image(&session, one_vg(&discovery, vg)?) {
            return match wish {
                Some(Backend::Kernel) => Err(CliError::failed(
                    "The kernel carries volumes on block devices only, and image files were named.",
                )
                .hint("losetup -f --show FILE makes a block device of one")),
                _ => Ok(None),
            };
        }
        let mut mapper = match KernelDm::open(&session.paths) {
            Ok(mapper) => mapper,
            Err(error) if wish == Some(Backend::Kernel) => return Err(error.into()),
            Err(_) => return Ok(None),
        };
        let there = devices_of(&mut mapper, &one_vg(&discovery, vg)?.vg.id)?;
        let kernel = Self { mapper, there };
        Ok(kernel.chosen(context, vg, goes_up)?.then_some((kernel, session, discovery)))
    }

    /// Whether the kernel carries the group of this LV. A device without any table is a claim, or was left by one.
    pub(crate) fn carries(&self, found: &FoundVg, lv: &LvName) -> bool {
        let of =
            |group: &Group, info: &Info| (info.live || info.inactive) && info.uuid == group.origin.top.uuid;
        Group::of(found, lv).is_ok_and(|group| self.there.iter().any(|info| of(&group, info)))
    }

    /// Refuses what an engine in another process works on.
    pub(crate) fn refuse_claimed(&self, vg: &VgName, group: &Group) -> Result<(), CliError> {
        let Some(device) = claimed(group, &self.there) else { return Ok(()) };
        let words = in_use_words(&format!("{vg}/{}", group.origin.lv), &device);
        Err(CliError::failed(words).hint("another process merges it; it is free once that has ended"))
    }

    /// The kernel, where it carries anything of a VG on the disks of a session.
    pub(crate) fn that_carries(
        context: &Context,
        session: &Session,
        found: &FoundVg,
    ) -> Result<Option<Self>, CliError> {
        if is_on_image(session, found) || !KernelDm::is_there() {
            return Ok(None);
        }
        let Ok(mut mapper) = KernelDm::open(&session.paths) else { return Ok(None) };
        let there = devices_of(&mut mapper, &found.vg.id)?;
        if there.is_empty() {
            return Ok(None);
        }
        refuse_user(context, &found.vg.name)?;
        Ok(Some(Self { mapper, there }))
    }

    /// Whether the same devices of the VG are there as when this was made, under the same names.
    pub(crate) fn is_unchanged(&mut self, vg: &LvmUuid) -> Result<bool, CliError> {
        let now = devices_of(&mut self.mapper, vg)?;
        let ids = |there: &'_ [Info]| -> Vec<_> {
            there.iter().map(|info| (info.uuid.clone(), info.name.clone())).collect()
        };
        Ok(ids(&now) == ids(&self.there))
    }

    fn chosen(&self, context: &Context, vg: &VgName, goes_up: bool) -> Result<bool, CliError> {
        let wish = context.options.backend;
        if !self.there.is_empty() {
            refuse_user(context, vg)?;
            return Ok(true);
        }
        if !goes_up || wish == Some(Backend::User) {
            return Ok(false);
        }
        match LiveVg::find(vg, &context.options.disks())? {
            None => Ok(true),
            Some(_) if wish != Some(Backend::Kernel) => Ok(false),
            Some(_) => Err(CliError::failed(format!(
                "Volume group {vg} is served by the daemon, so the kernel cannot carry it."
            ))
            .hint(format!("take it down first: vgchange -an --backend user {vg}"))),
        }
    }
}

/// Refuses to carry in user space what is active in the kernel.
fn refuse_user(context: &Context, vg: &VgName) -> Result<(), CliError> {
    if context.options.backend != Some(Backend::User) {
        return Ok(());
    }
    let words = format!("Volume group {vg} is active in the kernel, so it cannot be served in user space.");
    Err(CliError::failed(words).hint(format!("take it down first: vgchange -an {vg}")))
}

/// The LVs of a VG that are among the devices that are there, with what users open of them.
pub(crate) fn live_lvs<'f>(found: &'f FoundVg, there: &'f [Info]) -> Vec<(&'f Lv, &'f Info)> {
    let live = |lv: &'f Lv| {
        let uuid = Device::of(found, lv, Layer::Top).uuid;
        there.iter().find(|info| info.uuid == uuid && info.live).map(|info| (lv, info))
    };
    found.vg.lvs.iter().filter_map(live).collect()
}

/// Whether the kernel carries an LV under the name that LVM2 gives it.
pub(crate) fn is_in_kernel(vg: &VgName, lv: &LvName) -> bool {
    let name = dm_name(vg, lv, None);
    let there = KernelDm::is_there().then(|| KernelDm::open(&[]).ok()?.list().ok()).flatten();
    there.is_some_and(|there| there.iter().any(|info| info.name.0 == name && info.uuid.starts_with("LVM-")))
}

/// The kernel's devices that belong to a VG, by their UUIDs.
fn devices_of(mapper: &mut KernelDm, vg: &LvmUuid) -> Result<Vec<Info>, KernelDmError> {
    let prefix = format!("LVM-{}", vg.compact());
    Ok(mapper.list()?.into_iter().filter(|info| info.uuid.starts_with(&prefix)).collect())
}

/// Whether the command has any disk to look at: it was named, is active, or is to be found by scanning.
pub(crate) fn has_disks(context: &Context) -> Result<bool, CliError> {
    Ok(context.options.scans() || !disks_or_live(&context.options)?.is_empty())
}

/// Whether one of a VG's PVs is an image file.
fn is_on_image(session: &Session, found: &FoundVg) -> bool {
    let disks = found.places.iter().flatten().filter_map(|place| usize::try_from(place.disk.0).ok());
    let files = disks.filter_map(|index| session.files.get(index));
    files.into_iter().any(|file| file.kind() == DiskKind::Image)
}

/// Removes what a merge that was killed has left in the kernel of a VG's devices.
pub(crate) fn forget_killed_merges(session: &Session, found: &FoundVg) -> Result<(), CliError> {
    if !KernelDm::is_there() || is_on_image(session, found) {
        return Ok(());
    }
    let vg = &found.vg;
    let _lock = locks(&session.config).vg(&vg.name, LockMode::Exclusive)?;
    let mut kernel = KernelDm::open(&session.paths)?;
    let mut there = devices_of(&mut kernel, &vg.id)?;
    Ok(clear_left_over(&mut kernel, &mut there)?)
}

/// The VGs on the command's disks of which the kernel carries something.
pub(crate) fn active_in_kernel(context: &Context) -> Result<Vec<VgName>, CliError> {
    if !KernelDm::is_there() || !has_disks(context)? {
        return Ok(Vec::new());
    }
    let mut session = Session::open(&context.options, Access::Read)?;
    let Ok(mut mapper) = KernelDm::open(&session.paths) else { return Ok(Vec::new()) };
    let mut active = Vec::new();
    for found in session.discover().vgs {
        if !devices_of(&mut mapper, &found.vg.id)?.is_empty() {
            active.push(found.vg.name);
        }
    }
    Ok(active)
}
