//! Names of volume groups, logical volumes and tags, and the device-mapper name made of them.
//!
//! What must hold (lvm2.md 1.7 and 2.1):
//! - VG and LV names: `[A-Za-z0-9._+-]`, not starting with a hyphen, not `.` or `..`, at most 127 characters.
//! - Tags also hold `/ = ! : & #` and may be 1024 characters long.
//! - In a device-mapper name every hyphen inside the VG's or LV's name is doubled, so that it splits back.
//!
//! Which LV names a *user* may choose (`snapshot0`, `x_rimage_0` are reserved) is the manager's business: such
//! names do stand on disks.

use std::fmt;

/// Longest VG or LV name.
const NAME_MAX: usize = 127;
/// Longest tag.
const TAG_MAX: usize = 1024;

/// Why a text is not a name.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadName {
    /// Nothing there.
    #[error("a name cannot be empty")]
    Empty,
    /// Longer than the field allows.
    #[error("a name of {0} characters is too long")]
    TooLong(usize),
    /// A character that the field does not know.
    #[error("name \"{name}\" holds the character {character:?}, which is not allowed")]
    Character {
        /// The whole text, with control characters escaped.
        name: String,
        /// The first offending character.
        character: char,
    },
    /// A leading hyphen would read as an option.
    #[error("name \"{0}\" cannot start with a hyphen")]
    Hyphen(String),
    /// `.` and `..` are directories.
    #[error("name \"{0}\" is a directory's name")]
    Dots(String),
}

fn is_name_character(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '.' | '_' | '+' | '-')
}

fn check(text: &str, max: usize, allowed: fn(char) -> bool) -> Result<(), BadName> {
    if text.is_empty() {
        return Err(BadName::Empty);
    }
    if text.len() > max {
        return Err(BadName::TooLong(text.len()));
    }
    if let Some(character) = text.chars().find(|&character| !allowed(character)) {
        return Err(BadName::Character { name: text.escape_debug().to_string(), character });
    }
    if text.starts_with('-') {
        return Err(BadName::Hyphen(text.to_owned()));
    }
    Ok(())
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $max:expr, $allowed:expr, $dots:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub struct $name(String);

        impl $name {
            /// Checks and takes the text.
            pub fn new(text: &str) -> Result<Self, BadName> {
                check(text, $max, $allowed)?;
                if $dots && matches!(text, "." | "..") {
                    return Err(BadName::Dots(text.to_owned()));
                }
                Ok(Self(text.to_owned()))
            }

            /// As text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

name!(
    /// The name of a volume group.
    VgName, NAME_MAX, is_name_character, true
);
name!(
    /// The name of a logical volume, also of a hidden one.
    LvName, NAME_MAX, is_name_character, true
);
name!(
    /// A tag, without the `@` that introduces it on a command line.
    TagName, TAG_MAX, |character| is_name_character(character)
        || matches!(character, '/' | '=' | '!' | ':' | '&' | '#'), false
);

/// The device-mapper name of an LV: `VG-LV` or `VG-LV-LAYER`, hyphens inside the names doubled.
pub fn dm_name(vg: &VgName, lv: &LvName, layer: Option<&str>) -> String {
    let mut name = format!("{}-{}", vg.as_str().replace('-', "--"), lv.as_str().replace('-', "--"));
    if let Some(layer) = layer {
        name.push('-');
        name.push_str(layer);
    }
    name
}

#[cfg(test)]
mod tests {
    use super::{BadName, LvName, TagName, VgName, dm_name};

    #[test]
    fn lvm2s_rules_for_names() {
        for good in ["vg0", "a.b", "_x", "+", "a-b", "..."] {
            assert!(VgName::new(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", ".", "..", "a b", "a/b", "a\0b", "\u{e4}"] {
            assert!(LvName::new(bad).is_err(), "{bad:?}");
        }
        assert!(LvName::new(&"x".repeat(127)).is_ok());
        assert_eq!(LvName::new(&"x".repeat(128)), Err(BadName::TooLong(128)));
        assert!(TagName::new("a=b/c:d#e&f!").is_ok());
        assert!(TagName::new("@a").is_err());
    }

    #[test]
    fn hyphens_are_doubled_in_device_names() {
        let vg = VgName::new("my-vg").unwrap();
        let lv = LvName::new("root-lv").unwrap();
        assert_eq!(dm_name(&vg, &lv, None), "my--vg-root--lv");
        assert_eq!(dm_name(&vg, &lv, Some("cow")), "my--vg-root--lv-cow");
    }
}
