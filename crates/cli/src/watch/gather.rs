//! What the disks, the daemon and the kernel say, as often as it is asked for.
//!
//! What must hold:
//! - Nothing is written, and nobody is waited for: metadata are read without a lock, and what could not be read is read
//!   again the next time.
//! - A look into a store costs reading it: it is taken again only when the VG has changed.
//! - A map is asked for again only after ten times what the last one took.

use super::model::{VgView, views};
use crate::backend::look_at_kernel;
use crate::changing::one_vg;
use crate::error::CliError;
use crate::live;
use crate::map::{Reader, VolumeMap};
use crate::options::Options;
use crate::reporting::{device_number, local_time, look_at_live, look_into_stores};
use crate::session::Session;
use foldback_device::Access;
use foldback_manager::report::{Facts, Machine, Needs, StoreFacts};
use foldback_manager::store::Discovery;
use foldback_units::{LvName, VgName};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How often metadata are read.
const METADATA_EVERY: Duration = Duration::from_secs(2);
/// A map takes at most one part in this many of the time.
const MAP_SHARE: u32 = 10;

/// The way to what is shown.
pub(crate) struct Gatherer {
    options: Options,
    /// The disks were named.
    named: bool,
    only: Option<VgName>,
    read: Option<(Instant, Discovery)>,
    /// Of each VG, the revision at which its stores were looked into, and what they said, by LV.
    stores: BTreeMap<String, (u64, BTreeMap<String, StoreFacts>)>,
    next_map: Option<Instant>,
}

impl Gatherer {
    /// Of one VG, or of all.
    pub(crate) fn new(options: &Options, only: Option<VgName>) -> Self {
        let mut options = options.clone();
        options.nolocking = true;
        let named = !options.disks().is_empty();
        Self { options, named, only, read: None, stores: BTreeMap::new(), next_map: None }
    }

    /// What there is now.
    pub(crate) fn look(&mut self) -> Result<Vec<VgView>, CliError> {
        let served = live::vgs()?;
        if !self.named {
            // Disks whose volumes were active stay known when they are not any more.
            for path in served.iter().flat_map(|vg| &vg.devices) {
                if !self.options.devices.contains(path) {
                    self.options.devices.push(path.clone());
                }
            }
        }
        let mut session = Session::open(&self.options, Access::Read)?;
        if self.read.as_ref().is_none_or(|(at, _)| at.elapsed() >= METADATA_EVERY) {
            self.read = Some((Instant::now(), session.discover()));
        }
        let Some((_, found)) = &self.read else { return Ok(Vec::new()) };
        if let Some(vg) = &self.only {
            one_vg(found, vg)?;
        }
        let mut facts = Facts::of(
            found,
            Machine { local_time: &|seconds| local_time(seconds, None), device_number: &device_number },
        );
        look_into(&mut self.stores, &mut session, found, &mut facts);
        let extends = session.config.snapshot_autoextend.threshold < 100;
        for vg in &served {
            look_at_live(vg, &mut facts, extends);
        }
        look_at_kernel(&session, found, &mut facts, Needs::default());
        Ok(views(&facts, &served, self.only.as_ref().map(VgName::as_str)))
    }

    /// The map of a volume; `None` where it is not time for one.
    pub(crate) fn map(&mut self, vg: &str, lv: &str, at_once: bool) -> Option<Result<VolumeMap, CliError>> {
        if !at_once && self.next_map.is_some_and(|next| Instant::now() < next) {
            return None;
        }
        let begun = Instant::now();
        let map = self.read_map(vg, lv);
        self.next_map = Instant::now().checked_add(begun.elapsed().saturating_mul(MAP_SHARE));
        Some(map)
    }

    fn read_map(&mut self, vg: &str, lv: &str) -> Result<VolumeMap, CliError> {
        let bad = |_| CliError::failed(format!("{vg}/{lv} is no name of a volume."));
        let (vg, lv) = (VgName::new(vg).map_err(bad)?, LvName::new(lv).map_err(bad)?);
        let mut session = Session::open(&self.options, Access::Read)?;
        let (_, discovery) = self.read.as_ref().ok_or_else(|| CliError::failed("Nothing was read yet."))?;
        Reader { session: &mut session, discovery }.map(&vg, &lv)
    }
}

/// Fills in what the stores say, of VGs that have not changed from memory.
fn look_into(
    known: &mut BTreeMap<String, (u64, BTreeMap<String, StoreFacts>)>,
    session: &mut Session,
    found: &Discovery,
    facts: &mut Facts,
) {
    let is_known = |vg: &foldback_manager::report::VgFacts| {
        known.get(&vg.uuid).is_some_and(|(seqno, _)| *seqno == vg.seqno)
    };
    if !facts.vgs.iter().all(is_known) {
        look_into_stores(session, found, facts);
        let stores = |vg: &foldback_manager::report::VgFacts| {
            vg.lvs.iter().filter_map(|lv| Some((lv.uuid.clone(), lv.store?))).collect()
        };
        *known = facts.vgs.iter().map(|vg| (vg.uuid.clone(), (vg.seqno, stores(vg)))).collect();
        return;
    }
    for vg in &mut facts.vgs {
        let Some((_, stores)) = known.get(&vg.uuid) else { continue };
        for lv in &mut vg.lvs {
            lv.store = stores.get(&lv.uuid).copied();
        }
    }
}
