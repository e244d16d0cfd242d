//! Settings as text, for `lvmconfig`.
//!
//! What must hold: of a setting that is given twice the one that holds is shown, and no other.

use super::honoured::{DEFAULTS, defaults, without_defaults};
use super::known::codes;
use super::listing::{Profile, defaults_where, names, names_below, of_profile};
use super::{ConfigError, sources};
use foldback_lvm2_format::text::{Item, Node, Scalar, Section, Value};
use std::fmt::Write as _;
use std::path::Path;

/// Which settings.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Those that were given.
    Current,
    /// Those that were given and are not LVM2's defaults.
    Diff,
    /// Those that were given, and for the others LVM2's defaults.
    Full,
    /// LVM2's defaults.
    Default,
    /// LVM2's defaults of what was not given.
    Missing,
    /// LVM2's defaults of what is new in the version that ours stands for: nothing is.
    New,
    /// LVM2's defaults of what profiles may hold.
    Profilable(Profile),
    /// The names of all settings.
    List,
}

/// Settings, or those below `name` (`SECTION` or `SECTION/KEY`); `None` where there are none of that name.
///
/// # Errors
/// A configuration cannot be read.
pub fn show(
    system_dir: Option<&Path>,
    option: Option<&str>,
    name: Option<&str>,
    kind: Kind,
) -> Result<Option<String>, ConfigError> {
    let mut all = Section::default();
    for root in sources(system_dir, option)? {
        add(&mut all, root);
    }
    let is_given = |key: &str| {
        key.split_once('/').is_some_and(|(section, key)| {
            all.section(section).is_some_and(|section| section.get(key).is_some())
        })
    };
    let of_defaults = match kind {
        Kind::Default => Some(DEFAULTS.to_owned()),
        // Sections inside sections have no default of their own.
        Kind::Missing => Some(defaults_where(|key| codes(key).is_some() && !is_given(key))),
        Kind::New => Some(String::new()),
        Kind::Profilable(profile) => Some(of_profile(profile)),
        Kind::List => return Ok(name.map_or_else(|| Some(names()), names_below)),
        Kind::Current | Kind::Diff | Kind::Full => None,
    };
    if let Some(text) = of_defaults {
        return Ok(match name {
            Some(name) => one_default(&text, name),
            None => Some(text),
        });
    }
    if kind == Kind::Diff {
        all = without_defaults(all);
    }
    // LVM2 does not tell a list of one that was given from that one.
    all.items.iter_mut().for_each(plain_if_one);
    if kind == Kind::Full {
        add(&mut all, defaults());
    }
    let Some(name) = name else { return Ok(Some(text(&all.items, 0))) };
    let mut items = &all.items;
    let mut found = None;
    for part in name.split('/').filter(|part| !part.is_empty()) {
        let Some(item) = items.iter().find(|item| item.key == part) else { return Ok(None) };
        found = Some(item);
        if let Node::Section(section) = &item.node {
            items = &section.items;
        }
    }
    Ok(found.map(|item| text(std::slice::from_ref(item), 0)))
}

/// A section of LVM2's defaults, or one of them, as it shows them: behind a `#`, since nobody has set them.
fn one_default(text: &str, name: &str) -> Option<String> {
    let plain = |line: &str| line.trim_start().trim_start_matches("# ").to_owned();
    let (section, key) = name.split_once('/').map_or((name, None), |(section, key)| (section, Some(key)));
    let begins = |line: &&str| plain(line) == format!("{section} {{");
    let from = text.lines().skip_while(|line| !begins(line));
    let mut lines: Vec<&str> = from.take_while(|line| !matches!(*line, "}" | "# }")).collect();
    let begin = *lines.first()?;
    if let Some(key) = key {
        let line = lines.iter().find(|line| plain(line).starts_with(&format!("{key}=")))?;
        return Some(format!("{}\n", line.trim_start()));
    }
    lines.push(if begin.starts_with('#') { "# }" } else { "}" });
    Some(lines.join("\n") + "\n")
}

