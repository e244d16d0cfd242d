//! The data of an option, decoded.
//!
//! What must hold:
//! - Every length is checked against what is there; data behind the last field is refused.
//! - A name is UTF-8 without NUL and at most 4096 bytes long.

use super::numbers::{BASE, BASE_ALLOCATION, info, rep};
use zerocopy::FromBytes;
use zerocopy::network_endian::{U16, U32};

/// "MUST be no longer than 4096 bytes".
pub(crate) const MAX_STRING: usize = 4096;

/// Of `NBD_OPT_INFO` and `NBD_OPT_GO`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ExportWish {
    /// Of which export; empty for the default one.
    pub name: String,
    /// Its name is wanted back.
    pub with_name: bool,
    /// Its description is wanted.
    pub with_description: bool,
}

/// Of `NBD_OPT_LIST_META_CONTEXT` and `NBD_OPT_SET_META_CONTEXT`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ContextWish {
    /// For which export.
    pub name: String,
    /// Whether `base:allocation` is among what is asked for.
    pub allocation: bool,
}

/// Why an option is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum BadOption {
    /// A string is longer than any may be.
    TooBig,
    /// The lengths do not agree, or a string is none.
    Malformed,
}

impl BadOption {
    pub(crate) fn reply(self) -> (u32, &'static str) {
        match self {
            Self::TooBig => (rep::ERR_TOO_BIG, "a name may have 4096 bytes"),
            Self::Malformed => (rep::ERR_INVALID, "the option's data is malformed"),
        }
    }
}

/// What is left to decode.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn u16(&mut self) -> Result<u16, BadOption> {
        let (value, rest) = U16::read_from_prefix(self.0).map_err(|_| BadOption::Malformed)?;
        self.0 = rest;
        Ok(value.get())
    }

    fn u32(&mut self) -> Result<u32, BadOption> {
        let (value, rest) = U32::read_from_prefix(self.0).map_err(|_| BadOption::Malformed)?;
        self.0 = rest;
        Ok(value.get())
    }

    /// A length and as many bytes.
    fn string(&mut self) -> Result<&'a str, BadOption> {
        let len = usize::try_from(self.u32()?).map_err(|_| BadOption::Malformed)?;
        let (bytes, rest) = self.0.split_at_checked(len).ok_or(BadOption::Malformed)?;
        self.0 = rest;
        string(bytes)
    }

    fn end(&self) -> Result<(), BadOption> {
        if self.0.is_empty() { Ok(()) } else { Err(BadOption::Malformed) }
    }
}

/// Bytes as a string of the protocol.
pub(crate) fn string(bytes: &[u8]) -> Result<&str, BadOption> {
    if bytes.len() > MAX_STRING {
        return Err(BadOption::TooBig);
    }
    let text = std::str::from_utf8(bytes).map_err(|_| BadOption::Malformed)?;
    if text.contains('\0') { Err(BadOption::Malformed) } else { Ok(text) }
}

/// The data of `NBD_OPT_INFO` and `NBD_OPT_GO`. Kinds of information that are not known are passed over.
pub(crate) fn export_wish(data: &[u8]) -> Result<ExportWish, BadOption> {
    let mut rest = Rest(data);
    let name = rest.string()?.to_owned();
    let mut wish = ExportWish { name, with_name: false, with_description: false };
    for _ in 0..rest.u16()? {
        match rest.u16()? {
            info::NAME => wish.with_name = true,
            info::DESCRIPTION => wish.with_description = true,
            _ => {}
        }
    }
    rest.end()?;
    Ok(wish)
}

/// The data of `NBD_OPT_LIST_META_CONTEXT`, or with `set` of `NBD_OPT_SET_META_CONTEXT`. To list, no query asks for all
/// contexts and a namespace for all of its own; to set, neither selects anything.
pub(crate) fn context_wish(data: &[u8], set: bool) -> Result<ContextWish, BadOption> {
    let mut rest = Rest(data);
    let name = rest.string()?.to_owned();
    let queries = rest.u32()?;
    let mut allocation = queries == 0 && !set;
    // Bounded by the data: each query takes at least four bytes of it.
    for _ in 0..queries {
        let query = rest.string()?;
        allocation |= query == BASE_ALLOCATION || (query == BASE && !set);
    }
    rest.end()?;
    Ok(ContextWish { name, allocation })
}

#[cfg(test)]
mod tests {
    use super::{BadOption, context_wish, export_wish, string};
    use zerocopy::network_endian::{U16, U32};

    fn long(text: &str) -> Vec<u8> {
        [&word(text.len())[..], text.as_bytes()].concat()
    }

    fn short(number: u16) -> [u8; 2] {
        U16::new(number).to_bytes()
    }

    fn word(number: usize) -> [u8; 4] {
        U32::new(number as u32).to_bytes()
    }

    #[test]
    fn what_is_asked_for_is_told_apart_and_unknown_information_passed_over() {
        let data = [&long("vg/lv")[..], &short(3), &short(2), &short(9), &short(3)].concat();
        let wish = export_wish(&data).unwrap();
        assert_eq!((wish.name.as_str(), wish.with_name, wish.with_description), ("vg/lv", false, true));
    }

    /// "If the option request is syntactically invalid (such as a query length that would require reading beyond the original
    /// length given in the option header), the server MUST fail the request with `NBD_REP_ERR_INVALID`."
    #[test]
    fn data_that_is_cut_short_or_goes_on_is_malformed() {
        let data = [&long("vg")[..], &short(1), &short(1)].concat();
        for len in 0..data.len() {
            assert_eq!(export_wish(&data[..len]), Err(BadOption::Malformed), "{len}");
        }
        assert_eq!(export_wish(&[&data[..], b"x"].concat()), Err(BadOption::Malformed));
    }

    /// "that string is a sequence of UTF-8 code points, which is not `NUL` terminated, MUST NOT contain `NUL` characters
    /// [...] and MUST be no longer than 4096 bytes".
    #[test]
    fn strings_are_short_utf8_without_nul() {
        assert_eq!(string(&[b'a'; 4096]).map(str::len), Ok(4096));
        assert_eq!(string(&[b'a'; 4097]), Err(BadOption::TooBig));
        assert_eq!(string(b"a\0"), Err(BadOption::Malformed));
        assert_eq!(string(b"\xff"), Err(BadOption::Malformed));
    }

    /// "If zero queries are sent, then the server MUST return all the metadata contexts", or "MUST select no metadata contexts";
    /// `base:`: "the server MUST ignore this form during `NBD_OPT_SET_META_CONTEXT`, and MUST support this as a wildcard during
    /// `NBD_OPT_LIST_META_CONTEXT`".
    #[test]
    fn a_namespace_lists_its_contexts_and_selects_none() {
        let wish = |queries: &[&str], set| {
            let mut data = [&long("x")[..], &word(queries.len())].concat();
            for query in queries {
                data.extend(long(query));
            }
            context_wish(&data, set).unwrap().allocation
        };
        assert!(wish(&[], false) && !wish(&[], true));
        assert!(wish(&["base:"], false) && !wish(&["base:"], true));
        assert!(wish(&["qemu:x", "base:allocation"], true) && !wish(&["base:alloc"], false));
    }

    #[test]
    fn a_number_of_queries_beyond_the_data_is_malformed() {
        let data = [&long("x")[..], &[0xff; 4], &long("base:")].concat();
        assert_eq!(context_wish(&data, true), Err(BadOption::Malformed));
    }
}
