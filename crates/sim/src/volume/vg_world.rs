//! A VG on small disks, made by the manager's own code, and an environment that repeats itself.
//!
//! What must hold:
//! - Areas are as small as LVM2 allows (eight pages), so that the ring wraps after a few changes.

use super::meddler::Meddler;
use super::reader::{Text, newest};
use crate::report::Failure;
use foldback_device::DiskId;
use foldback_dm_table::Transaction;
use foldback_lvm2_format::label::{DEFAULT_LABEL_SECTOR, LabelSector};
use foldback_lvm2_format::pv_header::{DiskArea, Extension, PvHeader};
use foldback_lvm2_format::vg::ExtentSize;
use foldback_manager::apply;
use foldback_manager::environment::{Environment, fresh_uuid};
use foldback_manager::ops::vg_create::{self, NewVg};
use foldback_manager::store::{Discovery, DiskSet, FoundVg, Piece, discover, make_pv, pieces};
use foldback_testkit::{Image, Order, Rng, Sector, SimDisks};
use foldback_units::{Bytes, LvName, SectorRange, Sectors, VgName};

/// Where extents start.
const DATA_START: u64 = 64 << 10;
/// Sectors of an extent.
pub(crate) const EXTENT: u64 = 16;

/// Counts instead of asking a clock or a source of randomness.
#[derive(Clone, Debug)]
pub(crate) struct Repeatable {
    rng: Rng,
}

impl Repeatable {
    pub(crate) fn new(seed: u64) -> Self {
        Self { rng: Rng::new(seed) }
    }
}

impl Environment for Repeatable {
    fn now(&mut self) -> u64 {
        1_700_000_000
    }

    fn random(&mut self) -> [u8; 32] {
        std::array::from_fn(|_| self.rng.bits() as u8)
    }

    fn host(&self) -> String {
        "sim".to_owned()
    }

    fn system(&self) -> String {
        "Linux sim".to_owned()
    }

    fn command(&self) -> String {
        "sim".to_owned()
    }

    fn writer(&self) -> String {
        "sim".to_owned()
    }
}

/// The name of the only VG.
pub(crate) const VG: &str = "vg";

pub(crate) fn paths(disks: usize) -> Vec<String> {
    (0..disks).map(|number| format!("/sim/pv{number}")).collect()
}

/// What was expected to go well and did not.
pub(crate) fn unexpected(what: &str, error: impl std::fmt::Display) -> Failure {
    Failure::new("setup", format!("{what}: {error}"))
}

/// Disks of so many extents each, full of what their former owner left.
pub(crate) fn used_disks(count: u64, extents: u64) -> Image {
    let len = DATA_START / 512 + extents * EXTENT + 3;
    let disk = |number: u64| (0..len).map(|at| Sector::Stamp(0x0300_0000_0000 | number << 24 | at)).collect();
    Image::new((0..count).map(disk).collect())
}

/// Makes PVs of all disks, and a VG of them.
pub(crate) fn make_vg(disks: &mut Meddler, environment: &mut Repeatable) -> Result<(), Failure> {
    use foldback_device::Disks;
    let count = disks.count();
    let paths = paths(count as usize);
    for number in 0..count {
        let size = disks.geometry(DiskId(number)).map_err(|error| unexpected("geometry", error))?.size;
        let pv = PvHeader {
            id: fresh_uuid(environment),
            device_size: size,
            data_areas: vec![DiskArea { offset: Bytes(DATA_START), size: Bytes::ZERO }],
            metadata_areas: vec![DiskArea { offset: Bytes(4096), size: Bytes(32 << 10) }],
            extension: Some(Extension::new(false)),
        };
        let label = LabelSector { sector: DEFAULT_LABEL_SECTOR, pv };
        let mut set = DiskSet::new(disks, &paths);
        make_pv(&mut set, DiskId(number), &label).map_err(|error| unexpected("make_pv", error))?;
    }
    let name = VgName::new(VG).map_err(|error| unexpected("name", error))?;
    let extent_size = ExtentSize::from_sectors(EXTENT as u32).map_err(|error| unexpected("extent", error))?;
    let new = NewVg { extent_size, ..NewVg::named(name) };
    let mut set = DiskSet::new(disks, &paths);
    let found = discover(&mut set, None);
    let planned =
        vg_create::plan(&found, &new, &paths, environment).map_err(|r| unexpected("vgcreate", r))?;
    let vg = planned.vg.clone();
    apply::commit(&mut set, &planned, vg, environment).map_err(|error| unexpected("vgcreate", error))?;
    Ok(())
}

