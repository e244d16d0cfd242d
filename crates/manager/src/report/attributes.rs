//! The letters and words that sum an object up: the `Attr` columns, roles, layouts.
//!
//! What must hold (lvm2.md 3.4):
//! - The letters are LVM2's. Of a volume that nobody serves, state and open stand as `-`.
//! - A merging snapshot and its origin show capital letters, and the snapshot is hidden.

use super::facts::{Live, LvFacts, LvKind, PvFacts, VgFacts};
use super::row::Row;
use foldback_units::Sectors;

/// The name, in brackets where the LV is hidden.
pub(super) fn shown_name(lv: &LvFacts) -> String {
    if lv.hidden { format!("[{}]", lv.name) } else { lv.name.clone() }
}

/// Whether the LV takes part in a merge.
pub(super) fn merging(lv: &LvFacts) -> bool {
    matches!(lv.kind, LvKind::Origin { merging: true } | LvKind::Snapshot { merging: true })
}

/// Whether the snapshot was invalidated, where that is known.
pub(super) fn invalid(lv: &LvFacts) -> Option<bool> {
    if lv.unknown {
        return None;
    }
    lv.live.map(|live| live.invalid).or_else(|| lv.store.map(|store| store.invalid))
}

/// What is known of a live snapshot, or of the origin into which one merges; LVM2 knows neither of other volumes.
pub(super) fn snapshot_live(lv: &LvFacts) -> Option<Live> {
    let merges = |live: &Live| live.merge_left.is_some() || live.merge_failed || live.invalid;
    match lv.kind {
        LvKind::Plain => None,
        LvKind::Snapshot { .. } => lv.live,
        LvKind::Origin { .. } => lv.live.filter(merges),
    }
}

/// Whether it is active, where that is known.
pub(super) fn active(lv: &LvFacts) -> Option<bool> {
    (!lv.unknown).then_some(lv.live.is_some())
}

/// `lv_snapshot_invalid`.
pub(super) fn snapshot_invalid(lv: &LvFacts) -> Option<bool> {
    if lv.live.is_some() { snapshot_live(lv).map(|live| live.invalid) } else { invalid(lv) }
}

/// `lv_attr`.
pub(super) fn lv(row: &Row<'_>) -> String {
    let lv = row.lv;
    if lv.name.is_empty() {
        return String::new();
    }
    let kind = match lv.kind {
        LvKind::Origin { merging } => {
            if merging {
                'O'
            } else {
                'o'
            }
        }
        LvKind::Snapshot { merging } => {
            if merging {
                'S'
            } else {
                's'
            }
        }
        LvKind::Plain => type_letter(lv),
    };
    let target = match lv.kind {
        LvKind::Plain => target_letter(lv),
        LvKind::Origin { .. } | LvKind::Snapshot { .. } => 's',
    };
    let (state, open) = match lv.live {
        _ if lv.unknown => ('X', 'X'),
        Some(Live { open: true, .. }) => (state_letter(lv), 'o'),
        _ => (state_letter(lv), '-'),
    };
    let letters = [
        kind,
        match lv.writable {
            true if lv.live.is_some_and(|live| live.read_only) => 'R',
            true => 'w',
            false => 'r',
        },
        allocation_letter(lv),
        if lv.fixed_device.is_some() { 'm' } else { '-' },
        state,
        open,
        target,
        if lv.zeroes { 'z' } else { '-' },
        if lv.partial { 'p' } else { '-' },
        if lv.skip_activation { 'k' } else { '-' },
    ];
    letters.iter().collect()
}

/// `a` active, `s` suspended, `I` and `S` invalid, `m` and `M` merge failed; without a table `i` where one waits, otherwise `d`.
fn state_letter(lv: &LvFacts) -> char {
    let suspended = lv.live.is_some_and(|live| live.suspended);
    match lv.live {
        _ if invalid(lv) == Some(true) => {
            if suspended {
                'S'
            } else {
                'I'
            }
        }
        Some(live) if live.merge_failed => {
            if suspended {
                'M'
            } else {
                'm'
            }
        }
        Some(_) if suspended => 's',
        Some(Live { live_table: true, .. }) => 'a',
        Some(Live { inactive_table: true, .. }) => 'i',
        Some(_) => 'd',
        None => '-',
    }
}

fn first_type(lv: &LvFacts) -> &str {
    lv.segments.first().map_or("", |segment| segment.kind.as_str())
}

/// What is part of a volume of another kind, by its name, which no user may choose: the letters of its type and its target.
fn part_letters(lv: &LvFacts) -> Option<(char, char)> {
    let has = |part: &str| lv.hidden && lv.name.contains(part);
    PARTS.iter().find(|(part, ..)| has(part)).map(|(_, kind, target)| (*kind, *target))
}

/// An image is shown as one that is not in sync: nobody asks the kernel.
const PARTS: &[(&str, char, char)] = &[
    ("_tdata", 'T', '-'),
    ("_tmeta", 'e', '-'),
    ("_cdata", 'C', '-'),
    ("_cmeta", 'e', '-'),
    ("_pmspare", 'e', '-'),
    ("_corig", 'o', 'C'),
    ("_rimage_", 'I', 'r'),
    ("_rmeta_", 'e', 'r'),
    ("_mimage_", 'I', 'm'),
    ("_mlog", 'l', 'm'),
];

fn type_letter(lv: &LvFacts) -> char {
    if let Some((kind, _)) = part_letters(lv) {
        return kind;
    }
    match first_type(lv) {
        "error" | "zero" | "vdo" => 'v',
        "mirror" => 'm',
        "thin" => 'V',
        "thin-pool" => 't',
        "cache" | "cache-pool" | "writecache" => 'C',
        "vdo-pool" => 'd',
        kind if kind.starts_with("raid") => 'r',
        _ => '-',
    }
}

