//! Fills an exception store as the kernel would, with whatever history a test asks for.
//!
//! What must hold:
//! - Every byte that nobody wrote is garbage: a reader that looks where it must not is found out.
//! - A chunk is allocated as dm-snapshot.md 1.2 says; the table always has an end (1.3).

use super::{RECORDS_PER_SECTOR, is_area};
use crate::{Rng, Sector};

/// A store in the making.
#[derive(Clone, Debug)]
pub struct Builder {
    chunk: u64,
    sectors: Vec<Sector>,
    next_free: u64,
    records: Vec<(u64, u64)>,
    stale: Vec<(u64, u64)>,
}

impl Builder {
    /// A device of `len` sectors full of garbage, for chunks of `chunk` sectors.
    pub fn new(len: u64, chunk: u64, rng: &mut Rng) -> Self {
        let garbage = |_| Sector::Stamp(0xdead_0000_0000 | rng.below(1 << 32));
        Self {
            chunk,
            sectors: (0..len).map(garbage).collect(),
            next_free: 2,
            records: Vec::new(),
            stale: Vec::new(),
        }
    }

    /// Records of one area.
    fn per_area(&self) -> u64 {
        self.chunk * RECORDS_PER_SECTOR
    }

    /// The records so far.
    pub fn records(&self) -> &[(u64, u64)] {
        &self.records
    }

    /// Whether one more record, and the end after it, fit the device.
    fn has_room(&self) -> bool {
        let records = self.records.len() as u64 + 1;
        let last_area = 1 + (records / self.per_area()) * (self.per_area() + 1);
        let chunks = self.sectors.len() as u64 / self.chunk;
        self.next_free < chunks && last_area < chunks
    }

    /// One more exception; `false`, and nothing done, where the store is full.
    pub fn push(&mut self, old: u64, data: &[Sector]) -> bool {
        if !self.has_room() {
            return false;
        }
        let new = self.next_free;
        self.take();
        let start = (new * self.chunk) as usize;
        self.sectors[start..start + data.len()].clone_from_slice(data);
        self.records.push((old, new));
        true
    }

    fn take(&mut self) {
        self.next_free += 1;
        if is_area(self.next_free, self.chunk) {
            self.next_free += 1;
        }
    }

    /// A chunk that was allocated and whose record a crash has lost.
    pub fn leak(&mut self) {
        if self.has_room() {
            self.take();
        }
    }

    /// The same record once more, as a slot move leaves it; `false` where it does not fit.
    pub fn repeat(&mut self, index: usize) -> bool {
        // A repeated record takes a slot and no chunk; the area after it must exist all the same.
        let fits = self.has_room() && index < self.records.len();
        if fits {
            self.records.push(self.records[index]);
        }
        fits
    }

    /// A record as it is, right or wrong.
    pub fn push_raw(&mut self, old: u64, new: u64) {
        self.records.push((old, new));
    }

    /// Records that a torn commit has left behind the end of the table (K1). One slot stays empty before them.
    pub fn leave_stale(&mut self, records: &[(u64, u64)]) {
        self.stale.extend_from_slice(records);
    }

    fn put_record(&mut self, index: u64, (old, new): (u64, u64)) {
        let (area, slot) = (index / self.per_area(), index % self.per_area());
        let chunk_number = 1 + area * (self.per_area() + 1);
        let sector = (chunk_number * self.chunk + slot / RECORDS_PER_SECTOR) as usize;
        if sector >= self.sectors.len() {
            return;
        }
        let mut bytes = self.sectors[sector].to_bytes();
        let offset = (slot % RECORDS_PER_SECTOR) as usize * 16;
        bytes[offset..offset + 8].copy_from_slice(&old.to_le_bytes());
        bytes[offset + 8..offset + 16].copy_from_slice(&new.to_le_bytes());
        self.sectors[sector] = Sector::from_bytes(&bytes);
    }

    fn zero_chunk(&mut self, chunk_number: u64) {
        let start = (chunk_number * self.chunk) as usize;
        let end = (start + self.chunk as usize).min(self.sectors.len());
        if start < end {
            self.sectors[start..end].fill(Sector::Zero);
        }
    }

    /// The device. `valid` is what the header says; with `blank`, the header was never written (1.3).
    pub fn finish(mut self, valid: bool, blank: bool) -> Vec<Sector> {
        self.zero_chunk(0);
        if !blank {
            let mut header = Vec::from(*b"SnAp");
            for word in [u32::from(valid), 1, self.chunk as u32] {
                header.extend_from_slice(&word.to_le_bytes());
            }
            self.sectors[0] = Sector::from_bytes(&header);
        }
        let count = self.records.len() as u64;
        if !blank {
            for area in 0..=count / self.per_area() {
                self.zero_chunk(1 + area * (self.per_area() + 1));
            }
        }
        for (index, record) in (0..).zip(self.records.clone()) {
            self.put_record(index, record);
        }
        // Only as far as the boundary area goes: later ones are garbage anyway.
        let room = self.per_area() - count % self.per_area();
        for (index, record) in (1..room).zip(self.stale.clone()) {
            self.put_record(count + index, record);
        }
        self.sectors
    }
}
