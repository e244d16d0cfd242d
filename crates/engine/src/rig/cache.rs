//! A disk with a cache that a power cut empties in part.

use super::Dice;
use std::collections::BTreeMap;

#[derive(Clone, Debug)]
pub(crate) struct Disk {
    durable: Vec<[u8; 512]>,
    /// Per sector what was written since it was last durable, oldest first, with the number of the write.
    volatile: BTreeMap<u64, Vec<(u64, [u8; 512])>>,
    writes: u64,
    mark: u64,
    pub(crate) domain: Option<u32>,
}

impl Disk {
    pub(crate) fn new(sectors: u64) -> Self {
        Self {
            durable: vec![[0; 512]; sectors as usize],
            volatile: BTreeMap::new(),
            writes: 0,
            mark: 0,
            domain: None,
        }
    }

    pub(crate) fn grow(&mut self, sectors: u64) {
        self.durable.resize(sectors as usize, [0; 512]);
    }

    /// Sets durable content.
    pub(crate) fn set(&mut self, sector: u64, data: &[u8; 512]) {
        self.durable[sector as usize] = *data;
    }

    pub(crate) fn get(&self, sector: u64) -> [u8; 512] {
        match self.volatile.get(&sector).and_then(|versions| versions.last()) {
            Some((_, data)) => *data,
            None => self.durable[sector as usize],
        }
    }

    pub(crate) fn write(&mut self, at: u64, bytes: &[u8], fua: bool) {
        self.writes += 1;
        for (sector, data) in (at..).zip(bytes.chunks_exact(512)) {
            let data: [u8; 512] = data.try_into().unwrap();
            if fua {
                self.volatile.remove(&sector);
                self.durable[sector as usize] = data;
            } else {
                assert!((sector as usize) < self.durable.len(), "sector {sector} is behind the end");
                self.volatile.entry(sector).or_default().push((self.writes, data));
            }
        }
    }

    /// A flush is handed out: it will cover what was written so far.
    pub(crate) fn mark(&mut self) {
        self.mark = self.writes;
    }

    pub(crate) fn flush(&mut self) {
        let mark = self.mark;
        for (sector, versions) in &mut self.volatile {
            let covered = versions.iter().take_while(|(number, _)| *number <= mark).count();
            if let Some((_, data)) = versions.drain(..covered).next_back() {
                self.durable[*sector as usize] = data;
            }
        }
        self.volatile.retain(|_, versions| !versions.is_empty());
    }

    pub(crate) fn after_power_cut(mut self, dice: &mut Dice) -> Self {
        // Sometimes everything survives, sometimes nothing, else any mixture.
        let mood = dice.roll(4);
        for (sector, versions) in std::mem::take(&mut self.volatile) {
            let pick = match mood {
                0 => versions.len() as u64,
                1 => 0,
                _ => dice.roll(versions.len() as u64 + 1),
            };
            if let Some((_, data)) = pick.checked_sub(1).map(|pick| versions[pick as usize]) {
                self.durable[sector as usize] = data;
            }
        }
        self
    }
}
