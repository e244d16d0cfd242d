//! What a run has to say: what broke, and what it came across.
//!
//! What must hold:
//! - A failure names the invariant, the place, and the seed that repeats it.
//! - What a run came across is counted, so that it can be seen whether a scenario occurs at all.

use crate::swarm::Level;
use std::fmt;

/// An invariant that does not hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// Which one: I1..I10 of dm-snapshot.md 3.5, or the name of a rule of the engine's contract.
    pub invariant: &'static str,
    /// What was found where.
    pub what: String,
}

impl Failure {
    /// A failure of `invariant`.
    pub fn new(invariant: &'static str, what: impl Into<String>) -> Self {
        Self { invariant, what: what.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.what)
    }
}

macro_rules! scenes {
    ($($name:ident = $words:literal,)*) => {
        /// Something that a run may come across.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        pub enum Scene { $(
            #[doc = $words]
            $name,
        )* }

        impl Scene {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The level at which it occurs.
            pub fn level(self) -> Level {
                if self >= Self::LiveTaken {
                    Level::Live
                } else if self >= Self::VgCommit {
                    Level::Volume
                } else {
                    Level::Engine
                }
            }

            /// In words.
            pub const fn words(self) -> &'static str {
                match self { $(Self::$name => $words,)* }
            }
        }
    };
}

scenes! {
    AreaBorder = "a merging table of several areas",
    MixedChunks = "snapshots of different chunk sizes",
    FourOthers = "merges beside four other snapshots",
    PartialChunk = "an origin that ends inside a chunk",
    ShorterSnapshot = "a snapshot shorter than its origin",
    SpreadSpace = "a space on two disks",
    SharedDisk = "origin and store in one cache",
    LargeBlocks = "physical blocks of 4 KiB",
    Holes = "a store with leaked chunks",
    Duplicates = "a store with repeated records",
    StaleTail = "a stale tail scrubbed at open (W1)",
    StoreCreated = "a store created (C6)",
    CreationCut = "a power cut during creation",
    DamagedRefused = "a damaged store refused",
    CopyOut = "chunks copied out to snapshots",
    WriteHeld = "origin writes that waited for a copy",
    MergeFinished = "merges completed",
    Window = "merge windows",
    Pipelined = "a window copied while another is made durable",
    DualWrite = "foreground writes to store and origin (R10)",
    Recopy = "chunks copied again (R2)",
    ZeroWrite = "write-zeroes",
    FuaWrite = "FUA writes",
    Discard = "discards",
    DiscardPassed = "discards passed down",
    RangeRefused = "requests refused for their range",
    BigRead = "whole volumes read",
    Hold = "holds until quiet",
    Pause = "merges paused",
    StoreHeld = "full stores held",
    StoreGrown = "full stores grown",
    GivenUp = "full stores given up",
    QuietBesideFull = "groups held beside a full store",
    Paced = "allowances of paced merges",
    AttachLater = "snapshots taken in mid-run",
    ViewTaken = "snapshots of a merged view taken",
    CutUnderView = "power cuts in a merge with snapshots of its view",
    MergedUnderView = "merges ended under snapshots of their view",
    Detach = "snapshots removed in mid-run",
    Overflow = "snapshots invalidated because full (C5)",
    StoreFailed = "snapshots invalidated by an error",
    InvalidReopened = "invalid stores opened again",
    Cut = "power cuts",
    CutInOpen = "power cuts while stores are opened",
    CutInMerge = "power cuts during a merge",
    CutInRecovery = "power cuts while stores are opened after a power cut",
    Peek = "power cuts looked at without one",
    Killed = "restarts without a power cut",
    EioRead = "failed reads",
    EioWrite = "failed writes",
    EioFlush = "failed flushes",
    OpenFailed = "opens that met an error and were repeated",
    MergeFailed = "merges stopped by an error and resumed",
    VgCommit = "VG changes committed",
    VgCut = "VG changes cut short",
    VgReverted = "VGs found as before the change",
    VgAdvanced = "VGs found as after the change",
    VgMergeCut = "whole merges cut short",
    VgMergeDone = "whole merges carried to the end",
    VgFourOthers = "whole merges beside four other snapshots",
    LiveTaken = "snapshots of live volumes taken",
    LiveOneInstant = "snapshots of several volumes at one instant",
    LiveView = "snapshots of live merged views",
    LiveStarted = "live merges started",
    LiveKept = "live merges started under the snapshot's name",
    LiveUndo = "merges with a snapshot that undoes them",
    LiveMarked = "merges deferred",
    LiveCancelled = "deferred merges cancelled",
    LiveDeferredBegun = "deferred merges begun by an activation",
    LiveMergeResumed = "merges gone on with by an activation",
    LiveEnded = "live merges ended",
    LiveMergeDone = "live merges carried to the end",
    LiveRemoved = "live volumes removed",
    LiveStoreExtended = "live stores extended",
    LiveExtended = "live origins extended",
    LiveRenamed = "live volumes renamed",
    LivePaused = "live merges paused",
    LiveFull = "live stores full and held",
    LiveGivenUp = "live stores given up",
    LiveTakenBack = "operations that failed before their commit",
    LiveTakeBack = "snapshots taken back after their commit",
    LiveSwapBack = "swaps of names taken back",
    LiveLeftMarked = "merges left marked after their commit",
    LiveGoneOn = "operations gone on with after their commit",
    LiveFaulty = "lives with a disk that failed",
    LiveKilled = "deaths of the daemon",
    LiveCut = "power cuts under live operations",
}

/// How often each scene occurred.
#[derive(Clone, Debug)]
pub struct Scenes(Vec<u64>);

impl Default for Scenes {
    fn default() -> Self {
        Self(vec![0; Scene::ALL.len()])
    }
}

impl Scenes {
    /// It occurred once more.
    pub fn saw(&mut self, scene: Scene) {
        self.add(scene, 1);
    }

    /// It occurred so many times more.
    pub fn add(&mut self, scene: Scene, times: u64) {
        if let Some(count) = self.0.get_mut(scene as usize) {
            *count += times;
        }
    }

    /// It occurs in this run, or does not.
    pub fn saw_if(&mut self, condition: bool, scene: Scene) {
        self.add(scene, u64::from(condition));
    }

    /// How often it occurred.
    pub fn count(&self, scene: Scene) -> u64 {
        self.0.get(scene as usize).copied().unwrap_or(0)
    }

    /// Those of another run as well.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(&other.0) {
            *mine += theirs;
        }
    }
}

/// How a run ended.
#[derive(Clone, Debug)]
pub struct RunReport {
    /// Its seed.
    pub seed: u64,
    /// Events: submissions, completions, cuts.
    pub steps: u64,
    /// What it came across.
    pub scenes: Scenes,
    /// What broke, if anything.
    pub failure: Option<Failure>,
    /// What happened, if asked for.
    pub trace: Vec<String>,
}
