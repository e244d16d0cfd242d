//! What a VG must hold: its LVs, and for each block of each LV which write it shows last.
//!
//! Holds:
//! - A snapshot is a copy of its origin's blocks; a merge that has begun is the copy back. Nothing here knows of exceptions but as an
//!   upper bound of what a store has to hold, so that no walk fills one by accident. A store overflows where one write alone needs
//!   more chunks than it has.
//! - A name is an LV's key; an origin is named by its snapshots, and renaming one renames that too.
//! - What LVM2 or Foldback refuses changes nothing, so only what went well is applied here.

use std::collections::{BTreeMap, BTreeSet};

/// Bytes of a block, the smallest chunk there is.
pub(crate) const BLOCK: usize = 4096;
/// Blocks of a MiB.
pub(crate) const MIB_BLOCKS: usize = 256;
/// The VG of every walk.
pub(crate) const VG: &str = "vgw";
/// Extents of 1 MiB that the VG has.
const VG_MIB: u64 = 120;
/// Bytes of an exception in a store's metadata.
const RECORD: u64 = 16;

/// How far the merge of a snapshot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Merge {
    /// There is none.
    No,
    /// It is in the metadata, and begins with an activation.
    Marked,
    /// The origin shows the snapshot's content.
    Begun,
}

/// What a snapshot has besides blocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Snapshot {
    /// Name of its origin.
    pub(crate) origin: String,
    /// Blocks of a chunk.
    pub(crate) chunk: usize,
    /// Size of the store; 0 where the party chose it and nobody has looked yet.
    pub(crate) store_mib: u64,
    /// Whether its store has overflowed: it shows nothing from then on.
    pub(crate) invalid: bool,
    /// Chunks that the store may hold, at most.
    touched: BTreeSet<usize>,
    /// Its merge.
    pub(crate) merge: Merge,
}

/// An LV.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lv {
    /// The write that each block shows; 0 where nothing is known of it yet.
    pub(crate) blocks: Vec<u64>,
    /// Its tags.
    pub(crate) tags: BTreeSet<String>,
    /// Whether it is active.
    pub(crate) active: bool,
    /// Whether somebody has it open.
    pub(crate) held: bool,
    /// Whether it was made longer: it may lie in several pieces.
    longer: bool,
    /// What makes it a snapshot.
    pub(crate) snapshot: Option<Snapshot>,
}

impl Lv {
    /// Its size in MiB as the origin's or the snapshot's device has it.
    pub(crate) fn mib(&self) -> usize {
        self.blocks.len() / MIB_BLOCKS
    }

    /// The merge, where it is a snapshot.
    pub(crate) fn merge(&self) -> Merge {
        self.snapshot.as_ref().map_or(Merge::No, |snapshot| snapshot.merge)
    }

    /// Whether it is a snapshot that is lost.
    pub(crate) fn invalid(&self) -> bool {
        self.snapshot.as_ref().is_some_and(|snapshot| snapshot.invalid)
    }

    /// Whether it can be read and written through its own device.
    pub(crate) fn readable(&self) -> bool {
        self.active && self.merge() != Merge::Begun && !self.invalid()
    }
}

/// The whole VG.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Model {
    /// By name.
    pub(crate) lvs: BTreeMap<String, Lv>,
}

