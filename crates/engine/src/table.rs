//! The exception table: which chunks of the origin have an exception, and where in the store it lies.
//!
//! Runs of chunks that ascend in both are one entry of twelve bytes (40 bits old, 40 bits new, 16 bits length), kept
//! sorted by old chunk in blocks of a few hundred. A block answers for all chunks from its key to the next key.
//!
//! What must hold:
//! - An old chunk has at most one exception.
//! - No entry crosses the key of a later block, so that one block is all that a lookup has to search.
//! - A scattered exception takes at most 16 bytes in all, a sequential extent one entry per 65,536 chunks.
//! - Lookup is O(log n), a change O(log n) and the move of at most one block; dropping it frees whole blocks.

use std::collections::BTreeMap;

/// Chunk numbers in the table are below this.
pub(crate) const CHUNK_LIMIT: u64 = 1 << 40;
/// Entries of one block at most: 6 KiB.
const BLOCK_ENTRIES: usize = 512;
/// Chunks of one entry at most.
const ENTRY_CHUNKS: u64 = 1 << 16;
/// Memory of a block besides its entries: its key, its vector and its share of the tree's nodes.
const BLOCK_OVERHEAD: usize = 64;

/// Consecutive chunks of the origin, kept in consecutive chunks of the store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Run {
    pub(crate) old: u64,
    pub(crate) new: u64,
    pub(crate) len: u64,
}

impl Run {
    pub(crate) fn old_end(self) -> u64 {
        self.old.saturating_add(self.len)
    }

    /// The part of the run from `old` on, which lies in it.
    fn tail(self, old: u64) -> Self {
        let skip = old.saturating_sub(self.old);
        Self { old, new: self.new.saturating_add(skip), len: self.len.saturating_sub(skip) }
    }

    fn is_followed_by(self, next: Self) -> bool {
        self.old_end() == next.old && self.new.saturating_add(self.len) == next.new
    }
}

/// What the table says of a chunk and those behind it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Found {
    /// They have exceptions, consecutive ones.
    Mapped { new: u64, len: u64 },
    /// They have none.
    Gap { len: u64 },
}

impl Found {
    pub(crate) fn len(self) -> u64 {
        match self {
            Self::Mapped { len, .. } | Self::Gap { len } => len,
        }
    }
}

#[derive(Clone, Copy)]
struct Entry([u8; 12]);

impl Entry {
    fn pack(run: Run) -> Self {
        let [o0, o1, o2, o3, o4, ..] = run.old.to_le_bytes();
        let [n0, n1, n2, n3, n4, ..] = run.new.to_le_bytes();
        let [l0, l1, ..] = run.len.saturating_sub(1).to_le_bytes();
        Self([o0, o1, o2, o3, o4, n0, n1, n2, n3, n4, l0, l1])
    }

    fn old(self) -> u64 {
        let [o0, o1, o2, o3, o4, ..] = self.0;
        u64::from_le_bytes([o0, o1, o2, o3, o4, 0, 0, 0])
    }

    fn run(self) -> Run {
        let [_, _, _, _, _, n0, n1, n2, n3, n4, l0, l1] = self.0;
        let new = u64::from_le_bytes([n0, n1, n2, n3, n4, 0, 0, 0]);
        let len = u64::from(u16::from_le_bytes([l0, l1])).saturating_add(1);
        Run { old: self.old(), new, len }
    }
}

/// The exceptions of one store.
#[derive(Default)]
pub(crate) struct Table {
    blocks: BTreeMap<u64, Vec<Entry>>,
    chunks: u64,
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Table").field("chunks", &self.chunks).field("blocks", &self.blocks.len()).finish()
    }
}

impl Table {
    /// From records in any order, `(old, new)`; and the old chunks that come more than once, with how many more times.
    /// Sorts twelve bytes for each, however many millions there are.
    pub(crate) fn from_records(records: impl Iterator<Item = (u64, u64)>) -> (Self, BTreeMap<u64, u64>) {
        let mut entries: Vec<Entry> =
            records.map(|(old, new)| Entry::pack(Run { old, new, len: 1 })).collect();
        entries.sort_unstable_by_key(|entry| entry.old());
        let mut repeats: BTreeMap<u64, u64> = BTreeMap::new();
        entries.dedup_by(|later, first| {
            let same = later.old() == first.old();
            if same {
                let times = repeats.entry(first.old()).or_default();
                *times = times.saturating_add(1);
            }
            same
        });
        (Self::from_sorted(entries.into_iter().map(Entry::run)), repeats)
    }

