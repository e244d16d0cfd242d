//! What a report is made of: plain values about PVs, VGs, LVs and their segments.
//!
//! What must hold:
//! - Everything a field shows stands here; a field never looks anything up elsewhere.
//! - A value that nobody knows is `None`, never a guess: what is known only of a served volume is in [`Live`].
//! - Fictional LVs (`snapshotN`) are not here: LVM2 never shows them either.

use foldback_units::Sectors;

/// Everything that the reports of one command are made of.
#[derive(Clone, Default, Debug)]
pub struct Facts {
    /// The VGs.
    pub vgs: Vec<VgFacts>,
    /// PVs that are in no VG.
    pub orphans: Vec<PvFacts>,
}

/// Metadata areas of a VG or of a PV.
#[derive(Clone, Copy, Default, Debug)]
pub struct AreaFacts {
    /// How many there are.
    pub count: u64,
    /// How many are in use.
    pub used: u64,
    /// How much longer a text may become.
    pub free: Sectors,
    /// The smallest area's size.
    pub size: Sectors,
}

/// A VG.
#[derive(Clone, Default, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the metadata, and a field of the report"
)]
pub struct VgFacts {
    /// Its name; empty for the stand-in that PVs without a VG report.
    pub name: String,
    /// Its UUID with hyphens.
    pub uuid: String,
    /// The metadata's revision.
    pub seqno: u64,
    /// Sectors in an extent.
    pub extent_size: Sectors,
    /// Extents of all PVs.
    pub extent_count: u64,
    /// Extents that no LV has.
    pub free_count: u64,
    /// 0: unlimited.
    pub max_lv: u64,
    /// 0: unlimited.
    pub max_pv: u64,
    /// May be changed.
    pub writable: bool,
    /// PVs may be added.
    pub resizeable: bool,
    /// Was exported.
    pub exported: bool,
    /// A PV is missing.
    pub partial: bool,
    /// Was clustered by clvmd.
    pub clustered: bool,
    /// Is shared through lvmlockd.
    pub shared: bool,
    /// Not to be activated by events.
    pub no_autoactivation: bool,
    /// `normal` and so on; empty for the stand-in.
    pub allocation: String,
    /// The host that owns it.
    pub system_id: String,
    /// lvmlockd's lock type.
    pub lock_type: String,
    /// lvmlockd's arguments.
    pub lock_args: String,
    /// In alphabetical order.
    pub tags: Vec<String>,
    /// Configuration profile.
    pub profile: String,
    /// Its metadata areas.
    pub areas: AreaFacts,
    /// How many areas are to be kept in use; 0: all.
    pub area_copies: u64,
    /// PVs that are missing.
    pub missing_pvs: u64,
    /// In the metadata's order.
    pub pvs: Vec<PvFacts>,
    /// In the metadata's order, hidden ones as well.
    pub lvs: Vec<LvFacts>,
}

/// A PV.
#[derive(Clone, Default, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the metadata, and a field of the report"
)]
pub struct PvFacts {
    /// The path it was opened under, or LVM2's `[unknown]`.
    pub name: String,
    /// Its UUID with hyphens.
    pub uuid: String,
    /// Device number of a block device.
    pub device: Option<(u32, u32)>,
    /// The device's length.
    pub device_size: Sectors,
    /// Its metadata areas.
    pub areas: AreaFacts,
    /// Version of the header's extension.
    pub extension_version: u64,
    /// Where extent 0 is.
    pub pe_start: Sectors,
    /// Extents; 0 outside a VG.
    pub extent_count: u64,
    /// Extents that LVs have.
    pub allocated_count: u64,
    /// What is usable: extents, or the whole device outside a VG.
    pub size: Sectors,
    /// What no LV has.
    pub free: Sectors,
    /// May be allocated from.
    pub allocatable: bool,
    /// In an exported VG.
    pub exported: bool,
    /// Not found.
    pub missing: bool,
    /// The label says that a VG uses it.
    pub in_use: bool,
    /// In alphabetical order.
    pub tags: Vec<String>,
    /// Bootloader area: where, how long.
    pub bootloader: (Sectors, Sectors),
    /// Its extents from 0 on, without a gap; one of length 0 outside a VG.
    pub segments: Vec<PvSegmentFacts>,
}

/// Neighbouring extents of a PV that belong to the same segment of an LV, or to nobody.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct PvSegmentFacts {
    /// First extent.
    pub start: u64,
    /// How many.
    pub len: u64,
    /// Indices into the VG's LVs and that LV's segments.
    pub user: Option<(usize, usize)>,
}

/// What kind of LV this is, as far as the reports tell.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum LvKind {
    /// Neither origin nor snapshot.
    #[default]
    Plain,
    /// Has thick snapshots; with `merging`, one of them is going back into it.
    Origin {
        /// One is merging.
        merging: bool,
    },
    /// A thick snapshot.
    Snapshot {
        /// It is going back into its origin.
        merging: bool,
    },
}

