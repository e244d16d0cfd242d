//! Another size of a VG's extents: every number of extents in the metadata changes, nothing that lies on a disk does. Pure.
//!
//! What must hold (compared with 2.03.16):
//! - Whatever began and ended somewhere begins and ends there still; where that is no border of new extents, nothing is changed.
//! - A VG with segments of which nobody here knows which numbers are extents is left alone.

use crate::ops::refusal::Refusal;
use foldback_lvm2_format::extents::ExtentMap;
use foldback_lvm2_format::vg::{ExtentSize, SegmentKind, Vg};
use foldback_units::Sectors;

/// The VG with extents of `sectors`.
///
/// # Errors
/// [`Refusal`]: no size for extents, something that would not end where an extent does, or a segment that is not understood.
pub(crate) fn resized(vg: &Vg, sectors: Sectors) -> Result<Vg, Refusal> {
    let new = extent_size(sectors)?;
    let change = Ratio { old: vg.extent_size, new };
    let all = vg.pvs.iter().fold(0_u64, |sum, pv| sum.saturating_add(u64::from(pv.pe_count)));
    let map = ExtentMap::of(vg);
    let free = |pv| u64::from(map.free_count(pv));
    let all_free = vg.pvs.iter().fold(0_u64, |sum, pv| sum.saturating_add(free(&pv.key)));
    if new > vg.extent_size && !change.fits(all) {
        return Err(Refusal::ExtentFit);
    }
    change.of(all, || vg.name.to_string())?;
    change.of(all_free, || format!("{} free space", vg.name))?;
    let mut after = vg.clone();
    after.extent_size = new;
    for pv in &mut after.pvs {
        let name = || pv.device.clone().unwrap_or_else(|| pv.key.to_string());
        let used = u64::from(pv.pe_count).saturating_sub(free(&pv.key));
        let count = change.of(u64::from(pv.pe_count), name)?;
        change.of(used, || format!("{} allocated space", name()))?;
        pv.pe_count = count;
    }
    for pv in &vg.pvs {
        let name = || pv.device.clone().unwrap_or_else(|| pv.key.to_string());
        for run in map.free_on(&pv.key) {
            change.of(u64::from(run.start), || format!("{} PV segment start", name()))?;
            change.of(u64::from(run.count), || format!("{} PV segment length", name()))?;
        }
    }
    for lv in &mut after.lvs {
        let name = lv.name.clone();
        for segment in &mut lv.segments {
            let number =
                |extents: u32, what: &str| change.of(u64::from(extents), || format!("{name} {what}"));
            let each = segment.area_extents();
            let type_text = segment.type_text();
            match &mut segment.kind {
                SegmentKind::Unknown { .. } => {
                    return Err(Refusal::NotUnderstood { vg: vg.name.clone(), lv: name, type_text });
                }
                SegmentKind::Striped(striped) => {
                    number(each.unwrap_or(segment.extent_count), "area length")?;
                    for area in &mut striped.areas {
                        area.start_extent = number(area.start_extent, "area start")?;
                    }
                }
                SegmentKind::Snapshot(_) | SegmentKind::Error | SegmentKind::Zero => {}
            }
            segment.start_extent = number(segment.start_extent, "segment start")?;
            segment.extent_count = number(segment.extent_count, "segment length")?;
        }
    }
    Ok(after)
}

/// A number of sectors as a size of extents.
///
/// # Errors
/// [`Refusal`]: 0, or neither a power of two nor a multiple of 128 KiB.
pub fn extent_size(sectors: Sectors) -> Result<ExtentSize, Refusal> {
    if sectors == Sectors::ZERO {
        return Err(Refusal::ExtentZero);
    }
    let size = u32::try_from(sectors.get()).ok().map(ExtentSize::from_sectors);
    size.and_then(Result::ok).ok_or(Refusal::ExtentSize)
}

struct Ratio {
    old: ExtentSize,
    new: ExtentSize,
}

impl Ratio {
    /// What old extents measure, in sectors.
    fn sectors(&self, extents: u64) -> u64 {
        extents.saturating_mul(u64::from(self.old.sectors()))
    }

    fn fits(&self, extents: u64) -> bool {
        self.sectors(extents).is_multiple_of(u64::from(self.new.sectors()))
    }

    /// As many new extents.
    fn of(&self, extents: u64, what: impl FnOnce() -> String) -> Result<u32, Refusal> {
        let sectors = self.sectors(extents);
        if !self.fits(extents) {
            return Err(Refusal::ExtentsInexact { sectors, of: what() });
        }
        let count = sectors.checked_div(u64::from(self.new.sectors())).unwrap_or(u64::MAX);
        u32::try_from(count).map_err(|_| Refusal::ExtentCount { count, of: what() })
    }
}

#[cfg(test)]
mod tests {
    use super::resized;
    use crate::ops::Refusal;
    use crate::testing::{lv_name, with_snapshots};
    use foldback_lvm2_format::vg::{SegmentKind, Vg};
    use foldback_units::Sectors;

    /// Where everything lies, in sectors.
    fn places(vg: &Vg) -> Vec<(String, u64, u64, Vec<u64>)> {
        let sectors = |extents: u32| vg.extent_size.of(extents).get();
        let mut all = Vec::new();
        for lv in &vg.lvs {
            for segment in &lv.segments {
                let starts = segment.areas().map(|area| sectors(area.start_extent)).collect();
                let (start, count) = (sectors(segment.start_extent), sectors(segment.extent_count));
                all.push((lv.name.to_string(), start, count, starts));
            }
        }
        all
    }

    #[test]
    fn everything_lies_where_it_lay() {
        let vg = with_snapshots(&["one", "two"]);
        let small = resized(&vg, Sectors(u64::from(vg.extent_size.sectors()) / 4)).unwrap();
        assert_eq!(places(&small), places(&vg));
        assert_eq!(small.pvs[0].pe_count, vg.pvs[0].pe_count * 4);
        assert_eq!(resized(&small, Sectors(u64::from(vg.extent_size.sectors()))).unwrap(), vg);
    }

    #[test]
    fn what_does_not_fit_is_refused_and_so_is_what_is_not_understood() {
        let mut vg = with_snapshots(&["one"]);
        let size = u64::from(vg.extent_size.sectors());
        assert_eq!(resized(&vg, Sectors(0)), Err(Refusal::ExtentZero));
        assert_eq!(resized(&vg, Sectors(size + 1)), Err(Refusal::ExtentSize));
        assert_eq!(resized(&vg, Sectors(1 << 40)), Err(Refusal::ExtentSize));
        let odd = vg.lv_mut(&lv_name("root")).unwrap();
        odd.segments[0].extent_count = 1;
        assert!(resized(&vg, Sectors(size * 2)).is_err());
        let lv = vg.lv_mut(&lv_name("root")).unwrap();
        lv.segments[0].kind = SegmentKind::Unknown { type_text: "raid1".to_owned() };
        assert!(matches!(resized(&vg, Sectors(size / 2)), Err(Refusal::NotUnderstood { .. })));
    }
}
