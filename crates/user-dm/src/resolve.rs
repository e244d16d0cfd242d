//! What the names in a table mean, and whether a table can be carried.
//!
//! What must hold:
//! - A table that is loaded names only devices that exist and are long enough, does not lead back to its own device, and
//!   stands on no origin or snapshot. A snapshot may name a device that merges: it is one of the merged view.
//! - A device that has no table yet passes for long enough, as in the kernel: that is looked at again on resume.

use crate::error::DmErrorKind;
use crate::map::{Below, Kind, Map, Stretch};
use crate::mapped::{DeviceId, Lower, Mapped, is_group_target, whole_target};
use foldback_device::{DiskId, Geometry};
use foldback_dm_table::{DeviceRef, DmName, Line, Table, Target};
use foldback_units::{ChunkSize, Sectors};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// The most devices on top of one another.
const MAX_DEPTH: usize = 16;

/// What names can mean: the PVs, and the mapped devices.
#[derive(Clone, Copy)]
pub(crate) struct Names<'a> {
    pub(crate) pvs: &'a [(String, Geometry)],
    pub(crate) devices: &'a BTreeMap<DeviceId, Mapped>,
}

impl<'a> Names<'a> {
    /// A PV by its path, or a mapped device by its name, with or without `/dev/mapper/`.
    pub(crate) fn lower(&self, name: &DeviceRef) -> Option<Lower> {
        if let Some(index) = self.pvs.iter().position(|(path, _)| *path == name.0) {
            return Some(Lower::Disk(DiskId(u32::try_from(index).ok()?)));
        }
        let plain = name.0.strip_prefix("/dev/mapper/").unwrap_or(&name.0);
        self.device(plain).map(Lower::Mapped)
    }

    fn found(&self, name: &DeviceRef) -> Result<Lower, DmErrorKind> {
        self.lower(name).ok_or_else(|| DmErrorKind::NoLower(name.clone()))
    }

    /// A mapped device by its name.
    pub(crate) fn device(&self, name: &str) -> Option<DeviceId> {
        self.devices.iter().find(|(_, device)| device.name.0 == name).map(|(id, _)| *id)
    }

    /// Whether `table` may be loaded into `device`.
    pub(crate) fn check(&self, device: DeviceId, table: &Table) -> Result<(), DmErrorKind> {
        table.check()?;
        for line in &table.lines {
            if let Target::Other { kind, .. } = &line.target {
                return Err(DmErrorKind::Target(kind.clone()));
            }
            if is_group_target(&line.target) && table.lines.len() > 1 {
                return Err(DmErrorKind::NotAlone(line.target.kind().to_owned()));
            }
            for (name, needs) in needs(line) {
                let lower = self.found(name)?;
                let merged = match &line.target {
                    Target::Snapshot(params) if params.origin == *name => self.merging(lower),
                    _ => None,
                };
                match merged {
                    Some(merging) => self.check_merging(device, lower, merging)?,
                    None => self.check_way(device, lower)?,
                }
                self.check_length(name, lower, needs)?;
            }
        }
        Ok(())
    }

    /// The mapped device, if one of its tables is a merge.
    fn merging(&self, lower: Lower) -> Option<&Mapped> {
        let Lower::Mapped(id) = lower else { return None };
        let merges = |table: &Table| matches!(whole_target(table), Some(Target::SnapshotMerge(_)));
        self.devices.get(&id).filter(|device| device.tables().any(merges))
    }

    /// What a snapshot's table names as its origin: where that device merges or is an origin, the device under it, and
    /// whether the snapshot is one of the merged view.
    pub(crate) fn base_of(&self, origin: &'a DeviceRef) -> (&'a DeviceRef, bool) {
        let live = match self.lower(origin) {
            Some(Lower::Mapped(id)) => self.devices.get(&id).and_then(|device| device.live.as_ref()),
            _ => None,
        };
        match live.and_then(|live| whole_target(&live.table)) {
            Some(Target::SnapshotMerge(params)) => (&params.origin, true),
            Some(Target::SnapshotOrigin { origin }) => (origin, false),
            _ => (origin, false),
        }
    }

    /// The device under a merge has to be as the merge itself needs it.
    fn check_merging(&self, device: DeviceId, lower: Lower, merging: &Mapped) -> Result<(), DmErrorKind> {
        if lower == Lower::Mapped(device) {
            return Err(DmErrorKind::Cycle(MAX_DEPTH));
        }
        let names = merging.tables().flat_map(|table| &table.lines).flat_map(needs);
        for below in names.filter_map(|(name, _)| self.lower(name)) {
            self.check_way(device, below)?;
        }
        Ok(())
    }

    fn check_way(&self, device: DeviceId, lower: Lower) -> Result<(), DmErrorKind> {
        match lower {
            Lower::Disk(_) => Ok(()),
            Lower::Mapped(id) => self.check_below(device, id, 1),
        }
    }

    fn check_length(&self, name: &DeviceRef, lower: Lower, needs: Sectors) -> Result<(), DmErrorKind> {
        let has = match lower {
            Lower::Disk(disk) => self.disk_len(disk),
            Lower::Mapped(id) => {
                let lengths = self.devices.get(&id).into_iter().flat_map(Mapped::tables).map(Table::len);
                match lengths.max() {
                    Some(longest) => longest,
                    None => return Ok(()),
                }
            }
        };
        if has < needs {
            return Err(DmErrorKind::TooShort { device: name.clone(), has: has.get(), needs: needs.get() });
        }
        Ok(())
    }