impl Model {
    /// The snapshots of an origin.
    pub(crate) fn snapshots<'a>(&'a self, origin: &'a str) -> impl Iterator<Item = (&'a String, &'a Lv)> {
        self.lvs
            .iter()
            .filter(move |(_, lv)| lv.snapshot.as_ref().is_some_and(|snapshot| snapshot.origin == origin))
    }

    /// The origin of a snapshot, or the LV itself: who is activated and merged together.
    pub(crate) fn group<'a>(&'a self, name: &'a str) -> &'a str {
        self.lvs.get(name).and_then(|lv| lv.snapshot.as_ref()).map_or(name, |snapshot| &snapshot.origin)
    }

    /// The LV and everything that shares its origin.
    pub(crate) fn members<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a String, &'a Lv)> {
        let group = self.group(name);
        self.lvs.iter().filter(move |(other, _)| self.group(other) == group)
    }

    /// The snapshot that is marked for merging into this origin, or merges.
    pub(crate) fn merging(&self, origin: &str) -> Option<(&String, &Lv)> {
        self.lvs
            .iter()
            .filter(|(_, lv)| lv.snapshot.as_ref().is_some_and(|snapshot| snapshot.origin == origin))
            .find(|(_, lv)| lv.merge() != Merge::No)
    }

    /// Whether the merge of this snapshot has to wait: it or its origin is open. Other snapshots may be.
    pub(crate) fn waits(&self, name: &str) -> bool {
        [name, self.group(name)].iter().filter_map(|name| self.lvs.get(*name)).any(|lv| lv.held)
    }

    /// Whether a merge runs anywhere.
    pub(crate) fn any_begun(&self) -> bool {
        self.lvs.values().any(|lv| lv.merge() == Merge::Begun)
    }

    /// Whether a snapshot merges, or may soon, into an origin that was made longer, before or after it was taken.
    pub(crate) fn any_into_longer(&self) -> bool {
        self.lvs
            .iter()
            .filter(|(_, lv)| lv.merge() != Merge::No)
            .any(|(name, _)| self.lvs.get(self.group(name)).is_some_and(|origin| origin.longer))
    }

    /// Whether its origin was made longer after the snapshot was taken.
    pub(crate) fn is_short(&self, name: &str) -> bool {
        let blocks = |name: &str| self.lvs.get(name).map(|lv| lv.blocks.len());
        blocks(name) < blocks(self.group(name))
    }

    /// MiB that no LV has.
    pub(crate) fn free_mib(&self) -> u64 {
        let mib = |lv: &Lv| match &lv.snapshot {
            Some(snapshot) => snapshot.store_mib,
            None => u64::try_from(lv.mib()).unwrap_or(u64::MAX),
        };
        VG_MIB.saturating_sub(self.lvs.values().map(mib).sum())
    }

    /// A new LV, of whose content nothing is known.
    pub(crate) fn create(&mut self, name: &str, mib: usize) {
        let blocks = vec![0; mib * MIB_BLOCKS];
        let lv =
            Lv { blocks, tags: BTreeSet::new(), active: true, held: false, longer: false, snapshot: None };
        self.lvs.insert(name.to_owned(), lv);
    }

    /// A new snapshot: active where its origin is.
    pub(crate) fn take(&mut self, name: &str, origin: &str, chunk: usize, store_mib: u64) {
        let Some(from) = self.lvs.get(origin) else { return };
        let (origin, touched) = (origin.to_owned(), BTreeSet::new());
        let snapshot = Snapshot { origin, chunk, store_mib, invalid: false, touched, merge: Merge::No };
        let lv = Lv {
            blocks: from.blocks.clone(),
            tags: BTreeSet::new(),
            active: from.active,
            held: false,
            longer: false,
            snapshot: Some(snapshot),
        };
        self.lvs.insert(name.to_owned(), lv);
    }

    /// A write to blocks `from..until`, known as `stamp` from here on.
    pub(crate) fn write(&mut self, name: &str, from: usize, until: usize, stamp: u64) {
        if let Some(blocks) = self.lvs.get_mut(name).and_then(|lv| lv.blocks.get_mut(from..until)) {
            blocks.fill(stamp);
        }
        self.touch(name, from, until);
    }

    /// What the stores that a write to this LV reaches may have to take: its own, or those of the origin; and which are lost by it.
    fn touch(&mut self, name: &str, from: usize, until: usize) {
        for (other, lv) in &mut self.lvs {
            let until = until.min(lv.blocks.len());
            let Some(snapshot) = lv.snapshot.as_mut().filter(|_| from < until) else { continue };
            if other == name || (snapshot.origin == name && snapshot.merge != Merge::Begun) {
                let chunks = from / snapshot.chunk..until.div_ceil(snapshot.chunk);
                snapshot.invalid |= snapshot.cannot_take(chunks.len());
                snapshot.touched.extend(chunks);
            }
        }
    }

    /// A longer LV; of what it gains nothing is known. Snapshots keep the size that they were taken with.
    pub(crate) fn lengthen(&mut self, name: &str, mib: usize) {
        if let Some(lv) = self.lvs.get_mut(name) {
            lv.blocks.resize(lv.blocks.len() + mib * MIB_BLOCKS, 0);
            lv.longer = true;
        }
    }

    /// A longer store.
    pub(crate) fn lengthen_store(&mut self, name: &str, mib: u64) {
        if let Some(snapshot) = self.lvs.get_mut(name).and_then(|lv| lv.snapshot.as_mut()) {
            snapshot.store_mib += mib;
        }
    }

    /// Another name.
    pub(crate) fn rename(&mut self, name: &str, to: &str) {
        if let Some(lv) = self.lvs.remove(name) {
            self.lvs.insert(to.to_owned(), lv);
        }
        for snapshot in self.lvs.values_mut().filter_map(|lv| lv.snapshot.as_mut()) {
            if snapshot.origin == name {
                to.clone_into(&mut snapshot.origin);
            }
        }
    }

    /// Gone, with its snapshots. Where a merge is cut off that had begun, nothing is known of what it may have changed.
    pub(crate) fn remove(&mut self, name: &str) {
        let gone = self.lvs.remove(name).and_then(|lv| lv.snapshot).filter(|gone| gone.merge == Merge::Begun);
        if let Some(gone) = gone
            && let Some(origin) = self.lvs.get_mut(&gone.origin)
        {
            for (at, block) in origin.blocks.iter_mut().enumerate() {
                if gone.touched.contains(&(at / gone.chunk)) {
                    *block = 0;
                }
            }
        }
        self.lvs.retain(|_, lv| lv.snapshot.as_ref().is_none_or(|snapshot| snapshot.origin != name));
    }

    /// Everything, or what belongs to one LV, up or down. What is marked and can begin, begins.
    pub(crate) fn activate(&mut self, which: Option<&str>, up: bool) {
        let group = which.map(|name| self.group(name).to_owned());
        let names: Vec<String> = self.lvs.keys().cloned().collect();
        for name in names {
            let meant = group.as_ref().is_none_or(|group| self.group(&name) == group);
            let Some(lv) = self.lvs.get_mut(&name).filter(|_| meant) else { continue };
            let rises = up && !lv.active;
            lv.active = up;
            if rises && lv.merge() == Merge::Marked {
                self.begin(&name);
            }
        }
    }

    /// The merge is in the metadata.
    pub(crate) fn mark(&mut self, name: &str, merge: Merge) {
        if let Some(snapshot) = self.lvs.get_mut(name).and_then(|lv| lv.snapshot.as_mut()) {
            snapshot.merge = merge;
        }
    }

    /// The merge begins: the origin shows the snapshot's blocks, which the other snapshots' stores have to take.
    pub(crate) fn begin(&mut self, name: &str) {
        let Some(lv) = self.lvs.get(name) else { return };
        let Some(snapshot) = lv.snapshot.clone().filter(|snapshot| snapshot.merge != Merge::Begun) else {
            return;
        };
        let blocks = lv.blocks.clone();
        self.mark(name, Merge::Begun);
        if let Some(shown) =
            self.lvs.get_mut(&snapshot.origin).and_then(|lv| lv.blocks.get_mut(..blocks.len()))
        {
            shown.copy_from_slice(&blocks);
        }
        for chunk in &snapshot.touched {
            self.touch(&snapshot.origin, chunk * snapshot.chunk, (chunk + 1) * snapshot.chunk);
        }
    }

    /// The merge has ended: no such snapshot.
    pub(crate) fn end(&mut self, name: &str) {
        self.begin(name);
        self.lvs.remove(name);
    }

    /// The snapshot and its origin exchange what people know them by; the origin keeps its blocks.
    pub(crate) fn swap(&mut self, name: &str) {
        let origin = self.group(name).to_owned();
        let (Some(mut top), Some(mut low)) = (self.lvs.remove(&origin), self.lvs.remove(name)) else {
            return;
        };
        std::mem::swap(&mut top.tags, &mut low.tags);
        std::mem::swap(&mut top.held, &mut low.held);
        for snapshot in self.lvs.values_mut().chain([&mut low]).filter_map(|lv| lv.snapshot.as_mut()) {
            if snapshot.origin == origin {
                name.clone_into(&mut snapshot.origin);
            }
        }
        self.lvs.insert(name.to_owned(), top);
        self.lvs.insert(origin, low);
    }

    /// The kernel is gone: nothing is active or open.
    pub(crate) fn power_cut(&mut self) {
        for lv in self.lvs.values_mut() {
            (lv.active, lv.held) = (false, false);
        }
    }

    /// The blocks of readable LVs of which nothing is known, as ranges.
    pub(crate) fn unknown(&self) -> Vec<(String, usize, usize)> {
        let mut ranges = Vec::new();
        for (name, lv) in self.lvs.iter().filter(|(_, lv)| lv.readable()) {
            let mut at = 0;
            for run in lv.blocks.chunk_by(|one, next| (*one == 0) == (*next == 0)) {
                if run.first() == Some(&0) {
                    ranges.push((name.clone(), at, at + run.len()));
                }
                at += run.len();
            }
        }
        ranges
    }

    /// Whether every store that the write would reach can take it.
    pub(crate) fn room_for(&self, name: &str, from: usize, until: usize) -> bool {
        let mut after = self.clone();
        after.write(name, from, until, 1);
        after.stores_fit() && after.lost() == self.lost()
    }

    /// Whether a write to the whole of this origin makes snapshots of it invalid, and there is no doubt which: the others have room.
    pub(crate) fn overflows(&self, origin: &str) -> bool {
        let mut after = self.clone();
        let blocks = self.lvs.get(origin).map_or(0, |lv| lv.blocks.len());
        after.write(origin, 0, blocks, 1);
        after.stores_fit() && after.lost() > self.lost()
    }

    /// How many snapshots are invalid.
    fn lost(&self) -> usize {
        self.lvs.values().filter(|lv| lv.invalid()).count()
    }

    /// Whether the stores of the others can take a merge of this one.
    pub(crate) fn room_for_merge(&self, name: &str) -> bool {
        let mut after = self.clone();
        after.begin(name);
        after.stores_fit()
    }

    /// Whether every store has room, also once the merges that are marked have begun.
    pub(super) fn stores_fit(&self) -> bool {
        let mut after = self.clone();
        for name in self.lvs.keys() {
            if self.lvs.get(name).is_some_and(|lv| lv.merge() == Merge::Marked) {
                after.begin(name);
            }
        }
        after.lvs.values().filter_map(|lv| lv.snapshot.as_ref()).all(Snapshot::fits)
    }
}

