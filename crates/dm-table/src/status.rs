//! Status lines as types (dm-snapshot.md 1.8).
//!
//! What must hold:
//! - The words and numbers are the kernel's, so that whoever reads `dmsetup status` reads ours.
//! - A merge is over exactly when the allocated sectors are the metadata's ([`SnapshotStatus::is_empty`]); a store that was
//!   never used says the same.

use crate::table::DeviceRef;
use foldback_units::Sectors;
use std::fmt;

/// The state of a `snapshot` or `snapshot-merge`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SnapshotStatus {
    /// In order; all numbers in sectors.
    Usage {
        /// Header, areas, data and what a crash leaked.
        allocated: Sectors,
        /// The COW device.
        total: Sectors,
        /// Header and areas.
        metadata: Sectors,
    },
    /// The store overflowed or failed: its content is lost.
    Invalid,
    /// The merge stopped at an error; everything is still served.
    MergeFailed,
    /// A snapshot's write found no room (`PO` stores only).
    Overflow,
    /// The kernel does not tell.
    Unknown,
}

/// The status text of a target.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TargetStatus {
    /// Nothing: linear, snapshot-origin, error, zero.
    Nothing,
    /// Of a snapshot.
    Snapshot(SnapshotStatus),
    /// Of a striped target: each stripe's device, and whether it is alive.
    Striped(Vec<(DeviceRef, bool)>),
    /// Of a target that is not ours.
    Other(String),
}

/// A status text that its target cannot have.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("status {text:?} does not fit target {kind}")]
pub struct StatusError {
    /// The target's name.
    pub kind: String,
    /// The text.
    pub text: String,
}

impl SnapshotStatus {
    /// From the kernel's text, `None` where it is none.
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text.trim_end() {
            "Invalid" => Self::Invalid,
            "Merge failed" => Self::MergeFailed,
            "Overflow" => Self::Overflow,
            "Unknown" => Self::Unknown,
            usage => {
                let (usage, metadata) = usage.split_once(' ')?;
                let (allocated, total) = usage.split_once('/')?;
                Self::Usage {
                    allocated: number(allocated)?,
                    total: number(total)?,
                    metadata: number(metadata)?,
                }
            }
        })
    }

    /// Whether no exception is in the store: a merge that says so is finished.
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Usage { allocated, metadata, .. } if allocated == metadata)
    }
}

fn number(text: &str) -> Option<Sectors> {
    text.parse().ok().map(Sectors)
}

impl fmt::Display for SnapshotStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage { allocated, total, metadata } => {
                write!(f, "{}/{} {}", allocated.get(), total.get(), metadata.get())
            }
            Self::Invalid => f.write_str("Invalid"),
            Self::MergeFailed => f.write_str("Merge failed"),
            Self::Overflow => f.write_str("Overflow"),
            Self::Unknown => f.write_str("Unknown"),
        }
    }
}

impl TargetStatus {
    /// From the target's name and its status text.
    ///
    /// # Errors
    /// A target of ours with a text that it cannot have.
    pub fn parse(kind: &str, text: &str) -> Result<Self, StatusError> {
        let wrong = || StatusError { kind: kind.to_owned(), text: text.to_owned() };
        match kind {
            "snapshot" | "snapshot-merge" => {
                SnapshotStatus::parse(text).map(Self::Snapshot).ok_or_else(wrong)
            }
            "striped" => striped(text).map(Self::Striped).ok_or_else(wrong),
            "linear" | "snapshot-origin" | "error" | "zero" => {
                if text.trim().is_empty() {
                    Ok(Self::Nothing)
                } else {
                    Err(wrong())
                }
            }
            _ => Ok(Self::Other(text.to_owned())),
        }
    }
}

/// `COUNT DEVICE... 1 LETTERS`: one letter per stripe, `A` alive or `D` dead.
fn striped(text: &str) -> Option<Vec<(DeviceRef, bool)>> {
    let mut words = text.split_ascii_whitespace();
    let count: usize = words.next()?.parse().ok()?;
    let rest: Vec<&str> = words.collect();
    let (devices, letters) = rest.split_at_checked(count)?;
    let [groups, letters] = letters else { return None };
    if *groups != "1" || letters.len() != count {
        return None;
    }
    let states = letters.chars().map(|letter| match letter {
        'A' => Some(true),
        'D' => Some(false),
        _ => None,
    });
    devices.iter().zip(states).map(|(name, alive)| Some((DeviceRef((*name).to_owned()), alive?))).collect()
}

impl fmt::Display for TargetStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => Ok(()),
            Self::Snapshot(status) => write!(f, "{status}"),
            Self::Striped(stripes) => {
                write!(f, "{}", stripes.len())?;
                stripes.iter().try_for_each(|(name, _)| write!(f, " {name}"))?;
                f.write_str(" 1 ")?;
                stripes.iter().try_for_each(|(_, alive)| f.write_str(if *alive { "A" } else { "D" }))
            }
            Self::Other(text) => f.write_str(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{SnapshotStatus, TargetStatus};

    /// Seen on kernel 6.1 under LVM2 2.03.16.
    const SEEN: [&str; 6] = [
        "snapshot 32912/81920 144",
        "snapshot 2584/16384 24",
        "snapshot-merge 32912/65536 136",
        "snapshot-merge 14408/65536 64",
        "snapshot-merge 16/65536 16",
        "linear ",
    ];

    #[test]
    fn golden_status_lines_go_both_ways() {
        for line in SEEN {
            let (kind, text) = line.split_once(' ').unwrap();
            assert_eq!(TargetStatus::parse(kind, text).unwrap().to_string(), text);
        }
        for word in ["Invalid", "Merge failed", "Overflow", "Unknown"] {
            assert_eq!(SnapshotStatus::parse(word).unwrap().to_string(), word);
        }
        let striped = "2 253:1 253:2 1 AD";
        assert_eq!(TargetStatus::parse("striped", striped).unwrap().to_string(), striped);
    }

    #[test]
    fn a_merge_is_over_when_only_metadata_is_allocated() {
        let is_empty = |text| SnapshotStatus::parse(text).unwrap().is_empty();
        assert!(is_empty("16/2097152 16"));
        assert!(!is_empty("24/2097152 16"));
        assert!(!is_empty("Invalid"));
    }

    #[test]
    fn a_status_that_is_none_is_refused() {
        for text in ["", "16/65536", "16 16", "a/b c", "16/65536 -1", "invalid", "1/2 3 4"] {
            assert!(TargetStatus::parse("snapshot", text).is_err(), "{text:?}");
        }
        for text in ["2 253:1 1 AA", "2 253:1 253:2 1 A", "2 253:1 253:2 2 AA", "x", "1 253:1 1 B"] {
            assert!(TargetStatus::parse("striped", text).is_err(), "{text:?}");
        }
        assert!(TargetStatus::parse("linear", "something").is_err());
    }
}
