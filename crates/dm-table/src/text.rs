//! Tables as the kernel and `dmsetup table` write them: `START LENGTH TARGET PARAMETERS`, one line per stretch.
//!
//! What must hold:
//! - What is written is read back unchanged, also where a device's path holds blanks: they are escaped with a backslash,
//!   as the kernel's own splitting of parameters understands it.
//! - A line that is not understood is an error that quotes it; a target that is not ours is kept as text.
//! - A snapshot with optional features is kept as text, too: we do not carry it, so we must not change it.
//!
//! Source: dm-snapshot.md 1.7; lvm2.md 2.2.

use crate::check::TableError;
use crate::table::{DeviceRef, Line, Persistence, SnapshotParams, StripeArea, Table, Target};
use foldback_units::{ChunkSize, Sectors};
use std::fmt;

/// The most stripes that a table may name.
const MAX_STRIPES: usize = 4096;

impl Target {
    /// The target's name, such as `snapshot-origin`.
    pub fn kind(&self) -> &str {
        match self {
            Self::Linear(_) => "linear",
            Self::Striped { .. } => "striped",
            Self::SnapshotOrigin { .. } => "snapshot-origin",
            Self::Snapshot(_) => "snapshot",
            Self::SnapshotMerge(_) => "snapshot-merge",
            Self::Error => "error",
            Self::Zero => "zero",
            Self::Other { kind, .. } => kind,
        }
    }

    /// Its parameters as the kernel takes them.
    pub fn params(&self) -> String {
        match self {
            Self::Linear(area) => area.to_string(),
            Self::Striped { chunk, areas } => {
                let mut text = format!("{} {}", areas.len(), chunk.get());
                for area in areas {
                    text.push(' ');
                    text.push_str(&area.to_string());
                }
                text
            }
            Self::SnapshotOrigin { origin } => origin.to_string(),
            Self::Snapshot(params) | Self::SnapshotMerge(params) => params.to_string(),
            Self::Error | Self::Zero => String::new(),
            Self::Other { params, .. } => params.clone(),
        }
    }

    /// From a target's name and parameters.
    ///
    /// # Errors
    /// [`TableError`] where a target of ours has parameters that it cannot have. A target that is not ours, or a feature
    /// that we do not carry, is [`Target::Other`].
    pub fn parse(kind: &str, params: &str) -> Result<Self, TableError> {
        let wrong = || TableError::Parameters { kind: kind.to_owned(), params: params.to_owned() };
        let words = words(params);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        Ok(match (kind, words.as_slice()) {
            ("linear", [device, offset]) => Self::Linear(area(device, offset).ok_or_else(wrong)?),
            ("striped", [count, chunk, areas @ ..]) => striped(count, chunk, areas).ok_or_else(wrong)?,
            ("snapshot-origin", [origin]) => Self::SnapshotOrigin { origin: device(origin) },
            ("snapshot" | "snapshot-merge", [origin, cow, persistence, chunk, features @ ..]) => {
                if !matches!(features, [] | ["0"]) {
                    return Ok(Self::Other { kind: kind.to_owned(), params: params.to_owned() });
                }
                let persistence = persistence_of(persistence).ok_or_else(wrong)?;
                let sectors = chunk.parse().map_err(|_| wrong())?;
                let chunk_size = ChunkSize::from_sectors(sectors)?;
                let params =
                    SnapshotParams { origin: device(origin), cow: device(cow), persistence, chunk_size };
                if kind == "snapshot" { Self::Snapshot(params) } else { Self::merge(params)? }
            }
            ("error", []) => Self::Error,
            ("zero", []) => Self::Zero,
            ("linear" | "striped" | "snapshot-origin" | "snapshot" | "snapshot-merge", _) => {
                return Err(wrong());
            }
            _ => Self::Other { kind: kind.to_owned(), params: params.to_owned() },
        })
    }

    fn merge(params: SnapshotParams) -> Result<Self, TableError> {
        if params.persistence == Persistence::Transient {
            return Err(TableError::TransientMerge);
        }
        Ok(Self::SnapshotMerge(params))
    }
}

fn striped(count: &str, chunk: &str, areas: &[&str]) -> Option<Target> {
    let count: usize = count.parse().ok().filter(|count| (1..=MAX_STRIPES).contains(count))?;
    let chunk = Sectors(chunk.parse().ok().filter(|chunk| *chunk > 0)?);
    let areas = areas
        .chunks(2)
        .map(|pair| if let [device, offset] = pair { area(device, offset) } else { None })
        .collect::<Option<Vec<_>>>()?;
    (areas.len() == count).then_some(Target::Striped { chunk, areas })
}

fn area(name: &str, offset: &str) -> Option<StripeArea> {
    Some(StripeArea { device: device(name), offset: Sectors(offset.parse().ok()?) })
}

fn device(name: &str) -> DeviceRef {
    DeviceRef(name.to_owned())
}

/// The first letter in either case; only `O` may follow `P`.
fn persistence_of(text: &str) -> Option<Persistence> {
    match text {
        "P" | "p" => Some(Persistence::Persistent),
        "PO" | "pO" => Some(Persistence::PersistentOverflow),
        "N" | "n" => Some(Persistence::Transient),
        _ => None,
    }
}

/// Splits at blanks; a backslash takes the next character as it is.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => word.get_or_insert_default().push(characters.next().unwrap_or('\\')),
            blank if blank.is_ascii_whitespace() => words.extend(word.take()),
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    words
}

impl fmt::Display for DeviceRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            if character.is_ascii_whitespace() || character == '\\' {
                f.write_str("\\")?;
            }
            write!(f, "{character}")?;
        }
        Ok(())
    }
}

impl fmt::Display for StripeArea {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.device, self.offset.get())
    }
}

impl fmt::Display for Persistence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Persistent => "P",
            Self::PersistentOverflow => "PO",
            Self::Transient => "N",
        })
    }
}

impl fmt::Display for SnapshotParams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {} {}", self.origin, self.cow, self.persistence, self.chunk_size.sectors())
    }
}

impl Line {
    /// From `START LENGTH TARGET PARAMETERS`.
    ///
    /// # Errors
    /// [`TableError::Line`] with the line, or what is wrong with the target.
    pub fn parse(text: &str) -> Result<Self, TableError> {
        let wrong = || TableError::Line(text.to_owned());
        let mut parts = text.trim_start().splitn(4, ' ');
        let mut number = || parts.next().and_then(|word| word.parse().ok()).map(Sectors).ok_or_else(wrong);
        let (start, len) = (number()?, number()?);
        let kind = parts.next().map(str::trim_end).filter(|kind| !kind.is_empty()).ok_or_else(wrong)?;
        let target = Target::parse(kind, parts.next().unwrap_or_default())?;
        Ok(Self { start, len, target })
    }
}

impl fmt::Display for Line {
    /// As `dmsetup table` prints it, with its blank behind a target without parameters.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (start, len) = (self.start.get(), self.len.get());
        write!(f, "{start} {len} {} {}", self.target.kind(), self.target.params())
    }
}

impl Table {
    /// From lines of text; empty ones are passed over. The table is checked ([`Table::check`]).
    ///
    /// # Errors
    /// The first line that is wrong, or that does not touch the one before it.
    pub fn parse(text: &str) -> Result<Self, TableError> {
        let lines = text.lines().filter(|line| !line.trim().is_empty());
        let table = Self { lines: lines.map(Line::parse).collect::<Result<_, _>>()? };
        table.check()?;
        Ok(table)
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}
