//! What happened between two looks at the live volumes.
//!
//! What must hold:
//! - An event is the difference of two looks, and nothing else: whoever missed one can look. What begins and ends between
//!   two looks is not told.
//! - A store is told of once for each threshold that it passes on its way up.

use crate::api::types::{EventInfo, LvInfo, VgInfo};
use foldback_dm_table::SnapshotStatus;

/// Percent of a store at which it is told of.
const THRESHOLDS: [u64; 4] = [50, 70, 90, 95];

/// From `before` to `now`.
pub(crate) fn changes(before: &[VgInfo], now: &[VgInfo]) -> Vec<EventInfo> {
    let mut events = Vec::new();
    let of = |vgs: &[VgInfo], id: &str| vgs.iter().find(|vg| vg.id == id).cloned();
    for vg in before.iter().filter(|vg| of(now, &vg.id).is_none()) {
        events.extend(vg.lvs.iter().map(|lv| event("volume-gone", vg, Some(lv), "")));
    }
    for vg in now {
        let was = of(before, &vg.id);
        let held = was.as_ref().and_then(|was| was.trouble.clone());
        match (&held, &vg.trouble) {
            (None, Some(why)) => events.push(event("requests-held", vg, None, why)),
            (Some(_), None) => events.push(event("requests-go-on", vg, None, "")),
            _ => {}
        }
        let were = was.map(|was| was.lvs).unwrap_or_default();
        for lv in were.iter().filter(|lv| vg.lvs.iter().all(|now| now.id != lv.id)) {
            events.push(event("volume-gone", vg, Some(lv), ""));
        }
        for lv in &vg.lvs {
            let was = were.iter().find(|was| was.id == lv.id);
            of_volume(vg, was, lv, &mut events);
        }
    }
    events
}

fn event(kind: &str, vg: &VgInfo, lv: Option<&LvInfo>, text: &str) -> EventInfo {
    EventInfo {
        kind: kind.to_owned(),
        vg: vg.name.clone(),
        device: lv.map(|lv| lv.device.clone()),
        id: lv.map(|lv| lv.id.clone()),
        text: text.to_owned(),
    }
}

fn of_volume(vg: &VgInfo, was: Option<&LvInfo>, lv: &LvInfo, events: &mut Vec<EventInfo>) {
    let mut tell = |kind: &str, text: &str| events.push(event(kind, vg, Some(lv), text));
    if was.is_none() {
        tell("volume-appeared", "");
    }
    let merge = |lv: Option<&LvInfo>| lv.and_then(|lv| lv.merge.clone());
    match (merge(was), &lv.merge) {
        (None, Some(now)) => tell("merge-started", &format!("{} chunks", now.chunks_left)),
        (Some(_), None) => tell("merge-ended", ""),
        (Some(was), Some(now)) if now.failed && !was.failed => tell("merge-failed", ""),
        (Some(was), Some(now)) if !now.failed && was.failed => tell("merge-goes-on", ""),
        _ => {}
    }
    if lv.merge.is_none() {
        let before = was.filter(|was| was.merge.is_none());
        match (before.map_or(Store::None, store), store(lv)) {
            (Store::Lost, Store::Lost) | (_, Store::None) => {}
            (_, Store::Lost) => tell("store-lost", "the snapshot is invalid"),
            (before, Store::Used(now)) => {
                let before = if let Store::Used(before) = before { before } else { 0 };
                let passed = THRESHOLDS.iter().rfind(|limit| before < **limit && now >= **limit);
                if let Some(limit) = passed {
                    tell("store-filling", &format!("{limit}%"));
                }
            }
        }
    }
    match (was.and_then(|was| was.wait.as_ref()), &lv.wait) {
        (None, Some(wait)) => tell("requests-held", &format!("the store is full: {}", wait.why)),
        (Some(_), None) => tell("requests-go-on", ""),
        _ => {}
    }
}

/// How full a snapshot's store is, in percent.
enum Store {
    None,
    Used(u64),
    Lost,
}

fn store(lv: &LvInfo) -> Store {
    match lv.status.iter().find_map(|line| SnapshotStatus::parse(line)) {
        Some(SnapshotStatus::Usage { allocated, total, .. }) => {
            let percent = allocated.get().saturating_mul(100).checked_div(total.get());
            percent.map_or(Store::None, Store::Used)
        }
        Some(SnapshotStatus::Invalid | SnapshotStatus::Overflow) => Store::Lost,
        _ => Store::None,
    }
}

