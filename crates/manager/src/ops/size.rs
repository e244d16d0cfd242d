//! How large a new LV is to be: `-L`, `-l` and their percentages, as LVM2 reads and rounds them.
//!
//! What must hold:
//! - `-L` without a unit is MiB; small and capital letters are one; a fraction of a sector is rounded up to one.
//! - Sizes are rounded up to whole extents, percentages down, those of an origin up.
//! - A percentage never takes more than there is; an absolute size that does not fit is refused.

use crate::ops::refusal::Refusal;
use foldback_units::Sectors;

/// Of what a percentage is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PercentOf {
    /// All extents of the VG.
    Vg,
    /// Its free extents.
    Free,
    /// The PVs that were named, or all.
    Pvs,
    /// The origin, and what a store for all of it needs.
    Origin,
}

/// A size as asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SizeRequest {
    /// `-L`.
    Sectors(Sectors),
    /// `-l N`.
    Extents(u32),
    /// `-l N%...`.
    Percent(u32, PercentOf),
}

impl SizeRequest {
    /// Reads the argument of `-L`.
    pub fn parse_size(text: &str) -> Result<Self, Refusal> {
        let bad = || Refusal::BadSize { option: "size", text: text.to_owned() };
        let sectors = parse_sectors(text, 'm').ok_or_else(bad)?;
        if sectors.is_zero() { Err(Refusal::Zero("size")) } else { Ok(Self::Sectors(sectors)) }
    }

    /// Reads the argument of `-l`.
    pub fn parse_extents(text: &str) -> Result<Self, Refusal> {
        let bad = || Refusal::BadSize { option: "extents", text: text.to_owned() };
        let digits = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at_checked(digits).ok_or_else(bad)?;
        let number: u32 = number.parse().map_err(|_| bad())?;
        let of = match unit.to_ascii_uppercase().as_str() {
            "" if number == 0 => return Err(Refusal::Zero("extents")),
            "" => return Ok(Self::Extents(number)),
            "%VG" | "%V" => PercentOf::Vg,
            "%FREE" | "%FR" | "%F" => PercentOf::Free,
            "%PVS" | "%PV" | "%P" => PercentOf::Pvs,
            "%ORIGIN" | "%OR" | "%O" => PercentOf::Origin,
            "%LV" | "%L" => return Err(Refusal::PercentOf("%FREE, %ORIGIN, %PVS or %VG")),
            _ => return Err(bad()),
        };
        if number == 0 { Err(Refusal::Zero("extents")) } else { Ok(Self::Percent(number, of)) }
    }
}

/// Reads a size with LVM2's unit letters; `default` is the letter of a number without one.
pub fn parse_sectors(text: &str, default: char) -> Option<Sectors> {
    let split = text.find(|character: char| character.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, letters) = text.split_at_checked(split)?;
    let mut letters = letters.chars();
    let letter = letters.next().unwrap_or(default);
    // `4MiB`, `4MB` and `4M` are one to LVM2.
    if !matches!(letters.as_str().to_ascii_lowercase().as_str(), "" | "b" | "ib") {
        return None;
    }
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let unit = unit_bytes(letter)?;
    let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let bytes = whole.checked_mul(unit)?.checked_add(part_of(fraction, unit)?)?;
    u64::try_from(bytes.div_ceil(512)).ok().map(Sectors)
}

fn unit_bytes(letter: char) -> Option<u128> {
    let power = match letter.to_ascii_lowercase() {
        'b' => return Some(1),
        's' => return Some(512),
        'k' => 1,
        'm' => 2,
        'g' => 3,
        't' => 4,
        'p' => 5,
        'e' => 6,
        _ => return None,
    };
    1024_u128.checked_pow(power)
}

/// The decimal digits behind the point, of `unit`, rounded up to a byte.
fn part_of(digits: &str, unit: u128) -> Option<u128> {
    if digits.is_empty() {
        return Some(0);
    }
    let number: u128 = digits.parse().ok()?;
    let scale = 10_u128.checked_pow(u32::try_from(digits.len()).ok()?)?;
    Some(number.checked_mul(unit)?.div_ceil(scale))
}

/// `percent` of `of`, rounded down or up.
pub(crate) fn percent_of(percent: u32, of: u32, up: bool) -> u64 {
    let product = u64::from(percent).saturating_mul(u64::from(of));
    if up { product.div_ceil(100) } else { product / 100 }
}

#[cfg(test)]
mod tests {
    use super::{PercentOf, SizeRequest, parse_sectors};
    use crate::ops::refusal::Refusal;
    use foldback_units::Sectors;

    #[test]
    fn sizes_in_lvm2s_units() {
        let rows = [
            ("10", 20480),
            ("10M", 20480),
            ("10m", 20480),
            ("1g", 2_097_152),
            ("5K", 10),
            ("5.3M", 10855),
            ("512b", 1),
            ("1b", 1),
            ("7s", 7),
            ("1.5k", 3),
            ("4MiB", 8192),
        ];
        for (text, sectors) in rows {
            assert_eq!(parse_sectors(text, 'm'), Some(Sectors(sectors)), "{text}");
        }
        for bad in ["", "m", "-1", "1x", "1mm", "1 m", "99999999999999999999e", "1.2.3"] {
            assert_eq!(parse_sectors(bad, 'm'), None, "{bad}");
        }
    }

    #[test]
    fn extents_and_percentages() {
        assert_eq!(SizeRequest::parse_extents("12"), Ok(SizeRequest::Extents(12)));
        assert_eq!(SizeRequest::parse_extents("100%free"), Ok(SizeRequest::Percent(100, PercentOf::Free)));
        assert_eq!(SizeRequest::parse_extents("0"), Err(Refusal::Zero("extents")));
        assert_eq!(SizeRequest::parse_size("0"), Err(Refusal::Zero("size")));
        assert!(matches!(SizeRequest::parse_extents("100%LV"), Err(Refusal::PercentOf(_))));
        assert!(matches!(SizeRequest::parse_extents("5%FOO"), Err(Refusal::BadSize { .. })));
    }
}
