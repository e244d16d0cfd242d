//! Sizes as LVM2 2.03 prints them: the letters of `--units`.
//!
//! What must hold (compared with LVM2's own output, byte for byte):
//! - Lower-case letters count in 1024, upper-case ones in 1000; `h`, `H`, `r` and `R` choose the letter by size.
//! - Two decimals, except for bytes and sectors; a tie goes to the even digit, as C's printf does it.
//! - `r` and `R` put `<` before a number that was rounded up, so that nobody takes it for available space.
//! - Nothing is `0` with its letter; where the letter is chosen by size, it is `0` and a blank.
//! - Arithmetic is exact and in integers; the widest device fits.

use foldback_units::Sectors;

/// The letters in rising order: bytes, then powers of 1024 or 1000.
const LETTERS: [char; 7] = ['b', 'k', 'm', 'g', 't', 'p', 'e'];

/// How sizes are printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Units {
    scale: Scale,
    suffix: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Scale {
    /// The letter is chosen by size; `marked` puts `<` before what was rounded up.
    Human { base: u64, marked: bool },
    /// Whole bytes or whole sectors.
    Whole { unit: u64, letter: char },
    /// A fixed unit, two decimals.
    Fixed { unit: u64, letter: char },
}

/// Why a text is not an argument of `--units`.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("Invalid units specification")]
pub struct BadUnits;

impl Default for Units {
    fn default() -> Self {
        Self { scale: Scale::Human { base: 1024, marked: true }, suffix: true }
    }
}

impl Units {
    /// An argument of `--units`: a letter of `hHrRbBsSkKmMgGtTpPeE`, or a number and a letter for a unit of one's own.
    pub fn parse(text: &str) -> Result<Self, BadUnits> {
        let digits = text.len().saturating_sub(text.trim_start_matches(|c: char| c.is_ascii_digit()).len());
        let (number, letter) = text.split_at_checked(digits).ok_or(BadUnits)?;
        let mut letters = letter.chars();
        let (Some(letter), None) = (letters.next(), letters.next()) else { return Err(BadUnits) };
        let scale = match (number, letter) {
            ("", 'h' | 'r') => Scale::Human { base: 1024, marked: letter == 'r' },
            ("", 'H' | 'R') => Scale::Human { base: 1000, marked: letter == 'R' },
            ("", 'b' | 'B') => Scale::Whole { unit: 1, letter: 'B' },
            ("", 's' | 'S') => Scale::Whole { unit: 512, letter: 'S' },
            ("", _) => Scale::Fixed { unit: factor(letter).ok_or(BadUnits)?, letter },
            (number, _) => {
                let number: u64 = number.parse().map_err(|_| BadUnits)?;
                let unit = factor(letter).and_then(|unit| unit.checked_mul(number)).filter(|&unit| unit > 0);
                Scale::Fixed { unit: unit.ok_or(BadUnits)?, letter: 'U' }
            }
        };
        Ok(Self { scale, suffix: true })
    }

    /// As `lvcreate` and `vgcreate` speak of sizes in sentences: `12.00 MiB`.
    pub fn in_words(size: Sectors) -> String {
        let (number, power, rounded_up) = human(u128::from(size.get()).saturating_mul(512), 1024);
        let unit = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"].get(power).copied().unwrap_or("B");
        format!("{}{number} {unit}", if rounded_up { "<" } else { "" })
    }

    /// The same without the letter where the letter is fixed (`--nosuffix`), and without the blank behind a zero.
    #[must_use]
    pub fn without_suffix(self) -> Self {
        Self { suffix: false, ..self }
    }

    /// A size as a report shows it.
    pub fn show(self, size: Sectors) -> String {
        let bytes = u128::from(size.get()).saturating_mul(512);
        match self.scale {
            Scale::Human { .. } if bytes == 0 => self.with_letter("0".to_owned(), ' '),
            Scale::Human { base, marked } => {
                let (number, power, rounded_up) = human(bytes, base);
                let letter = LETTERS.get(power).copied().unwrap_or('b');
                let letter = if base == 1000 { letter.to_ascii_uppercase() } else { letter };
                format!("{}{number}{letter}", if marked && rounded_up { "<" } else { "" })
            }
            Scale::Whole { unit, letter } => {
                self.with_letter((bytes.checked_div(u128::from(unit)).unwrap_or(0)).to_string(), letter)
            }
            Scale::Fixed { letter, .. } if bytes == 0 => self.with_letter("0".to_owned(), letter),
            Scale::Fixed { unit, letter } => self.with_letter(hundredths(bytes, unit.into()).0, letter),
        }
    }

