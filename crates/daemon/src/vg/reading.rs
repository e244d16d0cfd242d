//! The VG's metadata as a look finds them, and what holds where not all of them can be read.
//!
//! What must hold:
//! - A text that can be read holds, whatever else is wrong with the VG: what refuses a change is for those who write one.
//! - A text older than one that was read before does not hold while a part of the metadata cannot be read: the newer one may
//!   lie there.
//! - A disk whose label cannot be read is where it was: it is open, and the text says what lies on it.
//! - Failing to read is nobody's change of the VG. It counts when it has lasted for [`PATIENCE`]: then nobody knows any more
//!   whose the extents are.

use foldback_manager::store::{Discovery, Finding, FoundVg, PvPlace};
use foldback_units::LvmUuid;
use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

/// How long volumes go on while their metadata cannot be read.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why requests to a device wait.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Why {
    /// Somebody else changed what it stands on.
    Changed(String),
    /// Nobody knows whether it stands on what is served.
    Unread(String),
}

impl fmt::Display for Why {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changed(why) => write!(out, "somebody changed the volume group: {why}"),
            Self::Unread(why) => write!(out, "cannot read the metadata: {why}"),
        }
    }
}

impl Why {
    /// What ends the wait.
    pub const fn until(&self) -> &'static str {
        match self {
            Self::Changed(_) => "the metadata are put back, for example with vgcfgrestore",
            Self::Unread(_) => "the metadata can be read",
        }
    }
}

/// What became of a look that found no text of the VG.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Unseen {
    /// All of it was read, and the VG is not there.
    Gone,
    /// It could not be read, for the first time a moment ago.
    Lately,
    /// It could not be read for longer than volumes can go on.
    Long(String),
}

/// What earlier looks found.
#[derive(Debug, Default)]
pub(super) struct Reading {
    seqno: u32,
    places: BTreeMap<LvmUuid, PvPlace>,
    failing: Option<Failing>,
}

#[derive(Debug)]
struct Failing {
    since: Instant,
    why: String,
    said: bool,
}

impl Reading {
    /// The VG in what a look has read.
    pub(super) fn find(
        &mut self,
        vg: &LvmUuid,
        read: Result<Discovery, String>,
        now: Instant,
    ) -> Result<FoundVg, Unseen> {
        let failed = match read.and_then(|read| holding(vg, read, self.seqno)) {
            Ok(Some((mut found, unread))) => {
                self.failing = None;
                self.seqno = found.vg.seqno;
                self.keep_places(&mut found, &unread);
                return Ok(found);
            }
            Ok(None) => {
                self.failing = None;
                return Err(Unseen::Gone);
            }
            Err(why) => why,
        };
        let (since, said) =
            self.failing.as_ref().map_or((now, false), |failing| (failing.since, failing.said));
        self.failing = Some(Failing { since, why: failed.clone(), said });
        if now.saturating_duration_since(since) < PATIENCE {
            Err(Unseen::Lately)
        } else {
            Err(Unseen::Long(failed))
        }
    }

    /// Why the last look could not read the metadata.
    pub(super) fn failure(&self) -> Option<&str> {
        self.failing.as_ref().map(|failing| failing.why.as_str())
    }

    /// The same where it was not asked for since the last look that could.
    pub(super) fn failure_to_say(&mut self) -> Option<String> {
        let failing = self.failing.as_mut().filter(|failing| !failing.said)?;
        failing.said = true;
        Some(failing.why.clone())
    }

    fn keep_places(&mut self, found: &mut FoundVg, unread: &[String]) {
        for (pv, place) in found.vg.pvs.iter().zip(&mut found.places) {
            match place {
                Some(place) => drop(self.places.insert(pv.id, place.clone())),
                None => *place = self.places.get(&pv.id).filter(|was| unread.contains(&was.path)).cloned(),
            }
        }
    }
}

/// The text that holds, with the disks whose labels could not be read; nothing where all was read and it is not there.
fn holding(vg: &LvmUuid, read: Discovery, seqno: u32) -> Result<Option<(FoundVg, Vec<String>)>, String> {
    let unread: Vec<String> = read.faults.iter().map(|fault| fault.path.clone()).collect();
    let fault = read.faults.first().map(ToString::to_string);
    let Some(found) = read.vgs.into_iter().find(|found| found.vg.id == *vg) else {
        let text = read.unreadable.first().map(|text| format!("{}: {}", text.path, text.reason));
        return fault.or(text).map_or(Ok(None), Err);
    };
    let finding = |wanted: fn(&Finding) -> bool| found.findings.iter().find(|finding| wanted(finding));
    if let Some(conflict) = finding(|finding| matches!(finding, Finding::SeqnoConflict { .. })) {
        return Err(conflict.to_string());
    }
    let damage = finding(|finding| matches!(finding, Finding::DamagedArea { .. })).map(ToString::to_string);
    match fault.or(damage) {
        Some(why) if found.vg.seqno < seqno => Err(why),
        _ => Ok(Some((found, unread))),
    }
}

#[cfg(test)]
mod tests {
    use super::{PATIENCE, Reading, Unseen};
    use foldback_manager::store::{Discovery, DiskFault};
    use foldback_units::LvmUuid;
    use std::io;
    use std::time::{Duration, Instant};

    fn id() -> LvmUuid {
        LvmUuid::parse("000000-0000-0000-0000-0000-0000-000001").unwrap()
    }

    fn faulty() -> Discovery {
        let source = io::Error::from_raw_os_error(5);
        let fault = DiskFault { attempt: "reading the label", path: "/a".to_owned(), at: 0, source };
        Discovery { faults: vec![fault], ..Discovery::default() }
    }

    /// No ring to be had, or a disk that cannot be read: nobody changed anything, until it has lasted.
    #[test]
    fn what_cannot_be_read_counts_only_when_it_lasts() {
        let (mut reading, begun) = (Reading::default(), Instant::now());
        let later = begun + PATIENCE;
        let short = begun + Duration::from_millis(4999);
        assert_eq!(reading.find(&id(), Ok(faulty()), begun), Err(Unseen::Lately));
        assert_eq!(reading.find(&id(), Err("no memory".to_owned()), short), Err(Unseen::Lately));
        assert_eq!(reading.failure(), Some("no memory"));
        assert_eq!(reading.failure_to_say().as_deref(), Some("no memory"));
        assert_eq!(reading.failure_to_say(), None, "it is said once");
        let Err(Unseen::Long(why)) = reading.find(&id(), Ok(faulty()), later) else { panic!("it lasts") };
        assert!(why.contains("reading the label of /a"), "{why}");
        // All was read, and the VG is not there: that is a change.
        assert_eq!(reading.find(&id(), Ok(Discovery::default()), later), Err(Unseen::Gone));
        assert_eq!(reading.failure(), None);
        assert_eq!(reading.find(&id(), Ok(faulty()), later), Err(Unseen::Lately), "it begins anew");
    }
}