/// The VG as the manager finds it.
pub(crate) fn find(set: &mut DiskSet<'_>) -> Result<FoundVg, Failure> {
    let found: Discovery = discover(set, None);
    if let Some(vg) = found.named(VG).next() {
        return Ok(vg.clone());
    }
    let why = format!("{:?} {:?}", found.unreadable, found.faults);
    Err(Failure::new("commit", format!("the VG is not found any more: {why}")))
}

/// The text that holds, by the reader of its own.
pub(crate) fn read_text(image: &Image) -> Result<Text, Failure> {
    let text = newest(image).map_err(|what| Failure::new("commit", what))?;
    text.ok_or_else(|| Failure::new("commit", "no disk has a committed text"))
}

/// The text that the transaction's headers commit: put on a copy of the disks, and read.
pub(crate) fn after_text(transaction: &Transaction, image: &Image, seqno: u64) -> Result<Text, Failure> {
    let mut image = image.clone();
    let paths = paths(image.disks.len());
    for header in &transaction.headers {
        let disk = paths.iter().position(|path| *path == header.pv.0).unwrap_or_default();
        image.disks[disk][(header.offset.get() / 512) as usize] = Sector::from_bytes(&header.commit[..]);
    }
    let text = read_text(&image)?;
    if text.seqno == seqno + 1 {
        return Ok(text);
    }
    Err(Failure::new("commit", format!("the headers commit seqno {} after {seqno}", text.seqno)))
}

/// The VG as the manager finds it on an image; it must be one that can be changed.
pub(crate) fn found_on(image: &Image) -> Result<FoundVg, Failure> {
    let physical = vec![1; image.disks.len()];
    let mut disks = SimDisks::new(image.clone(), &physical, Order::Any, 0);
    let paths = paths(image.disks.len());
    let found = find(&mut DiskSet::new(&mut disks, &paths))?;
    match found.refuses_change() {
        None => Ok(found),
        Some(finding) => {
            Err(Failure::new("commit", format!("the VG cannot be changed any more: {finding:?}")))
        }
    }
}

/// Where an LV's sectors lie: disk and first sector of each piece, and its length.
fn lv_pieces(found: &FoundVg, name: &LvName) -> Result<Vec<(usize, usize, usize)>, Failure> {
    let Some(lv) = found.vg.lv(name) else { return Ok(Vec::new()) };
    let len = Sectors(u64::from(lv.extent_count()) * EXTENT);
    let range = SectorRange::new(Sectors(0), len).ok_or_else(|| Failure::new("setup", "a range"))?;
    let pieces = pieces(found, lv, range).map_err(|error| unexpected("mapping", error))?;
    let plain = |piece: &Piece| {
        (piece.disk.0 as usize, piece.range.start().get() as usize, piece.range.len().get() as usize)
    };
    Ok(pieces.iter().map(plain).collect())
}

/// The content of an LV; nothing where there is no such LV.
pub(crate) fn lv_content(found: &FoundVg, name: &LvName, image: &Image) -> Result<Vec<Sector>, Failure> {
    let pieces = lv_pieces(found, name)?;
    Ok(pieces
        .iter()
        .flat_map(|(disk, start, len)| image.disks[*disk][*start..start + len].to_vec())
        .collect())
}

/// Puts content onto an LV, behind everybody's back.
pub(crate) fn put_lv(
    found: &FoundVg,
    name: &LvName,
    content: &[Sector],
    image: &mut Image,
) -> Result<(), Failure> {
    let mut done = 0;
    for (disk, start, len) in lv_pieces(found, name)? {
        image.disks[disk][start..start + len].clone_from_slice(&content[done..done + len]);
        done += len;
    }
    Ok(())
}
