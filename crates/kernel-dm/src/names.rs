//! Between the names of a plan and the kernel's numbers: PVs by path and mapped devices by name, in tables `MAJ:MIN`.
//!
//! What must hold:
//! - A table that is read back equals the table of the plan: PVs by the path that the plan has, mapped devices by name.
//! - A device that is neither stays `MAJ:MIN`; a target that is kept as text is not touched.

use crate::control::Kernel;
use crate::error::KernelDmErrorKind;
use crate::query;
use crate::specs::Spec;
use foldback_dm_table::{DeviceRef, DmName, Line, Table, Target};
use foldback_units::Sectors;
use rustix::fs::{major, makedev, minor};
use std::fs::Metadata;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// What the plan calls by a path.
#[derive(Debug)]
pub(crate) struct Names {
    /// Each PV's path and number.
    pvs: Vec<(String, u64)>,
    /// The major number of mapped devices.
    mapped: Option<u32>,
    /// The directory of `mapper/NAME`.
    dev: PathBuf,
}

impl Names {
    /// For PVs under these paths; what is no block device is not known as one.
    pub(crate) fn new(pvs: &[String], mapped: Option<u32>, dev: &Path) -> Self {
        let number = |path: &String| Some((path.clone(), block_number(Path::new(path))?));
        Self { pvs: pvs.iter().filter_map(number).collect(), mapped, dev: dev.to_owned() }
    }

    /// The number of a device that a table names.
    pub(crate) fn number<K: Kernel>(
        &self,
        kernel: &mut K,
        reference: &DeviceRef,
    ) -> Result<u64, KernelDmErrorKind> {
        let text = reference.0.as_str();
        if let Some((_, number)) = self.pvs.iter().find(|(path, _)| path == text) {
            return Ok(*number);
        }
        if let Some(number) = numbers(text) {
            return Ok(number);
        }
        let no_lower = || KernelDmErrorKind::NoLower(reference.clone());
        let name = Path::new(text).strip_prefix(self.dev.join("mapper")).ok().and_then(Path::to_str);
        let name = name.unwrap_or(text);
        if name.contains('/') {
            return block_number(Path::new(text)).ok_or_else(no_lower);
        }
        let found = query::find(kernel, &DmName(name.to_owned()))?;
        found.map(|known| known.dev).ok_or_else(no_lower)
    }

    /// The lines of a table with numbers, for the device of the number `own`.
    pub(crate) fn specs<K: Kernel>(
        &self,
        kernel: &mut K,
        table: &Table,
        own: u64,
    ) -> Result<Vec<Spec>, KernelDmErrorKind> {
        let mut table = table.clone();
        for reference in table.devices_mut() {
            let number = self.number(kernel, reference)?;
            if number == own {
                return Err(KernelDmErrorKind::Cycle);
            }
            reference.0 = format!("{}:{}", major(number), minor(number));
        }
        let spec = |line: &Line| Spec {
            start: line.start.get(),
            len: line.len.get(),
            kind: line.target.kind().to_owned(),
            params: line.target.params(),
        };
        Ok(table.lines.iter().map(spec).collect())
    }

    /// The kernel's lines as a plan has them. A line of ours that is not understood is kept as text.
    pub(crate) fn table<K: Kernel>(&self, kernel: &mut K, specs: &[Spec]) -> Table {
        let line = |spec: &Spec| {
            let text = || Target::Other { kind: spec.kind.clone(), params: spec.params.clone() };
            let target = Target::parse(&spec.kind, &spec.params).unwrap_or_else(|_| text());
            Line { start: Sectors(spec.start), len: Sectors(spec.len), target }
        };
        let mut table = Table { lines: specs.iter().map(line).collect() };
        for reference in table.devices_mut() {
            if let Some(named) = numbers(&reference.0).and_then(|number| self.reference(kernel, number)) {
                *reference = named;
            }
        }
        table
    }

    fn reference<K: Kernel>(&self, kernel: &mut K, number: u64) -> Option<DeviceRef> {
        if let Some((path, _)) = self.pvs.iter().find(|(_, known)| *known == number) {
            return Some(DeviceRef(path.clone()));
        }
        if self.mapped != Some(major(number)) {
            return None;
        }
        Some(DeviceRef(query::by_number(kernel, number).ok()?.info.name.0))
    }
}

/// `MAJ:MIN`.
fn numbers(text: &str) -> Option<u64> {
    let (major, minor) = text.split_once(':')?;
    Some(makedev(major.parse().ok()?, minor.parse().ok()?))
}

/// The number of the block device at a path.
pub(crate) fn block_number(path: &Path) -> Option<u64> {
    let is_block = |found: &Metadata| found.file_type().is_block_device();
    std::fs::metadata(path).ok().filter(is_block).map(|found| found.rdev())
}