/// What is known only of a volume that somebody serves.
#[expect(clippy::struct_excessive_bools, reason = "each is a state that the reports tell apart")]
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Live {
    /// Hundredths of a percent of the store that are used (of a merging one: that remain).
    pub used: Option<u64>,
    /// The store was invalidated.
    pub invalid: bool,
    /// Somebody has it open.
    pub open: bool,
    /// How many have, tables of other devices among them.
    pub open_count: u64,
    /// Its requests wait.
    pub suspended: bool,
    /// Its device takes no writes, whatever the metadata say.
    pub read_only: bool,
    /// Its device has a table: one without is left where an activation was cut off.
    pub live_table: bool,
    /// Its device has a table that waits to be put in.
    pub inactive_table: bool,
    /// Whether somebody watches how its store fills; `None` where nobody is to.
    pub monitored: Option<bool>,
    /// Its merge stands, for an error.
    pub merge_failed: bool,
    /// How a merge is: `running`, `paused`, `failed`, or `finished` where only its end in the metadata is missing.
    pub merge_state: Option<&'static str>,
    /// What a running merge has still to do.
    pub merge_left: Option<Sectors>,
    /// What it does in a second.
    pub merge_rate: Option<Sectors>,
    /// Until it is done, at that rate.
    pub merge_seconds: Option<u64>,
    /// Until the store is full, at the rate at which it fills.
    pub store_seconds: Option<u64>,
    /// The number of the kernel's device, where the kernel carries it.
    pub kernel_number: Option<(u32, u32)>,
    /// What the kernel reads ahead there.
    pub kernel_read_ahead: Option<Sectors>,
}

/// What the exception store of a snapshot says of itself while nobody serves it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StoreFacts {
    /// Hundredths of a percent that are used (of a merging one: that remain); `None` where it cannot be trusted.
    pub used: Option<u64>,
    /// The snapshot was invalidated.
    pub invalid: bool,
}

/// An LV.
#[derive(Clone, Default, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the metadata, and a field of the report"
)]
pub struct LvFacts {
    /// Its name without brackets; empty for the stand-in of free extents.
    pub name: String,
    /// Its UUID with hyphens.
    pub uuid: String,
    /// Shown only with `-a` or by name, in brackets.
    pub hidden: bool,
    /// Origin, snapshot, or neither.
    pub kind: LvKind,
    /// Its length; of a snapshot: its store's.
    pub size: Sectors,
    /// Of a snapshot: index of its origin in the VG.
    pub origin: Option<usize>,
    /// Of a snapshot: how long it is, which is how long its origin was.
    pub snapshot_size: Option<Sectors>,
    /// Of an origin: indices of its snapshots.
    pub snapshots: Vec<usize>,
    /// May be written.
    pub writable: bool,
    /// Of its own; `None` inherits the VG's.
    pub allocation: Option<String>,
    /// Not to be moved now.
    pub allocation_locked: bool,
    /// A fixed device number.
    pub fixed_device: Option<(i64, i64)>,
    /// Not activated unless asked for twice.
    pub skip_activation: bool,
    /// Not to be activated by events.
    pub no_autoactivation: bool,
    /// `None` is automatic; `Some(0)` is none.
    pub read_ahead: Option<Sectors>,
    /// In alphabetical order.
    pub tags: Vec<String>,
    /// Configuration profile.
    pub profile: String,
    /// lvmlockd's arguments.
    pub lock_args: String,
    /// When it was made, in local time.
    pub created: String,
    /// Where it was made.
    pub host: String,
    /// A PV it needs is missing.
    pub partial: bool,
    /// What is known while it is served.
    pub live: Option<Live>,
    /// Nobody looked whether it is served.
    pub unknown: bool,
    /// Where NBD clients find it.
    pub nbd: Vec<String>,
    /// What a look into its store says; `None` where nobody looked, as LVM2 never does.
    pub store: Option<StoreFacts>,
    /// Of a thin pool, and of a volume of one: new blocks are zeroed.
    pub zeroes: bool,
    /// Its segments in order.
    pub segments: Vec<SegmentFacts>,
}

/// A segment of an LV.
#[derive(Clone, Default, Debug)]
pub struct SegmentFacts {
    /// LVM2's word: `linear`, `striped`, `error`, `zero`, or what the metadata says.
    pub kind: String,
    /// First extent of the LV.
    pub start: u64,
    /// How many.
    pub len: u64,
    /// Areas.
    pub stripes: u64,
    /// Of striped ones; 0 otherwise.
    pub stripe_size: Sectors,
    /// Of a snapshot's; 0 otherwise.
    pub chunk_size: Sectors,
    /// In alphabetical order.
    pub tags: Vec<String>,
    /// Where it lies: name, first extent, number of extents.
    pub areas: Vec<SegmentArea>,
}

/// A piece of a PV (or of another LV) that a segment lies on.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct SegmentArea {
    /// The PV's path, or the LV's name in brackets.
    pub name: String,
    /// First extent.
    pub start: u64,
    /// How many.
    pub len: u64,
}
