//! Names: which ones a user may give, and those LVM2 makes up.
//!
//! What must hold (lvm2.md 1.7):
//! - Names that LVM2 gives to hidden LVs are refused to users, in LVM2's words.
//! - A made-up number is one more than the highest in use, as LVM2 counts, not the lowest free one.
//! - VG and LV name together fit a device-mapper name.

use crate::ops::refusal::Refusal;
use foldback_lvm2_format::vg::Vg;
use foldback_units::{BadName, LvName, VgName, dm_name};

const RESERVED_STARTS: [&str; 2] = ["snapshot", "pvmove"];
const RESERVED_PARTS: [&str; 17] = [
    "_cdata", "_cmeta", "_corig", "_cpool", "_cvol", "_wcorig", "_mlog", "_mimage", "_pmspare", "_rimage",
    "_rmeta", "_tdata", "_tmeta", "_vdata", "_vorigin", "_imeta", "_iorig",
];
/// The longest name of a mapped device.
const DM_NAME_MAX: usize = 127;
/// The longest layer that may be added to it, `-real`.
const LAYER_MAX: usize = 5;

/// Checks a name that a user chose for an LV.
pub fn user_lv_name(text: &str) -> Result<LvName, Refusal> {
    let name = LvName::new(text).map_err(|_| Refusal::LvNameInvalid(text.escape_debug().to_string()))?;
    if let Some(start) = RESERVED_STARTS.iter().find(|start| text.starts_with(**start)) {
        return Err(Refusal::NameStartReserved(start));
    }
    if let Some(part) = RESERVED_PARTS.iter().find(|part| text.contains(**part)) {
        return Err(Refusal::NamePartReserved(part));
    }
    Ok(name)
}

/// Checks a name that a user chose for a VG.
pub fn user_vg_name(text: &str) -> Result<VgName, Refusal> {
    VgName::new(text).map_err(|error| match error {
        BadName::TooLong(_) => Refusal::VgNameTooLong(text.to_owned()),
        _ => Refusal::VgNameInvalid(text.escape_debug().to_string()),
    })
}

/// Refuses a name that is taken, or whose device's name would be too long.
pub fn check_free(vg: &Vg, name: &LvName) -> Result<(), Refusal> {
    if vg.lv(name).is_some() {
        return Err(Refusal::LvExists { vg: vg.name.clone(), lv: name.clone() });
    }
    let length = dm_name(&vg.name, name, None).len().saturating_add(LAYER_MAX);
    if length > DM_NAME_MAX {
        return Err(Refusal::DeviceNameTooLong { vg: vg.name.clone(), lv: name.clone() });
    }
    Ok(())
}

/// The next name of the form `<start>N`.
pub fn next_numbered(vg: &Vg, start: &str) -> Result<LvName, Refusal> {
    let number_of = |name: &LvName| {
        let rest = name.as_str().strip_prefix(start)?;
        let digits = rest.split(|character: char| !character.is_ascii_digit()).next()?;
        digits.parse::<u64>().ok()
    };
    let highest = vg.lvs.iter().filter_map(|lv| number_of(&lv.name)).max();
    let number = highest.map_or(0, |highest| highest.saturating_add(1));
    let text = format!("{start}{number}");
    LvName::new(&text).map_err(|_| Refusal::LvNameInvalid(text))
}

#[cfg(test)]
mod tests {
    use super::{next_numbered, user_lv_name};
    use crate::ops::refusal::Refusal;
    use crate::testing::vg_of;

    #[test]
    fn names_that_lvm2_uses_itself_are_refused_in_its_words() {
        let refused = |text: &str| user_lv_name(text).unwrap_err().to_string();
        assert_eq!(
            refused("snapshot1"),
            "Names starting \"snapshot\" are reserved. Please choose a different LV name."
        );
        assert_eq!(
            refused("x_rimage_0"),
            "Names including \"_rimage\" are reserved. Please choose a different LV name."
        );
        assert_eq!(refused("a b"), "Logical volume name \"a b\" is invalid.");
        assert!(matches!(user_lv_name("."), Err(Refusal::LvNameInvalid(_))));
        assert!(user_lv_name("snap").is_ok());
    }

    #[test]
    fn numbers_go_on_behind_the_highest() {
        assert_eq!(next_numbered(&vg_of(&[]), "lvol").unwrap().as_str(), "lvol0");
        let vg = vg_of(&["lvol1", "lvol5x", "lvol"]);
        assert_eq!(next_numbered(&vg, "lvol").unwrap().as_str(), "lvol6");
    }
}