fn target_letter(lv: &LvFacts) -> char {
    if let Some((_, target)) = part_letters(lv) {
        return target;
    }
    match first_type(lv) {
        "linear" | "striped" => '-',
        "error" | "zero" | "vdo" | "vdo-pool" => 'v',
        "mirror" => 'm',
        "thin" | "thin-pool" => 't',
        "cache" | "cache-pool" | "writecache" => 'C',
        kind if kind.starts_with("raid") => 'r',
        _ => 'u',
    }
}

fn allocation_letter(lv: &LvFacts) -> char {
    let letter = match lv.allocation.as_deref() {
        None => 'i',
        Some("contiguous") => 'c',
        Some("cling") => 'l',
        Some("normal") => 'n',
        Some("anywhere") => 'a',
        Some(_) => '-',
    };
    if lv.allocation_locked { letter.to_ascii_uppercase() } else { letter }
}

/// `vg_attr`.
pub(super) fn vg(vg: &VgFacts) -> String {
    let letters = [
        if vg.writable { 'w' } else { 'r' },
        if vg.resizeable { 'z' } else { '-' },
        if vg.exported { 'x' } else { '-' },
        if vg.partial { 'p' } else { '-' },
        match vg.allocation.as_str() {
            "contiguous" => 'c',
            "cling" => 'l',
            "normal" => 'n',
            "anywhere" => 'a',
            _ => '-',
        },
        if vg.clustered {
            'c'
        } else if vg.shared {
            's'
        } else {
            '-'
        },
    ];
    letters.iter().collect()
}

/// `pv_attr`.
pub(super) fn pv(pv: &PvFacts) -> String {
    let first = if pv.allocatable { 'a' } else { '-' };
    let letters = [first, if pv.exported { 'x' } else { '-' }, if pv.missing { 'm' } else { '-' }];
    letters.iter().collect()
}

/// `lv_layout`.
pub(super) fn layout(row: &Row<'_>) -> String {
    match first_type(row.lv) {
        "" => "unknown".to_owned(),
        "thin" => "thin,sparse".to_owned(),
        "thin-pool" => "thin,pool".to_owned(),
        "cache-pool" => "cache,pool".to_owned(),
        "zero" | "error" => "virtual".to_owned(),
        kind if kind.starts_with("raid") => format!("raid,{kind}"),
        kind => kind.to_owned(),
    }
}

/// `lv_role`.
pub(super) fn role(lv: &LvFacts) -> String {
    let role = match lv.kind {
        LvKind::Plain => "",
        LvKind::Snapshot { .. } => ",snapshot,thicksnapshot",
        LvKind::Origin { .. } if lv.snapshots.len() > 1 => ",origin,thickorigin,multithickorigin",
        LvKind::Origin { .. } => ",origin,thickorigin",
    };
    let merges = matches!(lv.kind, LvKind::Snapshot { .. });
    let access = if lv.hidden && !merges { "private" } else { "public" };
    format!("{access}{role}")
}

/// `lv_allocation_policy`.
pub(super) fn allocation(lv: &LvFacts) -> String {
    let inherited = if lv.name.is_empty() { "unknown" } else { "inherit" };
    lv.allocation.clone().unwrap_or_else(|| inherited.to_owned())
}

/// The origin's size: of a snapshot as it was then (lvm2.md trap 8), and of an origin itself.
pub(super) fn origin_size(row: &Row<'_>) -> Option<Sectors> {
    match row.lv.kind {
        LvKind::Plain => None,
        LvKind::Origin { .. } => Some(row.lv.size),
        LvKind::Snapshot { .. } => row.lv.snapshot_size,
    }
}

/// Names of the LV's snapshots.
pub(super) fn descendants(row: &Row<'_>) -> Vec<String> {
    let snapshots = row.lv.snapshots.iter().filter_map(|&index| row.lv_at(index));
    snapshots.map(|lv| lv.name.clone()).collect()
}

/// LVs that LVM2 counts: those that are shown without `-a`.
pub(super) fn visible_lvs(vg: &VgFacts) -> usize {
    vg.lvs.iter().filter(|lv| !lv.hidden).count()
}

/// Thick snapshots, merging ones as well.
pub(super) fn snapshots(vg: &VgFacts) -> usize {
    vg.lvs.iter().filter(|lv| matches!(lv.kind, LvKind::Snapshot { .. })).count()
}

#[cfg(test)]
mod tests {
    use super::super::facts::{Live, LvFacts};
    use super::state_letter;

    /// lvm2.md 3.4: letter 5.
    #[test]
    fn every_state_has_its_letter() {
        let live = Live { live_table: true, ..Live::default() };
        for (state, running, suspended) in [
            (live, 'a', 's'),
            (Live { invalid: true, ..live }, 'I', 'S'),
            (Live { merge_failed: true, ..live }, 'm', 'M'),
            (Live { invalid: true, merge_failed: true, ..live }, 'I', 'S'),
            (Live { live_table: false, inactive_table: true, ..live }, 'i', 's'),
            (Live { live_table: false, ..live }, 'd', 's'),
            (Live { inactive_table: true, ..live }, 'a', 's'),
        ] {
            for (suspended, letter) in [(false, running), (true, suspended)] {
                let live = Some(Live { suspended, ..state });
                assert_eq!(state_letter(&LvFacts { live, ..LvFacts::default() }), letter, "{live:?}");
            }
        }
        assert_eq!(state_letter(&LvFacts::default()), '-');
    }
}
