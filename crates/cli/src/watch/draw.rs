//! The view, drawn from values.
//!
//! What must hold:
//! - It is right in any size of terminal: what has no room is left out, the chosen volume never.
//! - Nothing is told by colour alone.

use super::model::{LvView, Model, VgView, filled, note, state};
use crate::map::{Signs, VolumeMap, in_words, legend, percent};
use crate::progress::{bytes_in_words, cut};
use foldback_units::{Bytes, Sectors};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph};

/// Below this there is no view.
const LEAST: (u16, u16) = (24, 4);
/// Rows from which on there is a map, and what it takes of them at most.
const MAP_FROM: u16 = 14;
const MAP_ROWS: u16 = 18;
/// Columns from which on there are sizes, bars, and notes beside them.
const SIZES_FROM: usize = 40;
const BARS_FROM: usize = 60;
const NOTES_FROM: usize = 72;
/// Columns of names, and of a bar.
const NAME: usize = 18;
const BAR: usize = 10;

const HELP: [&str; 9] = [
    "up, down, k, j   choose a volume; its map is below",
    "home, end, g, G  the first, the last",
    "?                this help",
    "q, Esc, Ctrl-C   quit",
    "",
    "A bar shows how full a snapshot's store is; of a merge,",
    "how much is done. States: open (in use), active, merging,",
    "held (requests wait), failed (the merge met an error and",
    "stands), invalid (the snapshot is lost), - (not active).",
];

/// Draws the whole view.
pub(crate) fn draw(frame: &mut Frame<'_>, model: &Model, signs: Signs) {
    let area = frame.area();
    if (area.width < LEAST.0) || (area.height < LEAST.1) {
        frame.render_widget(Paragraph::new("too small"), area);
        return;
    }
    let rows = list(model, usize::from(area.width), signs);
    let wanted = u16::try_from(rows.len()).unwrap_or(u16::MAX);
    let body = area.height.saturating_sub(2);
    let map = if area.height < MAP_FROM { 0 } else { map_rows(body, wanted) };
    let [head, top, bottom, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Min(1),
        Constraint::Length(map),
        Constraint::Length(1),
    ])
    .areas(area);
    frame.render_widget(Paragraph::new(heading(model)), head);
    frame.render_widget(Paragraph::new(visible(rows, usize::from(top.height))), top);
    if map > 0 {
        draw_map(frame, bottom, model, signs);
    }
    let place = model.chosen_lv().and_then(|(_, lv)| lv.place.clone()).unwrap_or_default();
    frame.render_widget(
        Paragraph::new(format!(" q quit   up/down choose   ? help   {place}")).style(dim()),
        foot,
    );
    if model.helping {
        draw_help(frame, area);
    }
}

/// The list has what it needs, but leaves half of the room to the map.
fn map_rows(body: u16, wanted: u16) -> u16 {
    body.saturating_sub(wanted.saturating_add(1)).max(body.div_euclid(2)).min(MAP_ROWS)
}

fn dim() -> Style {
    Style::new().fg(Color::DarkGray)
}

fn alarm() -> Style {
    Style::new().fg(Color::Red).add_modifier(Modifier::BOLD)
}

fn heading(model: &Model) -> Line<'static> {
    let title = Span::styled(" foldback watch", Style::new().add_modifier(Modifier::BOLD));
    match &model.problem {
        Some(problem) => Line::from(vec![title, Span::styled(format!("   {problem}"), alarm())]),
        None => Line::from(title),
    }
}

/// One line of the list.
struct Row {
    line: Line<'static>,
    chosen: bool,
}

/// As many rows as there is room for, the chosen one among them.
fn visible(rows: Vec<Row>, room: usize) -> Vec<Line<'static>> {
    let last = rows.iter().rposition(|row| row.chosen).unwrap_or_default();
    let skip = last.saturating_add(1).saturating_sub(room);
    rows.into_iter().skip(skip).take(room).map(|row| row.line).collect()
}

fn list(model: &Model, width: usize, signs: Signs) -> Vec<Row> {
    let chosen = model.chosen_lv().map(|(_, lv)| lv.id.clone());
    let mut rows = Vec::new();
    let plain = |line: Line<'static>| Row { line, chosen: false };
    for vg in &model.vgs {
        rows.push(plain(vg_line(vg)));
        let trouble = vg.trouble.iter().map(|why| Line::styled(format!("   ! {why}"), alarm()));
        rows.extend(trouble.map(plain));
        for lv in &vg.lvs {
            let chosen = chosen.as_ref() == Some(&lv.id);
            rows.extend(lv_lines(lv, chosen, width, signs).into_iter().map(|line| Row { line, chosen }));
        }
    }
    if model.vgs.is_empty() {
        rows.push(plain(Line::from(" No volume groups found.")));
    }
    rows
}

fn words(size: Sectors) -> String {
    bytes_in_words(size.to_bytes().map_or(u64::MAX, Bytes::get))
}

fn vg_line(vg: &VgView) -> Line<'static> {
    let name = Span::styled(format!(" {}", vg.name), Style::new().add_modifier(Modifier::BOLD));
    Line::from(vec![name, Span::styled(format!("  {}, {} free", words(vg.size), words(vg.free)), dim())])
}