impl Snapshot {
    /// Chunks of the store.
    fn chunks(&self) -> u64 {
        (self.store_mib << 20) / self.chunk_bytes()
    }

    fn chunk_bytes(&self) -> u64 {
        u64::try_from(self.chunk * BLOCK).unwrap_or(u64::MAX)
    }

    /// Whether the store has room for what it may hold: a header, a chunk of metadata for each full area, and two to spare. One that
    /// the party sized has room for what the party was told to do.
    fn fits(&self) -> bool {
        let held = u64::try_from(self.touched.len()).unwrap_or(u64::MAX);
        self.invalid
            || self.store_mib == 0
            || held + held / (self.chunk_bytes() / RECORD) + 4 <= self.chunks()
    }

    /// Whether it is too small for so many chunks even where it held nothing else: there is a header, and metadata.
    fn cannot_take(&self, chunks: usize) -> bool {
        let needed = u64::try_from(chunks).unwrap_or(u64::MAX).saturating_add(2);
        self.store_mib != 0 && needed > self.chunks()
    }
}

#[cfg(test)]
mod tests {
    use super::{MIB_BLOCKS, Merge, Model};

    fn origin_with_snapshot() -> Model {
        let mut model = Model::default();
        model.create("o", 2);
        model.write("o", 0, 2 * MIB_BLOCKS, 1);
        model.take("s", "o", 1, 1);
        model.write("o", 0, 10, 2);
        model.write("s", 5, 6, 3);
        model
    }