    /// From runs that ascend and do not overlap.
    pub(crate) fn from_sorted(runs: impl IntoIterator<Item = Run>) -> Self {
        let mut table = Self::default();
        let mut block: Vec<Entry> = Vec::new();
        let mut last: Option<Run> = None;
        for run in runs {
            table.chunks = table.chunks.saturating_add(run.len);
            match &mut last {
                Some(last) if last.is_followed_by(run) && joint(*last, run) <= ENTRY_CHUNKS => {
                    last.len = joint(*last, run);
                }
                _ => {
                    if let Some(done) = last.replace(run) {
                        table.push_sorted(&mut block, done);
                    }
                }
            }
        }
        if let Some(done) = last {
            table.push_sorted(&mut block, done);
        }
        table.seal(block);
        table
    }

    fn push_sorted(&mut self, block: &mut Vec<Entry>, run: Run) {
        if block.len() >= BLOCK_ENTRIES {
            let full = std::mem::take(block);
            self.seal(full);
        }
        block.push(Entry::pack(run));
    }

    fn seal(&mut self, mut block: Vec<Entry>) {
        let Some(first) = block.first() else { return };
        let key = if self.blocks.is_empty() { 0 } else { first.old() };
        block.shrink_to_fit();
        self.blocks.insert(key, block);
    }

    /// How many chunks have an exception.
    pub(crate) fn chunks(&self) -> u64 {
        self.chunks
    }

    /// The memory it takes.
    pub(crate) fn bytes(&self) -> usize {
        self.blocks.values().fold(0_usize, |sum, block| {
            let entries = block.capacity().saturating_mul(size_of::<Entry>());
            sum.saturating_add(entries).saturating_add(BLOCK_OVERHEAD)
        })
    }

    /// What is known of `old` and at most `limit - 1` chunks behind it.
    pub(crate) fn find(&self, old: u64, limit: u64) -> Found {
        let mut runs = self.runs_from(old);
        let first = match runs.next() {
            Some(run) if run.old <= old => run.tail(old),
            Some(run) => return Found::Gap { len: run.old.saturating_sub(old).min(limit) },
            None => return Found::Gap { len: limit },
        };
        let mut found = first;
        while found.len < limit {
            match runs.next() {
                Some(next) if found.is_followed_by(next) => found.len = joint(found, next),
                _ => break,
            }
        }
        Found::Mapped { new: found.new, len: found.len.min(limit) }
    }

    /// The store's chunk that keeps `old`.
    pub(crate) fn get(&self, old: u64) -> Option<u64> {
        match self.find(old, 1) {
            Found::Mapped { new, .. } => Some(new),
            Found::Gap { .. } => None,
        }
    }

