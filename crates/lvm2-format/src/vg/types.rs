//! A VG as types: what a text says, with names for what we understand and the rest kept beside it.
//!
//! What must hold:
//! - Everything that was read is in here: `other` holds, at every level, the items we have no field for.
//! - PVs are named in segments by [`PvKey`], the name of their section. Those names stay while a VG is changed, since
//!   segments we do not understand use them too. LVM2 renumbers them when it writes, and takes any.
//! - Extents of LVs and PVs are `u32` counts of [`ExtentSize`].

use super::segment_types::lvm2_knows;
use super::words::{Flags, LvFlag, LvStatus, PvFlag, PvStatus, VgFlag, VgStatus};
use crate::text::{Item, Section, is_plain_key};
use foldback_units::{ChunkSize, LvName, LvmUuid, Sectors, TagName, VgName};
use std::collections::BTreeSet;

/// The size of an extent: a power of two, or else a multiple of 128 KiB (lvm2.md 1.7).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ExtentSize(u32);

/// Why a number of sectors is not an extent size.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("an extent of {0} sectors is neither a power of two nor a multiple of 256 sectors")]
pub struct BadExtentSize(pub u32);

impl ExtentSize {
    /// LVM2's default: 4 MiB.
    pub const DEFAULT: Self = Self(8192);

    /// From a count of sectors.
    pub const fn from_sectors(sectors: u32) -> Result<Self, BadExtentSize> {
        if sectors.is_power_of_two() || (sectors != 0 && sectors.is_multiple_of(256)) {
            Ok(Self(sectors))
        } else {
            Err(BadExtentSize(sectors))
        }
    }

    /// In sectors, as in the text.
    pub const fn sectors(self) -> u32 {
        self.0
    }

    /// What `extents` of this size measure; 2^64 sectors cannot be reached.
    pub fn of(self, extents: u32) -> Sectors {
        Sectors(u64::from(self.0).saturating_mul(u64::from(extents)))
    }

    /// How many whole extents fit into `room`, `None` where that is more than a VG counts.
    pub fn whole_in(self, room: Sectors) -> Option<u32> {
        u32::try_from(room.get().checked_div(u64::from(self.0))?).ok()
    }

    /// How many extents hold `amount`, the last one perhaps in part; `None` where that is more than a VG counts.
    pub fn to_hold(self, amount: Sectors) -> Option<u32> {
        u32::try_from(amount.get().div_ceil(u64::from(self.0))).ok()
    }
}

/// How extents are chosen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AllocationPolicy {
    /// One run, next to the LV's last one.
    Contiguous,
    /// On the PVs the LV lies on already.
    Cling,
    /// Parallel stripes on different PVs.
    Normal,
    /// Anything.
    Anywhere,
    /// A word this program does not know; LVM2 warns and takes `normal`.
    Unknown(String),
}

impl AllocationPolicy {
    /// As it stands in the text.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Contiguous => "contiguous",
            Self::Cling => "cling",
            Self::Normal => "normal",
            Self::Anywhere => "anywhere",
            Self::Unknown(text) => text,
        }
    }
}

/// When and where an LV was made. LVM2 writes both or neither.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Creation {
    /// Seconds since 1970.
    pub time: i64,
    /// `uname -n` of that machine.
    pub host: String,
}

/// The name of a PV's section inside the text, `pv0` and so on: a local reference without meaning elsewhere.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PvKey(String);

impl PvKey {
    /// Takes a name that can be a section's; `None` for others.
    pub fn new(name: &str) -> Option<Self> {
        is_plain_key(name).then(|| Self(name.to_owned()))
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for PvKey {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for PvKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&self.0)
    }
}

/// A volume group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Vg {
    /// Its name.
    pub name: VgName,
    /// Its UUID.
    pub id: LvmUuid,
    /// Counts writes: the highest one wins.
    pub seqno: u32,
    /// Words every reader must know.
    pub status: BTreeSet<VgStatus>,
    /// Words a reader may ignore.
    pub flags: Flags<VgFlag>,
    /// Without the `@`.
    pub tags: Vec<TagName>,
    /// The host that owns it; see [`Vg::is_foreign_to`].
    pub system_id: Option<String>,
    /// The lock manager that guards it; see [`Vg::shared_lock_type`].
    pub lock_type: Option<String>,
    /// Of LVs and PVs.
    pub extent_size: ExtentSize,
    /// 0 is no limit.
    pub max_lv: u32,
    /// 0 is no limit.
    pub max_pv: u32,
    /// Absent is `normal`.
    pub allocation_policy: Option<AllocationPolicy>,
    /// How many metadata areas LVM2 keeps in use; 0 is all.
    pub metadata_copies: u32,
    /// In the text's order.
    pub pvs: Vec<Pv>,
    /// In the VG's order; see [`Vg::to_section`] for the order of writing.
    pub lvs: Vec<Lv>,
    /// Records of removed thin LVs, kept as they are.
    pub historical: Option<Section>,
    /// Items we have no field for.
    pub other: Vec<Item>,
}