/// A line, and a second one where the note has no room in the first.
fn lv_lines(lv: &LvView, chosen: bool, width: usize, signs: Signs) -> Vec<Line<'static>> {
    let branch = match (lv.is_snapshot, signs) {
        (false, _) => "",
        (true, Signs::Ascii) => "`- ",
        (true, Signs::Blocks) => "\u{2514}\u{2500} ",
    };
    let marker = if chosen { " > " } else { "   " };
    let name = cut(&lv.name, NAME.saturating_sub(branch.chars().count()));
    let name_style = Style::new().add_modifier(if chosen { Modifier::REVERSED } else { Modifier::empty() });
    let padding = NAME.saturating_sub(branch.chars().count()).saturating_sub(name.chars().count());
    let mut spans = vec![
        Span::raw(marker),
        Span::styled(branch, dim()),
        Span::styled(name, name_style),
        Span::raw(" ".repeat(padding)),
    ];
    if width >= SIZES_FROM {
        spans.push(Span::raw(format!(" {:>11}", words(lv.size))));
    }
    let state = state(lv);
    spans.push(Span::styled(format!("  {state:<8}"), state_style(state)));
    if width >= BARS_FROM {
        spans.extend(bar(lv, signs));
    }
    let note = note(lv);
    let room = width.saturating_sub(spans.iter().map(Span::width).fold(2, usize::saturating_add));
    if width >= NOTES_FROM && note.chars().count() <= room {
        spans.push(Span::raw(format!("  {note}")));
        return vec![Line::from(spans)];
    }
    if note.is_empty() {
        return vec![Line::from(spans)];
    }
    let style = if lv.merge.is_some() { Style::new().fg(Color::Cyan) } else { Style::new() };
    vec![Line::from(spans), Line::styled(format!("     {note}"), style)]
}

fn state_style(state: &str) -> Style {
    match state {
        "held" | "invalid" | "failed" => alarm(),
        "merging" => Style::new().fg(Color::Cyan),
        "open" => Style::new().fg(Color::Green),
        "-" => dim(),
        _ => Style::new(),
    }
}

fn bar(lv: &LvView, signs: Signs) -> Vec<Span<'static>> {
    let Some(share) = filled(lv) else { return vec![Span::raw(" ".repeat(BAR.saturating_add(10)))] };
    let (full, empty) = match signs {
        Signs::Ascii => ("#", "-"),
        Signs::Blocks => ("\u{2588}", "\u{2591}"),
    };
    let tenths = usize::try_from(share.div_ceil(1000)).unwrap_or(BAR).min(BAR);
    let colour = match (lv.merge.is_some(), share) {
        (true, _) => Color::Cyan,
        (false, 9_000..) => Color::Red,
        (false, 7_000..) => Color::Yellow,
        (false, _) => Color::Green,
    };
    vec![
        Span::raw(" "),
        Span::styled(full.repeat(tenths), Style::new().fg(colour)),
        Span::styled(empty.repeat(BAR.saturating_sub(tenths)), dim()),
        Span::raw(format!(" {:>7} ", percent(share))),
    ]
}

fn draw_map(frame: &mut Frame<'_>, area: Rect, model: &Model, signs: Signs) {
    let (title, lines) = match (&model.map, model.chosen_lv()) {
        (Some(Ok(map)), _) => (
            format!(" {}: {}, {} ", map.name, words(map.kept.size()), in_words(map)),
            map_lines(map, area, signs),
        ),
        (Some(Err(why)), _) => (" no map ".to_owned(), vec![Line::from(format!(" {why}"))]),
        (None, _) => (String::new(), Vec::new()),
    };
    let block = match signs {
        Signs::Ascii => Block::bordered().border_set(ASCII_BORDER),
        Signs::Blocks => Block::bordered(),
    };
    frame.render_widget(Paragraph::new(lines).block(block.border_style(dim()).title(title)), area);
}

const ASCII_BORDER: ratatui::symbols::border::Set<'_> = ratatui::symbols::border::Set {
    top_left: "+",
    top_right: "+",
    bottom_left: "+",
    bottom_right: "+",
    vertical_left: "|",
    vertical_right: "|",
    horizontal_top: "-",
    horizontal_bottom: "-",
};

fn map_lines(map: &VolumeMap, area: Rect, signs: Signs) -> Vec<Line<'static>> {
    let columns = usize::from(area.width.saturating_sub(2)).max(1);
    let rows = usize::from(area.height.saturating_sub(2));
    let mut legend = legend(map, signs);
    // As many of its lines as leave most of the room to the map.
    legend.truncate(rows.div_euclid(3));
    let picture = map.picture(columns.saturating_mul(rows.saturating_sub(legend.len()).max(1)));
    let sign = |part: &crate::map::Part| {
        let colour = match (part.kept.is_zero(), part.merged.is_zero()) {
            (true, true) => Color::DarkGray,
            (false, true) => Color::Yellow,
            (true, false) => Color::Cyan,
            (false, false) => Color::Blue,
        };
        Span::styled(signs.sign(*part).to_string(), Style::new().fg(colour))
    };
    let map =
        picture.parts.chunks(columns).map(|parts| Line::from(parts.iter().map(sign).collect::<Vec<_>>()));
    let legend =
        legend.into_iter().map(|(sign, means, amount)| Line::from(format!("{sign:>4}  {means}: {amount}")));
    map.chain(legend).collect()
}

fn draw_help(frame: &mut Frame<'_>, area: Rect) {
    let lines: Vec<Line<'_>> = HELP.into_iter().map(Line::from).collect();
    let height = u16::try_from(lines.len()).unwrap_or(u16::MAX).saturating_add(2).min(area.height);
    let width = 60.min(area.width);
    let x = area.x.saturating_add(area.width.saturating_sub(width).div_euclid(2));
    let y = area.y.saturating_add(area.height.saturating_sub(height).div_euclid(2));
    let place = Rect { x, y, width, height };
    frame.render_widget(Clear, place);
    frame.render_widget(Paragraph::new(lines).block(Block::bordered().title(" Help ")), place);
}

#[cfg(test)]
mod tests;