    /// All entries that end behind `old`, ascending.
    pub(crate) fn runs_from(&self, old: u64) -> impl Iterator<Item = Run> + '_ {
        let key = self.blocks.range(..=old).next_back().map_or(0, |(key, _)| *key);
        let mut blocks = self.blocks.range(key..).map(|(_, block)| block.as_slice());
        let first = blocks.next().unwrap_or_default();
        let skip = first.partition_point(|entry| entry.run().old_end() <= old);
        let first = first.get(skip..).unwrap_or_default();
        first.iter().chain(blocks.flatten()).map(|entry| entry.run())
    }

    /// Adds exceptions for chunks that have none.
    pub(crate) fn insert(&mut self, run: Run) {
        self.chunks = self.chunks.saturating_add(run.len);
        let mut rest = run;
        while rest.len > 0 {
            let behind = rest.old.saturating_add(1);
            let fence = self.blocks.range(behind..).next().map_or(u64::MAX, |(key, _)| *key);
            let len = rest.len.min(fence.saturating_sub(rest.old)).min(ENTRY_CHUNKS);
            self.insert_entry(Run { len, ..rest });
            rest = rest.tail(rest.old.saturating_add(len));
        }
    }

    /// `run` fits one entry and crosses no key.
    fn insert_entry(&mut self, mut run: Run) {
        let key = self.blocks.range(..=run.old).next_back().map_or(0, |(key, _)| *key);
        let block = self.blocks.entry(key).or_default();
        let mut at = block.partition_point(|entry| entry.old() <= run.old);
        if let Some(next) = block.get(at).map(|entry| entry.run())
            && run.is_followed_by(next)
            && joint(run, next) <= ENTRY_CHUNKS
        {
            run.len = joint(run, next);
            block.remove(at);
        }
        if let Some(before) = at.checked_sub(1)
            && let Some(entry) = block.get_mut(before)
            && entry.run().is_followed_by(run)
            && joint(entry.run(), run) <= ENTRY_CHUNKS
        {
            *entry = Entry::pack(Run { len: joint(entry.run(), run), ..entry.run() });
            return;
        }
        if block.len() >= BLOCK_ENTRIES {
            // Appending starts a block of its own, so that ascending fills leave full blocks behind.
            let split = if at == block.len() { at } else { BLOCK_ENTRIES.div_euclid(2) };
            let mut right = block.split_off(split);
            right.shrink_to_fit();
            block.shrink_to_fit();
            let right_key = right.first().map_or(run.old, |entry| entry.old());
            self.blocks.insert(right_key, right);
            // At most once more: neither half is full.
            return self.insert_entry(run);
        }
        if block.len() == block.capacity() {
            block.reserve_exact(block.len().div_euclid(8).max(8));
        }
        at = at.min(block.len());
        block.insert(at, Entry::pack(run));
    }

    /// Removes the exceptions of `len` chunks from `old` on, where there are any.
    pub(crate) fn remove(&mut self, old: u64, len: u64) {
        let end = old.saturating_add(len);
        let mut from = old;
        while from < end {
            let Some(hit) = self.runs_from(from).next().filter(|run| run.old < end) else { return };
            self.remove_from_entry(hit, from.max(hit.old), end.min(hit.old_end()));
            from = hit.old_end();
        }
    }

    fn remove_from_entry(&mut self, hit: Run, from: u64, to: u64) {
        self.chunks = self.chunks.saturating_sub(to.saturating_sub(from));
        let Some(key) = self.blocks.range(..=hit.old).next_back().map(|(key, _)| *key) else { return };
        let Some(block) = self.blocks.get_mut(&key) else { return };
        let at = block.partition_point(|entry| entry.old() < hit.old);
        let left = Run { len: from.saturating_sub(hit.old), ..hit };
        let right = hit.tail(to);
        let kept = [left, right].into_iter().filter(|run| run.len > 0).map(Entry::pack);
        block.splice(at..at.saturating_add(1), kept);
        if block.is_empty() {
            self.blocks.remove(&key);
        } else if block.capacity() > block.len().saturating_mul(2).saturating_add(32) {
            block.shrink_to_fit();
        }
    }
}

/// The length of two runs of which the second follows the first.
fn joint(first: Run, second: Run) -> u64 {
    first.len.saturating_add(second.len)
}

#[cfg(test)]
mod tests {
    use super::{BLOCK_ENTRIES, CHUNK_LIMIT, Found, Run, Table};
    use proptest::prelude::{Strategy, any, prop_oneof, proptest};
    use std::collections::BTreeMap;

    type Twin = BTreeMap<u64, u64>;

    fn twin_find(twin: &Twin, old: u64, limit: u64) -> Found {
        if let Some(&new) = twin.get(&old) {
            let len = (0..limit).take_while(|i| twin.get(&(old + i)) == Some(&(new + i))).count();
            return Found::Mapped { new, len: len as u64 };
        }
        let next = twin.range(old..).next().map_or(limit, |(next, _)| next - old);
        Found::Gap { len: next.min(limit) }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert { old: u64, len: u64 },
        Remove { old: u64, len: u64 },
    }

    fn step() -> impl Strategy<Value = Step> {
        let insert = (0..3000_u64, 1..40_u64).prop_map(|(old, len)| Step::Insert { old, len });
        let single = (0..3000_u64).prop_map(|old| Step::Insert { old, len: 1 });
        let remove = (0..3000_u64, 1..80_u64).prop_map(|(old, len)| Step::Remove { old, len });
        prop_oneof![2 => insert, 8 => single, 2 => remove]
    }

