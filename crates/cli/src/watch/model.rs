//! What is watched, as values: volume groups, their volumes, and what the person at the keys has chosen.
//!
//! What must hold:
//! - Snapshots stand behind their origin; a snapshot that merges is told with its origin.
//! - What was chosen stays chosen while it is there, wherever in the list it moves.

use crate::map::VolumeMap;
use foldback_daemon::api::types::{LvInfo, VgInfo};
use foldback_manager::report::{Facts, LvFacts, LvKind, VgFacts};
use foldback_units::Sectors;

/// A merge.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct MergeView {
    /// The snapshot that goes into the volume.
    pub(crate) snapshot: String,
    pub(crate) left: Option<Sectors>,
    pub(crate) total: Option<Sectors>,
    /// In a second.
    pub(crate) rate: Option<Sectors>,
    pub(crate) seconds: Option<u64>,
    pub(crate) failed: bool,
    pub(crate) paused: bool,
}

/// A volume.
#[expect(clippy::struct_excessive_bools, reason = "each is a state that the view tells apart")]
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct LvView {
    pub(crate) id: String,
    pub(crate) name: String,
    /// It stands under its origin.
    pub(crate) is_snapshot: bool,
    /// Of a snapshot: its store's.
    pub(crate) size: Sectors,
    pub(crate) active: bool,
    pub(crate) open: bool,
    /// Why its requests wait.
    pub(crate) held: Option<String>,
    pub(crate) invalid: bool,
    /// Hundredths of a percent of its store that are taken.
    pub(crate) fill: Option<u64>,
    /// Until the store is full.
    pub(crate) store_seconds: Option<u64>,
    pub(crate) merge: Option<MergeView>,
    /// Where it is served.
    pub(crate) place: Option<String>,
}

/// A volume group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct VgView {
    pub(crate) name: String,
    pub(crate) size: Sectors,
    pub(crate) free: Sectors,
    pub(crate) trouble: Option<String>,
    pub(crate) lvs: Vec<LvView>,
}

/// What `facts` (of disks and of the kernel) and the daemon say. `only`: of this VG.
pub(crate) fn views(facts: &Facts, served: &[VgInfo], only: Option<&str>) -> Vec<VgView> {
    let vgs = facts.vgs.iter().filter(|vg| only.is_none_or(|name| vg.name == name));
    vgs.map(|vg| vg_view(vg, served.iter().find(|info| info.id == vg.uuid))).collect()
}

fn vg_view(vg: &VgFacts, served: Option<&VgInfo>) -> VgView {
    let extents = |count: u64| vg.extent_size.checked_mul(count).unwrap_or_default();
    let is_merging = |lv: &LvFacts| lv.kind == LvKind::Snapshot { merging: true };
    let mut lvs = Vec::new();
    for lv in vg.lvs.iter().filter(|lv| !lv.hidden && lv.origin.is_none()) {
        lvs.push(lv_view(vg, lv, served));
        let snapshots = lv.snapshots.iter().filter_map(|index| vg.lvs.get(*index));
        lvs.extend(snapshots.filter(|lv| !is_merging(lv)).map(|lv| lv_view(vg, lv, served)));
    }
    VgView {
        name: vg.name.clone(),
        size: extents(vg.extent_count),
        free: extents(vg.free_count),
        trouble: served.and_then(|info| info.trouble.clone()),
        lvs,
    }
}

fn lv_view(vg: &VgFacts, lv: &LvFacts, served: Option<&VgInfo>) -> LvView {
    let info = served.and_then(|vg| vg.lvs.iter().find(|info| info.id == lv.uuid));
    let snapshots = lv.snapshots.iter().filter_map(|index| vg.lvs.get(*index));
    let merging = snapshots.into_iter().find(|lv| lv.kind == LvKind::Snapshot { merging: true });
    let merge = merging.map(|snapshot| MergeView {
        snapshot: snapshot.name.clone(),
        left: lv.live.and_then(|live| live.merge_left),
        total: info
            .and_then(|info| info.merge.as_ref())
            .map(|merge| Sectors(merge.chunks_total.saturating_mul(merge.chunk_sectors))),
        rate: lv.live.and_then(|live| live.merge_rate),
        seconds: lv.live.and_then(|live| live.merge_seconds),
        failed: lv.live.is_some_and(|live| live.merge_failed),
        paused: info.and_then(|info| info.merge.as_ref()).is_some_and(|merge| merge.paused),
    });
    let is_snapshot = lv.origin.is_some();
    let in_kernel =
        || lv.live.and_then(|live| live.kernel_number).map(|_| format!("/dev/{}/{}", vg.name, lv.name));
    let store = lv.store.filter(|_| lv.live.is_none());
    let fill = lv.live.map_or_else(|| store.and_then(|store| store.used), |live| live.used);
    LvView {
        id: lv.uuid.clone(),
        name: lv.name.clone(),
        is_snapshot,
        size: lv.size,
        active: lv.live.is_some(),
        open: lv.live.is_some_and(|live| live.open),
        held: held(lv, info),
        invalid: lv.live.is_some_and(|live| live.invalid) || store.is_some_and(|store| store.invalid),
        fill: fill.filter(|_| is_snapshot),
        store_seconds: lv.live.and_then(|live| live.store_seconds),
        merge,
        place: info.and_then(|info| info.block.clone().or_else(|| info.file.clone())).or_else(in_kernel),
    }
}

