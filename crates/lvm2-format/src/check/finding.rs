//! What can be wrong with a VG that reads well: the findings of [`super::check`].

use foldback_units::{LvName, LvmUuid};

/// Something that LVM2 would refuse to write, or that would let one volume overwrite another.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Finding {
    /// Two sections of one name.
    #[error("two PVs are called \"{0}\" in the text")]
    PvKeyTwice(String),
    /// Two PVs of one UUID.
    #[error("two PVs have the UUID {0}")]
    PvIdTwice(LvmUuid),
    /// Two LVs of one name.
    #[error("two LVs are called \"{0}\"")]
    LvNameTwice(LvName),
    /// Two LVs of one UUID.
    #[error("two LVs have the UUID {0}")]
    LvIdTwice(LvmUuid),
    /// An LV that lies on it would be taken for lying on the PV.
    #[error("the LV \"{0}\" has the name of a PV's section, and other LVs lie on it")]
    Shadowed(LvName),
    /// VG and LV together make too long a device name.
    #[error("the names of the VG and of the LV \"{0}\" are too long together")]
    NamesTooLong(LvName),
    /// More PVs than allowed.
    #[error("the VG has {found} PVs and allows {max}")]
    TooManyPvs {
        /// That are there.
        found: usize,
        /// `max_pv`.
        max: u32,
    },
    /// More LVs than allowed.
    #[error("the VG has {found} visible LVs and allows {max}")]
    TooManyLvs {
        /// That are visible.
        found: usize,
        /// `max_lv`.
        max: u32,
    },
    /// `vgexport` marks the VG with its PVs.
    #[error("the PV \"{0}\" is marked as exported, the VG is not")]
    PvExported(String),
    /// Its last extent's place cannot be expressed.
    #[error("the PV \"{0}\" is larger than can be addressed")]
    PvTooLarge(String),
    /// A segment without extents.
    #[error("a segment of the LV \"{lv}\" at extent {at} has no extents")]
    EmptySegment {
        /// The LV.
        lv: LvName,
        /// In its extents.
        at: u32,
    },
    /// A gap, an overlap, or a start behind extent 0.
    #[error("a segment of the LV \"{lv}\" starts at extent {found}, the one before ends at {expected}")]
    NotContiguous {
        /// The LV.
        lv: LvName,
        /// Where the segment should start.
        expected: u64,
        /// Where it starts.
        found: u32,
    },
    /// Stripes without a size, a size without stripes, no areas, or lengths that do not divide.
    #[error("the stripes of the LV \"{lv}\" at extent {at} do not add up")]
    Stripes {
        /// The LV.
        lv: LvName,
        /// In its extents.
        at: u32,
    },
    /// A PV or LV that is not there.
    #[error("the LV \"{lv}\" lies on \"{on}\", which is not in the VG")]
    NotThere {
        /// The LV.
        lv: LvName,
        /// The name.
        on: String,
    },
    /// Beyond the end of what it lies on.
    #[error("the LV \"{lv}\" reaches to extent {end} of \"{on}\", which has {count}")]
    PastEnd {
        /// The LV.
        lv: LvName,
        /// The PV's section or the LV below.
        on: String,
        /// Behind the last extent used.
        end: u64,
        /// How many there are.
        count: u32,
    },
    /// One extent, two owners: the worst there is.
    #[error("extent {extent} of the PV \"{pv}\" is used by the LV \"{first}\" and by the LV \"{second}\"")]
    UsedTwice {
        /// The PV's section.
        pv: String,
        /// The first extent that both use.
        extent: u32,
        /// One of them.
        first: LvName,
        /// The other.
        second: LvName,
    },
    /// It would have no end.
    #[error("the LV \"{0}\" lies on itself")]
    Circle(LvName),
    /// A fictional LV is one segment and nothing else.
    #[error("the snapshot \"{0}\" is not exactly one segment")]
    SnapshotSegments(LvName),
    /// Origin and store are different ordinary LVs.
    #[error("the snapshot \"{snapshot}\" cannot have \"{lv}\" as its {part}")]
    SnapshotOf {
        /// The fictional LV.
        snapshot: LvName,
        /// The LV it names.
        lv: LvName,
        /// `origin` or `store`.
        part: &'static str,
    },
    /// A store belongs to one snapshot.
    #[error("the LV \"{0}\" is the store of two snapshots")]
    StoreTwice(LvName),
    /// One at a time.
    #[error("two snapshots merge into the LV \"{0}\"")]
    MergingTwice(LvName),
    /// The origin cannot be shorter than it was when the snapshot was taken.
    #[error("the snapshot \"{snapshot}\" spans {extents} extents, its origin has {origin}")]
    SnapshotLonger {
        /// The fictional LV.
        snapshot: LvName,
        /// Its length.
        extents: u32,
        /// The origin's length.
        origin: u32,
    },
    /// The flag `MERGEVIEW` is there without a merge, or stands on some segments of an LV and not on others, or on a
    /// snapshot and not on its origin, or the other way round.
    #[error("the segments of the LV \"{lv}\" must {should} the flag MERGEVIEW", should = if *should { "all have" } else { "not have" })]
    MergeView {
        /// The LV.
        lv: LvName,
        /// Whether they should have it.
        should: bool,
    },
    /// The word stands on the wrong LV of the three (lvm2.md 1.9).
    #[error("the LV \"{lv}\" must {should} the status VISIBLE", should = if *should { "have" } else { "not have" })]
    Visible {
        /// The LV.
        lv: LvName,
        /// Whether it should have it.
        should: bool,
    },
}
