//! `--readahead`: how far the kernel reads ahead of whoever reads a volume.
//!
//! What must hold (compared with 2.03.16): a number is in sectors unless a unit follows; `auto` is left to the kernel and stands
//! nowhere in the metadata, `none` stands there as -1. What is no multiple of a page is made one, with a warning.

use crate::console::Console;
use crate::sizes::Size;
use foldback_units::Sectors;
use std::str::FromStr;

/// A value of the option.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ReadAhead {
    /// What the kernel takes.
    Auto,
    /// Nothing.
    None,
    /// So much.
    Of(u32),
}

impl ReadAhead {
    /// In whole pages, at least one, as LVM2 makes it: the kernel reads no others ahead.
    pub(crate) fn in_pages(self, console: Console) -> Self {
        let page = u32::try_from(rustix::param::page_size()).unwrap_or(u32::MAX) / 512;
        match self {
            Self::Of(sectors) if sectors.checked_rem(page).is_some_and(|rest| rest != 0) => {
                let whole = sectors.saturating_sub(sectors.checked_rem(page).unwrap_or(0)).max(page);
                let kib = page / 2;
                console.warn(&format!(
                    "Overriding readahead to {whole} sectors, a multiple of {kib}K page size."
                ));
                Self::Of(whole)
            }
            other => other,
        }
    }

    /// As LVM2 writes it.
    pub(crate) fn in_metadata(self) -> Option<i32> {
        match self {
            Self::Auto => None,
            Self::None => Some(-1),
            Self::Of(sectors) => i32::try_from(sectors).ok(),
        }
    }
}

impl FromStr for ReadAhead {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => return Ok(Self::Auto),
            "none" => return Ok(Self::None),
            // LVM2 says nothing more of it.
            _ if text.starts_with('-') => return Err(String::new()),
            _ => {}
        }
        let number =
            if text.chars().all(|char| char.is_ascii_digit()) { format!("{text}s") } else { text.to_owned() };
        let Size(Sectors(sectors)) = number.parse()?;
        u32::try_from(sectors).map(Self::Of).map_err(|_| "Size is too big.".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::ReadAhead;

    #[test]
    fn numbers_are_sectors() {
        let read = |text: &str| text.parse::<ReadAhead>().map(ReadAhead::in_metadata);
        assert_eq!((read("auto"), read("none")), (Ok(None), Ok(Some(-1))));
        assert_eq!((read("256"), read("128k")), (Ok(Some(256)), Ok(Some(256))));
        assert!(read("much").is_err());
    }
}
