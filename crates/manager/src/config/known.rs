//! Which settings lvm.conf may hold: of others a user is told, and everything goes on.
//!
//! What must hold (compared with 2.03.16): LVM2's words. Which of the known ones have an effect here is another question.

use super::{ConfigError, sources};
use foldback_lvm2_format::text::{Item, Node};
use std::path::Path;

/// Every setting of LVM2 2.03.16, as SECTION/KEY.
const KNOWN: &str = include_str!("known.txt");
/// Sections whose keys are the user's, and ours.
const FREE: &[&str] = &["tags", "foldback"];

/// What to tell of the settings that nobody knows.
pub fn unknown(system_dir: Option<&Path>, option: Option<&str>) -> Result<Vec<String>, ConfigError> {
    let sources = sources(system_dir, option)?;
    let checks = sources.iter().find_map(|root| root.section("config")?.int("checks"));
    if checks == Some(0) {
        return Ok(Vec::new());
    }
    Ok(sources.iter().flat_map(|root| &root.items).flat_map(of_section).collect())
}

fn of_section(item: &Item) -> Vec<String> {
    let section = &item.key;
    let prefix = format!("{section}/");
    if FREE.contains(&section.as_str()) {
        return Vec::new();
    }
    if !KNOWN.lines().any(|line| line.starts_with(&prefix)) {
        return vec![format!("Configuration section \"{section}\" unknown.")];
    }
    let Node::Section(content) = &item.node else { return Vec::new() };
    let is_known = |key: &str| KNOWN.lines().any(|line| line.strip_prefix(&prefix) == Some(key));
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
        assert_eq!(told("nosuch/setting=1"), ["Configuration section \"nosuch\" unknown."]);
        assert_eq!(told("global { nosuch = 1 }"), ["Configuration setting \"global/nosuch\" unknown."]);
        assert_eq!(told("global { nosuch = 1 } config { checks = 0 }"), Vec::<String>::new());
    }
}
