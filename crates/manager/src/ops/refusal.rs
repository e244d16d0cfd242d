//! Why an operation is refused, in LVM2's words where LVM2 refuses it too (lvm2.md 3.3).
//!
//! What must hold:
//! - One variant for each reason, so that a caller can match; the text names the object.
//! - [`Refusal::is_usage`] tells what is wrong with the command line (exit code 3) from what is wrong with the VG (5).
//!
//! Longer than 500 lines because it is a list: each reason with its words, in one place.

use foldback_units::{LvName, VgName};

/// A reason.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// Not a name for an LV.
    #[error("Logical volume name \"{0}\" is invalid.")]
    LvNameInvalid(String),
    /// LVM2 names hidden LVs so.
    #[error("Names starting \"{0}\" are reserved. Please choose a different LV name.")]
    NameStartReserved(&'static str),
    /// LVM2 names hidden LVs so.
    #[error("Names including \"{0}\" are reserved. Please choose a different LV name.")]
    NamePartReserved(&'static str),
    /// Not a name for a VG.
    #[error("New volume group name \"{0}\" is invalid.")]
    VgNameInvalid(String),
    /// Too long for a VG.
    #[error("New volume group name \"{0}\" is invalid: it is too long.")]
    VgNameTooLong(String),
    /// The name is taken.
    #[error("Logical Volume \"{lv}\" already exists in volume group \"{vg}\"")]
    LvExists {
        /// The VG.
        vg: VgName,
        /// The name.
        lv: LvName,
    },
    /// The mapped device's name would be too long.
    #[error(
        "Name \"{vg}/{lv}\" is too long: a device's name has at most 127 characters, hyphens count twice."
    )]
    DeviceNameTooLong {
        /// The VG.
        vg: VgName,
        /// The LV.
        lv: LvName,
    },
    /// The name is taken.
    #[error("A volume group called {0} already exists.")]
    VgExists(VgName),
    /// A VG of no PVs.
    #[error("Please enter physical volume name(s)")]
    NoPvs,
    /// The PV belongs to a VG.
    #[error(
        "Physical volume '{path}' is already in volume group '{vg}'\n  Unable to add physical volume '{path}' to volume group '{vg}'\n  {path}: physical volume not initialized."
    )]
    PvInVg {
        /// The disk.
        path: String,
        /// Where it is.
        vg: String,
        /// Where it was to go.
        new: VgName,
    },
    /// The PV belongs to a VG.
    #[error(
        "Can't initialize physical volume \"{path}\" of volume group \"{vg}\" without -ff\n  {path}: physical volume not initialized."
    )]
    PvOfVg {
        /// The disk.
        path: String,
        /// Its VG.
        vg: String,
    },
    /// The label says the PV is used, and nobody knows by which VG.
    #[error(
        "Can't initialize PV '{0}' without -ff.\n  {0}: physical volume not initialized.\n  The label says that a volume group uses it; its metadata was not found."
    )]
    PvUsed(String),
    /// No label there.
    #[error("No physical volume was found on {0}; pvcreate makes one.")]
    PvAbsent(String),
    /// Another disk carries the same label.
    #[error("Cannot use physical volume {0}: another disk has the same PV UUID.")]
    PvDuplicate(String),
    /// A metadata area of it cannot be read.
    #[error("Cannot use physical volume {0}: a metadata area on it is damaged.")]
    PvDamaged(String),
    /// Not enough room for label and metadata.
    #[error("Cannot use {0}: device is too small (pv_min_size)")]
    PvTooSmall(String),
    /// Not even one extent.
    #[error("PV {path} is too small for an extent of {extent_sectors} sectors.")]
    NoExtents {
        /// The disk.
        path: String,
        /// Of the VG.
        extent_sectors: u32,
    },
    /// The same disk twice.
    #[error("Physical volume '{0}' was given twice.")]
    PvTwice(String),
    /// Nothing was asked for.
    #[error("--{0} may not be zero.")]
    Zero(&'static str),
    /// A size in per cent of something that does not apply.
    #[error("Please express size as {0}.")]
    PercentOf(&'static str),
    /// The per cent come to nothing.
    #[error("Calculated size of logical volume is 0 extents. Needs to be larger.")]
    CalculatedZero,
    /// More extents than are free.
    #[error("Volume group \"{vg}\" has insufficient free space ({free} extents): {required} required.")]
    NoSpace {
        /// The VG.
        vg: VgName,
        /// What is free.
        free: u64,
        /// What is wanted.
        required: u64,
    },
    /// Enough extents, but not in the form that was asked for.
    #[error(
        "Insufficient suitable {policy}allocatable extents for logical volume {lv}: {more} more required"
    )]
    NoSuitable {
        /// `contiguous ` or nothing.
        policy: &'static str,
        /// The LV to be.
        lv: LvName,
        /// Extents that are missing.
        more: u32,
    },
    /// The PV that was named is not in the VG.
    #[error("Physical Volume \"{path}\" not found in Volume Group \"{vg}\".")]
    PvNotInVg {
        /// As given.
        path: String,
        /// The VG.
        vg: VgName,
    },
    /// The PVs that were named have nothing free.
    #[error("No specified PVs have space available.")]
    NoSpaceOnPvs,
    /// More stripes than PVs.
    #[error("Number of stripes ({stripes}) must not exceed number of physical volumes ({pvs})")]
    TooManyStripes {
        /// Asked for.
        stripes: u32,
        /// There are.
        pvs: usize,
    },
    /// Not a stripe size.
    #[error("Invalid stripe size {0}.")]
    StripeSize(String),
    /// The VG has as many LVs as it may.
    #[error("Maximum number of logical volumes ({max}) reached in volume group {vg}")]
    TooManyLvs {
        /// The VG.
        vg: VgName,
        /// Its limit.
        max: u32,
    },
    /// A VG that is to have more PVs than it may.
    #[error(
        "No space for '{path}' - volume group '{vg}' holds max {max} physical volume(s).\n  PV {path} cannot be added to VG {vg}."
    )]
    TooManyPvs {
        /// The disk that is too many.
        path: String,
        /// The VG.
        vg: VgName,
        /// Its limit.
        max: u32,
    },
    /// A VG has nothing to inherit from.
    #[error("Volume Group allocation policy cannot inherit from anything")]
    VgInherits,
    /// The VG's policy is that one.
    #[error("Volume group allocation policy is already {0}")]
    PolicyAlready(String),
    /// As it is.
    #[error("Volume group \"{vg}\" is already {}resizeable", if *.resizeable { "" } else { "not " })]
    ResizeableAlready {
        /// The VG.
        vg: VgName,
        /// What it is.
        resizeable: bool,
    },
    /// The VG is not RESIZEABLE.
    #[error("Volume group \"{vg}\" must be resizeable to change {what}")]
    MustBeResizeable {
        /// The VG.
        vg: VgName,
        /// What was to be changed.
        what: &'static str,
    },
    /// A limit below what there is.
    #[error("MaxLogicalVolume is less than the current number {there} of LVs for {vg}")]
    FewerLvs {
        /// The VG.
        vg: VgName,
        /// LVs that users see.
        there: usize,
    },
    /// A limit below what there is.
    #[error("MaxPhysicalVolumes is less than the current number {there} of PVs for \"{vg}\"")]
    FewerPvs {
        /// The VG.
        vg: VgName,
        /// Its PVs.
        there: usize,
    },
    /// Extents of no size.
    #[error("Physical extent size may not be zero")]
    ExtentZero,
    /// Neither a power of two nor a multiple of 128 KiB.
    #[error("Physical Extent size must be a multiple of 128.00 KiB when not a power of 2.")]
    ExtentSize,
    /// Something does not end where an extent of the new size would.
    #[error("New extent size is not a perfect fit")]
    ExtentFit,
    /// What there is, or what of it is free, is no whole number of new extents.
    #[error("New size {sectors} for {of} not an exact number of new extents.")]
    ExtentsInexact {
        /// In sectors.
        sectors: u64,
        /// Of what: the VG, a PV, an LV.
        of: String,
    },
    /// More extents than a VG counts.
    #[error("New extent count {count} for {of} exceeds 32 bits.")]
    ExtentCount {
        /// How many there would be.
        count: u64,
        /// Of what: the VG, a PV, an LV.
        of: String,
    },
    /// A UUID that devices' names are made of.
    #[error("Volume group has active logical volumes")]
    VgActive,
    /// No such LV.
    #[error("Failed to find logical volume \"{vg}/{lv}\"")]
    LvNotFound {
        /// The VG.
        vg: VgName,
        /// The name.
        lv: LvName,
    },
    /// A kind of LV of which LVM2 takes no snapshots, or this program cannot.
    #[error("Snapshots of {0} are not supported.")]
    SnapshotOf(&'static str),
    /// The zeros under a sparse volume.
    #[error("Can't share virtual origins. Use --virtualsize.")]
    SharedZeros,
    /// Outside LVM2's bounds.
    #[error("Chunk size must be a power of 2 in the range 4K to 512K.")]
    ChunkSize,
    /// Not even room for one exception.
    #[error("Snapshot volume cannot be smaller than 3 chunks ({0} sectors).")]
    FewerThanThreeChunks(u64),
    /// The snapshot is merging, or will.
    #[error("Can't remove merging snapshot logical volume {vg}/{lv}.")]
    RemoveMerging {
        /// The VG.
        vg: VgName,
        /// The snapshot.
        lv: LvName,
    },
    /// A hidden or fictional LV.
    #[error("Can't remove internal logical volume {vg}/{lv}: other logical volumes are made of it.")]
    RemoveInternal {
        /// The VG.
        vg: VgName,
        /// The LV.
        lv: LvName,
    },
    /// An LV of a kind that this program shows and does not change.
    #[error(
        "Logical volume {vg}/{lv} has a segment of type \"{type_text}\", which this program does not change."
    )]
    NotUnderstood {
        /// The VG.
        vg: VgName,
        /// The LV.
        lv: LvName,
        /// Its segment's type.
        type_text: String,
    },
    /// Not a snapshot.
    #[error("{vg}/{lv} is not a mergeable logical volume.")]
    NotMergeable {
        /// The VG.
        vg: VgName,
        /// The LV.
        lv: LvName,
    },
    /// An LV without a store.
    #[error("{vg}/{lv} is not a snapshot.")]
    NotASnapshot {
        /// The VG.
        vg: VgName,
        /// The LV.
        lv: LvName,
    },
    /// Another snapshot of the origin is merging.
    #[error(
        "Cannot merge snapshot {vg}/{lv} into the origin {vg}/{origin} with merging snapshot {vg}/{merging}."
    )]
    OtherMerging {
        /// The VG.
        vg: VgName,
        /// The snapshot.
        lv: LvName,
        /// Its origin.
        origin: LvName,
        /// The one that is merging.
        merging: LvName,
    },
    /// The origin is read-only.
    #[error("Cannot merge snapshot {vg}/{lv} into the read-only origin {vg}/{origin}. (Use lvchange -p rw).")]
    ReadOnlyOrigin {
        /// The VG.
        vg: VgName,
        /// The snapshot.
        lv: LvName,
        /// Its origin.
        origin: LvName,
    },
    /// An LV lies, at least in part, on a PV that is missing.
    #[error("Logical volume {vg}/{lv} is partial: a physical volume is missing.")]
    Partial {
        /// The VG.
        vg: VgName,
        /// The LV.
        lv: LvName,
    },
    /// A pvmove works on it.
    #[error("Logical volume {vg}/{lv} is locked.")]
    Locked {
        /// The VG.
        vg: VgName,
        /// The LV.
        lv: LvName,
    },
    /// `lvextend` of an LV that is not there.
    #[error("Logical volume {lv} not found in volume group {vg}.")]
    ResizeNotFound {
        /// The VG.
        vg: VgName,
        /// The name.
        lv: LvName,
    },
    /// `lvextend --use-policies` of what has no policy.
    #[error("Policy-based resize is supported only for snapshot, thin pool and vdo pool volumes.")]
    NoPolicy,
    /// A hidden LV, also a snapshot that merges.
    #[error("Can't resize internal logical volume {vg}/{lv}.")]
    ResizeInternal {
        /// The VG.
        vg: VgName,
        /// The LV.
        lv: LvName,
    },
    /// A pvmove works on it.
    #[error("Can't resize locked logical volume {vg}/{lv}.")]
    ResizeLocked {
        /// The VG.
        vg: VgName,
        /// The LV.
        lv: LvName,
    },
    /// LVM2 extends origins only while they are inactive.
    #[error("Snapshot origin volumes can be resized only while inactive: try lvchange -an.")]
    ResizeActiveOrigin,
    /// The end of the origin lies inside a chunk of the store that merges into it.
    #[error(
        "Can't resize {vg}/{lv} while a snapshot merges into it: it ends in the middle of a chunk, and the merge would overwrite what is behind that end."
    )]
    ResizeMerging {
        /// The VG.
        vg: VgName,
        /// The origin.
        lv: LvName,
    },
    /// As large as it is.
    #[error("New size ({new} extents) matches existing size ({old} extents).")]
    SizeMatches {
        /// Asked for.
        new: u32,
        /// There are.
        old: u32,
    },
    /// Smaller than it is.
    #[error("New size given ({new} extents) not larger than existing size ({old} extents)")]
    NotLarger {
        /// Asked for.
        new: u32,
        /// There are.
        old: u32,
    },
    /// `%ORIGIN` of an LV that is no snapshot.
    #[error("Specified LV does not have an origin LV.")]
    NoOrigin,
    /// Not enough free extents.
    #[error("Insufficient free space: {needed} extents needed, but only {free} available")]
    NoSpaceToExtend {
        /// What is wanted beyond what the LV has.
        needed: u32,
        /// What is free.
        free: u32,
    },
    /// `lvrename` to the name it has.
    #[error("Old and new logical volume names must differ")]
    SameName,
    /// `lvrename` of an LV that is not there.
    #[error("Existing logical volume \"{lv}\" not found in volume group \"{vg}\"")]
    RenameNotFound {
        /// The VG.
        vg: VgName,
        /// The name.
        lv: LvName,
    },
    /// A hidden LV, also a snapshot that merges.
    #[error("Cannot rename internal LV \"{0}\".")]
    RenameInternal(LvName),
    /// A pvmove works on it.
    #[error("Cannot rename locked LV {0}")]
    RenameLocked(LvName),
    /// Snapshots of the merged view would be left without what they are of.
    #[error(
        "Snapshot {vg}/{view} was taken while {vg}/{lv} merges, and depends on it: finish the merge, or remove {vg}/{view} first."
    )]
    NeededByView {
        /// The VG.
        vg: VgName,
        /// The snapshot that merges.
        lv: LvName,
        /// One that was taken meanwhile.
        view: LvName,
    },
    /// `--namesnapshot` of one snapshot among several.
    #[error(
        "Cannot merge {vg}/{lv} under its own name: {vg}/{origin} has other snapshots, of which {vg}/{other} is one. Remove them first, or merge without --namesnapshot."
    )]
    OtherSnapshots {
        /// The VG.
        vg: VgName,
        /// The snapshot.
        lv: LvName,
        /// Its origin.
        origin: LvName,
        /// Another snapshot of it.
        other: LvName,
    },
    /// `--namesnapshot` where the origin has grown.
    #[error(
        "Cannot merge {vg}/{lv} under its own name: {vg}/{origin} was extended after the snapshot was taken. Merge without --namesnapshot."
    )]
    OtherSize {
        /// The VG.
        vg: VgName,
        /// The snapshot.
        lv: LvName,
        /// Its origin.
        origin: LvName,
    },
    /// `--namesnapshot` where somebody uses the origin.
    #[error(
        "Cannot merge {vg}/{lv} under its own name while {vg}/{origin} is open: close it first; the snapshot may stay in use."
    )]
    OriginOpen {
        /// The VG.
        vg: VgName,
        /// The snapshot.
        lv: LvName,
        /// Its origin.
        origin: LvName,
    },
    /// `--namesnapshot` of a snapshot that users may not write: the result would be read-only, and the merge could not be
    /// repeated.
    #[error("Cannot merge read-only snapshot {vg}/{lv} under its own name (Use lvchange -p rw).")]
    ReadOnlySnapshot {
        /// The VG.
        vg: VgName,
        /// The snapshot.
        lv: LvName,
    },
    /// Another LV is made of one of the two whose names are to be swapped.
    #[error("Cannot merge {vg}/{lv} under its own name: {vg}/{user} is made of it, or of its origin.")]
    KeptIsUsed {
        /// The VG.
        vg: VgName,
        /// The snapshot.
        lv: LvName,
        /// The LV above.
        user: LvName,
    },
    /// `--namesnapshot` of a snapshot that merges already, or is to.
    #[error(
        "Merging of {vg}/{lv} under the name of its origin is started or pending; it cannot take another name now."
    )]
    MergesOtherwise {
        /// The VG.
        vg: VgName,
        /// The snapshot.
        lv: LvName,
    },
    /// `--cancel` where nothing merges.
    #[error("{vg}/{lv} is not merging.")]
    NotMerging {
        /// The VG.
        vg: VgName,
        /// The snapshot.
        lv: LvName,
    },
    /// `--cancel` of a merge that may have written to the origin.
    #[error(
        "Merging of {vg}/{lv} may have begun: it cannot be cancelled. Finish it (the same command without --cancel); a snapshot of {vg}/{origin} that was taken before (--undo) brings back what was there."
    )]
    MayHaveBegun {
        /// The VG.
        vg: VgName,
        /// The snapshot.
        lv: LvName,
        /// Its origin.
        origin: LvName,
    },
    /// `trial` of what is none.
    #[error("{lv} is no trial; `trial start VG/LV` begins one.")]
    NotATrial {
        /// What was named.
        lv: String,
    },
    /// `--undo` of volumes in use: until the merge began they would change further.
    #[error(
        "Merging of {vg}/{lv} would be delayed since {device} is in use: {by}: a snapshot taken now would not undo it. Close it first; nothing is marked."
    )]
    UndoInUse {
        /// The VG.
        vg: VgName,
        /// The snapshot.
        lv: LvName,
        /// What is in use.
        device: String,
        /// Who uses it.
        by: String,
    },
    /// `--undo` where the merge is marked already.
    #[error(
        "Merging of {vg}/{lv} may have begun: a snapshot taken now would not undo it. Give the same command without --undo to go on with it."
    )]
    TooLateToUndo {
        /// The VG.
        vg: VgName,
        /// The snapshot.
        lv: LvName,
    },
    /// No room for the snapshot that undoes a merge.
    #[error(
        "Cannot take snapshot of {vg}/{origin} for --undo: the merge copies {needed} extents out to it, and {free} are free. Nothing was changed."
    )]
    NoRoomToUndo {
        /// The VG.
        vg: VgName,
        /// The origin.
        origin: LvName,
        /// Extents of its store, at least.
        needed: u32,
        /// Free extents.
        free: u32,
    },
    /// The size to reduce to is larger.
    #[error("New size given ({new} extents) not less than existing size ({old} extents)")]
    NotSmaller {
        /// Asked for.
        new: u32,
        /// It has.
        old: u32,
    },
    /// Nothing would be left.
    #[error("Unable to reduce {vg}/{lv} below 1 extent.")]
    BelowOneExtent {
        /// The VG.
        vg: VgName,
        /// The LV.
        lv: LvName,
    },
    /// An origin that is to be smaller.
    #[error("Snapshot origin volumes cannot be reduced in size yet.")]
    ReduceOrigin,
    /// A store that takes copies, or a volume of the daemon's, is to be smaller.
    #[error("Logical volume {vg}/{lv} is active; it can be reduced only while inactive: try lvchange -an.")]
    ReduceActive {
        /// The VG.
        vg: VgName,
        /// The LV.
        lv: LvName,
    },
    /// A store that would lose what it holds.
    #[error(
        "Cannot reduce snapshot {vg}/{lv} to {to}: its exception store holds {used}, and the snapshot would be lost."
    )]
    ReduceBelowUse {
        /// The VG.
        vg: VgName,
        /// The snapshot.
        lv: LvName,
        /// The size asked for.
        to: String,
        /// What is in use.
        used: String,
    },
    /// A store of which nobody knows how full it is.
    #[error(
        "Cannot reduce snapshot {vg}/{lv}: it is invalid, or its exception store cannot be read, so what it holds is not known."
    )]
    ReduceUnknown {
        /// The VG.
        vg: VgName,
        /// The snapshot.
        lv: LvName,
    },
    /// An LV cannot be its own store.
    #[error("Unable to use {vg}/{lv} as both snapshot and origin.")]
    GlueItself {
        /// The VG.
        vg: VgName,
        /// The LV.
        lv: LvName,
    },
    /// No such origin.
    #[error("Couldn't find origin volume {lv} in Volume group {vg}.")]
    GlueNoOrigin {
        /// The VG.
        vg: VgName,
        /// The name.
        lv: LvName,
    },
    /// A command that does nothing to LVs of this kind.
    #[error(
        "Command on LV {vg}/{lv} does not accept LV type {kind}.\n  Command not permitted on LV {vg}/{lv}."
    )]
    WrongKind {
        /// The VG.
        vg: VgName,
        /// The LV.
        lv: LvName,
        /// Its kind.
        kind: String,
    },
    /// A command that does nothing to LVs that are like this.
    #[error(
        "Command on LV {vg}/{lv} is invalid on LV with properties: {property} .\n  Command not permitted on LV {vg}/{lv}."
    )]
    WrongProperty {
        /// The VG.
        vg: VgName,
        /// The LV.
        lv: LvName,
        /// LVM2's word for it.
        property: &'static str,
    },
    /// Options that change nothing of LVs that are like this.
    #[error(
        "Command on LV {vg}/{lv} uses options that are invalid with LV properties: {property} .\n  Command not permitted on LV {vg}/{lv}."
    )]
    WrongOptions {
        /// The VG.
        vg: VgName,
        /// The LV.
        lv: LvName,
        /// LVM2's word for it.
        property: &'static str,
    },
    /// A hidden LV, also a snapshot that merges.
    #[error("Operation not permitted on hidden LV {vg}/{lv}.")]
    HiddenLv {
        /// The VG.
        vg: VgName,
        /// The LV.
        lv: LvName,
    },
    /// A permission that it has; LVM2 quotes the name in one of the two sentences.
    #[error("Logical volume {} is already {}.", if *.writable { format!("{vg}/{lv}") } else { format!("\"{vg}/{lv}\"") }, if *.writable { "writable" } else { "read only" })]
    AlreadySo {
        /// The VG.
        vg: VgName,
        /// The LV.
        lv: LvName,
        /// Which permission.
        writable: bool,
    },
    /// A permission of an active LV, whose device would have to follow it.
    #[error(
        "Logical volume {vg}/{lv} is active; its permission is changed only while it is not: lvchange -an {vg}/{lv}."
    )]
    PermissionActive {
        /// The VG.
        vg: VgName,
        /// The LV.
        lv: LvName,
    },
    /// A number of extents or sectors beyond what a VG counts.
    #[error("The size is beyond what a volume group can count.")]
    TooLarge,
    /// More extents than a volume can have.
    #[error("Volume too large ({size}) for extent size {extent_size}. Upper limit is less than {limit}.")]
    BeyondExtents {
        /// What was asked for, in words.
        size: String,
        /// The VG's extents, in words.
        extent_size: String,
        /// As many of them as can be counted, in words.
        limit: String,
    },
}

impl Refusal {
    /// Whether the command line itself is wrong.
    pub const fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::LvNameInvalid(_)
                | Self::NameStartReserved(_)
                | Self::NamePartReserved(_)
                | Self::Zero(_)
                | Self::SameName
                | Self::ChunkSize
                | Self::StripeSize(_)
                | Self::NoPvs
        )
    }
}
