//! What a command is told to work on: VGs, LVs, PVs and tags, as LVM2 lets them be named.
//!
//! What must hold:
//! - An LV alone is of the VG that `LVM_VG_NAME` names, in the commands for LVs.
//! - `VG`, `VG/LV`, `/dev/VG/LV`, `/dev/mapper/VG-LV` and `@TAG` are understood, with `DM_DEV_DIR` in the place of `/dev`
//!   where it is set; anything else is refused with LVM2's sentence.

use crate::error::CliError;
use crate::scanning::dev_dir;
use foldback_units::{BadName, LvName, TagName, VgName};
use std::path::{Path, PathBuf};

/// A VG, an LV, or what carries a tag.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Target {
    /// A whole VG.
    Vg(VgName),
    /// One LV.
    Lv(VgName, LvName),
    /// Everything with this tag.
    Tag(TagName),
}

/// What stands behind the directory of nodes; `None` where the text is no path in it.
fn node_below<'t>(dev: &Path, text: &'t str) -> Option<&'t str> {
    Path::new(text).strip_prefix(dev).ok().and_then(Path::to_str)
}

/// The directory of nodes: `DM_DEV_DIR`, else `/dev`.
pub(crate) fn nodes() -> PathBuf {
    dev_dir().unwrap_or_else(|| "/dev".into())
}

/// A name without the directory of nodes before it.
pub(crate) fn plain(text: &str) -> &str {
    node_below(&nodes(), text).unwrap_or(text)
}

/// The VG of LVs that are named without one, as LVM2 takes it from `LVM_VG_NAME`.
pub(crate) fn default_vg() -> Option<String> {
    let vg = std::env::var("LVM_VG_NAME").ok()?;
    Some(plain(&vg).to_owned()).filter(|vg| !vg.is_empty())
}

/// What an LV's command is given as a name, with that VG before it where it has none.
#[expect(clippy::unnecessary_wraps, reason = "as clap calls it")]
pub(crate) fn lv_named(text: &str) -> Result<String, std::convert::Infallible> {
    Ok(in_default_vg(text))
}

/// The same.
pub(crate) fn in_default_vg(text: &str) -> String {
    in_vg(default_vg().as_deref(), text)
}

fn in_vg(vg: Option<&str>, text: &str) -> String {
    match vg {
        Some(vg) if !text.is_empty() && !text.contains('/') && !text.starts_with('@') => {
            format!("{vg}/{text}")
        }
        _ => text.to_owned(),
    }
}

impl Target {
    /// Reads one.
    pub(crate) fn parse(text: &str) -> Result<Self, CliError> {
        Self::parse_below(&nodes(), text)
    }

    /// The same where nodes lie in this directory.
    fn parse_below(dev: &Path, text: &str) -> Result<Self, CliError> {
        if let Some(tag) = text.strip_prefix('@') {
            let tag =
                TagName::new(tag).map_err(|_| CliError::failed(format!("Skipping invalid tag {text}.")))?;
            return Ok(Self::Tag(tag));
        }
        let node = node_below(dev, text);
        let plain = match node.and_then(|node| node.strip_prefix("mapper/")) {
            Some(name) => undoubled(name)
                .ok_or_else(|| CliError::failed(format!("\"{text}\": Invalid path for Logical Volume.")))?,
            None => node.unwrap_or(text).to_owned(),
        };
        match plain.split_once('/') {
            None => Ok(Self::Vg(vg_name(&plain)?)),
            Some((vg, lv)) if !lv.contains('/') => {
                let vg = vg_name(vg)?;
                let lv = LvName::new(lv)
                    .map_err(|_| CliError::failed(format!("Logical volume name \"{lv}\" is invalid.")))?;
                Ok(Self::Lv(vg, lv))
            }
            Some(_) => Err(CliError::failed(format!("\"{text}\": Invalid path for Logical Volume."))),
        }
    }
}

/// Reads the name of a VG that should exist.
pub(crate) fn vg_name(text: &str) -> Result<VgName, CliError> {
    VgName::new(text).map_err(|error| {
        let said = match error {
            BadName::Character { .. } => format!("Volume group name \"{text}\" has invalid characters."),
            _ => format!("Volume group name \"{text}\" is invalid."),
        };
        CliError::failed(format!("{said}\nCannot process volume group {text}"))
    })
}

/// `VG-LV` with doubled hyphens, as `VG/LV`.
fn undoubled(name: &str) -> Option<String> {
    let marked = name.replace("--", "\0");
    let (vg, lv) = marked.split_once('-')?;
    Some(format!("{}/{}", vg.replace('\0', "-"), lv.replace('\0', "-")))
}

#[cfg(test)]
mod tests {
    use super::{Target, in_vg};
    use std::path::Path;

    #[test]
    fn every_way_to_name_an_lv_is_the_same_lv() {
        let lv = Target::parse("my-vg/root").unwrap();
        assert_eq!(Target::parse("/dev/my-vg/root").unwrap(), lv);
        assert_eq!(Target::parse("/dev/mapper/my--vg-root").unwrap(), lv);
        assert!(matches!(Target::parse("vg").unwrap(), Target::Vg(_)));
        assert!(matches!(Target::parse("@a/b").unwrap(), Target::Tag(_)));
    }

    #[test]
    fn an_lv_alone_is_of_the_vg_that_the_environment_names() {
        for (text, named) in [("a", "vg/a"), ("vg", "vg/vg"), ("x/a", "x/a"), ("@t", "@t"), ("", "")] {
            assert_eq!(in_vg(Some("vg"), text), named);
            assert_eq!(in_vg(None, text), text);
        }
    }

    /// As `DM_DEV_DIR` has it, with or without a slash at its end.
    #[test]
    fn nodes_may_lie_elsewhere() {
        let lv = Target::parse("my-vg/root").unwrap();
        for dir in ["/run/dev", "/run/dev/"] {
            let parse = |text| Target::parse_below(Path::new(dir), text);
            assert_eq!(parse("/run/dev/my-vg/root").unwrap(), lv);
            assert_eq!(parse("/run/dev/mapper/my--vg-root").unwrap(), lv);
            assert!(parse("/dev/my-vg/root").is_err());
        }
    }

    #[test]
    fn wrong_names_are_refused_in_lvm2s_words() {
        let told = |text| Target::parse(text).unwrap_err().message;
        assert_eq!(told("bad/name/here"), "\"bad/name/here\": Invalid path for Logical Volume.");
        let invalid = "Volume group name \"b@d\" has invalid characters.\nCannot process volume group b@d";
        assert_eq!(told("b@d"), invalid);
    }
}