    fn shown(model: &Model, name: &str) -> Vec<u64> {
        model.lvs[name].blocks[..12].to_vec()
    }

    #[test]
    fn a_snapshot_keeps_what_its_origin_showed_and_takes_its_own_writes() {
        let model = origin_with_snapshot();
        assert_eq!(shown(&model, "o"), [2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1]);
        assert_eq!(shown(&model, "s"), [1, 1, 1, 1, 1, 3, 1, 1, 1, 1, 1, 1]);
    }

    #[test]
    fn a_merge_is_a_copy_back_and_what_is_beyond_the_snapshots_size_stays() {
        let mut model = origin_with_snapshot();
        model.lengthen("o", 1);
        model.write("o", 2 * MIB_BLOCKS, 3 * MIB_BLOCKS, 4);
        model.mark("s", Merge::Marked);
        assert_eq!(shown(&model, "o")[0], 2);
        model.end("s");
        assert_eq!(shown(&model, "o"), [1, 1, 1, 1, 1, 3, 1, 1, 1, 1, 1, 1]);
        assert_eq!((model.lvs["o"].blocks[2 * MIB_BLOCKS], model.lvs.len()), (4, 1));
    }

    #[test]
    fn what_is_written_while_a_merge_runs_stays_when_it_ends() {
        let mut model = origin_with_snapshot();
        model.begin("s");
        model.write("o", 0, 1, 9);
        model.end("s");
        assert_eq!(shown(&model, "o")[..2], [9, 1]);
    }