/// A physical volume, as its VG knows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pv {
    /// How segments name it.
    pub key: PvKey,
    /// Its UUID.
    pub id: LvmUuid,
    /// Where it was seen last: a hint only.
    pub device: Option<String>,
    /// Words every reader must know.
    pub status: BTreeSet<PvStatus>,
    /// Words a reader may ignore.
    pub flags: Flags<PvFlag>,
    /// Without the `@`.
    pub tags: Vec<TagName>,
    /// Of the device; absent in very old texts.
    pub dev_size: Option<Sectors>,
    /// Where extent 0 starts.
    pub pe_start: Sectors,
    /// How many extents.
    pub pe_count: u32,
    /// Items we have no field for.
    pub other: Vec<Item>,
}

/// A logical volume, also a hidden or fictional one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lv {
    /// Its name.
    pub name: LvName,
    /// Its UUID.
    pub id: LvmUuid,
    /// Words every reader must know.
    pub status: BTreeSet<LvStatus>,
    /// Words a reader may ignore.
    pub flags: Flags<LvFlag>,
    /// Without the `@`.
    pub tags: Vec<TagName>,
    /// When and where it was made, if known.
    pub creation: Option<Creation>,
    /// Absent is the VG's.
    pub allocation_policy: Option<AllocationPolicy>,
    /// In sectors: -1 is none, absent and 0 are automatic.
    pub read_ahead: Option<i32>,
    /// With [`LvStatus::FixedMinor`].
    pub major: Option<i32>,
    /// With [`LvStatus::FixedMinor`].
    pub minor: Option<i32>,
    /// Ascending by `start_extent`.
    pub segments: Vec<Segment>,
    /// Items we have no field for.
    pub other: Vec<Item>,
}

/// A piece of an LV.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Segment {
    /// Of the LV, where the piece starts.
    pub start_extent: u32,
    /// Of the LV, how long it is.
    pub extent_count: u32,
    /// Without the `@`.
    pub tags: Vec<TagName>,
    /// What it is made of.
    pub kind: SegmentKind,
    /// The type's flag `MERGEVIEW`, which is Foldback's own: see [`MERGE_VIEW`]. Only on kinds that are understood.
    pub merge_view: bool,
    /// Items we have no field for: for [`SegmentKind::Unknown`] the whole body, in its order.
    pub other: Vec<Item>,
}

/// Glued to a segment's type while there are snapshots that were taken during a merge (architecture.md, "Merging"): on the
/// fictional LV of each of them, and on every segment of their origin. LVM2 and the kernel would let writes spoil such
/// snapshots; LVM2 does not know the flag, and so neither activates those LVs nor changes the VG.
pub const MERGE_VIEW: &str = "MERGEVIEW";

/// What a segment is made of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SegmentKind {
    /// `striped`, which is also what linear LVs are: one stripe.
    Striped(Striped),
    /// `snapshot`: the body of the fictional LV that ties a store to its origin.
    Snapshot(SnapshotSegment),
    /// `error`: every request fails.
    Error,
    /// `zero`: reads zeros.
    Zero,
    /// Anything else, also a known type with flags other than [`MERGE_VIEW`]: shown, never activated or changed.
    Unknown {
        /// The type with its flags, as it stands in the text.
        type_text: String,
    },
}

/// Stripes over areas of equal length.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Striped {
    /// Of one stripe; absent for one stripe.
    pub stripe_size: Option<Sectors>,
    /// One for each stripe, at least one.
    pub areas: Vec<Area>,
}

/// Where a stripe lies. Its length is the segment's, divided by the number of stripes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Area {
    /// On what.
    pub on: AreaOn,
    /// The first extent there.
    pub start_extent: u32,
}

/// What an area lies on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AreaOn {
    /// A PV of this VG.
    Pv(PvKey),
    /// Another LV of this VG.
    Lv(LvName),
}

/// The tie between an origin and a store.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SnapshotSegment {
    /// Of the store.
    pub chunk_size: ChunkSize,
    /// The LV that the snapshot is of.
    pub origin: LvName,
    /// The LV that holds the store, which is also the LV that users see as the snapshot.
    pub cow: LvName,
    /// `merging_store` instead of `cow_store`: the store is being merged into the origin, or will be.
    pub merging: bool,
}