#[cfg(test)]
mod tests {
    use super::changes;
    use crate::api::types::{LvInfo, MergeInfo, StoreWaitInfo, VgInfo};

    fn lv(id: &str, status: &str) -> LvInfo {
        LvInfo {
            id: id.to_owned(),
            device: format!("vg-{id}"),
            sectors: 8192,
            suspended: false,
            open_count: 0,
            table: String::new(),
            status: vec![status.to_owned()],
            merge: None,
            fill_rate: None,
            wait: None,
            file: None,
            block: None,
            links: Vec::new(),
            nbd: Vec::new(),
        }
    }

    fn vg(lvs: Vec<LvInfo>) -> Vec<VgInfo> {
        let (name, id) = ("vg".to_owned(), "1".to_owned());
        let (devices, trouble, no_files, extends_stores) = (Vec::new(), None, None, false);
        vec![VgInfo { name, id, devices, trouble, no_files, extends_stores, lvs }]
    }

    #[track_caller]
    fn told(before: &[VgInfo], now: &[VgInfo], expected: &[&str]) {
        let events = changes(before, now);
        let told = events.iter().map(|event| {
            let device = event.device.as_deref().unwrap_or("-");
            format!("{} {device} {}", event.kind, event.text).trim_end().to_owned()
        });
        assert_eq!(told.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn what_did_not_change_is_not_told() {
        let now = vg(vec![lv("a", "60/100 8"), lv("b", "Invalid")]);
        told(&now, &now, &[]);
        told(&[], &[], &[]);
    }

    #[test]
    fn volumes_come_and_go_also_with_their_vg() {
        let (one, both) = (vg(vec![lv("a", "")]), vg(vec![lv("a", ""), lv("b", "")]));
        told(&[], &both, &["volume-appeared vg-a", "volume-appeared vg-b"]);
        told(&both, &one, &["volume-gone vg-b"]);
        told(&one, &[], &["volume-gone vg-a"]);
    }

    #[test]
    fn a_store_is_told_of_at_the_highest_threshold_it_passed_and_when_it_is_lost() {
        let at = |status: &str| vg(vec![lv("s", status)]);
        told(&at("10/100 8"), &at("49/100 8"), &[]);
        told(&at("49/100 8"), &at("50/100 8"), &["store-filling vg-s 50%"]);
        told(&at("50/100 8"), &at("93/100 8"), &["store-filling vg-s 90%"]);
        told(&at("93/100 8"), &at("93/200 8"), &[]);
        told(&at("99/100 8"), &at("Invalid"), &["store-lost vg-s the snapshot is invalid"]);
    }

    #[test]
    fn a_merge_is_told_of_from_its_start_to_its_end() {
        let merging = |failed| {
            let (chunks_total, chunks_left, chunk_sectors) = (9, 7, 8);
            let (paused, finished, rate, limit) = (false, false, None, None);
            let merge =
                MergeInfo { chunks_total, chunks_left, chunk_sectors, paused, failed, finished, rate, limit };
            vg(vec![LvInfo { merge: Some(merge), ..lv("o", "60/100 8") }])
        };
        let plain = vg(vec![lv("o", "")]);
        told(&plain, &merging(false), &["merge-started vg-o 7 chunks"]);
        told(&merging(false), &merging(true), &["merge-failed vg-o"]);
        told(&merging(true), &merging(false), &["merge-goes-on vg-o"]);
        told(&merging(false), &plain, &["merge-ended vg-o"]);
    }

    #[test]
    fn held_requests_are_told_of_with_the_reason() {
        let free = vg(vec![lv("s", "99/100 8")]);
        let (mut changed, mut full) = (free.clone(), free.clone());
        changed[0].trouble = Some("somebody removed it".to_owned());
        full[0].lvs[0].wait = Some(StoreWaitInfo { seconds: 1, seconds_left: 29, why: "no room".to_owned() });
        told(&free, &changed, &["requests-held - somebody removed it"]);
        told(&changed, &free, &["requests-go-on -"]);
        told(&free, &full, &["requests-held vg-s the store is full: no room"]);
        told(&full, &free, &["requests-go-on vg-s"]);
    }
}
