//! What a volume may hold: too simple to be wrong.
//!
//! Per sector the content that is certain to survive, and whatever was written since. The driver never has two writes
//! of one sector under way.

use std::collections::BTreeMap;

#[derive(Clone, Debug)]
pub(crate) struct Model {
    /// Oldest first; the last one is what a read sees, unless a write is under way.
    versions: Vec<Vec<u64>>,
    /// All of them, also those that are out of date: for reads that began long ago.
    history: Vec<Vec<u64>>,
    busy: BTreeMap<u64, ()>,
}

impl Model {
    pub(crate) fn new(content: impl IntoIterator<Item = u64>) -> Self {
        let versions: Vec<Vec<u64>> = content.into_iter().map(|stamp| vec![stamp]).collect();
        Self { history: versions.clone(), versions, busy: BTreeMap::new() }
    }

    pub(crate) fn size(&self) -> u64 {
        self.versions.len() as u64
    }

    pub(crate) fn is_busy(&self, start: u64, len: u64) -> bool {
        self.busy.range(start..start + len).next().is_some()
    }

    pub(crate) fn begin_write(&mut self, start: u64, data: &[u64]) {
        for (sector, &stamp) in (start..).zip(data) {
            self.versions[sector as usize].push(stamp);
            self.history[sector as usize].push(stamp);
            self.busy.insert(sector, ());
        }
    }

    /// With FUA what was there before is out of date for good.
    pub(crate) fn end_write(&mut self, start: u64, len: u64, fua: bool) {
        for sector in start..start + len {
            self.busy.remove(&sector);
            if fua {
                let versions = &mut self.versions[sector as usize];
                versions.drain(..versions.len() - 1);
            }
        }
    }

    /// The versions of `first`, and behind its end those of `rest`.
    pub(crate) fn adopt(&mut self, first: &Self, rest: &Self) {
        let versions = first.versions.iter().chain(rest.versions.iter().skip(first.versions.len()));
        self.versions = versions.cloned().collect();
        self.history = self.versions.clone();
    }

    /// What a flush that is submitted now makes certain: per sector how many versions become out of date.
    pub(crate) fn begin_flush(&self) -> Vec<u64> {
        let certain = |(sector, versions): (usize, &Vec<u64>)| {
            let busy = self.busy.contains_key(&(sector as u64));
            versions[versions.len() - 1 - usize::from(busy && versions.len() > 1)]
        };
        self.versions.iter().enumerate().map(certain).collect()
    }

    pub(crate) fn end_flush(&mut self, certain: &[u64]) {
        for (versions, stamp) in self.versions.iter_mut().zip(certain) {
            if let Some(at) = versions.iter().position(|version| version == stamp) {
                versions.drain(..at);
            }
        }
    }

    /// What a read may see: the newest content, and where a write is under way the one before.
    pub(crate) fn check_read(&self, start: u64, stamps: &[u64], before: &[u64], what: &str) {
        for ((sector, &stamp), &was) in (start..).zip(stamps).zip(before) {
            let versions = &self.history[sector as usize];
            let from = versions.iter().position(|&version| version == was).unwrap();
            assert!(
                versions[from..].contains(&stamp),
                "{what}: sector {sector} read {stamp}, may be {:?}",
                &versions[from..]
            );
        }
    }

    /// The content a read that is submitted now sees at least.
    pub(crate) fn newest_certain(&self, start: u64, len: u64) -> Vec<u64> {
        let all = self.begin_flush();
        all[start as usize..(start + len) as usize].to_vec()
    }

    /// After a power cut: each sector is one of its versions, and from then on that one.
    pub(crate) fn check_and_settle(&mut self, stamps: &[u64], what: &str) {
        for (sector, (&stamp, versions)) in stamps.iter().zip(&mut self.versions).enumerate() {
            assert!(versions.contains(&stamp), "{what}: sector {sector} holds {stamp}, may be {versions:?}");
            *versions = vec![stamp];
            self.history[sector] = vec![stamp];
        }
        self.busy.clear();
    }

    /// Exactly the newest content.
    pub(crate) fn check_exact(&self, stamps: &[u64], what: &str) {
        for (sector, (stamp, versions)) in stamps.iter().zip(&self.versions).enumerate() {
            assert_eq!(Some(stamp), versions.last(), "{what}: sector {sector}, versions {versions:?}");
        }
    }
}
