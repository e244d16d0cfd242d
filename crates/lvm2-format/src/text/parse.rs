//! From text to tree (lvm2.md 1.7, the grammar).
//!
//! What must hold:
//! - A NUL ends the text. Newlines are blanks. Commas in a list are optional.
//! - A key that comes again replaces the value in its first place and is reported; a section that comes again goes on
//!   where it stood. So does LVM2.
//! - A leading zero makes a number octal, as `strtoll` reads it. Nobody writes that.
//! - An error names line and column.
//!
//! - At the top a key can be a value and a section: LVM2 makes and reads VGs called `description`.
//!
//! What LVM2 accepts and we refuse, since no version of it writes it and two readers might understand it differently:
//! a key that is not plain ([`is_plain_key`]), and, inside a section, a key that is both a value and a section.

use super::tree::{Item, Node, Scalar, Section, Value, is_plain_key};
use super::{DEPTH_MAX, ITEMS_MAX, TEXT_MAX};
use std::collections::HashMap;

/// A text that was read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Document {
    /// Everything in it.
    pub root: Section,
    /// Keys that came more than once.
    pub duplicates: Vec<Duplicate>,
}

/// A key that came again; what it said first is gone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Duplicate {
    /// The key.
    pub key: String,
    /// Line of the later one, from 1.
    pub line: usize,
    /// Column of the later one, from 1.
    pub column: usize,
}

/// Why a text is none.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("line {line}, column {column}: {kind}")]
pub struct ParseError {
    /// From 1.
    pub line: usize,
    /// In bytes, from 1.
    pub column: usize,
    /// What is wrong there.
    pub kind: ParseErrorKind,
}

/// What is wrong with a text.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ParseErrorKind {
    /// Longer than any VG's.
    #[error("the text is longer than {TEXT_MAX} bytes")]
    TooLong,
    /// Deeper than any VG's.
    #[error("sections are nested more than {DEPTH_MAX} deep")]
    TooDeep,
    /// More than any VG has.
    #[error("the text has more than {ITEMS_MAX} keys and values")]
    TooMany,
    /// The text ends inside a section, a list or a string.
    #[error("the text ends inside {0}")]
    Ends(&'static str),
    /// Something else was due.
    #[error("expected {0}")]
    Expected(&'static str),
    /// A key with characters that no key has.
    #[error("\"{0}\" cannot be a key")]
    Key(String),
    /// A number that does not fit 64 bits, or an octal one with an 8 or 9.
    #[error("{0} is not a number that fits")]
    Number(String),
    /// `key = value` and `key { }` in one section.
    #[error("\"{0}\" is both a value and a section")]
    ValueAndSection(String),
}

/// The first word of a text, `None` where it starts with none: on a device it must be the VG's name, which LVM2 checks
/// before it trusts the rest.
pub fn first_word(text: &[u8]) -> Option<&str> {
    let mut cursor = Cursor { text, at: 0, items: 0, duplicates: Vec::new() };
    cursor.skip_blanks();
    let word = cursor.bare_word();
    if word.is_empty() { None } else { std::str::from_utf8(word).ok() }
}

/// Reads a text up to its NUL or its end.
pub fn parse(text: &[u8]) -> Result<Document, ParseError> {
    let end = text.iter().position(|&byte| byte == 0).unwrap_or(text.len());
    let text = text.get(..end).unwrap_or_default();
    let mut cursor = Cursor { text, at: 0, items: 0, duplicates: Vec::new() };
    if text.len() > TEXT_MAX {
        return Err(cursor.error(ParseErrorKind::TooLong));
    }
    let mut root = Open::default();
    cursor.items_until_end(&mut root, 0)?;
    let mut duplicates = Vec::new();
    let mut places = Places { text, at: 0, line: 1, line_start: 0 };
    for (key, at) in std::mem::take(&mut cursor.duplicates) {
        let (line, column) = places.of(at);
        duplicates.push(Duplicate { key, line, column });
    }
    Ok(Document { root: root.close(), duplicates })
}

/// Turns ascending offsets into lines and columns in one pass.
struct Places<'a> {
    text: &'a [u8],
    at: usize,
    line: usize,
    line_start: usize,
}

impl Places<'_> {
    fn of(&mut self, at: usize) -> (usize, usize) {
        let passed = self.text.get(self.at..at).unwrap_or_default();
        for (index, _) in passed.iter().enumerate().filter(|(_, byte)| **byte == b'\n') {
            self.line = self.line.saturating_add(1);
            self.line_start = self.at.saturating_add(index).saturating_add(1);
        }
        self.at = at.max(self.at);
        (self.line, at.saturating_sub(self.line_start).saturating_add(1))
    }
}

