//! Settings as text, for `lvmconfig`.
//!
//! What must hold: of a setting that is given twice the one that holds is shown, and no other.

use super::{ConfigError, sources};
use foldback_lvm2_format::text::{Item, Node, Scalar, Section, Value};
use std::fmt::Write as _;
use std::path::Path;

/// The settings that were given, or those below `name` (`SECTION` or `SECTION/KEY`); `None` where that was not given.
pub fn show(
    system_dir: Option<&Path>,
    option: Option<&str>,
    name: Option<&str>,
) -> Result<Option<String>, ConfigError> {
    let mut all = Section::default();
    for root in sources(system_dir, option)? {
        add(&mut all, root);
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
    use super::show;

    #[test]
    fn what_holds_is_shown_as_lvm2_shows_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = "devices {\n filter = [ \"a|^/dev/ubd[a-p]$|\", \"r|.*|\" ]\n}\nactivation { polling_interval = 1 monitoring = 0 }\n";
        std::fs::write(dir.path().join("lvm.conf"), file).unwrap();
        let told = |name| show(Some(dir.path()), Some("activation/polling_interval=7"), Some(name)).unwrap();
        assert_eq!(told("devices/filter").as_deref(), Some("filter=[\"a|^/dev/ubd[a-p]$|\",\"r|.*|\"]\n"));
        assert_eq!(
            told("activation").as_deref(),
            Some("activation {\n\tpolling_interval=7\n\tmonitoring=0\n}\n")
        );
        assert_eq!(told("nosuch/setting"), None);
        assert!(show(None, Some("activation {"), None).is_err());
    }
}
