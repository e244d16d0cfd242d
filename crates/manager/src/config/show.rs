//! Settings as text, for `lvmconfig`.
//!
//! What must hold: of a setting that is given twice the one that holds is shown, and no other.

use super::honoured::{DEFAULTS, defaults, without_defaults};
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
    if kind == Kind::Default {
        return Ok(show_default(name));
    }
    let mut all = Section::default();
    for root in sources(system_dir, option)? {
        add(&mut all, root);
    }
    match kind {
        Kind::Diff => all = without_defaults(all),
        Kind::Full => add(&mut all, defaults()),
        Kind::Current | Kind::Default => {}
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

/// LVM2's defaults as it shows them: behind a `#`, since nobody has set them.
fn show_default(name: Option<&str>) -> Option<String> {
    let Some(name) = name else { return Some(DEFAULTS.to_owned()) };
    let plain = |line: &str| line.trim_start().trim_start_matches("# ").to_owned();
    let (section, key) = name.split_once('/').map_or((name, None), |(section, key)| (section, Some(key)));
    let begins = |line: &&str| plain(line) == format!("{section} {{");
    let from = DEFAULTS.lines().skip_while(|line| !begins(line));
    let mut lines: Vec<&str> = from.take_while(|line| !matches!(*line, "}" | "# }")).collect();
    let begin = *lines.first()?;
    if let Some(key) = key {
        let line = lines.iter().find(|line| plain(line).starts_with(&format!("{key}=")))?;
        return Some(format!("{}\n", line.trim_start()));
    }
    lines.push(if begin.starts_with('#') { "# }" } else { "}" });
    Some(lines.join("\n") + "\n")
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
    }
}