/// Why requests wait: for room in a full store, or for somebody to resume the volume.
fn held(lv: &LvFacts, info: Option<&LvInfo>) -> Option<String> {
    if let Some(wait) = info.and_then(|info| info.wait.as_ref()) {
        let left = duration(wait.seconds_left);
        return Some(format!("store full, writes wait; invalid in {left}: {}", wait.why));
    }
    lv.live.filter(|live| live.suspended).map(|_| "requests wait".to_owned())
}

/// The view.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct Model {
    pub(crate) vgs: Vec<VgView>,
    /// Where the chosen volume is in the list.
    pub(crate) chosen: usize,
    pub(crate) map: Option<Result<VolumeMap, String>>,
    /// What could not be found out just now.
    pub(crate) problem: Option<String>,
    pub(crate) helping: bool,
}

/// A key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Key {
    Up,
    Down,
    First,
    Last,
    Help,
    Quit,
}

impl Model {
    /// All volumes, in the order in which they are shown.
    pub(crate) fn lvs(&self) -> impl Iterator<Item = (&VgView, &LvView)> {
        self.vgs.iter().flat_map(|vg| vg.lvs.iter().map(move |lv| (vg, lv)))
    }

    /// The volume that is chosen.
    pub(crate) fn chosen_lv(&self) -> Option<(&VgView, &LvView)> {
        self.lvs().nth(self.chosen)
    }

    /// Takes what is there now.
    pub(crate) fn show(&mut self, vgs: Vec<VgView>) {
        let id = self.chosen_lv().map(|(_, lv)| lv.id.clone());
        self.vgs = vgs;
        let count = self.lvs().count();
        let again = self.lvs().position(|(_, lv)| Some(&lv.id) == id.as_ref());
        if again.is_none() {
            self.map = None;
        }
        self.chosen = again.unwrap_or(self.chosen).min(count.saturating_sub(1));
    }

    /// Does what a key means; whether to go on.
    pub(crate) fn press(&mut self, key: Key) -> bool {
        let before = self.chosen;
        let last = self.lvs().count().saturating_sub(1);
        match key {
            Key::Quit if self.helping => self.helping = false,
            Key::Quit => return false,
            Key::Help => self.helping = !self.helping,
            Key::Up => self.chosen = self.chosen.saturating_sub(1),
            Key::Down => self.chosen = self.chosen.saturating_add(1).min(last),
            Key::First => self.chosen = 0,
            Key::Last => self.chosen = last,
        }
        if before != self.chosen {
            self.map = None;
        }
        true
    }
}

/// A time that is left, in two words.
pub(crate) fn duration(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7_199 => format!("{} min", seconds.div_euclid(60)),
        7_200..=172_799 => format!("{} h", seconds.div_euclid(3600)),
        _ => format!("{} d", seconds.div_euclid(86_400)),
    }
}

/// What is to be said of a volume, besides its size and how full it is.
pub(crate) fn note(lv: &LvView) -> String {
    if let Some(why) = &lv.held {
        return why.clone();
    }
    if lv.invalid {
        return "invalid: its content is lost".to_owned();
    }
    let Some(merge) = &lv.merge else {
        return lv.store_seconds.map_or_else(String::new, |seconds| format!("full in {}", duration(seconds)));
    };
    let words = crate::progress::bytes_in_words;
    let bytes = |size: Sectors| words(size.to_bytes().map_or(u64::MAX, foldback_units::Bytes::get));
    match (merge.failed, merge.left, merge.rate) {
        (true, ..) => format!("merging {}: it met an error and stands", merge.snapshot),
        (false, None, _) => format!("{} merges when it is activated", merge.snapshot),
        (false, Some(left), _) if merge.paused => {
            format!("merging {}: paused, {} left", merge.snapshot, bytes(left))
        }
        (false, Some(left), Some(rate)) if !rate.is_zero() => {
            let time = merge.seconds.map_or_else(String::new, |seconds| format!(", {}", duration(seconds)));
            format!("merging {}: {} left{time}, {}/s", merge.snapshot, bytes(left), bytes(rate))
        }
        (false, Some(left), _) => format!("merging {}: {} left", merge.snapshot, bytes(left)),
    }
}

/// In one word.
pub(crate) fn state(lv: &LvView) -> &'static str {
    match lv {
        LvView { held: Some(_), .. } => "held",
        LvView { invalid: true, .. } => "invalid",
        LvView { merge: Some(merge), .. } if merge.failed => "failed",
        LvView { active: true, merge: Some(merge), .. } if merge.paused => "paused",
        LvView { active: true, merge: Some(_), .. } => "merging",
        LvView { open: true, .. } => "open",
        LvView { active: true, .. } => "active",
        LvView { merge: Some(_), .. } => "to merge",
        _ => "-",
    }
}

/// How much of a bar is filled, in hundredths of a percent: of a merge what is done, of a snapshot what is taken.
pub(crate) fn filled(lv: &LvView) -> Option<u64> {
    let merged = lv.merge.as_ref().and_then(|merge| {
        let (left, total) = (merge.left?, merge.total?);
        Some(crate::map::share_of(total.saturating_sub(left), total))
    });
    merged.or(lv.fill)
}
