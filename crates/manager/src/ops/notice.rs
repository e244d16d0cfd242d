//! What an operation tells the user beside its result.
//!
//! What must hold:
//! - The words are LVM2's; where they go (stdout, stderr, nowhere) is decided by who prints them.

use foldback_units::Sectors;

/// How loud.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Level {
    /// A result or a remark on it: standard output, unless quiet.
    Print,
    /// Standard error.
    Warning,
    /// Only with `-v`.
    Verbose,
}

/// One line, or several.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Notice {
    /// How loud.
    pub level: Level,
    /// The words.
    pub text: String,
}

impl Notice {
    /// For standard output.
    pub fn print(text: String) -> Self {
        Self { level: Level::Print, text }
    }

    /// For standard error.
    pub fn warning(text: String) -> Self {
        Self { level: Level::Warning, text }
    }
}

/// A size in a sentence: `12.00 MiB`, with `<` in front where rounding made it larger.
pub(crate) fn size_words(size: Sectors) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let bytes = u128::from(size.get()).saturating_mul(512);
    if bytes == 0 {
        return "0   ".to_owned();
    }
    let power = (1_u32..7).take_while(|&power| bytes >> (power.saturating_mul(10)) > 0).count();
    let shift = u32::try_from(power).unwrap_or(0).saturating_mul(10);
    let scaled = bytes.saturating_mul(100);
    let hundredths = scaled >> shift;
    let rest = scaled.saturating_sub(hundredths << shift);
    // Rounded to the nearest: up from the half on, and then it is shown as less than that.
    let up = shift > 0 && rest.saturating_mul(2) >= 1_u128 << shift;
    let hundredths = hundredths.saturating_add(u128::from(up));
    let unit = UNITS.get(power).copied().unwrap_or("B");
    let (whole, part) = (hundredths / 100, hundredths % 100);
    format!("{}{whole}.{part:02} {unit}", if up { "<" } else { "" })
}

#[cfg(test)]
mod tests {
    use super::size_words;
    use foldback_units::Sectors;

    #[test]
    fn sizes_read_as_lvm2_writes_them() {
        let rows = [
            (0, "0   "),
            (8, "4.00 KiB"),
            (24576, "12.00 MiB"),
            (2_097_152, "1.00 GiB"),
            (2_097_151, "<1024.00 MiB"),
            (204_800, "100.00 MiB"),
            (1, "512.00 B"),
        ];
        for (sectors, words) in rows {
            assert_eq!(size_words(Sectors(sectors)), words);
        }
    }
}
