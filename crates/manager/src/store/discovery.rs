//! From disks to VGs: reads every label and metadata area, and finds out what belongs together.
//!
//! What must hold:
//! - Of all texts of a VG (by its UUID) the one with the highest seqno holds.
//! - A PV belongs to the VG whose holding text lists it; a PV whose own text is of another VG that lists it, too, is
//!   missing here.
//! - Nothing is written, and nothing found is hidden: what is odd becomes a [`Finding`] of the VG it concerns.

use crate::store::area::{self, FoundArea, KnownTexts};
use crate::store::assemble;
use crate::store::disk_set::{DiskFault, DiskSet};
use crate::store::finding::{Consequence, Finding};
use foldback_device::DiskId;
use foldback_lvm2_format::label::{self, LABEL_SEARCH_BYTES, LabelSector};
use foldback_lvm2_format::mda_header::MdaHeader;
use foldback_lvm2_format::pv_header::DiskArea;
use foldback_lvm2_format::vg::{PvKey, Vg};
use foldback_units::{Bytes, LvmUuid};

/// A disk with a PV's label.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FoundPv {
    /// The disk.
    pub disk: DiskId,
    /// Its path.
    pub path: String,
    /// The disk's length.
    pub size: Bytes,
    /// The label with the PV's header.
    pub label: LabelSector,
    /// Its metadata areas, in the label's order.
    pub areas: Vec<FoundArea>,
}

/// Where a PV of a VG is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PvPlace {
    /// The disk.
    pub disk: DiskId,
    /// Its path.
    pub path: String,
    /// The disk's length.
    pub size: Bytes,
    /// The label with the PV's header.
    pub label: LabelSector,
}

/// A metadata area of a VG into which changes are written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AreaPlace {
    /// The disk.
    pub disk: DiskId,
    /// Where it lies there.
    pub area: DiskArea,
    /// Its header as it was read.
    pub header: MdaHeader,
}

/// A VG that was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FoundVg {
    /// What its holding text says.
    pub vg: Vg,
    /// Where its PVs are, in the order of `vg.pvs`; `None` for those that are missing.
    pub places: Vec<Option<PvPlace>>,
    /// Its areas that are in use.
    pub areas: Vec<AreaPlace>,
    /// What is wrong with it.
    pub findings: Vec<Finding>,
}

/// A name that a text claims, without a text that could be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnreadableVg {
    /// The text's first word, where that is a name.
    pub name: Option<String>,
    /// The PV it lies on.
    pub path: String,
    /// Why it cannot be read.
    pub reason: String,
}

/// Everything found on a set of disks.
#[derive(Debug, Default)]
pub struct Discovery {
    /// PVs, in the order of the disks; of duplicates only the first.
    pub pvs: Vec<FoundPv>,
    /// Disks with the label of a PV that another disk has, too.
    pub duplicates: Vec<FoundPv>,
    /// VGs, by name.
    pub vgs: Vec<FoundVg>,
    /// Texts of VGs that cannot be read.
    pub unreadable: Vec<UnreadableVg>,
    /// Disks without a label, and what looked like one.
    pub unlabelled: Vec<(DiskId, Vec<String>)>,
    /// Disks whose start could not be read.
    pub faults: Vec<DiskFault>,
}

/// Reads all disks of `set`. `local_system_id` is this host's, if it has one.
pub fn discover(set: &mut DiskSet<'_>, local_system_id: Option<&str>) -> Discovery {
    let mut found = Discovery::default();
    let mut known = KnownTexts::new();
    for disk in set.ids() {
        match read_pv(set, disk, &mut known) {
            Ok(Ok(pv)) => {
                let duplicate = found.pvs.iter().any(|other| other.label.pv.id == pv.label.pv.id);
                if duplicate { found.duplicates.push(pv) } else { found.pvs.push(pv) }
            }
            Ok(Err(refused)) => found.unlabelled.push((disk, refused)),
            Err(fault) => found.faults.push(fault),
        }
    }
    assemble::assemble(&mut found, local_system_id);
    found
}

/// The PV on `disk`; the inner error holds the reasons why what looked like labels was none.
fn read_pv(
    set: &mut DiskSet<'_>,
    disk: DiskId,
    known: &mut KnownTexts,
) -> Result<Result<FoundPv, Vec<String>>, DiskFault> {
    let size = set.size(disk)?;
    let start = LABEL_SEARCH_BYTES.min(size.to_usize().unwrap_or(usize::MAX));
    let start = set.read("reading the label", disk, Bytes::ZERO, start)?;
    let search = label::search(&start);
    let Some(label) = search.label else {
        return Ok(Err(search
            .refused
            .iter()
            .map(|(sector, why)| format!("sector {sector}: {why}"))
            .collect()));
    };
    let path = set.path(disk).to_owned();
    let areas = label.pv.metadata_areas.iter().map(|&area| area::read(set, disk, area, known)).collect();
    Ok(Ok(FoundPv { disk, path, size, label, areas }))
}

impl Discovery {
    /// The VGs of that name: more than one where two carry the same.
    pub fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a FoundVg> {
        self.vgs.iter().filter(move |found| found.vg.name.as_str() == name)
    }

    /// The VG with that UUID.
    pub fn by_id(&self, id: &LvmUuid) -> Option<&FoundVg> {
        self.vgs.iter().find(|found| found.vg.id == *id)
    }

    /// The VG to which the PV belongs; `None` for an orphan.
    pub fn vg_of(&self, pv: &FoundPv) -> Option<&FoundVg> {
        self.vgs.iter().find(|found| found.places.iter().flatten().any(|place| place.disk == pv.disk))
    }
}

impl FoundVg {
    /// The worst consequence of all findings; `None` where nothing refuses or warns.
    pub fn worst(&self) -> Option<Consequence> {
        self.findings.iter().map(Finding::consequence).max()
    }

    /// The finding because of which the VG must not be changed.
    pub fn refuses_change(&self) -> Option<&Finding> {
        self.findings.iter().find(|finding| finding.consequence() >= Consequence::RefuseChange)
    }

    /// The finding because of which not even its data may be touched.
    pub fn refuses_use(&self) -> Option<&Finding> {
        self.findings.iter().find(|finding| finding.consequence() == Consequence::RefuseUse)
    }

    /// Where the PV is that segments call `key`; `None` where it is missing.
    pub fn place(&self, key: &PvKey) -> Option<&PvPlace> {
        let index = self.vg.pvs.iter().position(|pv| pv.key == *key)?;
        self.places.get(index)?.as_ref()
    }
}
