//! What a volume may hold: too simple to be wrong.
//!
//! Per sector all versions that may still be found after a power cut, oldest first, and which of them may be the
//! newest. Writes that overlapped while unanswered, and writes that failed, leave it open which one that is until
//! somebody reads; from then on it must stay.

#[derive(Clone, Debug)]
struct Sector {
    /// What may be found after a power cut.
    versions: Vec<u64>,
    /// The last so many of them may be the newest.
    open: usize,
    /// Writes under way.
    busy: usize,
    /// All there ever were.
    history: Vec<u64>,
    /// How many writes have begun or ended.
    events: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct Model {
    sectors: Vec<Sector>,
}

/// What was known when a read was submitted.
pub(crate) struct Before(Vec<(u64, u64)>);

impl Sector {
    fn new(versions: Vec<u64>) -> Self {
        Self { history: versions.clone(), versions, open: 1, busy: 0, events: 0 }
    }

    /// The oldest that may be what a read sees.
    fn oldest_open(&self) -> u64 {
        self.versions[self.versions.len() - self.open]
    }

    fn settle(&mut self, stamp: u64) {
        self.versions.retain(|version| *version != stamp);
        self.versions.push(stamp);
        self.open = 1;
    }
}

impl Model {
    pub(crate) fn new(content: impl IntoIterator<Item = u64>) -> Self {
        Self { sectors: content.into_iter().map(|stamp| Sector::new(vec![stamp])).collect() }
    }

    pub(crate) fn size(&self) -> u64 {
        self.sectors.len() as u64
    }

    fn range(&mut self, start: u64, len: u64) -> impl Iterator<Item = &mut Sector> {
        self.sectors.iter_mut().skip(start as usize).take(len as usize)
    }

    pub(crate) fn begin_write(&mut self, start: u64, data: &[u64]) {
        for (sector, &stamp) in self.range(start, data.len() as u64).zip(data) {
            sector.versions.push(stamp);
            sector.history.push(stamp);
            sector.open += 1;
            sector.busy += 1;
            sector.events += 1;
        }
    }

    /// `good`: it was answered so; with FUA what was there before is out of date for good.
    pub(crate) fn end_write(&mut self, start: u64, data: &[u64], good: bool, fua: bool) {
        for (sector, &stamp) in self.range(start, data.len() as u64).zip(data) {
            sector.busy -= 1;
            sector.events += 1;
            let alone = sector.open == 2 && sector.versions.last() == Some(&stamp);
            if good && alone {
                sector.open = 1;
                if fua {
                    sector.versions = vec![stamp];
                }
            }
        }
    }

    /// What a flush that is submitted now makes certain: nothing older than this.
    pub(crate) fn begin_flush(&self) -> Vec<u64> {
        self.sectors.iter().map(Sector::oldest_open).collect()
    }

    pub(crate) fn end_flush(&mut self, certain: &[u64]) {
        for (sector, stamp) in self.sectors.iter_mut().zip(certain) {
            if let Some(at) = sector.versions.iter().position(|version| version == stamp) {
                let at = at.min(sector.versions.len() - sector.open);
                sector.versions.drain(..at);
            }
        }
    }

    pub(crate) fn begin_read(&self, start: u64, len: u64) -> Before {
        let sectors = self.sectors.iter().skip(start as usize).take(len as usize);
        Before(sectors.map(|sector| (sector.oldest_open(), sector.events)).collect())
    }

    /// What a read may have seen: anything from the oldest that was open when it was submitted. If nothing was written
    /// meanwhile, what it saw is what is there.
    pub(crate) fn end_read(&mut self, start: u64, stamps: &[u64], before: &Before, what: &str) {
        let sectors = (start..).zip(self.range(start, stamps.len() as u64)).zip(stamps.iter().zip(&before.0));
        for ((at, sector), (&stamp, &(oldest, events))) in sectors {
            let from = sector.history.iter().position(|&version| version == oldest).unwrap();
            let may = &sector.history[from..];
            assert!(may.contains(&stamp), "{what}: sector {at} read {stamp}, may be {may:?}");
            if sector.busy == 0 && sector.events == events {
                let open = &sector.versions[sector.versions.len() - sector.open..];
                assert!(open.contains(&stamp), "{what}: sector {at} read {stamp}, may be {open:?}");
                sector.settle(stamp);
            }
        }
    }

    /// After a power cut: each sector is one of its versions, and from then on that one.
    pub(crate) fn check_and_settle(&mut self, stamps: &[u64], what: &str) {
        for (at, (&stamp, sector)) in stamps.iter().zip(&mut self.sectors).enumerate() {
            let may = &sector.versions;
            assert!(may.contains(&stamp), "{what}: sector {at} holds {stamp}, may be {may:?}");
            *sector = Sector::new(vec![stamp]);
        }
    }

    /// The newest content, where nothing is under way.
    pub(crate) fn check_exact(&mut self, stamps: &[u64], what: &str) {
        let before = self.begin_read(0, self.size());
        self.end_read(0, stamps, &before, what);
    }

    /// The versions of `first`, and behind its end those of `rest`.
    pub(crate) fn joined(first: &Self, rest: &Self) -> Self {
        let behind = rest.sectors.iter().skip(first.sectors.len());
        Self { sectors: first.sectors.iter().chain(behind).cloned().collect() }
    }
}