impl SegmentKind {
    /// The type as it stands in the text, without the flag [`MERGE_VIEW`].
    pub fn type_text(&self) -> &str {
        match self {
            Self::Striped(_) => "striped",
            Self::Snapshot(_) => "snapshot",
            Self::Error => "error",
            Self::Zero => "zero",
            Self::Unknown { type_text } => type_text,
        }
    }
}

impl Segment {
    /// A piece of `extent_count` extents on `pv` from `pv_extent` on, at `start_extent` of its LV.
    pub fn linear(start_extent: u32, extent_count: u32, pv: PvKey, pv_extent: u32) -> Self {
        let area = Area { on: AreaOn::Pv(pv), start_extent: pv_extent };
        Self {
            start_extent,
            extent_count,
            tags: Vec::new(),
            kind: SegmentKind::Striped(Striped { stripe_size: None, areas: vec![area] }),
            merge_view: false,
            other: Vec::new(),
        }
    }

    /// The type with its flags, as it stands in the text.
    pub fn type_text(&self) -> String {
        let flag = if self.merge_view { "+".to_owned() + MERGE_VIEW } else { String::new() };
        format!("{}{flag}", self.kind.type_text())
    }

    /// The first extent of the LV behind this piece, `None` on overflow.
    pub fn end_extent(&self) -> Option<u32> {
        self.start_extent.checked_add(self.extent_count)
    }

    /// How many extents each area of a striped piece has; `None` for other kinds and where they do not divide.
    pub fn area_extents(&self) -> Option<u32> {
        let SegmentKind::Striped(striped) = &self.kind else { return None };
        let count = u32::try_from(striped.areas.len()).ok()?;
        if self.extent_count.checked_rem(count)? == 0 { self.extent_count.checked_div(count) } else { None }
    }
}

impl Lv {
    /// An LV without segments, readable, writable and visible.
    pub fn new(name: LvName, id: LvmUuid, creation: Creation) -> Self {
        Self {
            name,
            id,
            status: BTreeSet::from([LvStatus::Read, LvStatus::Write, LvStatus::Visible]),
            flags: Flags::default(),
            tags: Vec::new(),
            creation: Some(creation),
            allocation_policy: None,
            read_ahead: None,
            major: None,
            minor: None,
            segments: Vec::new(),
            other: Vec::new(),
        }
    }

    /// In extents: where the last segment ends.
    pub fn extent_count(&self) -> u32 {
        self.segments.iter().filter_map(Segment::end_extent).max().unwrap_or(0)
    }

    /// The snapshot segment of a fictional LV; `None` for every other LV.
    pub fn snapshot(&self) -> Option<&SnapshotSegment> {
        self.segments.iter().find_map(|segment| match &segment.kind {
            SegmentKind::Snapshot(snapshot) => Some(snapshot),
            _ => None,
        })
    }

    /// The types of its segments that LVM2 would not know either.
    pub fn foreign_types(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().filter_map(|segment| match &segment.kind {
            SegmentKind::Unknown { type_text } if !lvm2_knows(type_text) => Some(type_text.as_str()),
            _ => None,
        })
    }

    /// Whether every segment is of a kind this program understands.
    pub fn is_understood(&self) -> bool {
        !self.segments.iter().any(|segment| matches!(segment.kind, SegmentKind::Unknown { .. }))
    }

    /// Whether a segment of it carries [`MERGE_VIEW`].
    pub fn has_merge_view(&self) -> bool {
        self.segments.iter().any(|segment| segment.merge_view)
    }

    /// Whether it may be written to.
    pub fn is_writable(&self) -> bool {
        self.status.contains(&LvStatus::Write)
    }

    /// Sets or clears a word of the status.
    pub fn set_status(&mut self, word: LvStatus, on: bool) {
        if on {
            self.status.insert(word);
        } else {
            self.status.remove(&word);
        }
    }
}

impl Pv {
    /// Whether it was not there when the VG was last written. Both places count (lvm2.md 1.7).
    pub fn is_missing(&self) -> bool {
        self.flags.contains(PvFlag::Missing) || self.status.contains(&PvStatus::Missing)
    }

    /// Marks it missing, where newer versions of LVM2 put the mark, or clears both places.
    pub fn set_missing(&mut self, missing: bool) {
        self.flags.set(PvFlag::Missing, missing);
        if !missing {
            self.status.remove(&PvStatus::Missing);
        }
    }

    /// Whether extents may be taken from it.
    pub fn is_allocatable(&self) -> bool {
        self.status.contains(&PvStatus::Allocatable)
    }
}
