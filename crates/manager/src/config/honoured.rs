//! LVM2's defaults, and the settings that change what LVM2 does and not what is done here.
//!
//! What must hold: a setting that is known and not honoured is told, once, where its value is not LVM2's default; nothing
//! is ignored without a word.

use super::{ConfigError, sources};
use foldback_lvm2_format::text::{self, Item, Node, Section, Value};
use std::path::Path;

/// Of LVM2 2.03.16, as its own `lvmconfig --type default` prints them. What is behind a `#` holds.
pub(super) const DEFAULTS: &str = include_str!("defaults.txt");

/// What is done otherwise here, whatever is set: of things that we have. Logging, debugging and what belongs to daemons and
/// programs that are not used is no matter of what is done.
const NOT_HONOURED: &[&str] = &[
    "activation/checks",
    "activation/missing_stripe_filler",
    "activation/readahead",
    "activation/use_linear_target",
    "activation/verify_udev_operations",
    "allocation/cling_tag_list",
    "allocation/maximise_cling",
    "allocation/physical_extent_size",
    "allocation/wipe_signatures_when_zeroing_new_lvs",
    "devices/allow_changes_with_duplicate_pvs",
    "devices/allow_mixed_block_sizes",
    "devices/data_alignment",
    "devices/data_alignment_detection",
    "devices/data_alignment_offset_detection",
    "devices/default_data_alignment",
    "devices/fw_raid_component_detection",
    "devices/ignore_suspended_devices",
    "devices/issue_discards",
    "devices/preferred_names",
    "devices/pv_min_size",
    "global/lvdisplay_shows_full_device_path",
    "global/si_unit_consistency",
    "global/test",
    "global/umask",
    "global/use_lvmlockd",
    "local/extra_system_ids",
    "log/command_names",
    "log/file",
    "log/prefix",
    "log/report_command_log",
    "log/silent",
    "log/verbose",
    "metadata/pvmetadatacopies",
    "metadata/pvmetadataignore",
    "metadata/pvmetadatasize",
    "metadata/record_lvs_history",
    "metadata/stripesize",
    "metadata/vgmetadatacopies",
    "report/buffered",
    "report/compact_output",
    "report/compact_output_cols",
    "report/list_item_separator",
    "report/mark_hidden_devices",
    "report/two_word_unknown_device",
];

/// LVM2's defaults as a configuration.
pub(super) fn defaults() -> Section {
    let plain: String = DEFAULTS.lines().map(|line| line.replacen("# ", "", 1) + "\n").collect();
    text::parse(plain.as_bytes()).map(|document| document.root).unwrap_or_default()
}

/// The value of `SECTION/KEY`.
fn value<'s>(root: &'s Section, key: &str) -> Option<&'s Value> {
    let (section, key) = key.split_once('/')?;
    match root.section(section)?.get(key)? {
        Node::Value(value) => Some(value),
        Node::Section(_) => None,
    }
}

/// What to tell of the settings that are not honoured.
///
/// # Errors
/// A configuration cannot be read.
pub fn not_honoured(system_dir: Option<&Path>, option: Option<&str>) -> Result<Vec<String>, ConfigError> {
    let sources = sources(system_dir, option)?;
    if sources.iter().all(|root| root.items.is_empty()) {
        return Ok(Vec::new());
    }
    let defaults = defaults();
    let differs = |key: &&&str| {
        let set = sources.iter().find_map(|root| value(root, key));
        set.is_some_and(|set| Some(set) != value(&defaults, key))
    };
    let told = |key: &&str| format!("Configuration setting \"{key}\" is not honoured.");
    Ok(NOT_HONOURED.iter().filter(differs).map(told).collect())
}

/// What of `given` is not LVM2's default.
pub(super) fn without_defaults(given: Section) -> Section {
    let defaults = defaults();
    let mut left = Section::default();
    for Item { key, node } in given.items {
        let node = match node {
            Node::Section(mut section) => {
                let known = |item: &Item| match &item.node {
                    Node::Value(set) => value(&defaults, &format!("{key}/{}", item.key)) == Some(set),
                    Node::Section(_) => false,
                };
                section.items.retain(|item| !known(item));
                if section.items.is_empty() {
                    continue;
                }
                Node::Section(section)
            }
            node @ Node::Value(_) => node,
        };
        left.items.push(Item { key, node });
    }
    left
}

#[cfg(test)]
mod tests {
    use super::{NOT_HONOURED, defaults, not_honoured, value};

    #[test]
    fn only_what_differs_from_the_default_is_told() {
        let told = |option| not_honoured(None, Some(option)).unwrap();
        assert_eq!(told(""), Vec::<String>::new());
        assert_eq!(told("activation { use_linear_target = 1 udev_sync = 0 }"), Vec::<String>::new());
        let one = "Configuration setting \"activation/use_linear_target\" is not honoured.";
        assert_eq!(told("activation { use_linear_target = 0 }"), [one]);
        assert_eq!(told("global/umask=18").len(), 1);
    }

    #[test]
    fn defaults_are_read_and_what_is_not_honoured_is_known() {
        let defaults = defaults();
        assert!(value(&defaults, "report/lvs_cols").is_some() && value(&defaults, "global/units").is_some());
        for key in NOT_HONOURED {
            assert!(
                include_str!("known.txt").lines().any(|line| line.split(' ').next() == Some(key)),
                "{key}"
            );
        }
    }
}
