//! The PVs of VGs that the kernel carries, for commands that name no disks.
//!
//! What must hold:
//! - Only disks are taken that live tables of LVM2's devices stand on, and those that the metadata on them name; a PV is one
//!   by its UUID, which whoever reads it checks.
//! - Nothing is scanned: a disk that carries nothing has to be named.

use crate::scanning::dev_dir;
use foldback_device::{Access, Backend, open_disks, open_files};
use foldback_dm_table::DeviceMapper;
use foldback_kernel_dm::KernelDm;
use foldback_manager::store::{DiskSet, discover};
use std::collections::BTreeSet;
use std::path::Path;

/// As the names of LVM2's devices begin, in the kernel.
const LVM: &str = "LVM-";

/// Paths of the PVs; none where there is no device-mapper, or no right to it.
pub(crate) fn pvs_in_kernel() -> Vec<String> {
    if !KernelDm::is_there() {
        return Vec::new();
    }
    let Ok(mut mapper) = KernelDm::open(&[]) else { return Vec::new() };
    let mut paths: Vec<String> = below(&mut mapper).into_iter().filter(|path| exists(path)).collect();
    paths.extend(named_on(&paths));
    paths
}

/// What tables of LVM2's devices stand on, as far as that is none of LVM2's itself.
fn below(mapper: &mut KernelDm) -> BTreeSet<String> {
    let there = mapper.list().unwrap_or_default();
    let lvs = || there.iter().filter(|info| info.uuid.starts_with(LVM));
    let is_lv = |name: &str| lvs().any(|info| info.name.0 == name);
    let mut below = BTreeSet::new();
    for info in lvs() {
        let mut table = mapper.table(&info.name).ok().flatten().unwrap_or_default();
        let names = table.devices_mut().map(|reference| reference.0.clone());
        below.extend(names.filter(|name| !is_lv(name)).filter_map(|name| path_of(&name)));
    }
    below
}

/// The node of a device: one that the kernel calls by its number, or a mapped one.
fn path_of(name: &str) -> Option<String> {
    let dev = dev_dir().unwrap_or_else(|| "/dev".into());
    if !name.contains(':') {
        return Some(dev.join("mapper").join(name).display().to_string());
    }
    let event = std::fs::read_to_string(format!("/sys/dev/block/{name}/uevent")).ok()?;
    let name = event.lines().find_map(|line| line.strip_prefix("DEVNAME="))?;
    Some(dev.join(name).display().to_string())
}

/// The other PVs of the VGs on these, where LVM2 saw them last.
fn named_on(paths: &[String]) -> Vec<String> {
    let Ok(files) = open_files(paths, Access::Read) else { return Vec::new() };
    let Ok(mut disks) = open_disks(&files, Backend::Blocking) else { return Vec::new() };
    let discovery = discover(&mut DiskSet::new(&mut *disks, paths), None);
    let missing = |place: &Option<_>| place.is_none();
    let of_vg = discovery.vgs.iter().flat_map(|found| found.vg.pvs.iter().zip(&found.places));
    let hints = of_vg.filter(|(_, place)| missing(place)).filter_map(|(pv, _)| pv.device.clone());
    hints.filter(|hint| exists(hint)).collect()
}

fn exists(path: &str) -> bool {
    Path::new(path).exists()
}
