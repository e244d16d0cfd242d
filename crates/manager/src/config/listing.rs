//! Lists for `lvmconfig`: all settings by name, and some of LVM2's defaults.
//!
//! What must hold (compared with 2.03.16): LVM2's order and words; a section of which nothing is left is left out.

use super::honoured::DEFAULTS;
use super::known::{KNOWN, codes};

/// What of a profile a setting may be in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Profile {
    /// Of either.
    Any,
    /// Of one for a command.
    Command,
    /// Of one for a VG or an LV.
    Metadata,
}

/// The names of all settings that LVM2 shows, a line each.
pub(super) fn names() -> String {
    let shown = KNOWN.lines().filter_map(|line| line.split_once(' '));
    shown.flat_map(|(name, _)| [name, "\n"]).collect()
}

/// Those below `name`: all of a section, or one.
pub(super) fn names_below(name: &str) -> Option<String> {
    let is_below = |line: &&str| {
        line.strip_prefix(name.trim_end_matches('/'))
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let lines: String = names().lines().filter(is_below).flat_map(|line| [line, "\n"]).collect();
    Some(lines).filter(|lines| !lines.is_empty())
}

/// The defaults of settings that may be in a profile.
pub(super) fn of_profile(profile: Profile) -> String {
    let letters: &[char] = match profile {
        Profile::Any => &['c', 'm'],
        Profile::Command => &['c'],
        Profile::Metadata => &['m'],
    };
    // The one section inside a section that a profile may have.
    let inner = letters.contains(&'m').then_some("allocation/cache_settings");
    defaults_where(|key| Some(key) == inner || codes(key).is_some_and(|codes| codes.contains(letters)))
}

/// LVM2's defaults for which this holds of `SECTION/KEY`.
pub(super) fn defaults_where(keep: impl Fn(&str) -> bool) -> String {
    let mut text = String::new();
    let mut section = "";
    let mut opening = None;
    for line in DEFAULTS.lines() {
        let plain = line.trim_start().trim_start_matches("# ");
        if !line.starts_with('\t') {
            match plain.strip_suffix(" {") {
                Some(name) => (section, opening) = (name, Some(line)),
                // The end of a section that has begun.
                None if opening.is_none() => text.extend([line, "\n"]),
                None => {}
            }
            continue;
        }
        let key = plain.split_once(['=', ' ']).map_or(plain, |(key, _)| key);
        let is_end = plain == "}";
        let kept = if is_end {
            text.ends_with("{\n") && opening.is_none()
        } else {
            keep(&format!("{section}/{key}"))
        };
        if kept {
            text.extend(opening.take().into_iter().flat_map(|line| [line, "\n"]));
            text.extend([line, "\n"]);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{DEFAULTS, Profile, defaults_where, names, names_below, of_profile};

    #[test]
    fn all_is_everything_and_none_is_nothing() {
        assert_eq!(defaults_where(|_| true), DEFAULTS);
        assert_eq!(defaults_where(|_| false), "");
        let one = defaults_where(|key| key == "backup/archive");
        assert_eq!(one, "backup {\n\t# archive=1\n}\n");
    }

    #[test]
    fn names_are_lvm2s_in_its_order() {
        assert!(names().starts_with("config/checks\nconfig/abort_on_errors\n"));
        let backup = names_below("backup").unwrap();
        assert!(backup.starts_with("backup/backup\nbackup/backup_dir\n"), "{backup}");
        assert_eq!(names_below("backup/archive").as_deref(), Some("backup/archive\n"));
        assert_eq!((names_below("back"), names_below("global/locking_type")), (None, None));
    }

    #[test]
    fn what_profiles_may_hold() {
        let metadata = of_profile(Profile::Metadata);
        assert!(metadata.starts_with("allocation {\n\t# cache_pool_metadata_require_separate_pvs=0\n"));
        assert!(metadata.contains("\t# cache_settings {\n\t# }\n") && !metadata.contains("report {"));
        let command = of_profile(Profile::Command);
        assert!(
            command.contains("# report {\n\t# output_format=\"basic\"\n") && !command.contains("allocation")
        );
        assert_eq!(
            of_profile(Profile::Any).lines().filter(|line| line.contains("thin_pool_zero")).count(),
            1
        );
    }
}