/// A section while it is read: its keys are looked up, not searched for.
#[derive(Default)]
struct Open {
    items: Vec<(String, OpenNode)>,
    index: HashMap<String, usize>,
}

enum OpenNode {
    Value(Value),
    Section(Open),
}

impl Open {
    /// The place of `key`, made where it is not there yet.
    fn place(&mut self, key: &str) -> Option<usize> {
        self.index.get(key).copied()
    }

    /// Where an item of the wanted kind was displaced from the index by one of the other kind.
    fn other_place(&self, key: &str, section: bool) -> Option<usize> {
        self.index.get(&displaced(key, section)).copied()
    }

    fn push(&mut self, key: String, node: OpenNode) {
        let section = matches!(node, OpenNode::Section(_));
        if let Some(before) = self.index.insert(key.clone(), self.items.len()) {
            self.index.insert(displaced(&key, !section), before);
        }
        self.items.push((key, node));
    }

    fn close(self) -> Section {
        let items = self
            .items
            .into_iter()
            .map(|(key, node)| Item {
                key,
                node: match node {
                    OpenNode::Value(value) => Node::Value(value),
                    OpenNode::Section(open) => Node::Section(open.close()),
                },
            })
            .collect();
        Section { items }
    }
}

/// What no key can be.
fn displaced(key: &str, section: bool) -> String {
    format!("{}{key}", if section { '{' } else { '=' })
}

struct Cursor<'a> {
    text: &'a [u8],
    at: usize,
    items: usize,
    duplicates: Vec<(String, usize)>,
}

impl<'a> Cursor<'a> {
    fn error(&self, kind: ParseErrorKind) -> ParseError {
        self.error_at(self.at, kind)
    }

    fn error_at(&self, at: usize, kind: ParseErrorKind) -> ParseError {
        let (line, column) = Places { text: self.text, at: 0, line: 1, line_start: 0 }.of(at);
        ParseError { line, column, kind }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn step(&mut self) {
        self.at = self.at.saturating_add(1);
    }

    fn take_while(&mut self, wanted: impl Fn(u8) -> bool) -> &'a [u8] {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let len = rest.iter().position(|&byte| !wanted(byte)).unwrap_or(rest.len());
        self.at = self.at.saturating_add(len);
        rest.get(..len).unwrap_or_default()
    }

    fn skip_blanks(&mut self) {
        loop {
            self.take_while(is_blank);
            if self.peek() != Some(b'#') {
                return;
            }
            self.take_while(|byte| byte != b'\n');
        }
    }

