//! Profiles: settings of a file that go between `--config` and `lvm.conf`.
//!
//! What must hold (compared with 2.03.16): a profile that is not there, or that sets what a command's profile may not set,
//! is refused.

use super::{PART, read_file, sources};
use foldback_lvm2_format::text::{Item, Node};
use std::path::Path;

/// What a command's profile may set.
const SETTABLE: &[&str] = &[
    "global/units",
    "global/si_unit_consistency",
    "global/suffix",
    "global/lvdisplay_shows_full_device_path",
    "log/report_command_log",
    "log/command_log_sort",
    "log/command_log_cols",
    "log/command_log_selection",
];
/// All but this one of these can be set.
const REPORT: &str = "report";
const NOT_SETTABLE: &str = "two_word_unknown_device";
/// Sections of which a profile may set something.
const SECTIONS: &[&str] = &["global", "log", "report", "allocation", "activation"];

/// The text of `--config` with a profile behind it, for [`super::Config::read`]; `stored` where the profile is one that LVM2
/// would note in the metadata: then it has to be there, and nothing of it concerns what we have.
///
/// # Errors
/// The sentences that say why it cannot be used.
pub fn with_profile(
    system_dir: &Path,
    option: Option<&str>,
    name: &str,
    stored: bool,
) -> Result<Option<String>, Vec<String>> {
    let failed = |mut told: Vec<String>| {
        let kind = if stored { "metadata" } else { "command" };
        told.push(format!("Failed to apply {kind} profile {name}."));
        told
    };
    let given = sources(Some(system_dir), option).map_err(|error| vec![error.to_string()])?;
    let dir = super::Settings(&given).text("config", "profile_dir");
    let dir = dir.map_or_else(|| system_dir.join("profile"), Into::into);
    let path = dir.join(format!("{name}.profile"));
    if name.contains('/') || !path.is_file() {
        return Err(failed(vec![format!("{}: stat failed: No such file or directory", path.display())]));
    }
    if stored {
        return Ok(option.map(str::to_owned));
    }
    let read = read_file(&path).map_err(|error| failed(vec![error.to_string()]))?;
    if let Some(wrong) = read.iter().flat_map(|source| &source.items).find_map(not_settable) {
        return Err(failed(vec![wrong, format!("Ignoring invalid command profile {name}.")]));
    }
    let text = std::fs::read_to_string(&path).map_err(|error| failed(vec![error.to_string()]))?;
    Ok(Some(format!("{}{PART}{text}", option.unwrap_or_default())))
}

/// Why what stands in a profile may not.
fn not_settable(item: &Item) -> Option<String> {
    let section = &item.key;
    let Node::Section(content) = &item.node else { return None };
    if !SECTIONS.contains(&section.as_str()) {
        return Some(format!("Configuration section \"{section}\" is not customizable by a profile."));
    }
    let settable = |key: &str| {
        (section == REPORT && key != NOT_SETTABLE) || SETTABLE.contains(&format!("{section}/{key}").as_str())
    };
    let wrong = content.items.iter().find(|item| !settable(&item.key))?;
    Some(format!(
        "Configuration option \"{section}/{}\" is customizable by metadata profile only, not command profile.",
        wrong.key
    ))
}

#[cfg(test)]
mod tests {
    use super::with_profile;
    use crate::config::{Settings, sources};

    #[test]
    fn a_profile_goes_behind_the_option_and_before_the_file() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("profile")).unwrap();
        let profile = |text: &str| std::fs::write(dir.path().join("profile/p.profile"), text).unwrap();
        std::fs::write(dir.path().join("lvm.conf"), "global { units = \"k\" }").unwrap();
        let apply = |option, name| with_profile(dir.path(), option, name, false);
        let told = apply(None, "nosuch").unwrap_err();
        assert!(
            told[0].ends_with("profile/nosuch.profile: stat failed: No such file or directory"),
            "{told:?}"
        );
        assert_eq!(told[1], "Failed to apply command profile nosuch.");
        assert!(apply(None, "../profile/p").is_err());
        profile("global { units = \"m\" suffix = 0 } # behind\n");
        let set = |option| {
            let text = apply(option, "p").unwrap();
            let sources = sources(Some(dir.path()), text.as_deref()).unwrap();
            let settings = Settings(&sources);
            (settings.text("global", "units").unwrap(), settings.number("global", "suffix").unwrap())
        };
        assert_eq!(set(None), ("m".to_owned(), 0));
        assert_eq!(set(Some("global { units = \"b\" }")), ("b".to_owned(), 0));
        profile("devices { dir = \"/dev\" }");
        assert!(apply(None, "p").unwrap_err()[0].contains("section \"devices\" is not customizable"));
        profile("allocation { thin_pool_zero = 0 }");
        assert!(apply(None, "p").unwrap_err()[0].contains("by metadata profile only"));
        assert_eq!(with_profile(dir.path(), Some("a/b=1"), "p", true).unwrap().as_deref(), Some("a/b=1"));
    }
}
