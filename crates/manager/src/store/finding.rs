//! What is wrong with a VG, as values, and the sentence that says why it cannot be changed.
//!
//! What must hold (lvm2.md 7, traps 17 and 19):
//! - Every finding has one consequence, fixed by its kind: nothing, no change, or no use of its data at all.
//! - Listing is always allowed. A change of a VG with a finding that refuses writes nothing.

use foldback_lvm2_format::vg::{Lv, Vg};
use foldback_units::{LvmUuid, Sectors};

/// What a finding means for the VG.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Consequence {
    /// Worth a warning; the next write puts it right.
    Warn,
    /// The VG may be looked at, and its data read; nothing is written.
    RefuseChange,
    /// Somebody else may be using it: neither metadata nor data are touched.
    RefuseUse,
}

/// One thing that is wrong.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Finding {
    /// A PV of the VG is not among the disks that were given.
    #[error("Couldn't find device with uuid {id}{}.", hint.as_ref().map(|hint| format!(" (last seen at {hint})")).unwrap_or_default())]
    MissingPv {
        /// Its UUID.
        id: LvmUuid,
        /// Where it was seen last.
        hint: Option<String>,
    },
    /// A PV was missing when the VG was last written, and is back: its extents may be stale.
    #[error("PV {path} with uuid {id} was marked missing by an earlier write; its data may be old.")]
    MarkedMissing {
        /// Its UUID.
        id: LvmUuid,
        /// Where it is now.
        path: String,
    },
    /// Two disks say they are the same PV: one may be a copy of the other.
    #[error("PV {id} is on {used} and on {other}: duplicate PV devices.")]
    DuplicatePv {
        /// Its UUID.
        id: LvmUuid,
        /// The one that was given first.
        used: String,
        /// The other.
        other: String,
    },
    /// The VG belongs to another host.
    #[error("It has system ID {system_id}, and {}", local.as_ref().map_or_else(|| "this host has none.".to_owned(), |local| format!("this host's is {local}.")))]
    Foreign {
        /// Its owner.
        system_id: String,
        /// This host, if it has a system ID.
        local: Option<String>,
    },
    /// The VG was taken out of use by `vgexport`.
    #[error("It is exported.")]
    Exported,
    /// The VG belongs to the old cluster manager.
    #[error("It is clustered.")]
    Clustered,
    /// The VG needs a lock manager that this program does not speak to.
    #[error("It has lock type \"{lock_type}\", which needs lvmlockd.")]
    SharedLock {
        /// `sanlock`, `dlm`, `idm`; empty where the metadata does not say.
        lock_type: String,
    },
    /// The VG's status lacks WRITE.
    #[error("It is read-only.")]
    ReadOnly,
    /// Segments of types that LVM2 does not know.
    #[error("It has segments of unknown types: {0}.")]
    UnknownSegments(String),
    /// A metadata area holds a text older than the newest one.
    #[error("{path} holds old metadata (seqno {found}, newest {newest}).")]
    OldMetadata {
        /// The PV.
        path: String,
        /// Its seqno.
        found: u32,
        /// The newest.
        newest: u32,
    },
    /// Two texts with one seqno say different things: nobody can tell which holds.
    #[error("{path} and {other} hold different metadata with the same seqno {seqno}.")]
    SeqnoConflict {
        /// One PV.
        path: String,
        /// Another.
        other: String,
        /// The seqno of both.
        seqno: u32,
    },
    /// A metadata area of the VG's PVs cannot be read: it may hold a newer text.
    #[error(
        "The metadata area at byte {at} of {path} cannot be used: {reason}. LVM2's `vgck --updatemetadata` repairs it from the other copies."
    )]
    DamagedArea {
        /// The PV.
        path: String,
        /// Where.
        at: u64,
        /// Why.
        reason: String,
    },
    /// The VG's metadata contradicts itself.
    #[error("Its metadata is inconsistent: {0}.")]
    Inconsistent(String),
    /// A disk is smaller than the PV on it.
    #[error("{path} has {have}, but the PV on it needs {need}.")]
    DiskTooSmall {
        /// The disk.
        path: String,
        /// What it has.
        have: Sectors,
        /// Where the last extent ends.
        need: Sectors,
    },
    /// The text would have extents where the PV's label or a metadata area lies.
    #[error(
        "The extents on {path} begin at sector {start} and lie over what is at sector {over}: its label, or a metadata area."
    )]
    ExtentsOverMetadata {
        /// The disk.
        path: String,
        /// Where the first extent begins.
        start: Sectors,
        /// Where what they lie over begins.
        over: Sectors,
    },
    /// No area is there into which a change could be written.
    #[error("None of its PVs that are there has a metadata area in use.")]
    NoArea,
    /// Another VG has the same name.
    #[error("There are several VGs of this name.")]
    SameName,
}

