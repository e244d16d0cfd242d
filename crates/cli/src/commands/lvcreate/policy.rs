//! `--alloc`, `-C`: how extents are chosen for a volume, now and whenever it grows.
//!
//! What must hold: the policy that is given stands in the metadata; what has none takes the VG's.

use crate::options::YesNo;
use clap::{Args, ValueEnum};
use foldback_lvm2_format::vg::AllocationPolicy;
use foldback_manager::ops::allocation::Policy;

/// The policies.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Alloc {
    /// In one piece.
    Contiguous,
    /// On the PVs that it is on already; a new volume has none yet.
    #[value(alias = "cling_by_tags")]
    Cling,
    /// In as many pieces as it takes.
    Normal,
    /// Likewise; two stripes might share a PV.
    Anywhere,
    /// As the VG has it.
    Inherit,
}

/// `--alloc` alone.
#[derive(Args, Clone, Copy, Default, Debug)]
pub(in crate::commands) struct AllocOption {
    /// How extents are chosen
    #[arg(long, value_name = "POLICY")]
    alloc: Option<Alloc>,
}

impl AllocOption {
    /// How extents are chosen this once; `None` for the LV's own policy.
    pub(in crate::commands) fn once(self) -> Option<Policy> {
        match self.alloc? {
            Alloc::Inherit => None,
            Alloc::Contiguous => Some(Policy::Contiguous),
            Alloc::Cling | Alloc::Normal | Alloc::Anywhere => Some(Policy::Normal),
        }
    }
}

/// The options.
#[derive(Args, Default, Debug)]
pub(in crate::commands) struct PolicyOptions {
    #[command(flatten)]
    alloc: AllocOption,
    /// y: in one piece, as --alloc contiguous; n: as --alloc inherit
    #[arg(short = 'C', long, value_name = "y|n")]
    contiguous: Option<YesNo>,
}

impl PolicyOptions {
    /// Whether one is asked for.
    pub(in crate::commands) fn wants(&self) -> bool {
        self.alloc.alloc.is_some() || self.contiguous.is_some()
    }

    /// The policy that the LV is to have of its own.
    pub(in crate::commands) fn chosen(&self) -> Option<AllocationPolicy> {
        match self.alloc.alloc {
            Some(Alloc::Contiguous) => Some(AllocationPolicy::Contiguous),
            Some(Alloc::Cling) => Some(AllocationPolicy::Cling),
            Some(Alloc::Normal) => Some(AllocationPolicy::Normal),
            Some(Alloc::Anywhere) => Some(AllocationPolicy::Anywhere),
            Some(Alloc::Inherit) | None => {
                (self.contiguous == Some(YesNo::Yes)).then_some(AllocationPolicy::Contiguous)
            }
        }
    }
}
