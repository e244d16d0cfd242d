//! Sizes as LVM2 takes them on the command line.
//!
//! What must hold (compared with LVM2 2.03.16):
//! - A number with an optional fraction and unit: `b` bytes, `s` sectors, then `k m g t p e` in powers of 1024, in
//!   either case; a longer word (`MiB`, `mb`) counts by its first letter. Without a unit: MiB, or what the option says.
//! - Bytes must be whole sectors, or the two nearest that are get named.
//! - An extent count is a number, or a percentage of VG, FREE, PVS, ORIGIN or LV.

use foldback_units::Sectors;
use std::str::FromStr;

/// A size that was given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Size(pub(crate) Sectors);

/// A chunk size: as [`Size`], but in KiB where no unit is given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct KibSize(pub(crate) Sectors);

/// A size that may have no sign.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct PlainSize(pub(crate) Sectors);

/// A number of things.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Number(pub(crate) u32);

/// What a percentage is of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Of {
    /// The VG.
    Vg,
    /// What is free in the VG.
    Free,
    /// The PVs that were named.
    Pvs,
    /// The snapshot's origin.
    Origin,
    /// The LV itself.
    Lv,
}

/// A number of extents.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Extents {
    /// That many.
    Count(u32),
    /// A percentage.
    Percent(u32, Of),
}

/// Powers of 1024 that the letters stand for.
const LETTERS: &str = "kmgtpe";
/// Decimal places of a fraction that are looked at; more than a sector can show.
const PLACES: u32 = 9;

fn sectors(text: &str, default: char) -> Result<Sectors, String> {
    if text.starts_with('-') {
        return Err("Size may not be negative.".to_owned());
    }
    let text = text.strip_prefix('+').unwrap_or(text);
    if !text.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return Err("Size requires number argument.".to_owned());
    }
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(end).unwrap_or((text, ""));
    let unparsable = || "Can't parse size argument.".to_owned();
    let letter = unit.chars().next().unwrap_or(default).to_ascii_lowercase();
    if unit.len() > 3 || !unit.chars().all(|c| c.is_ascii_alphabetic()) {
        return Err(unparsable());
    }
    let factor: u128 = match letter {
        'b' => 1,
        's' => 512,
        letter => {
            let power = LETTERS.find(letter).ok_or_else(unparsable)?.saturating_add(1);
            1024_u128.checked_pow(u32::try_from(power).unwrap_or(u32::MAX)).ok_or_else(unparsable)?
        }
    };
    let bytes = scaled(number, factor).ok_or_else(unparsable)?;
    // A fraction of a larger unit is cut to whole sectors; a number of bytes is taken at its word.
    if letter == 'b' && bytes.checked_rem(512) != Some(0) {
        let below = bytes.div_euclid(512).saturating_mul(512);
        return Err(format!(
            "Size is not a multiple of 512. Try using {below} or {}.",
            below.saturating_add(512)
        ));
    }
    u64::try_from(bytes.div_euclid(512)).map(Sectors).map_err(|_| "Size is too big (>=16EiB).".to_owned())
}

/// `number * factor` for a decimal number.
fn scaled(number: &str, factor: u128) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = usize::try_from(PLACES).ok()?;
    let padded: String = fraction.chars().chain(std::iter::repeat('0')).take(digits).collect();
    let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let part: u128 = padded.parse().ok()?;
    let one = 10_u128.checked_pow(PLACES)?;
    whole.checked_mul(factor)?.checked_add(part.checked_mul(factor)?.checked_div(one)?)
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        sectors(text, 'm').map(Self)
    }
}

impl FromStr for PlainSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.starts_with(['-', '+']) {
            return Err("Size may not be relative/signed.".to_owned());
        }
        sectors(text, 'm').map(Self)
    }
}

impl FromStr for Number {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // LVM2 gives no reason.
        text.parse().map(Self).map_err(|_| String::new())
    }
}

impl FromStr for KibSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        sectors(text, 'k').map(Self)
    }
}

impl FromStr for Extents {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.starts_with('-') {
            return Err("Extents may not be negative.".to_owned());
        }
        let text = text.strip_prefix('+').unwrap_or(text);
        let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, rest) = text.split_at_checked(end).unwrap_or((text, ""));
        let number: u32 = number.parse().map_err(|_| String::new())?;
        let Some(of) = rest.strip_prefix('%') else {
            return if rest.is_empty() { Ok(Self::Count(number)) } else { Err(String::new()) };
        };
        let is = |names: &[&str]| names.iter().any(|name| name.eq_ignore_ascii_case(of));
        let of = match of {
            _ if is(&["V", "VG"]) => Of::Vg,
            _ if is(&["F", "FR", "FREE"]) => Of::Free,
            _ if is(&["P", "PV", "PVS"]) => Of::Pvs,
            _ if is(&["O", "OR", "ORIGIN"]) => Of::Origin,
            _ if is(&["L", "LV"]) => Of::Lv,
            _ => return Err(format!("Specified %{of} is unknown.")),
        };
        Ok(Self::Percent(number, of))
    }
}

#[cfg(test)]
mod tests {
    use super::{Extents, KibSize, Of, Size};
    use foldback_units::Sectors;

    /// Each was taken by LVM2 2.03.16 as that many sectors.
    #[test]
    fn sizes_are_lvm2s() {
        for (text, sectors) in [
            ("10", 20480),
            ("10M", 20480),
            ("10m", 20480),
            ("+5m", 10240),
            ("10000s", 10000),
            ("1.5M", 3072),
            ("5.5", 11264),
            ("10485760b", 20480),
            ("8K", 16),
            ("5MiB", 10240),
            ("5mb", 10240),
            ("1e", 1 << 51),
        ] {
            assert_eq!(text.parse(), Ok(Size(Sectors(sectors))), "{text}");
        }
        assert_eq!("64".parse(), Ok(KibSize(Sectors(128))));
    }

    #[test]
    fn wrong_sizes_are_refused_in_lvm2s_words() {
        for (text, told) in [
            ("abc", "Size requires number argument."),
            ("-5M", "Size may not be negative."),
            ("4194305b", "Size is not a multiple of 512. Try using 4194304 or 4194816."),
            ("5Q", "Can't parse size argument."),
            ("5%", "Can't parse size argument."),
            ("5,5m", "Can't parse size argument."),
        ] {
            assert_eq!(text.parse::<Size>(), Err(told.to_owned()), "{text}");
        }
        assert!("99999999999e".parse::<Size>().is_err());
        assert!("1.2.3m".parse::<Size>().is_err());
    }

    #[test]
    fn extents_are_a_number_or_a_percentage() {
        assert_eq!("5".parse(), Ok(Extents::Count(5)));
        assert_eq!("50%ORIGIN".parse(), Ok(Extents::Percent(50, Of::Origin)));
        assert_eq!("100%free".parse(), Ok(Extents::Percent(100, Of::Free)));
        assert_eq!("5%foo".parse::<Extents>(), Err("Specified %foo is unknown.".to_owned()));
        assert!("5m".parse::<Extents>().is_err() && "".parse::<Extents>().is_err());
    }
}