impl Finding {
    /// What it means for the VG.
    pub const fn consequence(&self) -> Consequence {
        match self {
            Self::OldMetadata { .. } => Consequence::Warn,
            Self::MissingPv { .. }
            | Self::MarkedMissing { .. }
            | Self::ReadOnly
            | Self::UnknownSegments(_)
            | Self::DamagedArea { .. }
            | Self::NoArea => Consequence::RefuseChange,
            Self::DuplicatePv { .. }
            | Self::Foreign { .. }
            | Self::Exported
            | Self::Clustered
            | Self::SharedLock { .. }
            | Self::SeqnoConflict { .. }
            | Self::Inconsistent(_)
            | Self::DiskTooSmall { .. }
            | Self::ExtentsOverMetadata { .. }
            | Self::SameName => Consequence::RefuseUse,
        }
    }

    /// The sentence with which LVM2, or this program in its manner, refuses to change the VG `name`.
    pub fn refusal(&self, name: &str) -> String {
        match self {
            Self::MissingPv { .. } | Self::MarkedMissing { .. } => format!(
                "Cannot change VG {name} while PVs are missing.\n  {self}\n  See vgreduce --removemissing and vgextend --restoremissing."
            ),
            Self::DuplicatePv { .. } => {
                format!("Cannot update volume group {name} with duplicate PV devices.\n  {self}")
            }
            Self::Foreign { system_id, local: Some(local) } => {
                format!("Cannot access VG {name} with system ID {system_id} with local system ID {local}.")
            }
            Self::Foreign { system_id, local: None } => {
                format!("Cannot access VG {name} with system ID {system_id} with unknown local system ID.")
            }
            Self::Exported => format!("Volume group {name} is exported"),
            Self::Clustered => format!("Cannot access clustered VG {name}."),
            Self::SharedLock { lock_type } => {
                format!("Cannot access VG {name} with lock type \"{lock_type}\": it requires lvmlockd.")
            }
            Self::ReadOnly => format!("Volume group {name} is read-only"),
            Self::UnknownSegments(_) => {
                format!("Cannot change VG {name} with unknown segments in it!\n  {self}")
            }
            _ => format!("Cannot change VG {name}. {self}"),
        }
    }
}

/// What the VG's own text gives reason to.
pub(crate) fn of_text(vg: &Vg, local_system_id: Option<&str>) -> Vec<Finding> {
    let mut findings = Vec::new();
    if vg.is_foreign_to(local_system_id) {
        findings.push(Finding::Foreign {
            system_id: vg.system_id.clone().unwrap_or_default(),
            local: local_system_id.map(str::to_owned),
        });
    }
    if vg.is_exported() {
        findings.push(Finding::Exported);
    }
    if vg.is_clustered() {
        findings.push(Finding::Clustered);
    }
    if let Some(lock_type) = vg.shared_lock_type() {
        findings.push(Finding::SharedLock { lock_type: lock_type.to_owned() });
    }
    if !vg.is_writable() {
        findings.push(Finding::ReadOnly);
    }
    let mut foreign: Vec<&str> = vg.lvs.iter().flat_map(Lv::foreign_types).collect();
    foreign.sort_unstable();
    foreign.dedup();
    if !foreign.is_empty() {
        findings.push(Finding::UnknownSegments(foreign.join(", ")));
    }
    findings
}
