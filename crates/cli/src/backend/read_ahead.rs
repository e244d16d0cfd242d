//! What the kernel reads ahead on the devices of volumes.
//!
//! What must hold (compared with 2.03.16): what the metadata say is set; where they leave it to the kernel, a striped volume gets
//! two whole stripes at least.

use crate::console::Console;
use crate::reporting::device_number;
use foldback_dm_table::DmName;
use foldback_kernel_dm::KernelDm;
use foldback_lvm2_format::vg::{Lv, SegmentKind};
use foldback_manager::activation::{Device, Layer};
use foldback_manager::store::FoundVg;
use foldback_units::{LvName, Sectors};

/// Gives the device of an LV the read-ahead that the metadata say; a failure is only worth a warning.
pub(crate) fn read_ahead_as_said(console: Console, found: &FoundVg, lv: &LvName) {
    let Some(lv) = found.vg.lv(lv) else { return };
    let device = Device::of(found, lv, Layer::Top).name;
    if let Err(error) = set(lv, &device) {
        console.warn(&format!("setting what is read ahead of {}/{}: {error}.", found.vg.name, lv.name));
    }
}

/// In `/sys` it stands in KiB.
fn set(lv: &Lv, device: &DmName) -> std::io::Result<()> {
    let Some((major, minor)) = device_number(&KernelDm::node(device).to_string_lossy()) else {
        return Ok(());
    };
    let file = format!("/sys/dev/block/{major}:{minor}/queue/read_ahead_kb");
    let kib = if let Some(sectors) = lv.read_ahead {
        u64::try_from(sectors).unwrap_or(0).div_euclid(2)
    } else {
        let least = two_stripes(lv).div_euclid(2);
        let there = std::fs::read_to_string(&file)?;
        if there.trim().parse::<u64>().is_ok_and(|there| there >= least) {
            return Ok(());
        }
        least
    };
    std::fs::write(&file, kib.to_string())
}

/// Sectors of two whole stripes of the widest segment; 0 of an LV that is not striped.
fn two_stripes(lv: &Lv) -> u64 {
    let of = |kind: &SegmentKind| match kind {
        SegmentKind::Striped(striped) if striped.areas.len() > 1 => {
            let count = u64::try_from(striped.areas.len()).unwrap_or(u64::MAX);
            striped.stripe_size.map_or(0, Sectors::get).saturating_mul(count).saturating_mul(2)
        }
        _ => 0,
    };
    lv.segments.iter().map(|segment| of(&segment.kind)).max().unwrap_or(0)
}