    proptest! {
        #[test]
        fn the_table_agrees_with_a_plain_map(
            steps in proptest::collection::vec(step(), 1..1500),
            probes in proptest::collection::vec((0..3100_u64, 1..200_u64), 40),
            loaded in any::<bool>(),
        ) {
            let mut twin = Twin::new();
            let mut table = Table::default();
            if loaded {
                let scattered = (0..1200).map(|i| Run { old: i * 2, new: 5000 - i, len: 1 });
                table = Table::from_sorted(scattered.clone());
                twin.extend(scattered.map(|run| (run.old, run.new)));
            }
            let mut next_new = 10_000;
            for step in steps {
                match step {
                    Step::Insert { old, len } => {
                        for old in old..old + len {
                            if let std::collections::btree_map::Entry::Vacant(slot) = twin.entry(old) {
                                slot.insert(next_new);
                                table.insert(Run { old, new: next_new, len: 1 });
                                next_new += 1;
                            }
                        }
                        next_new += u64::from(len == 1);
                    }
                    Step::Remove { old, len } => {
                        table.remove(old, len);
                        twin.retain(|&key, _| !(old..old + len).contains(&key));
                    }
                }
            }
            assert_eq!(table.chunks(), twin.len() as u64);
            for (old, limit) in probes {
                assert_eq!(table.find(old, limit), twin_find(&twin, old, limit), "{old} {limit}");
            }
        }
    }

    #[test]
    fn runs_are_inserted_across_the_keys_of_emptied_blocks() {
        let scattered = (0..2000).map(|i| Run { old: i * 3, new: 9000 - i, len: 1 });
        let mut table = Table::from_sorted(scattered);
        table.remove(600, 3000);
        table.insert(Run { old: 600, new: 20_000, len: 3000 });
        for old in 600..3600 {
            assert_eq!(table.get(old), Some(20_000 + old - 600));
        }
        assert_eq!(table.find(600, 9999), Found::Mapped { new: 20_000, len: 3000 });
        assert_eq!(table.chunks(), 2000 - 1000 + 3000);
    }

    #[test]
    fn records_in_any_order_become_runs_and_repetitions_are_counted() {
        let records = [(9, 20), (4, 3), (5, 4), (9, 20), (3, 2), (9, 20)];
        let (table, repeats) = Table::from_records(records.into_iter());
        assert_eq!((table.find(3, 9), table.get(9)), (Found::Mapped { new: 2, len: 3 }, Some(20)));
        assert_eq!((table.chunks(), repeats), (4, Twin::from([(9, 2)])));
    }

    #[test]
    fn the_largest_numbers_fit() {
        let run = Run { old: CHUNK_LIMIT - 70_000, new: CHUNK_LIMIT - 70_000, len: 70_000 };
        let mut table = Table::default();
        table.insert(run);
        assert_eq!(table.find(run.old, u64::MAX), Found::Mapped { new: run.new, len: run.len });
        table.remove(0, u64::MAX);
        assert_eq!(table.chunks(), 0);
        assert_eq!(table.find(0, 7), Found::Gap { len: 7 });
    }

    /// At most 16 bytes for each scattered exception, however the table came to be.
    #[test]
    fn scattered_exceptions_take_at_most_16_bytes() {
        let count = 65_536_u64;
        let old_of = |i: u64| (i * 40_503) % (1 << 18) * 2;
        let mut sorted: Vec<Run> = (0..count).map(|i| Run { old: old_of(i), new: i + 2, len: 1 }).collect();
        let mut grown = Table::default();
        for &run in &sorted {
            grown.insert(run);
        }
        sorted.sort_by_key(|run| run.old);
        let loaded = Table::from_sorted(sorted);
        for table in [&grown, &loaded] {
            assert_eq!(table.chunks(), count);
            assert!(table.bytes() <= 16 * count as usize, "{} bytes", table.bytes());
        }
        assert!(loaded.bytes() <= 13 * count as usize, "{} bytes", loaded.bytes());
    }

    #[test]
    fn a_sequential_extent_is_one_entry() {
        let mut table = Table::default();
        for i in 0..60_000 {
            table.insert(Run { old: 7 + i, new: 2 + i, len: 1 });
        }
        assert!(table.bytes() < 300, "{} bytes", table.bytes());
    }

    #[test]
    fn ascending_fills_leave_full_blocks_behind() {
        let mut table = Table::default();
        let count = BLOCK_ENTRIES as u64 * 50;
        for i in 0..count {
            table.insert(Run { old: i * 2, new: i + 2, len: 1 });
        }
        assert!(table.bytes() <= 14 * count as usize, "{} bytes", table.bytes());
    }
}
