//! kill -9 of the daemon at random moments under load (architecture.md, "Processes"; I1, I3, R8).
//!
//! Goal: what was acknowledged by a flush is there, a block that was written but not flushed is old or new and never
//! anything else, a snapshot stays bit for bit, a merge goes on. Method: writers on their own threads that know what each
//! block may hold; the moment of the kill is drawn, and never waits for them. Merges are slow enough to be met by several kills.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed step fails the test"
)]
#![allow(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    reason = "test code"
)]

mod lab;

use lab::live::{Live, no_block_devices};
use lab::{random, skip};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::time::Duration;

const BLOCK: usize = 4096;
const BLOCKS: usize = 8192;
/// Each has its own blocks, and flushes for itself.
const WRITERS: usize = 3;
/// Writes between two flushes.
const BURST: usize = 24;
/// The longest that the load lasts before the kill, in ms.
const LONGEST: u64 = 400;

/// What a block holds: the seed of its content; 0 is zeros.
type Seed = u64;

fn content(seed: Seed) -> Vec<u8> {
    if seed == 0 { vec![0; BLOCK] } else { random(seed, BLOCK) }
}

/// What each of a writer's blocks may hold: what was flushed last, and all that was written since.
#[derive(Default)]
struct May(BTreeMap<usize, Vec<Seed>>);

/// Writes and flushes until the daemon is gone.
fn write(file: &File, writer: usize, round: u64, known: &[Seed]) -> May {
    let mut may = May::default();
    let mut number = 0_u64;
    loop {
        for _ in 0..BURST {
            number += 1;
            let seed = (round << 40) + ((writer as u64) << 32) + number;
            let places = BLOCKS / WRITERS;
            let block = (seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20) as usize % places * WRITERS + writer;
            may.0.entry(block).or_insert_with(|| vec![known[block]]).push(seed);
            if file.write_all_at(&content(seed), (block * BLOCK) as u64).is_err() {
                return may;
            }
        }
        if file.sync_all().is_err() {
            return may;
        }
        for seeds in may.0.values_mut() {
            drop(seeds.drain(..seeds.len() - 1));
        }
    }
}

struct Story {
    live: Live,
    /// What the origin holds.
    known: Vec<Seed>,
    /// What the snapshot must hold for ever.
    frozen: Vec<u8>,
    merges: u32,
    /// Kills after which a merge was still under way.
    met: u32,
}

impl Story {
    fn begin(test: &str) -> Self {
        let live = Live::new(test, 256);
        live.ok("lvcreate -L 32M -n root VG");
        live.ok("vgchange -ay VG");
        let mut known = vec![0; BLOCKS];
        let root = Self::open(&live, "root");
        for (block, seed) in known.iter_mut().enumerate().step_by(2) {
            *seed = 1 + block as u64;
            root.write_all_at(&content(*seed), (block * BLOCK) as u64).unwrap();
        }
        root.sync_all().unwrap();
        drop(root);
        live.ok("lvcreate -s -l 100%ORIGIN -n other VG/root");
        let frozen = std::fs::read(live.file("root")).unwrap();
        Self { live, known, frozen, merges: 0, met: 0 }
    }

    fn open(live: &Live, lv: &str) -> File {
        OpenOptions::new().read(true).write(true).open(live.file(lv)).unwrap()
    }

    /// Starts a merge, if none is under way: of a snapshot in which a third of the blocks was changed.
    fn merge(&mut self, round: u64) {
        if self.live.ok("lvs --noheadings -a -o lv_name").contains("snap") {
            return;
        }
        self.live.ok("lvcreate -s -l 100%ORIGIN -n snap VG/root");
        let snap = Self::open(&self.live, "snap");
        for (block, seed) in self.known.iter_mut().enumerate().step_by(3) {
            *seed = (round << 40) + (1 << 39) + block as u64;
            snap.write_all_at(&content(*seed), (block * BLOCK) as u64).unwrap();
        }
        snap.sync_all().unwrap();
        drop(snap);
        self.live.ok("lvconvert --merge -b --rate 6m VG/snap");
        self.merges += 1;
    }

    fn round(&mut self, round: u64) {
        if round % 3 == 1 {
            self.merge(round);
        }
        let mut drawn = [0; 8];
        drawn.copy_from_slice(&random(round ^ u64::from(std::process::id()), 8));
        let moment = Duration::from_millis(u64::from_le_bytes(drawn) % LONGEST);
        let files: Vec<File> = (0..WRITERS).map(|_| Self::open(&self.live, "root")).collect();
        let known = &self.known;
        let allowed: Vec<May> = std::thread::scope(|scope| {
            let begin = |(writer, file)| scope.spawn(move || write(file, writer, round, known));
            let writers: Vec<_> = files.iter().enumerate().map(begin).collect();
            std::thread::sleep(moment);
            self.live.kill_daemon();
            writers.into_iter().map(|writer| writer.join().unwrap()).collect()
        });
        drop(files);
        let when = format!("round {round}, killed after {moment:?}");
        let left = self.live.ok("lvs --noheadings -a -o merge_left --units b --nosuffix VG");
        self.met += u32::from(left.split_whitespace().any(|left| left != "0"));
        self.look(allowed, &when);
    }

    /// The next command finds out, a new daemon takes the volumes up, and every block is one that it may be.
    #[track_caller]
    fn look(&mut self, allowed: Vec<May>, when: &str) {
        let said = self.live.ok("lvs --noheadings -a -o lv_name,lv_active");
        assert!(said.contains("root") && said.contains("active"), "{when}: {said}");
        for (block, seeds) in allowed.into_iter().flat_map(|may| may.0) {
            let mut found = vec![0; BLOCK];
            let root = Self::open(&self.live, "root");
            root.read_exact_at(&mut found, (block * BLOCK) as u64).unwrap();
            let seed = seeds.iter().rev().find(|seed| content(**seed) == found);
            self.known[block] =
                *seed.unwrap_or_else(|| panic!("{when}: block {block} is none of {seeds:x?}"));
        }
        let root = std::fs::read(self.live.file("root")).unwrap();
        for (block, seed) in self.known.iter().enumerate() {
            let found = &root[block * BLOCK..(block + 1) * BLOCK];
            assert!(found == content(*seed), "{when}: block {block}, which nobody wrote, is not {seed:x}");
        }
        assert!(std::fs::read(self.live.file("other")).unwrap() == self.frozen, "{when}: I3");
    }

    fn end(mut self) {
        self.live.wait_until_merged();
        self.look(Vec::new(), "at the end");
        assert!(self.merges > 0 && self.met > 0, "{} merges, met by {} kills", self.merges, self.met);
    }
}

fn rounds(test: &str, rounds: u64) {
    if let Some(why) = no_block_devices() {
        return skip(test, why);
    }
    let mut story = Story::begin(test);
    for round in 1..=rounds {
        story.round(round);
    }
    story.end();
}

#[test]
fn a_daemon_killed_at_any_moment_loses_nothing_that_was_flushed() {
    rounds("kill", 5);
}

/// `cargo xtask test --long`.
#[test]
#[ignore = "the same a hundred times; the long test runs it"]
fn a_daemon_killed_a_hundred_times_loses_nothing_that_was_flushed() {
    rounds("kills", 100);
}
