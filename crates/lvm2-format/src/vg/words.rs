//! The words of `status` and `flags`, each list in the order in which LVM2 writes it (lvm2.md 1.7).
//!
//! What must hold:
//! - A word of `status` that is not in the table makes the VG unreadable: it may change what the rest means.
//! - A word of `flags` that is not in the table is kept and written back: flags are made so that old programs may
//!   ignore them.
//! - `WRITE_LOCKED` is no word of ours: reading turns it into `WRITE`, writing puts it back where LVM2 would
//!   ([`super::Vg::hides_write`]).

use std::collections::BTreeSet;

/// A table of words; `Ord` is the order of writing.
pub trait Word: Copy + Ord + 'static {
    /// Every word.
    const ALL: &'static [(Self, &'static str)];

    /// As it stands in the text.
    fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(word, _)| *word == self).map_or("", |(_, text)| text)
    }

    /// From the text.
    fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, known)| *known == text).map(|(word, _)| *word)
    }
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$word_doc:meta])* $word:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum $name { $($(#[$word_doc])* $word,)* }

        impl Word for $name {
            const ALL: &'static [(Self, &'static str)] = &[$((Self::$word, $text),)*];
        }
    };
}

words!(
    /// Words of a VG's `status`.
    VgStatus {
        /// Taken out of use by `vgexport`.
        Exported = "EXPORTED",
        /// LVs and PVs may be added.
        Resizeable = "RESIZEABLE",
        /// A `pvmove` is under way.
        Pvmove = "PVMOVE",
        /// Readable.
        Read = "READ",
        /// Writable.
        Write = "WRITE",
        /// Of the old cluster manager.
        Clustered = "CLUSTERED",
        /// Used by several hosts through lvmlockd.
        Shared = "SHARED",
    }
);

words!(
    /// Words of a VG's `flags`.
    VgFlag {
        /// Not activated by itself.
        NoAutoactivate = "NOAUTOACTIVATE",
    }
);

words!(
    /// Words of a PV's `status`.
    PvStatus {
        /// Extents may be taken from it.
        Allocatable = "ALLOCATABLE",
        /// Its VG is exported.
        Exported = "EXPORTED",
        /// As older versions wrote [`PvFlag::Missing`].
        Missing = "MISSING",
    }
);

words!(
    /// Words of a PV's `flags`.
    PvFlag {
        /// It was not there when the VG was last written.
        Missing = "MISSING",
    }
);

words!(
    /// Words of an LV's `status`.
    LvStatus {
        /// Readable.
        Read = "READ",
        /// Writable.
        Write = "WRITE",
        /// Has a device number of its own choice.
        FixedMinor = "FIXED_MINOR",
        /// Shown; for a snapshot this stands on the fictional LV (lvm2.md 1.9).
        Visible = "VISIBLE",
        /// The mirror behind a `pvmove`.
        Pvmove = "PVMOVE",
        /// Not to be changed, since a `pvmove` works on it.
        Locked = "LOCKED",
        /// A mirror that was never synchronised.
        NotSynced = "NOTSYNCED",
        /// A RAID image being rebuilt.
        Rebuild = "REBUILD",
        /// A RAID image that is read only when it must be.
        WriteMostly = "WRITEMOSTLY",
    }
);

words!(
    /// Words of an LV's `flags`.
    LvFlag {
        /// Activated only when asked for twice.
        ActivationSkip = "ACTIVATION_SKIP",
        /// Not activated by itself.
        NoAutoactivate = "NOAUTOACTIVATE",
        /// A thin pool that answers errors when full.
        ErrorWhenFull = "ERROR_WHEN_FULL",
        /// Holds a cache for another LV.
        CacheVol = "CACHE_VOL",
    }
);

/// The words of a `flags` list: known ones, and others kept as they were read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Flags<W> {
    /// Words of the table.
    pub known: BTreeSet<W>,
    /// Words of versions to come, in their order.
    pub unknown: Vec<String>,
}

impl<W> Default for Flags<W> {
    fn default() -> Self {
        Self { known: BTreeSet::new(), unknown: Vec::new() }
    }
}

impl<W: Word> Flags<W> {
    /// Whether `flag` is set.
    pub fn contains(&self, flag: W) -> bool {
        self.known.contains(&flag)
    }

    /// Sets or clears `flag`.
    pub fn set(&mut self, flag: W, on: bool) {
        if on {
            self.known.insert(flag);
        } else {
            self.known.remove(&flag);
        }
    }
}