fn plain_if_one(item: &mut Item) {
    match &mut item.node {
        Node::Section(section) => section.items.iter_mut().for_each(plain_if_one),
        Node::Value(Value::Array(all)) if all.len() == 1 => {
            let one = all.pop().map_or(Value::Array(Vec::new()), Value::Scalar);
            item.node = Node::Value(one);
        }
        Node::Value(_) => {}
    }
}

/// Adds what is not there yet: sources come in the order in which they win.
fn add(to: &mut Section, more: Section) {
    for item in more.items {
        match (to.items.iter_mut().find(|known| known.key == item.key), item.node) {
            (Some(Item { node: Node::Section(known), .. }), Node::Section(section)) => add(known, section),
            (Some(_), _) => {}
            (None, node) => to.items.push(Item { key: item.key, node }),
        }
    }
}

fn text(items: &[Item], depth: usize) -> String {
    let mut text = String::new();
    let indent = "\t".repeat(depth);
    for item in items {
        // Writing to a string cannot fail.
        match &item.node {
            Node::Value(value) => writeln!(text, "{indent}{}={}", item.key, value_text(value)),
            Node::Section(section) => {
                let inner = self::text(&section.items, depth.saturating_add(1));
                writeln!(text, "{indent}{} {{\n{inner}{indent}}}", item.key)
            }
        }
        .ok();
    }
    text
}

fn value_text(value: &Value) -> String {
    let scalar = |scalar: &Scalar| match scalar {
        Scalar::Int(number) => number.to_string(),
        Scalar::Str(text) => format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")),
        Scalar::Float(number) => number.clone(),
        Scalar::Bytes(bytes) => format!("\"{}\"", String::from_utf8_lossy(bytes)),
    };
    match value {
        Value::Scalar(one) => scalar(one),
        Value::Array(all) => format!("[{}]", all.iter().map(scalar).collect::<Vec<_>>().join(",")),
    }
}

#[cfg(test)]
mod tests {
    use super::{Kind, show};

    #[test]
    fn what_holds_is_shown_as_lvm2_shows_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = "devices {\n filter = [ \"a|^/dev/ubd[a-p]$|\", \"r|.*|\" ]\n}\nactivation { polling_interval = 1 monitoring = 0 }\n";
        std::fs::write(dir.path().join("lvm.conf"), file).unwrap();
        let of =
            |name, kind| show(Some(dir.path()), Some("activation/polling_interval=7"), name, kind).unwrap();
        let told = |name| of(Some(name), Kind::Current);
        assert_eq!(told("devices/filter").as_deref(), Some("filter=[\"a|^/dev/ubd[a-p]$|\",\"r|.*|\"]\n"));
        assert_eq!(
            told("activation").as_deref(),
            Some("activation {\n\tpolling_interval=7\n\tmonitoring=0\n}\n")
        );
        assert_eq!(told("nosuch/setting"), None);
        assert_eq!(
            of(Some("activation/polling_interval"), Kind::Full).as_deref(),
            Some("polling_interval=7\n")
        );
        assert_eq!(of(Some("activation/udev_sync"), Kind::Full).as_deref(), Some("udev_sync=1\n"));
        assert_eq!(of(Some("activation/udev_sync"), Kind::Default).as_deref(), Some("# udev_sync=1\n"));
        assert_eq!(of(Some("nosuch/setting"), Kind::Default), None);
        let tags = "# tags {\n\t# hosttags=0\n\t# tag {\n\t# }\n# }\n";
        assert_eq!(of(Some("tags"), Kind::Default).as_deref(), Some(tags));
        let diff = show(
            None,
            Some("backup { archive = 1 } activation { monitoring = 0 udev_sync = 1 }"),
            None,
            Kind::Diff,
        );
        assert_eq!(diff.unwrap().as_deref(), Some("activation {\n\tmonitoring=0\n}\n"));
        assert!(show(None, Some("activation {"), None, Kind::Current).is_err());
        let missing = of(Some("activation"), Kind::Missing).unwrap();
        assert!(missing.contains("\t# udev_sync=1\n") && !missing.contains("polling_interval"), "{missing}");
        assert_eq!(of(Some("backup/archive"), Kind::List).as_deref(), Some("backup/archive\n"));
        assert_eq!(of(None, Kind::New).as_deref(), Some(""));
    }
}