    /// Walks down from `id`: no way may lead to `top`, and nothing on the way may belong to a group.
    fn check_below(&self, top: DeviceId, id: DeviceId, depth: usize) -> Result<(), DmErrorKind> {
        if id == top || depth > MAX_DEPTH {
            return Err(DmErrorKind::Cycle(MAX_DEPTH));
        }
        let Some(device) = self.devices.get(&id) else { return Ok(()) };
        for line in device.tables().flat_map(|table| &table.lines) {
            if is_group_target(&line.target) {
                return Err(DmErrorKind::Stacked(device.name.clone()));
            }
            for (name, _) in needs(line) {
                if let Some(Lower::Mapped(next)) = self.lower(name) {
                    self.check_below(top, next, depth.saturating_add(1))?;
                }
            }
        }
        Ok(())
    }

    fn disk_len(&self, disk: DiskId) -> Sectors {
        let index = usize::try_from(disk.0).unwrap_or(usize::MAX);
        self.pvs.get(index).map_or(Sectors::ZERO, |(_, geometry)| geometry.size.to_sectors_floor())
    }

    /// The map of what a live table stands on.
    pub(crate) fn map_of(&self, lower: Lower) -> Result<Rc<Map>, DmErrorKind> {
        match lower {
            Lower::Disk(disk) => Ok(Rc::new(Map::of_disk(disk, self.disk_len(disk).get()))),
            Lower::Mapped(id) => {
                let device = self.devices.get(&id).ok_or(DmErrorKind::Missing)?;
                let live = device.live.as_ref().ok_or(DmErrorKind::NoTable)?;
                self.map_of_table(&live.table, 1)
            }
        }
    }

    /// The map of a table without group targets; all that it stands on has to be live.
    pub(crate) fn map_of_table(&self, table: &Table, depth: usize) -> Result<Rc<Map>, DmErrorKind> {
        if depth > MAX_DEPTH {
            return Err(DmErrorKind::Cycle(MAX_DEPTH));
        }
        let stretches = table.lines.iter().map(|line| self.stretch(line, depth));
        Ok(Rc::new(Map::new(stretches.collect::<Result<_, _>>()?)))
    }

    fn stretch(&self, line: &Line, depth: usize) -> Result<Stretch, DmErrorKind> {
        let mut belows = Vec::new();
        for (name, needs) in needs(line) {
            let (below, has) = match self.found(name)? {
                Lower::Disk(disk) => (Below::Disk(disk), self.disk_len(disk)),
                Lower::Mapped(id) => {
                    let lower = self.devices.get(&id).and_then(|device| device.live.as_ref());
                    let lower = lower.ok_or_else(|| DmErrorKind::NoLower(name.clone()))?;
                    let map = self.map_of_table(&lower.table, depth.saturating_add(1))?;
                    let len = map.len();
                    (Below::Map(map), len)
                }
            };
            if has < needs {
                return Err(DmErrorKind::TooShort {
                    device: name.clone(),
                    has: has.get(),
                    needs: needs.get(),
                });
            }
            belows.push(below);
        }
        let kind = match &line.target {
            Target::Linear(area) => match belows.pop() {
                Some(below) => Kind::Linear { below, offset: area.offset.get() },
                None => Kind::Error,
            },
            Target::Striped { chunk, areas } => {
                let lanes = belows.into_iter().zip(areas.iter().map(|area| area.offset.get()));
                Kind::Striped { chunk: chunk.get(), lanes: lanes.collect() }
            }
            Target::Zero => Kind::Zero,
            Target::Error => Kind::Error,
            other => return Err(DmErrorKind::NotAlone(other.kind().to_owned())),
        };
        Ok(Stretch { start: line.start.get(), len: line.len.get(), kind })
    }

    /// Every mapped device that requests to a device with this table pass through.
    pub(crate) fn below(&self, table: &Table) -> BTreeSet<DeviceId> {
        let mut below = BTreeSet::new();
        let mut next: Vec<&Table> = vec![table];
        while let Some(table) = next.pop() {
            for (name, _) in table.lines.iter().flat_map(needs) {
                if let Some(Lower::Mapped(id)) = self.lower(name)
                    && below.insert(id)
                {
                    let live = self.devices.get(&id).and_then(|device| device.live.as_ref());
                    next.extend(live.map(|live| &live.table));
                }
            }
        }
        below
    }

    /// A device whose tables, live or not, name `id`.
    pub(crate) fn user_of(&self, id: DeviceId) -> Option<&DmName> {
        self.users_of(id).next()
    }

    /// All such devices.
    pub(crate) fn users_of(&self, id: DeviceId) -> impl Iterator<Item = &DmName> {
        let names = *self;
        self.devices.values().filter_map(move |device| {
            let mut lowers = device.tables().flat_map(|table| &table.lines).flat_map(needs);
            lowers.any(|(name, _)| names.lower(name) == Some(Lower::Mapped(id))).then_some(&device.name)
        })
    }
}

/// The devices that a line names, and the length that it needs of each.
pub(crate) fn needs(line: &Line) -> Vec<(&DeviceRef, Sectors)> {
    match &line.target {
        Target::Linear(area) => vec![(&area.device, area.offset.saturating_add(line.len))],
        Target::Striped { areas, .. } => {
            let stripes = u64::try_from(areas.len()).unwrap_or(u64::MAX);
            let each = Sectors(line.len.get().checked_div(stripes).unwrap_or(0));
            areas.iter().map(|area| (&area.device, area.offset.saturating_add(each))).collect()
        }
        Target::SnapshotOrigin { origin } => vec![(origin, line.len)],
        Target::Snapshot(params) | Target::SnapshotMerge(params) => {
            // A store shorter than a header and an area is refused when it is opened.
            vec![(&params.origin, line.len), (&params.cow, smallest_store(params.chunk_size))]
        }
        Target::Error | Target::Zero | Target::Other { .. } => Vec::new(),
    }
}

fn smallest_store(chunk: ChunkSize) -> Sectors {
    chunk.len()
}
