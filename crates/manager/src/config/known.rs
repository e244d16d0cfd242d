//! Which settings lvm.conf may hold: of others a user is told, and everything goes on.
//!
//! What must hold (compared with 2.03.16): LVM2's words. Which of the known ones have an effect here is another question.

use super::{ConfigError, sources};
use foldback_lvm2_format::text::{Item, Node};
use std::path::Path;

/// Every setting of LVM2 2.03.16, as SECTION/KEY, in its order; behind those that it shows a letter for the type (`b`oolean,
/// `i`nteger, `s`tring, `a`rray of strings, `-` anything), and `c` or `m` where a profile for a command or the metadata may have it.
pub(super) const KNOWN: &str = include_str!("known.txt");
/// Sections whose keys are the user's, and ours.
const FREE: &[&str] = &["tags", "foldback"];

/// What to tell of the settings that nobody knows.
pub fn unknown(system_dir: Option<&Path>, option: Option<&str>) -> Result<Vec<String>, ConfigError> {
    let sources = sources(system_dir, option)?;
    let checks = sources.iter().find_map(|root| root.section("config")?.int("checks"));
    if checks == Some(0) {
        return Ok(Vec::new());
    }
    Ok(sources.iter().flat_map(|root| &root.items).flat_map(unknown_in).collect())
}

/// The letters of a setting that LVM2 shows.
pub(super) fn codes(key: &str) -> Option<&'static str> {
    KNOWN.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '))
}

/// What to tell of a section, or of settings in it.
pub(super) fn unknown_in(item: &Item) -> Vec<String> {
    let section = &item.key;
    let prefix = format!("{section}/");
    if FREE.contains(&section.as_str()) {
        return Vec::new();
    }
    if !KNOWN.lines().any(|line| line.starts_with(&prefix)) {
        return vec![format!("Configuration section \"{section}\" unknown.")];
    }
    let Node::Section(content) = &item.node else { return Vec::new() };
    let names = || KNOWN.lines().filter_map(|line| line.split(' ').next()?.strip_prefix(&prefix));
    // Of a section inside the section only what is in it has a name; of one, not even that.
    let is_inner = |name: &str, key: &str| name.strip_prefix(key).is_some_and(|rest| rest.starts_with('/'));
    let is_known = |key: &str| {
        names().any(|name| name == key || is_inner(name, key))
            || (section == "allocation" && key == "cache_settings")
    };
    let keys = content.items.iter().map(|item| &item.key).filter(|key| !is_known(key));
    keys.map(|key| format!("Configuration setting \"{section}/{key}\" unknown.")).collect()
}

#[cfg(test)]
mod tests {
    use super::unknown;

    #[test]
    fn only_what_nobody_knows_is_told() {
        let told = |option| unknown(None, Some(option)).unwrap();
        let known =
            "devices { filter=[\"a|.*|\"] use_devicesfile=0 } foldback/hold_seconds=3 tags { any { } }";
        assert_eq!(told(known), Vec::<String>::new());
        let inner = "allocation { cache_settings { mq { x = 1 } } } metadata { disk_areas { a { id = 1 } } }";
        assert_eq!(told(inner), Vec::<String>::new());
        assert_eq!(told("nosuch/setting=1"), ["Configuration section \"nosuch\" unknown."]);
        assert_eq!(told("global { nosuch = 1 }"), ["Configuration setting \"global/nosuch\" unknown."]);
        assert_eq!(told("global { nosuch = 1 } config { checks = 0 }"), Vec::<String>::new());
    }
}
