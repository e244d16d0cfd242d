//! The name, the UUID and the table of one LV's devices.
//!
//! What must hold (lvm2.md 2.1, 2.2):
//! - `-real` and `-cow` are layers of the LV they belong to: its name and its UUID, with a suffix.
//! - Every extent of the LV is in the table, in order; an LV with a segment we do not carry has no table.

use crate::store::FoundVg;
use foldback_dm_table::{DeviceRef, DmName, Line, StripeArea, Table, Target};
use foldback_lvm2_format::vg::{Area, AreaOn, Lv, LvStatus, Segment, SegmentKind, Striped};
use foldback_units::{LvName, Sectors, dm_name};

/// Why an LV cannot be activated.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ActivationError {
    /// No such LV.
    #[error("activating {lv}: there is no such logical volume in {vg}")]
    NotFound {
        /// The VG.
        vg: String,
        /// The LV.
        lv: LvName,
    },
    /// A segment that we do not carry.
    #[error("activating {lv}: its segment type \"{type_text}\" cannot be carried by this program")]
    Kind {
        /// The LV.
        lv: LvName,
        /// The type.
        type_text: String,
    },
    /// A PV is missing.
    #[error("activating {lv}: PV {pv} is missing")]
    Missing {
        /// The LV.
        lv: LvName,
        /// The PV's name in the text.
        pv: String,
    },
    /// A number that does not fit.
    #[error("activating {lv}: a segment reaches beyond what a device can have")]
    Overflow {
        /// The LV.
        lv: LvName,
    },
    /// Snapshots that were taken during a merge, for the kernel.
    #[error(
        "activating {lv}: snapshots of it were taken while it merges, which the kernel cannot carry; finish it with `foldback lvconvert --merge`"
    )]
    MergedView {
        /// The origin.
        lv: LvName,
    },
    /// A snapshot of a snapshot, which neither LVM2 nor the kernel carries.
    #[error("activating {lv}: it is both an origin and a snapshot")]
    Stacked {
        /// The LV.
        lv: LvName,
    },
}

impl ActivationError {
    /// The reason alone, for what is no activation.
    pub fn reason(&self) -> String {
        let told = self.to_string();
        told.split_once(": ").map_or(told.clone(), |(_, reason)| reason.to_owned())
    }
}

/// A layer of an LV's devices.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Layer {
    /// What users open.
    Top,
    /// The origin's own extents.
    Real,
    /// The store's own extents.
    Cow,
}

impl Layer {
    const fn suffix(self) -> Option<&'static str> {
        match self {
            Self::Top => None,
            Self::Real => Some("real"),
            Self::Cow => Some("cow"),
        }
    }
}

/// A device: how the mapper calls it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Device {
    /// `vg-lv-layer`.
    pub name: DmName,
    /// `LVM-...-layer`.
    pub uuid: String,
    /// The minor number that the LV's own device is to have whenever it is active.
    pub minor: Option<u32>,
}

impl Device {
    /// The device of a layer of `lv`.
    pub fn of(found: &FoundVg, lv: &Lv, layer: Layer) -> Self {
        let name = DmName(dm_name(&found.vg.name, &lv.name, layer.suffix()));
        let mut uuid = format!("LVM-{}{}", found.vg.id.compact(), lv.id.compact());
        if let Some(suffix) = layer.suffix() {
            uuid.push('-');
            uuid.push_str(suffix);
        }
        let fixed = layer == Layer::Top && lv.status.contains(&LvStatus::FixedMinor);
        let minor = lv.minor.filter(|_| fixed).and_then(|minor| u32::try_from(minor).ok());
        Self { name, uuid, minor }
    }

    /// As other tables name it.
    pub fn device_ref(&self) -> DeviceRef {
        DeviceRef(self.name.0.clone())
    }
}

/// The LV's own extents as a table over PVs.
pub fn lv_table(found: &FoundVg, lv: &Lv) -> Result<Table, ActivationError> {
    let mut lines: Vec<Line> = Vec::new();
    for segment in &lv.segments {
        let start = found.vg.extent_size.of(segment.start_extent);
        let len = found.vg.extent_size.of(segment.extent_count);
        let target = match &segment.kind {
            SegmentKind::Striped(striped) => striped_target(found, lv, segment, striped)?,
            SegmentKind::Error => Target::Error,
            SegmentKind::Zero => Target::Zero,
            SegmentKind::Snapshot(_) | SegmentKind::Unknown { .. } => {
                let type_text = segment.kind.type_text().to_owned();
                return Err(ActivationError::Kind { lv: lv.name.clone(), type_text });
            }
        };
        lines.push(Line { start, len, target });
    }
    Ok(Table { lines })
}

fn striped_target(
    found: &FoundVg,
    lv: &Lv,
    segment: &Segment,
    striped: &Striped,
) -> Result<Target, ActivationError> {
    let overflow = || ActivationError::Overflow { lv: lv.name.clone() };
    let mut areas = Vec::new();
    for area in &striped.areas {
        areas.push(stripe_area(found, lv, area)?);
    }
    match <[StripeArea; 1]>::try_from(areas) {
        Ok([area]) => Ok(Target::Linear(area)),
        Err(areas) => {
            segment.area_extents().ok_or_else(overflow)?;
            Ok(Target::Striped { chunk: striped.stripe_size.ok_or_else(overflow)?, areas })
        }
    }
}

fn stripe_area(found: &FoundVg, lv: &Lv, area: &Area) -> Result<StripeArea, ActivationError> {
    let AreaOn::Pv(key) = &area.on else {
        let type_text = "striped over logical volumes".to_owned();
        return Err(ActivationError::Kind { lv: lv.name.clone(), type_text });
    };
    let missing = || ActivationError::Missing { lv: lv.name.clone(), pv: key.to_string() };
    let place = found.place(key).ok_or_else(missing)?;
    let pv = found.vg.pv(key).ok_or_else(missing)?;
    let offset: Sectors = pv
        .pe_start
        .checked_add(found.vg.extent_size.of(area.start_extent))
        .ok_or_else(|| ActivationError::Overflow { lv: lv.name.clone() })?;
    Ok(StripeArea { device: DeviceRef(place.path.clone()), offset })
}
