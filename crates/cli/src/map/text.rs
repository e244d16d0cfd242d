//! A map as text: lines of signs, at most 80 columns wide.
//!
//! What must hold:
//! - Every state has a sign of its own in both alphabets, so that nothing depends on colour.
//! - The legend has what the map has, and says how much of the volume each state is.

use super::{Part, Picture, VolumeMap, What, percent, share_of};
use foldback_manager::report::Units;
use foldback_units::Sectors;
use std::fmt::Write;

/// Signs in a line.
const COLUMNS: usize = 64;
/// Lines at most.
const ROWS: usize = 16;

/// Which signs a terminal can show.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Signs {
    /// Letters.
    Ascii,
    /// Blocks.
    Blocks,
}

impl Signs {
    /// What the locale's character set has.
    pub(crate) fn of_locale() -> Self {
        let set = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().filter_map(|name| std::env::var(name).ok());
        let set = set.into_iter().find(|value| !value.is_empty()).unwrap_or_default().to_ascii_lowercase();
        if set.contains("utf-8") || set.contains("utf8") { Self::Blocks } else { Self::Ascii }
    }

    /// Nothing, little, more, much, all.
    fn kept(self) -> [char; 5] {
        match self {
            Self::Ascii => ['.', '-', '+', '*', '#'],
            Self::Blocks => ['\u{b7}', '\u{2591}', '\u{2592}', '\u{2593}', '\u{2588}'],
        }
    }

    /// Merged, merged in part.
    fn merging(self) -> [char; 2] {
        match self {
            Self::Ascii => ['_', '='],
            Self::Blocks => ['\u{2581}', '\u{2584}'],
        }
    }

    /// Of one part.
    pub(crate) fn sign(self, part: Part) -> char {
        let [none, .., all] = self.kept();
        let [merged, half] = self.merging();
        match (part.kept.is_zero(), part.merged.is_zero()) {
            (true, true) => none,
            (true, false) => merged,
            (false, false) => half,
            (false, true) => self.kept().get(part.level()).copied().unwrap_or(all),
        }
    }
}

/// What a map is of.
pub(crate) fn in_words(map: &VolumeMap) -> String {
    match &map.what {
        What::Plain => "no snapshot keeps anything of it".to_owned(),
        What::Snapshot(origin) => format!("snapshot of {origin}"),
        What::Origin(snapshots) if snapshots.is_empty() => "origin".to_owned(),
        What::Origin(snapshots) => format!("origin of {}", snapshots.join(", ")),
        What::Merge(snapshot) => format!("{snapshot} is being merged into it"),
    }
}

/// A size or a place.
pub(super) fn amount(size: Sectors) -> String {
    if size.is_zero() { "0 B".to_owned() } else { Units::in_words(size) }
}

/// Each state that occurs: its sign, what it means, how much of the volume it is.
pub(crate) fn legend(map: &VolumeMap, signs: Signs) -> Vec<(String, &'static str, String)> {
    let [none, little, more, much, all] = signs.kept();
    let [merged_sign, half] = signs.merging();
    let size = map.kept.size();
    let kept = map.kept.total().min(size);
    let merged = map.merged.as_ref().map(|merged| merged.total().min(size.saturating_sub(kept)));
    let amount = |part| format!("{} ({})", amount(part), percent(share_of(part, size)));
    let untouched = size.saturating_sub(kept).saturating_sub(merged.unwrap_or_default());
    let mut lines = Vec::new();
    match &map.what {
        What::Plain => {}
        What::Merge(_) => {
            lines.push((
                format!("{little}{more}{much}{all}"),
                "still to be merged, little to all",
                amount(kept),
            ));
            if let Some(merged) = merged {
                lines.push((
                    format!("{merged_sign} {half}"),
                    "merged since it was activated",
                    amount(merged),
                ));
            }
        }
        What::Origin(_) => {
            lines.push((
                format!("{little}{more}{much}{all}"),
                "kept by a snapshot, little to all",
                amount(kept),
            ));
        }
        What::Snapshot(_) => {
            lines.push((
                format!("{little}{more}{much}{all}"),
                "differs from the origin, little to all",
                amount(kept),
            ));
        }
    }
    let rest = match map.what {
        What::Merge(_) if merged.is_some() => "not concerned",
        What::Merge(_) => "not concerned, or merged already",
        What::Snapshot(_) => "as the origin",
        What::Plain | What::Origin(_) => "kept by no snapshot",
    };
    lines.push((none.to_string(), rest, amount(untouched)));
    lines
}

/// The whole map.
pub(crate) fn text(map: &VolumeMap, signs: Signs) -> String {
    let picture = map.picture(COLUMNS.saturating_mul(ROWS));
    let live = if map.live { ", active" } else { "" };
    let mut text = format!(
        "  {}: {}, {}{live}; one sign is {}\n\n",
        map.name,
        Units::in_words(map.kept.size()),
        in_words(map),
        Units::in_words(picture.each)
    );
    rows(&mut text, &picture, signs);
    text.push('\n');
    for (sign, meaning, amount) in legend(map, signs) {
        // Writing to a string cannot fail.
        writeln!(text, "  {sign:>4}  {meaning:<40}  {amount}").ok();
    }
    text
}

fn rows(text: &mut String, picture: &Picture, signs: Signs) {
    for (row, parts) in (0_u64..).zip(picture.parts.chunks(COLUMNS)) {
        let columns = u64::try_from(COLUMNS).unwrap_or(u64::MAX);
        let start = picture.each.checked_mul(row.saturating_mul(columns)).unwrap_or_default();
        let line: String = parts.iter().map(|part| signs.sign(*part)).collect();
        writeln!(text, "  {:>11} {line}", amount(start)).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::map;
    use super::{Signs, legend, text};
    use crate::map::What;

    #[test]
    fn a_map_fits_80_columns_and_16_lines_and_shows_where_what_is() {
        let map = map(What::Snapshot("root".to_owned()), &[(0, 16), (16, 3), (512, 1)], None);
        let shown = text(&map, Signs::Ascii);
        assert!(shown.lines().all(|line| line.len() <= 80), "{shown}");
        let rows: Vec<&str> = shown.lines().skip(2).take(16).collect();
        let full = |signs: &str| format!("{signs}{}", ".".repeat(64 - signs.len()));
        assert_eq!(rows[0], format!("          0 B {}", full("###################")), "{shown}");
        assert_eq!(rows[8], format!("   512.00 MiB {}", full("#")), "{shown}");
        assert_eq!(rows[15], format!("   960.00 MiB {}", full("")), "{shown}");
        assert!(shown.contains("20.00 MiB (1.95%)"), "{shown}");
    }

    #[test]
    fn every_state_of_a_merge_has_a_sign_of_its_own() {
        for signs in [Signs::Ascii, Signs::Blocks] {
            let map = map(What::Merge("snap".to_owned()), &[(0, 1), (2, 1)], Some(&[(1, 1)]));
            let mut seen: Vec<char> = [1024, 512]
                .into_iter()
                .flat_map(|room| {
                    let picture = map.picture(room);
                    picture.parts.into_iter().take(4).map(|part| signs.sign(part)).collect::<Vec<_>>()
                })
                .collect();
            seen.sort_unstable();
            seen.dedup();
            assert_eq!(seen.len(), 5, "left, left in part, merged, both, neither: {seen:?}");
            assert_eq!(legend(&map, signs).len(), 3);
        }
    }
}
