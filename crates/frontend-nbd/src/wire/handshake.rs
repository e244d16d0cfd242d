//! The handshake: fixed newstyle, until an export is entered.
//!
//! What must hold:
//! - Every option is answered once: here where the answer needs nobody, else by the method that [`Heard`] names.
//! - What is kept of a client is bounded: one export's name; options are bounded in number and length.
//! - Where the next option begins is always known; where it would not be, the connection ends ([`Violation`]).

use super::export::{Export, Refusal};
use super::numbers::{self, NO_ZEROES, opt, rep};
use super::option::{ContextWish, ExportWish, context_wish, export_wish, string};
use super::reply;
use super::session::Session;
use super::violation::Violation;
use zerocopy::network_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The most data of an option that is looked at, in bytes: a name of the greatest length, and as much besides.
pub const MAX_OPTION: u32 = 8192;
/// The most data of an option that is skipped so that the connection can go on, in bytes.
pub const MAX_SKIPPED: u32 = 1 << 20;
/// The most options of one connection.
pub const MAX_OPTIONS: u32 = 256;
/// The most exports in one list.
const MAX_LISTED: usize = 4096;

#[derive(IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
struct RawGreeting {
    magic: U64,
    option_magic: U64,
    flags: U16,
}
const _: () = assert!(size_of::<RawGreeting>() == 18);

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
struct RawOption {
    magic: U64,
    option: U32,
    len: U32,
}
const _: () = assert!(size_of::<RawOption>() == 16);

/// What a client wants that the handshake cannot answer by itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Heard {
    /// Nothing.
    Nothing,
    /// `NBD_OPT_ABORT`: acknowledged; the connection ends.
    Abort,
    /// `NBD_OPT_EXPORT_NAME`: to be answered by [`Handshake::enter`], or by the end of the connection.
    Enter(String),
    /// `NBD_OPT_LIST`: to be answered by [`Handshake::list`].
    List,
    /// `NBD_OPT_INFO`, or with the flag `NBD_OPT_GO`: to be answered by [`Handshake::info`].
    Info(ExportWish, bool),
    /// `NBD_OPT_LIST_META_CONTEXT`, or with the flag `NBD_OPT_SET_META_CONTEXT`: to be answered by
    /// [`Handshake::contexts`].
    Contexts(ContextWish, bool),
}

/// What comes next on the stream.
#[derive(Clone, Copy, Debug)]
enum Next {
    ClientFlags,
    Option,
    /// Data that nobody looks at: how many bytes.
    Skipped(u32),
}

/// One client's handshake.
#[derive(Debug)]
pub struct Handshake {
    next: Next,
    fixed: bool,
    no_zeroes: bool,
    structured: bool,
    /// The export for which `base:allocation` was selected.
    selected: Option<String>,
    options: u32,
}

impl Handshake {
    /// Begins one; the greeting goes to `out`.
    pub fn new(out: &mut Vec<u8>) -> Self {
        let greeting = RawGreeting {
            magic: U64::new(numbers::GREETING),
            option_magic: U64::new(numbers::OPTION),
            flags: U16::new(numbers::FIXED_NEWSTYLE | NO_ZEROES),
        };
        out.extend_from_slice(greeting.as_bytes());
        Self {
            next: Next::ClientFlags,
            fixed: false,
            no_zeroes: false,
            structured: false,
            selected: None,
            options: 0,
        }
    }

