//! What one run is about: drawn from its seed, each run with other features on (swarm testing).
//!
//! What must hold:
//! - Everything random about a run's shape is drawn here, before it begins; the rest of the randomness is about order.
//! - Worlds are small: a bug that needs a large one is rarer than one that needs a strange one.

use foldback_testkit::{Order, Rng};

/// In which order a store was filled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fill {
    Ascending,
    Descending,
    Random,
    /// Short runs in random places.
    Clustered,
}

/// One store, and the snapshot it makes.
#[derive(Clone, Debug)]
pub(crate) struct StorePlan {
    /// Sectors of a chunk.
    pub(crate) chunk: u64,
    /// Length of the snapshot: the origin's, or less.
    pub(crate) snapshot_len: u64,
    /// Length of the store's device.
    pub(crate) device_len: u64,
    pub(crate) fill: Fill,
    /// How many exceptions it begins with.
    pub(crate) exceptions: u64,
    /// No header yet.
    pub(crate) blank: bool,
    /// The header says invalid.
    pub(crate) invalid: bool,
    pub(crate) holes: bool,
    pub(crate) duplicates: bool,
    pub(crate) stale: bool,
    /// Taken in mid-run, not from the beginning.
    pub(crate) later: bool,
    /// Held when it is full, and grown so often before it is given up.
    pub(crate) held: Option<u64>,
}

/// What may happen, in shares of a hundred.
#[derive(Clone, Debug)]
pub(crate) struct Shares {
    pub(crate) submit: u64,
    pub(crate) peek: u64,
    pub(crate) lazy: u64,
    pub(crate) control: u64,
    pub(crate) origin: u64,
    pub(crate) read: u64,
    pub(crate) flush: u64,
    pub(crate) zeroes: u64,
    pub(crate) discard: u64,
    pub(crate) fua: u64,
    pub(crate) hot: u64,
    /// Requests to the merged view that go where the merge is at work.
    pub(crate) aimed: u64,
    /// Requests that are at once followed by others in the same place.
    pub(crate) twice: u64,
}

/// One run.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) origin_len: u64,
    pub(crate) disks: u64,
    pub(crate) large_blocks: bool,
    pub(crate) spread: bool,
    pub(crate) stores: Vec<StorePlan>,
    /// Store 0 is merged.
    pub(crate) merge: bool,
    /// The merge is begun at once, not in mid-run.
    pub(crate) merge_first: bool,
    pub(crate) damaged: bool,
    pub(crate) scratch: u64,
    pub(crate) window: u64,
    pub(crate) depth: u32,
    pub(crate) requests: u64,
    pub(crate) outstanding: usize,
    pub(crate) max_request: u64,
    pub(crate) shares: Shares,
    pub(crate) cuts: u64,
    pub(crate) kills: bool,
    pub(crate) faults: u64,
    pub(crate) holds: bool,
    pub(crate) pauses: bool,
    /// The merge has an allowance, topped up by so many sectors at once.
    pub(crate) pace: Option<u64>,
    pub(crate) detaches: bool,
    pub(crate) order: Order,
}

fn share(rng: &mut Rng, often: u64) -> u64 {
    if rng.one_in(3) { 0 } else { rng.between(1, often) }
}

impl Scenario {
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        let origin_len = *rng.pick(&[24, 40, 64, 96, 130, 160, 200, 256]) + rng.below(2) * rng.below(16);
        let merge = rng.percent(88);
        let count = if merge { 1 + rng.below(5).min(rng.below(6)) } else { rng.between(1, 4) };
        let mut stores: Vec<StorePlan> =
            (0..count).map(|index| StorePlan::draw(rng, origin_len, merge && index == 0)).collect();
        let views = if merge && rng.percent(40) { rng.between(1, 2) } else { 0 };
        stores.extend((0..views).map(|_| StorePlan::draw_later(rng, origin_len)));
        let scratch = 32 * rng.between(1, 6);
        Self {
            origin_len,
            disks: rng.between(1, 3),
            large_blocks: rng.one_in(3),
            spread: rng.one_in(6),
            stores,
            merge,
            merge_first: rng.percent(60),
            damaged: rng.one_in(20),
            scratch,
            window: *rng.pick(&[1, 4, 8, 16, 32, 64, 128]),
            depth: rng.between(1, 8) as u32,
            requests: if rng.one_in(12) { 0 } else { rng.between(8, 90) },
            outstanding: rng.between(1, 12) as usize,
            max_request: *rng.pick(&[1, 4, 12, 40]),
            shares: Shares::draw(rng, views > 0),
            cuts: rng.below(4),
            kills: rng.one_in(5),
            faults: if rng.percent(45) { rng.between(1, 4) } else { 0 },
            holds: rng.one_in(3),
            pauses: rng.one_in(4),
            pace: rng.one_in(8).then(|| rng.between(1, 40)),
            detaches: rng.one_in(8),
            order: *rng.pick(&[
                Order::Any,
                Order::Any,
                Order::Any,
                Order::Oldest,
                Order::Newest,
                Order::LateReads,
                Order::LateFlushes,
            ]),
        }
    }
}

