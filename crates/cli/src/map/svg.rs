//! A map as a picture: SVG 1.1 with nothing from outside.
//!
//! What must hold:
//! - The colours are told apart by people who see few of them (blue and orange, as Okabe and Ito advise), on light and on
//!   dark ground. The stronger a cell, the more of it; where a cell has both, what is left stands below what was merged.
//! - Whatever a volume is called, the picture is well-formed.
//! - Its size is bounded: one path for each shade, at most 2,048 cells.

use super::text::{amount, in_words};
use super::{Part, VolumeMap, What, percent, share_of};
use foldback_manager::report::Units;
use std::collections::BTreeMap;
use std::fmt::Write;

/// Cells in a row, and rows at most.
const COLUMNS: usize = 64;
const ROWS: usize = 32;
/// From one cell to the next, and a cell's side.
const PITCH: usize = 14;
const SIDE: usize = 12;
/// Left of the cells, where sizes stand.
const LEFT: usize = 96;
const RIGHT: usize = 24;
/// Above the cells, where the title stands.
const TOP: usize = 78;
/// Below them, for the legend.
const BOTTOM: usize = 54;

const STYLE: &str = "
svg{background:#fff}
text{font-family:system-ui,-apple-system,'Segoe UI','DejaVu Sans',sans-serif;fill:#24292f}
.ground{fill:#fff}.title{font-size:19px;font-weight:600}.small{font-size:12px;fill:#57606a}
.legend{font-size:13px}.untouched{fill:#e9ecef}
.kept1{fill:#f6dcb8}.kept2{fill:#edb871}.kept3{fill:#e08f2d}.kept4{fill:#b85e00}
.merged1{fill:#c3dcf0}.merged2{fill:#8dbbe0}.merged3{fill:#4a90c8}.merged4{fill:#0f639f}
@media (prefers-color-scheme:dark){svg{background:#0d1117}.ground{fill:#0d1117}text{fill:#e6edf3}
.small{fill:#9198a1}.untouched{fill:#22282f}
.kept1{fill:#5c4220}.kept2{fill:#8f6227}.kept3{fill:#cb8a33}.kept4{fill:#ffc069}
.merged1{fill:#1d3e59}.merged2{fill:#2a638f}.merged3{fill:#4493cc}.merged4{fill:#8accff}}
";

/// The picture.
pub(crate) fn svg(map: &VolumeMap) -> String {
    let picture = map.picture(COLUMNS.saturating_mul(ROWS));
    let rows = picture.parts.len().div_ceil(COLUMNS);
    let grid = rows.saturating_mul(PITCH);
    let width = sum([LEFT, COLUMNS.saturating_mul(PITCH), RIGHT]);
    let height = sum([TOP, grid, BOTTOM]);
    let about = format!(
        "{}, {}{}; one cell is {}",
        Units::in_words(map.kept.size()),
        in_words(map),
        if map.live { ", active" } else { "" },
        Units::in_words(picture.each)
    );
    let (name, about) = (escaped(&map.name), escaped(&about));
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} \
         {height}\" role=\"img\" aria-labelledby=\"title about\">\n<title id=\"title\">Map of {name}</title>\n<desc \
         id=\"about\">{about}</desc>\n<style>{STYLE}</style>\n<rect class=\"ground\" width=\"100%\" \
         height=\"100%\"/>\n<text class=\"title\" x=\"{LEFT}\" y=\"34\">{name}</text>\n<text class=\"small\" \
         x=\"{LEFT}\" y=\"56\">{about}</text>\n"
    );
    let mut paths = Paths::default();
    for (index, part) in picture.parts.iter().enumerate() {
        paths.add(index, *part);
    }
    for (class, path) in paths.0 {
        // Writing to a string cannot fail.
        writeln!(text, "<path class=\"{class}\" d=\"{path}\"/>").ok();
    }
    // A size at every fourth row.
    for row in (0..rows).step_by(4) {
        let cells = u64::try_from(row.saturating_mul(COLUMNS)).unwrap_or_default();
        let place = escaped(&amount(picture.each.checked_mul(cells).unwrap_or_default()));
        let (x, y) = (LEFT.saturating_sub(10), sum([TOP, row.saturating_mul(PITCH), SIDE, 0]));
        writeln!(text, "<text class=\"small\" text-anchor=\"end\" x=\"{x}\" y=\"{y}\">{place}</text>").ok();
    }
    legend(&mut text, map, sum([TOP, grid, 30]));
    text.push_str("</svg>\n");
    text
}

fn sum<const N: usize>(parts: [usize; N]) -> usize {
    parts.into_iter().fold(0, usize::saturating_add)
}

/// What is filled with each shade.
#[derive(Default)]
struct Paths(BTreeMap<String, String>);

impl Paths {
    fn add(&mut self, index: usize, part: Part) {
        let x = sum([LEFT, index.rem_euclid(COLUMNS).saturating_mul(PITCH)]);
        let y = sum([TOP, index.div_euclid(COLUMNS).saturating_mul(PITCH)]);
        let kept = format!("kept{}", part.level());
        let merged = format!("merged{}", Part { kept: part.merged, ..part }.level());
        let half = SIDE.div_euclid(2);
        match (part.kept.is_zero(), part.merged.is_zero()) {
            (true, true) => self.bar("untouched", x, y, SIDE),
            (false, true) => self.bar(&kept, x, y, SIDE),
            (true, false) => self.bar(&merged, x, y, SIDE),
            (false, false) => {
                self.bar(&merged, x, y, half);
                self.bar(&kept, x, y.saturating_add(half), SIDE.saturating_sub(half));
            }
        }
    }

    fn bar(&mut self, class: &str, x: usize, y: usize, height: usize) {
        let path = self.0.entry(class.to_owned()).or_default();
        write!(path, "M{x} {y}h{SIDE}v{height}h-{SIDE}z").ok();
    }
}

fn legend(text: &mut String, map: &VolumeMap, y: usize) {
    let size = map.kept.size();
    let kept = map.kept.total().min(size);
    let merged = map.merged.as_ref().map(|merged| merged.total().min(size.saturating_sub(kept)));
    let rest = size.saturating_sub(kept).saturating_sub(merged.unwrap_or_default());
    let kept_means = match map.what {
        What::Plain => None,
        What::Snapshot(_) => Some("differs from the origin"),
        What::Origin(_) => Some("kept by a snapshot"),
        What::Merge(_) => Some("still to be merged"),
    };
    let untouched_means = match map.what {
        What::Snapshot(_) => "as the origin",
        What::Merge(_) if merged.is_some() => "not concerned",
        What::Merge(_) => "not concerned, or merged already",
        What::Plain | What::Origin(_) => "kept by no snapshot",
    };
    let shades = |of: &str| (1_u8..=4).map(|level| format!("{of}{level}")).collect::<Vec<_>>();
    let mut entries = Vec::new();
    entries.extend(kept_means.map(|means| (shades("kept"), means, kept)));
    entries.extend(merged.map(|merged| (shades("merged"), "merged", merged)));
    entries.push((vec!["untouched".to_owned()], untouched_means, rest));
    let mut x = LEFT;
    for (classes, means, part) in entries {
        let top = y.saturating_sub(11);
        for class in classes {
            let shape = format!("width=\"{SIDE}\" height=\"{SIDE}\"");
            writeln!(text, "<rect class=\"{class}\" x=\"{x}\" y=\"{top}\" {shape}/>").ok();
            x = x.saturating_add(PITCH);
        }
        x = x.saturating_add(6);
        let label = format!("{means}: {} ({})", amount(part), percent(share_of(part, size)));
        let (length, label) = (label.len(), escaped(&label));
        writeln!(text, "<text class=\"legend\" x=\"{x}\" y=\"{y}\">{label}</text>").ok();
        // As wide as the label may be in most fonts.
        x = sum([x, 18, length.saturating_mul(13).div_euclid(2)]);
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::super::tests::map;
    use super::svg;
    use crate::map::What;
    use foldback_units::Sectors;

    /// Every cell is covered by bars of its own that add up to its height.
    #[test]
    fn bars_fill_every_cell_exactly() {
        let map = map(What::Merge("snap".to_owned()), &[(3, 40), (900, 1)], Some(&[(4, 2), (500, 20)]));
        let picture = svg(&map);
        let mut heights = std::collections::BTreeMap::<(String, u64), u64>::new();
        for path in picture.split("<path ").skip(1) {
            for bar in path.split('"').nth(3).unwrap().split('M').skip(1) {
                let (place, rest) = bar.split_once('h').unwrap();
                let height: u64 = rest.split_once('v').unwrap().1.split_once('h').unwrap().0.parse().unwrap();
                let (x, y) = place.split_once(' ').unwrap();
                let row = (y.parse::<u64>().unwrap() - super::TOP as u64) / super::PITCH as u64;
                *heights.entry((x.to_owned(), row)).or_default() += height;
            }
        }
        assert_eq!(heights.len(), map.picture(64 * 32).parts.len());
        assert!(heights.values().all(|height| *height == super::SIDE as u64));
    }

    #[test]
    fn names_cannot_break_the_picture() {
        let mut map = map(What::Snapshot("<&>\"".to_owned()), &[(0, 1)], None);
        map.name = "vg/<script>".to_owned();
        let picture = svg(&map);
        assert!(!picture.contains("<script>") && picture.contains("snapshot of &lt;&amp;&gt;&quot;"));
        assert!(picture.len() < 300_000);
    }

    /// Sizes that were rounded up are marked with the sign that begins an element.
    #[test]
    fn every_element_is_one_of_ours() {
        let mut map = map(What::Origin(vec!["snap".to_owned()]), &[(0, 1)], None);
        map.kept.add(foldback_units::SectorRange::new(Sectors(4096), Sectors(2047)).unwrap());
        let picture = svg(&map);
        assert!(picture.contains("&lt;2.00 MiB"), "{picture}");
        let known = [
            "svg", "/svg", "title", "/title", "desc", "/desc", "style", "/style", "rect", "text", "/text",
            "path",
        ];
        for element in picture.split('<').skip(1) {
            let name = element.split([' ', '>']).next().unwrap();
            assert!(known.contains(&name), "{element}");
        }
    }
}