    /// Takes one message from the start of `input`: how many bytes it had, and what is wanted. `None` asks for more bytes.
    ///
    /// # Errors
    /// What ends the connection.
    pub fn advance(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<Option<(usize, Heard)>, Violation> {
        match self.next {
            Next::ClientFlags => self.client_flags(input),
            Next::Option => self.option(input, out),
            Next::Skipped(_) if input.is_empty() => Ok(None),
            Next::Skipped(left) => {
                let there = u32::try_from(input.len()).unwrap_or(u32::MAX);
                let used = left.min(there);
                let left = left.saturating_sub(used);
                self.next = if left == 0 { Next::Option } else { Next::Skipped(left) };
                Ok(Some((usize::try_from(used).unwrap_or(input.len()), Heard::Nothing)))
            }
        }
    }

    fn client_flags(&mut self, input: &[u8]) -> Result<Option<(usize, Heard)>, Violation> {
        let Ok((flags, _)) = U32::read_from_prefix(input) else { return Ok(None) };
        let flags = flags.get();
        let fixed = u32::from(numbers::FIXED_NEWSTYLE);
        let no_zeroes = u32::from(NO_ZEROES);
        if flags & !(fixed | no_zeroes) != 0 {
            return Err(Violation::ClientFlags(flags));
        }
        self.fixed = flags & fixed != 0;
        self.no_zeroes = flags & no_zeroes != 0;
        self.next = Next::Option;
        Ok(Some((size_of::<U32>(), Heard::Nothing)))
    }

    fn option(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<Option<(usize, Heard)>, Violation> {
        let Ok((head, rest)) = RawOption::read_from_prefix(input) else { return Ok(None) };
        let (option, len) = (head.option.get(), head.len.get());
        if head.magic.get() != numbers::OPTION {
            return Err(Violation::OptionMagic(head.magic.get()));
        }
        if !self.fixed && option != opt::EXPORT_NAME {
            return Err(Violation::NotFixed(option));
        }
        if len > MAX_SKIPPED || (len > MAX_OPTION && option == opt::EXPORT_NAME) {
            return Err(Violation::OptionLength(len));
        }
        let known = matches!(
            option,
            opt::EXPORT_NAME
                | opt::ABORT
                | opt::LIST
                | opt::INFO
                | opt::GO
                | opt::STRUCTURED_REPLY
                | opt::LIST_META_CONTEXT
                | opt::SET_META_CONTEXT
        );
        if !known || len > MAX_OPTION {
            self.count()?;
            if option == opt::SET_META_CONTEXT {
                self.selected = None;
            }
            let (kind, why) = if known {
                (rep::ERR_TOO_BIG, "the option is too long")
            } else {
                (rep::ERR_UNSUP, "the option is not supported")
            };
            reply::option(option, kind, why.as_bytes(), out);
            if len > 0 {
                self.next = Next::Skipped(len);
            }
            return Ok(Some((size_of::<RawOption>(), Heard::Nothing)));
        }
        let Some(data) = usize::try_from(len).ok().and_then(|len| rest.get(..len)) else { return Ok(None) };
        self.count()?;
        let used = size_of::<RawOption>().saturating_add(data.len());
        Ok(Some((used, self.known(option, data, out)?)))
    }

    fn count(&mut self) -> Result<(), Violation> {
        if self.options >= MAX_OPTIONS {
            return Err(Violation::Options(MAX_OPTIONS));
        }
        self.options = self.options.saturating_add(1);
        Ok(())
    }

    fn known(&mut self, option: u32, data: &[u8], out: &mut Vec<u8>) -> Result<Heard, Violation> {
        let heard = match option {
            opt::EXPORT_NAME => {
                let name = string(data).map_err(|_| Violation::ExportName)?;
                return Ok(Heard::Enter(name.to_owned()));
            }
            // Whatever its data: the client is leaving.
            opt::ABORT => {
                reply::option(option, rep::ACK, &[], out);
                return Ok(Heard::Abort);
            }
            opt::INFO => export_wish(data).map(|wish| Heard::Info(wish, false)),
            opt::GO => export_wish(data).map(|wish| Heard::Info(wish, true)),
            opt::LIST_META_CONTEXT | opt::SET_META_CONTEXT if !self.structured => {
                let why = "metadata contexts need structured replies";
                reply::option(option, rep::ERR_INVALID, why.as_bytes(), out);
                return Ok(Heard::Nothing);
            }
            opt::LIST_META_CONTEXT => context_wish(data, false).map(|wish| Heard::Contexts(wish, false)),
            opt::SET_META_CONTEXT => {
                // An attempt that fails selects nothing, either.
                self.selected = None;
                context_wish(data, true).map(|wish| Heard::Contexts(wish, true))
            }
            _ if !data.is_empty() => {
                reply::option(option, rep::ERR_INVALID, b"the option has no data", out);
                return Ok(Heard::Nothing);
            }
            opt::LIST => return Ok(Heard::List),
            _ => {
                self.structured = true;
                reply::option(option, rep::ACK, &[], out);
                return Ok(Heard::Nothing);
            }
        };
        Ok(heard.unwrap_or_else(|bad| {
            let (kind, why) = bad.reply();
            reply::option(option, kind, why.as_bytes(), out);
            Heard::Nothing
        }))
    }

    /// Answers [`Heard::List`].
    pub fn list(&self, exports: &[Export], out: &mut Vec<u8>) {
        if exports.len() > MAX_LISTED {
            return reply::option(opt::LIST, rep::ERR_TOO_BIG, b"there are too many exports to list", out);
        }
        for export in exports {
            reply::server(export, out);
        }
        reply::option(opt::LIST, rep::ACK, &[], out);
    }

    /// Answers [`Heard::Info`] with what was found; with `go`, and where it was found, the transmission begins.
    pub fn info(
        &self,
        wish: &ExportWish,
        go: bool,
        found: Result<&Export, &Refusal>,
        out: &mut Vec<u8>,
    ) -> Option<Session> {
        let option = if go { opt::GO } else { opt::INFO };
        match found {
            Ok(export) => {
                reply::infos(option, export, export.flags(self.structured), wish, out);
                reply::option(option, rep::ACK, &[], out);
                go.then(|| self.session(&wish.name, export))
            }
            Err(refusal) => {
                reply::option(option, refusal.reply(), refusal.to_string().as_bytes(), out);
                None
            }
        }
    }

    /// Answers [`Heard::Contexts`]; `set` is its flag.
    pub fn contexts(
        &mut self,
        wish: ContextWish,
        set: bool,
        found: Result<&Export, &Refusal>,
        out: &mut Vec<u8>,
    ) {
        let option = if set { opt::SET_META_CONTEXT } else { opt::LIST_META_CONTEXT };
        if let Err(refusal) = found {
            return reply::option(option, refusal.reply(), refusal.to_string().as_bytes(), out);
        }
        if wish.allocation {
            reply::context(option, set, out);
        }
        reply::option(option, rep::ACK, &[], out);
        if set && wish.allocation {
            self.selected = Some(wish.name);
        }
    }

    /// Answers [`Heard::Enter`]: the transmission begins.
    pub fn enter(&self, name: &str, export: &Export, out: &mut Vec<u8>) -> Session {
        let zeroes = if self.no_zeroes { 0 } else { numbers::ZEROES };
        reply::export_name(export, export.flags(self.structured), zeroes, out);
        self.session(name, export)
    }

    /// Contexts were selected for one export, by the name that the client used.
    fn session(&self, name: &str, export: &Export) -> Session {
        Session {
            size: export.size,
            read_only: export.read_only,
            structured: self.structured,
            contexts: self.selected.as_deref() == Some(name),
        }
    }
}

#[cfg(test)]
mod tests;