    #[test]
    fn an_activation_begins_what_is_marked() {
        let mut model = origin_with_snapshot();
        model.activate(None, false);
        model.mark("s", Merge::Marked);
        model.activate(Some("o"), true);
        assert_eq!((model.lvs["s"].merge(), shown(&model, "o")[0]), (Merge::Begun, 1));
        assert!(!model.lvs["s"].readable() && model.lvs["o"].readable());
    }

    #[test]
    fn of_a_merge_that_is_cut_off_only_what_it_left_alone_is_known() {
        let mut model = origin_with_snapshot();
        model.begin("s");
        model.remove("s");
        assert_eq!(shown(&model, "o"), [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
    }

    #[test]
    fn names_are_exchanged_and_the_others_follow() {
        let mut model = origin_with_snapshot();
        model.lvs.get_mut("s").unwrap().held = true;
        model.swap("s");
        assert_eq!(model.group("o"), "s");
        assert!(model.lvs["s"].held && !model.lvs["o"].held);
        model.end("o");
        assert_eq!(shown(&model, "s")[0], 1);
        model.rename("s", "t");
        assert_eq!(model.lvs.keys().collect::<Vec<_>>(), ["t"]);
    }

    #[test]
    fn a_store_has_room_for_what_its_size_allows_and_no_more() {
        let mut model = origin_with_snapshot();
        // 256 chunks of 4 KiB: the header, the metadata, and 11 chunks that are taken already.
        assert!(model.room_for("o", 0, 200));
        assert!(!model.room_for("o", 0, 2 * MIB_BLOCKS));
        model.lengthen_store("s", 2);
        assert!(model.room_for("o", 0, 2 * MIB_BLOCKS));
        model.take("t", "o", 16, 1);
        assert!(!model.room_for("o", 0, 2 * MIB_BLOCKS));
    }

    #[test]
    fn a_write_that_no_store_can_take_loses_the_snapshot_and_spares_those_with_room() {
        let mut model = origin_with_snapshot();
        model.take("t", "o", 1, 4);
        assert!(model.overflows("o"));
        model.write("o", 0, 2 * MIB_BLOCKS, 7);
        assert!(model.lvs["s"].invalid() && !model.lvs["s"].readable() && !model.lvs["t"].invalid());
        assert!(!model.overflows("o"), "it is lost already");
        assert!(model.room_for("o", 0, 2 * MIB_BLOCKS), "what is lost needs no room");
    }

    #[test]
    fn a_merge_counts_against_the_stores_of_the_others() {
        let mut model = origin_with_snapshot();
        model.lengthen_store("s", 2);
        model.take("t", "o", 1, 1);
        model.write("s", 0, 2 * MIB_BLOCKS, 4);
        assert!(!model.room_for_merge("s"));
        model.lengthen_store("t", 2);
        assert!(model.room_for_merge("s"));
        model.take("u", "o", 1, 1);
        model.mark("s", Merge::Marked);
        assert!(!model.stores_fit());
    }
}
