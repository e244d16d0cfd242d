//! `--alloc`, `-C`: how extents are chosen for a volume, now and whenever it grows.
//!
//! What must hold: the policy that is given stands in the metadata; what has none takes the VG's.

use crate::options::YesNo;
use clap::{Args, ValueEnum};
use foldback_lvm2_format::vg::AllocationPolicy;
use foldback_manager::ops::Refusal;
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

impl Alloc {
    /// As it stands in the metadata.
    fn stated(self) -> Option<AllocationPolicy> {
        match self {
            Self::Contiguous => Some(AllocationPolicy::Contiguous),
            Self::Cling => Some(AllocationPolicy::Cling),
            Self::Normal => Some(AllocationPolicy::Normal),
            Self::Anywhere => Some(AllocationPolicy::Anywhere),
            Self::Inherit => None,
        }
    }
}

/// `--alloc` alone.
#[derive(Args, Clone, Copy, Default, Debug)]
pub(in crate::commands) struct AllocOption {
    /// How extents are chosen
    #[arg(long, value_name = "POLICY")]
    alloc: Option<Alloc>,
}

impl AllocOption {
    /// Whether one is given.
    pub(in crate::commands) fn is_given(self) -> bool {
        self.alloc.is_some()
    }

    /// How extents are chosen this once; `None` for the LV's own policy.
    pub(in crate::commands) fn once(self) -> Option<Policy> {
        self.alloc?.stated().as_ref().map(Policy::of)
    }

    /// The policy that a VG is to have; `None` where none is given.
    pub(in crate::commands) fn of_vg(self) -> Result<Option<AllocationPolicy>, Refusal> {
        let stated = |alloc: Alloc| alloc.stated().ok_or(Refusal::VgInherits);
        self.alloc.map(stated).transpose()
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
        self.alloc.is_given() || self.contiguous.is_some()
    }

    /// The policy that the LV is to have of its own.
    pub(in crate::commands) fn chosen(&self) -> Option<AllocationPolicy> {
        match self.alloc.alloc {
            Some(alloc) if alloc != Alloc::Inherit => alloc.stated(),
            _ => (self.contiguous == Some(YesNo::Yes)).then_some(AllocationPolicy::Contiguous),
        }
    }
}
