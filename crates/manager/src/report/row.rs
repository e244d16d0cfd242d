//! Rows: what stands on one line of a report, and which rows a report has.
//!
//! What must hold (as LVM2's process of asking for fields does it):
//! - The fields that are asked for decide what a row is: with a segment's field, one row per segment; with an LV's
//!   field in `pvs`, one row per piece of a PV.
//! - LV and PV fields together exist only for pieces of PVs; elsewhere that is refused.
//! - Every row has every part: where there is nothing, a stand-in is shown (`free` extents, no VG).

use super::facts::{Facts, LvFacts, PvFacts, PvSegmentFacts, SegmentFacts, VgFacts};
use super::field::Section;
use foldback_units::Sectors;
use std::sync::LazyLock;

/// One line.
#[derive(Clone, Copy)]
pub(super) struct Row<'a> {
    pub(super) vg: &'a VgFacts,
    pub(super) lv: &'a LvFacts,
    pub(super) segment: &'a SegmentFacts,
    pub(super) pv: &'a PvFacts,
    pub(super) pv_segment: PvSegmentFacts,
}

/// The stand-ins.
static NOTHING: LazyLock<(VgFacts, LvFacts, SegmentFacts, PvFacts)> = LazyLock::new(|| {
    let lv = LvFacts { read_ahead: Some(Sectors::ZERO), ..LvFacts::default() };
    let free = SegmentFacts { kind: "free".to_owned(), ..SegmentFacts::default() };
    (VgFacts::default(), lv, free, PvFacts::default())
});

impl<'a> Row<'a> {
    fn of(vg: &'a VgFacts) -> Self {
        let (_, lv, segment, pv) = &*NOTHING;
        Self { vg, lv, segment, pv, pv_segment: PvSegmentFacts::default() }
    }

    fn orphan(pv: &'a PvFacts) -> Self {
        Self { pv, ..Self::of(&NOTHING.0) }
    }

    /// The row's segment has an LV.
    pub(super) fn is_free(&self) -> bool {
        self.segment.kind == "free"
    }

    /// The LV at `index` in the row's VG.
    pub(super) fn lv_at(&self, index: usize) -> Option<&'a LvFacts> {
        self.vg.lvs.get(index)
    }
}

/// What a report lists.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Report {
    /// `lvs`
    Lvs,
    /// `lvs --segments`
    Segments,
    /// `pvs`
    Pvs,
    /// `pvs --segments`
    PvSegments,
    /// `vgs`
    Vgs,
}

impl Report {
    /// The name of the list in JSON, and of the report in messages.
    pub fn id(self) -> &'static str {
        match self {
            Self::Lvs => "lv",
            Self::Segments => "seg",
            Self::Pvs => "pv",
            Self::PvSegments => "pvseg",
            Self::Vgs => "vg",
        }
    }

    /// The section whose prefix may be left out.
    pub(super) fn own_section(self) -> Section {
        match self {
            Self::Lvs => Section::Lv,
            Self::Segments => Section::Segment,
            Self::Pvs => Section::Pv,
            Self::PvSegments => Section::PvSegment,
            Self::Vgs => Section::Vg,
        }
    }

    /// What a row is when fields of `sections` are asked for.
    pub(super) fn rows_for(self, sections: &[Section]) -> Option<RowKind> {
        let has = |section| sections.contains(&section);
        let (lv, segment) = (has(Section::Lv), has(Section::Segment) || self == Self::Segments);
        let pv = has(Section::Pv) || has(Section::Label);
        let pv_segment = has(Section::PvSegment) || self == Self::PvSegments;
        match self {
            Self::Lvs | Self::Segments if pv || pv_segment => None,
            Self::Lvs | Self::Segments => Some(if segment { RowKind::Segment } else { RowKind::Lv }),
            Self::Pvs | Self::PvSegments => {
                Some(if pv_segment || lv || segment { RowKind::PvSegment } else { RowKind::Pv })
            }
            Self::Vgs if (pv || pv_segment) && (lv || segment) => None,
            Self::Vgs if pv_segment => Some(RowKind::PvSegment),
            Self::Vgs if pv => Some(RowKind::Pv),
            Self::Vgs if segment => Some(RowKind::Segment),
            Self::Vgs if lv => Some(RowKind::Lv),
            Self::Vgs => Some(RowKind::Vg),
        }
    }
}

/// What one row stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum RowKind {
    Vg,
    Lv,
    Segment,
    Pv,
    PvSegment,
}

/// Which objects a report shows; asked with the parts a row stands for.
pub trait Choice {
    /// Whether the VG is looked at at all.
    fn vg(&self, vg: &VgFacts) -> bool;
    /// Whether the LV is listed.
    fn lv(&self, vg: &VgFacts, lv: &LvFacts) -> bool;
    /// Whether the PV is listed.
    fn pv(&self, pv: &PvFacts) -> bool;
}

/// All rows of a report, unsorted: in the metadata's order.
pub(super) fn rows<'a>(facts: &'a Facts, report: Report, kind: RowKind, choice: &dyn Choice) -> Vec<Row<'a>> {
    let mut rows = Vec::new();
    for vg in facts.vgs.iter().filter(|vg| choice.vg(vg)) {
        match kind {
            RowKind::Vg => rows.push(Row::of(vg)),
            RowKind::Lv | RowKind::Segment => lv_rows(vg, kind, choice, &mut rows),
            RowKind::Pv | RowKind::PvSegment => {
                for pv in vg.pvs.iter().filter(|pv| choice.pv(pv)) {
                    pv_rows(Row { pv, ..Row::of(vg) }, kind, &mut rows);
                }
            }
        }
    }
    if matches!(report, Report::Pvs | Report::PvSegments) {
        for pv in facts.orphans.iter().filter(|pv| choice.pv(pv)) {
            pv_rows(Row::orphan(pv), kind, &mut rows);
        }
    }
    rows
}

fn lv_rows<'a>(vg: &'a VgFacts, kind: RowKind, choice: &dyn Choice, rows: &mut Vec<Row<'a>>) {
    for lv in vg.lvs.iter().filter(|lv| choice.lv(vg, lv)) {
        let row = Row { lv, ..Row::of(vg) };
        if kind == RowKind::Lv {
            rows.push(row);
        } else {
            rows.extend(lv.segments.iter().map(|segment| Row { segment, ..row }));
        }
    }
}

fn pv_rows<'a>(row: Row<'a>, kind: RowKind, rows: &mut Vec<Row<'a>>) {
    if kind == RowKind::Pv {
        rows.push(row);
        return;
    }
    rows.extend(row.pv.segments.iter().map(|piece| {
        let row = Row { pv_segment: *piece, ..row };
        let user = piece.user.and_then(|(lv, segment)| {
            let lv = row.lv_at(lv)?;
            Some((lv, lv.segments.get(segment)?))
        });
        user.map_or(row, |(lv, segment)| Row { lv, segment, ..row })
    }));
}