    fn with_letter(self, mut number: String, letter: char) -> String {
        if self.suffix {
            number.push(letter);
        }
        number
    }
}

/// Bytes in the unit of a letter.
fn factor(letter: char) -> Option<u64> {
    if letter.eq_ignore_ascii_case(&'s') {
        return Some(512);
    }
    let power = LETTERS.iter().position(|known| letter.eq_ignore_ascii_case(known))?;
    let base: u64 = if letter.is_ascii_lowercase() { 1024 } else { 1000 };
    base.checked_pow(u32::try_from(power).ok()?)
}

/// The number, the power of the base it is in, and whether it was rounded up.
fn human(bytes: u128, base: u64) -> (String, usize, bool) {
    let mut unit: u128 = 1;
    let mut power: usize = 0;
    while power < LETTERS.len().saturating_sub(1) {
        let next = unit.saturating_mul(base.into());
        if bytes < next {
            break;
        }
        unit = next;
        power = power.saturating_add(1);
    }
    if power == 0 {
        return (bytes.to_string(), power, false);
    }
    let (number, rounded_up) = hundredths(bytes, unit);
    (number, power, rounded_up)
}

/// `bytes / unit` with two decimals, ties to even, and whether that is more than the truth.
fn hundredths(bytes: u128, unit: u128) -> (String, bool) {
    let scaled = bytes.saturating_mul(100);
    let (mut whole, rest) = (scaled.checked_div(unit).unwrap_or(0), scaled.checked_rem(unit).unwrap_or(0));
    let twice = rest.saturating_mul(2);
    let up = twice > unit || (twice == unit && !whole.is_multiple_of(2));
    if up {
        whole = whole.saturating_add(1);
    }
    (format!("{}.{:02}", whole.div_euclid(100), whole.rem_euclid(100)), up)
}

#[cfg(test)]
mod tests {
    use super::Units;
    use foldback_units::Sectors;

    fn show(units: &str, sectors: u64) -> String {
        Units::parse(units).unwrap().show(Sectors(sectors))
    }

    /// Each line was printed by LVM2 2.03.16 for an LV or a PV of that size.
    #[test]
    fn sizes_are_lvm2s() {
        for (units, sectors, shown) in [
            ("r", 20224, "<9.88m"),
            ("r", 10496, "5.12m"),
            ("r", 768, "384.00k"),
            ("r", 97024, "<47.38m"),
            ("r", 0, "0 "),
            ("h", 20224, "9.88m"),
            ("H", 20224, "10.35M"),
            ("R", 768, "<393.22K"),
            ("R", 204_800, "<104.86M"),
            ("b", 20224, "10354688B"),
            ("b", 0, "0B"),
            ("s", 20224, "20224S"),
            ("k", 768, "384.00k"),
            ("k", 0, "0k"),
            ("K", 512, "262.14K"),
            ("g", 237_568, "0.11g"),
            ("G", 237_568, "0.12G"),
            ("E", 20224, "0.00E"),
            ("4m", 20224, "2.47U"),
            ("512s", 20224, "39.50U"),
        ] {
            assert_eq!(show(units, sectors), shown, "--units {units}, {sectors} sectors");
        }
    }

    #[test]
    fn nosuffix_takes_only_fixed_letters_away() {
        assert_eq!(Units::parse("m").unwrap().without_suffix().show(Sectors(768)), "0.38");
        assert_eq!(Units::default().without_suffix().show(Sectors(768)), "384.00k");
        assert_eq!(Units::default().without_suffix().show(Sectors(0)), "0");
        assert_eq!(Units::parse("b").unwrap().without_suffix().show(Sectors(0)), "0");
    }

    #[test]
    fn what_lvm2_does_not_take_is_refused() {
        for bad in ["", "q", "hs", "z", "4h", "4", "0m", "99999999999999999999k", "18446744073709551615e"] {
            assert!(Units::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_widest_device_has_a_size() {
        assert_eq!(show("e", u64::MAX), "8192.00e");
        assert_eq!(Units::in_words(Sectors(19_456)), "9.50 MiB");
        assert_eq!(Units::in_words(Sectors(20_224)), "<9.88 MiB");
        assert_eq!(
            (Units::in_words(Sectors(1)), Units::in_words(Sectors(2))),
            ("512 B".into(), "1.00 KiB".into())
        );
    }
}