    fn bare_word(&mut self) -> &'a [u8] {
        self.take_while(|byte| !is_blank(byte) && !matches!(byte, b'#' | b'=' | b'{' | b'}' | 0))
    }

    fn count(&mut self) -> Result<(), ParseError> {
        self.items = self.items.saturating_add(1);
        if self.items > ITEMS_MAX { Err(self.error(ParseErrorKind::TooMany)) } else { Ok(()) }
    }

    /// Items up to the closing brace of a section, or to the end of the text at depth 0.
    fn items_until_end(&mut self, open: &mut Open, depth: usize) -> Result<(), ParseError> {
        loop {
            self.skip_blanks();
            match self.peek() {
                None if depth == 0 => return Ok(()),
                None => return Err(self.error(ParseErrorKind::Ends("a section"))),
                Some(b'}') if depth > 0 => {
                    self.step();
                    return Ok(());
                }
                Some(_) => self.item(open, depth)?,
            }
        }
    }

    fn item(&mut self, open: &mut Open, depth: usize) -> Result<(), ParseError> {
        self.count()?;
        let at = self.at;
        let key = self.key()?;
        self.skip_blanks();
        let mut again = open.place(&key);
        if depth == 0 {
            // Values and sections do not meet here: what is of the other kind is not the same key come again.
            let section = self.peek() == Some(b'{');
            let is =
                |index: usize| matches!(open.items.get(index), Some((_, OpenNode::Section(_)))) == section;
            again = again.filter(|&index| is(index)).or_else(|| open.other_place(&key, section));
        }
        if again.is_some() {
            self.duplicates.push((key.clone(), at));
        }
        match self.peek() {
            Some(b'=') => {
                self.step();
                let value = self.value()?;
                match again.and_then(|index| open.items.get_mut(index)) {
                    None => open.push(key, OpenNode::Value(value)),
                    Some((_, OpenNode::Value(old))) => *old = value,
                    Some(_) => return Err(self.error_at(at, ParseErrorKind::ValueAndSection(key))),
                }
                Ok(())
            }
            Some(b'{') => {
                let deeper = depth.saturating_add(1);
                if deeper > DEPTH_MAX {
                    return Err(self.error(ParseErrorKind::TooDeep));
                }
                self.step();
                match again.and_then(|index| open.items.get_mut(index)) {
                    None => {
                        let mut inner = Open::default();
                        self.items_until_end(&mut inner, deeper)?;
                        open.push(key, OpenNode::Section(inner));
                        Ok(())
                    }
                    Some((_, OpenNode::Section(inner))) => self.items_until_end(inner, deeper),
                    Some(_) => Err(self.error_at(at, ParseErrorKind::ValueAndSection(key))),
                }
            }
            _ => Err(self.error(ParseErrorKind::Expected("\"=\" or \"{\" behind a key"))),
        }
    }

    fn key(&mut self) -> Result<String, ParseError> {
        let at = self.at;
        let word = match self.peek() {
            Some(quote @ (b'"' | b'\'')) => self.string(quote)?,
            _ => self.bare_word().to_vec(),
        };
        let text = String::from_utf8_lossy(&word);
        if text.is_empty() {
            return Err(self.error_at(at, ParseErrorKind::Expected("a key")));
        }
        if !is_plain_key(&text) {
            return Err(self.error_at(at, ParseErrorKind::Key(text.escape_debug().to_string())));
        }
        Ok(text.into_owned())
    }

    fn value(&mut self) -> Result<Value, ParseError> {
        self.skip_blanks();
        if self.peek() != Some(b'[') {
            return Ok(Value::Scalar(self.scalar()?));
        }
        self.step();
        let mut scalars = Vec::new();
        loop {
            self.skip_blanks();
            match self.peek() {
                None => return Err(self.error(ParseErrorKind::Ends("a list"))),
                Some(b']') => {
                    self.step();
                    return Ok(Value::Array(scalars));
                }
                Some(_) => {
                    self.count()?;
                    scalars.push(self.scalar()?);
                    self.skip_blanks();
                    if self.peek() == Some(b',') {
                        self.step();
                    }
                }
            }
        }
    }

    fn scalar(&mut self) -> Result<Scalar, ParseError> {
        match self.peek() {
            None => Err(self.error(ParseErrorKind::Ends("a value"))),
            Some(quote @ (b'"' | b'\'')) => Ok(from_bytes(self.string(quote)?)),
            Some(b'0'..=b'9' | b'+' | b'-' | b'.') => self.number(),
            Some(_) => {
                let word = self.take_while(|byte| {
                    !is_blank(byte) && !matches!(byte, b'#' | b'=' | b'{' | b'}' | b'[' | b']' | b',')
                });
                if word.is_empty() {
                    return Err(self.error(ParseErrorKind::Expected("a value")));
                }
                Ok(from_bytes(word.to_vec()))
            }
        }
    }

    fn number(&mut self) -> Result<Scalar, ParseError> {
        let at = self.at;
        if matches!(self.peek(), Some(b'+' | b'-')) {
            self.step();
        }
        self.take_while(|byte| byte.is_ascii_digit());
        let float = self.peek() == Some(b'.');
        if float {
            self.step();
            self.take_while(|byte| byte.is_ascii_digit());
        }
        let text = String::from_utf8_lossy(self.text.get(at..self.at).unwrap_or_default()).into_owned();
        let refuse = |text: String| self.error_at(at, ParseErrorKind::Number(text));
        if float {
            return if text.bytes().any(|byte| byte.is_ascii_digit()) {
                Ok(Scalar::Float(text))
            } else {
                Err(refuse(text))
            };
        }
        let digits = text.trim_start_matches(['+', '-']);
        let radix = if digits.len() > 1 && digits.starts_with('0') { 8 } else { 10 };
        i64::from_str_radix(&text, radix).map(Scalar::Int).map_err(|_| refuse(text))
    }

    /// A quoted string; with double quotes a backslash makes a quote or a backslash plain.
    fn string(&mut self, quote: u8) -> Result<Vec<u8>, ParseError> {
        let at = self.at;
        self.step();
        let mut string = Vec::new();
        loop {
            string.extend_from_slice(
                self.take_while(|byte| byte != quote && (byte != b'\\' || quote == b'\'')),
            );
            match self.peek() {
                None => return Err(self.error_at(at, ParseErrorKind::Ends("a string"))),
                Some(b'\\') => {
                    self.step();
                    match self.peek() {
                        Some(escaped @ (b'"' | b'\\')) => {
                            string.push(escaped);
                            self.step();
                        }
                        // A backslash before anything else stands for itself.
                        _ => string.push(b'\\'),
                    }
                }
                Some(_) => {
                    self.step();
                    return Ok(string);
                }
            }
        }
    }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r')
}

fn from_bytes(bytes: Vec<u8>) -> Scalar {
    String::from_utf8(bytes).map_or_else(|error| Scalar::Bytes(error.into_bytes()), Scalar::Str)
}