impl Shares {
    /// `views`: a snapshot is to be taken before a merge is over.
    fn draw(rng: &mut Rng, views: bool) -> Self {
        Self {
            submit: rng.between(5, 60),
            peek: rng.between(3, 25),
            lazy: rng.below(2) * rng.between(5, 50),
            control: if views { rng.between(4, 20) } else { rng.between(1, 4) },
            origin: rng.between(20, 95),
            read: rng.between(10, 60),
            flush: share(rng, 30),
            zeroes: share(rng, 15),
            discard: share(rng, 10),
            fua: share(rng, 40),
            hot: share(rng, 90),
            aimed: share(rng, 95),
            twice: share(rng, 40),
        }
    }
}

impl StorePlan {
    fn draw(rng: &mut Rng, origin_len: u64, merging: bool) -> Self {
        let chunk =
            if merging { *rng.pick(&[1, 1, 2, 2, 4, 8, 16]) } else { *rng.pick(&[1, 2, 4, 8, 16, 32, 64]) };
        let snapshot_len = if !merging && rng.one_in(10) {
            rng.between(origin_len / 2, origin_len).max(1)
        } else {
            origin_len
        };
        let chunks = snapshot_len.div_ceil(chunk);
        let exceptions = match rng.below(5) {
            0 => 0,
            1 => rng.below(4).min(chunks),
            2 if merging => chunks,
            _ => rng.below(chunks + 1),
        };
        let blank = !merging && exceptions == 0 && rng.one_in(2);
        let room = if !merging && rng.one_in(3) {
            // Tight: it will overflow when enough is written.
            exceptions + rng.below(chunks - exceptions + 1)
        } else {
            chunks + 8
        };
        Self {
            chunk,
            snapshot_len,
            device_len: device_len(room + 6, chunk) + rng.below(2) * rng.below(chunk),
            fill: *rng.pick(&[Fill::Ascending, Fill::Descending, Fill::Random, Fill::Clustered]),
            exceptions,
            blank,
            invalid: !merging && !blank && rng.one_in(25),
            holes: rng.one_in(4),
            duplicates: rng.one_in(6),
            stale: rng.one_in(3),
            later: !merging && exceptions == 0 && blank && rng.one_in(3),
            held: (!merging && rng.one_in(3)).then(|| rng.below(4)),
        }
    }
}

impl StorePlan {
    /// A snapshot that is taken in mid-run, most often while a merge is under way.
    fn draw_later(rng: &mut Rng, origin_len: u64) -> Self {
        let chunk = *rng.pick(&[1, 2, 4, 8, 16, 32]);
        let chunks = origin_len.div_ceil(chunk);
        let room = if rng.one_in(4) { rng.below(chunks + 1) } else { chunks + 8 };
        Self {
            chunk,
            snapshot_len: if rng.one_in(12) { rng.between(origin_len / 2, origin_len) } else { origin_len },
            device_len: device_len(room + 6, chunk),
            fill: Fill::Ascending,
            exceptions: 0,
            blank: true,
            invalid: false,
            holes: false,
            duplicates: false,
            stale: rng.one_in(3),
            later: true,
            held: rng.one_in(3).then(|| rng.below(4)),
        }
    }
}

/// The least device that holds so many exceptions (dm-snapshot.md 1.2, D_min).
fn device_len(exceptions: u64, chunk: u64) -> u64 {
    (2 + exceptions + exceptions / (chunk * 32)) * chunk
}
