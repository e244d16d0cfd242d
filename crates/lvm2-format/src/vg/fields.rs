//! Taking a section apart key by key; what nobody took stays, in its order.
//!
//! What must hold:
//! - Each key is taken at most once, and what is not taken comes out of [`Fields::rest`]: no key gets lost.
//! - An error names the section and the key.

use super::error::{ReadError, Refusal};
use super::types::AllocationPolicy;
use super::words::{Flags, Word};
use crate::text::{Item, Node, Scalar, Section, Value};
use foldback_units::{LvmUuid, TagName};
use std::collections::BTreeSet;

/// The flag that stands for `WRITE` where old programs must not write.
pub(super) const WRITE_LOCKED: &str = "WRITE_LOCKED";

pub(crate) struct Fields {
    place: String,
    items: Vec<Option<Item>>,
}

impl Fields {
    pub(crate) fn new(place: String, section: Section) -> Self {
        Self { place, items: section.items.into_iter().map(Some).collect() }
    }

    pub(crate) fn place(&self) -> &str {
        &self.place
    }

    pub(crate) fn error(&self, key: &str, reason: impl Into<Refusal>) -> ReadError {
        let place = if key.is_empty() { self.place.clone() } else { format!("{}/{key}", self.place) };
        ReadError { place, reason: reason.into() }
    }

    /// What nobody took.
    pub(crate) fn rest(self) -> Vec<Item> {
        self.items.into_iter().flatten().collect()
    }

    /// Takes all sections out, in their order.
    pub(crate) fn sections(&mut self) -> Vec<(String, Section)> {
        let mut sections = Vec::new();
        for slot in &mut self.items {
            match slot.take() {
                Some(Item { key, node: Node::Section(section) }) => sections.push((key, section)),
                item => *slot = item,
            }
        }
        sections
    }

    fn take(&mut self, key: &str) -> Option<Node> {
        let slot =
            self.items.iter_mut().rev().find(|slot| slot.as_ref().is_some_and(|item| item.key == key))?;
        slot.take().map(|item| item.node)
    }

    /// Whether `key` is there, and was not taken.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.items.iter().flatten().any(|item| item.key == key)
    }

    pub(crate) fn need<T>(&self, key: &str, value: Option<T>) -> Result<T, ReadError> {
        value.ok_or_else(|| self.error(key, Refusal::Missing))
    }

    pub(crate) fn section(&mut self, key: &str) -> Result<Option<Section>, ReadError> {
        match self.take(key) {
            None => Ok(None),
            Some(Node::Section(section)) => Ok(Some(section)),
            Some(Node::Value(_)) => Err(self.error(key, Refusal::NotA("a section"))),
        }
    }

    fn scalar(&mut self, key: &str, kind: &'static str) -> Result<Option<Scalar>, ReadError> {
        match self.take(key) {
            None => Ok(None),
            Some(Node::Value(Value::Scalar(scalar))) => Ok(Some(scalar)),
            Some(_) => Err(self.error(key, Refusal::NotA(kind))),
        }
    }

    pub(crate) fn string(&mut self, key: &str) -> Result<Option<String>, ReadError> {
        match self.scalar(key, "a string")? {
            None => Ok(None),
            Some(Scalar::Str(text)) => Ok(Some(text)),
            Some(_) => Err(self.error(key, Refusal::NotA("a string"))),
        }
    }

    /// A string for people: bytes that are not UTF-8 are shown as a replacement character.
    pub(crate) fn lossy_string(&mut self, key: &str) -> Result<Option<String>, ReadError> {
        match self.scalar(key, "a string")? {
            None => Ok(None),
            Some(Scalar::Str(text)) => Ok(Some(text)),
            Some(Scalar::Bytes(bytes)) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
            Some(_) => Err(self.error(key, Refusal::NotA("a string"))),
        }
    }

    pub(crate) fn int(&mut self, key: &str) -> Result<Option<i64>, ReadError> {
        match self.scalar(key, "a number")? {
            None => Ok(None),
            Some(Scalar::Int(number)) => Ok(Some(number)),
            Some(_) => Err(self.error(key, Refusal::NotA("a number"))),
        }
    }

    pub(crate) fn number<T: TryFrom<i64>>(&mut self, key: &str) -> Result<Option<T>, ReadError> {
        let Some(number) = self.int(key)? else { return Ok(None) };
        T::try_from(number).map(Some).map_err(|_| self.error(key, Refusal::Range(number)))
    }

    pub(crate) fn needed_number<T: TryFrom<i64>>(&mut self, key: &str) -> Result<T, ReadError> {
        let number = self.number(key)?;
        self.need(key, number)
    }

    /// A list. One of one element may stand without brackets: LVM2 drops them where it writes back what it did not
    /// know, and reads both.
    pub(crate) fn array(&mut self, key: &str) -> Result<Option<Vec<Scalar>>, ReadError> {
        match self.take(key) {
            None => Ok(None),
            Some(Node::Value(Value::Array(scalars))) => Ok(Some(scalars)),
            Some(Node::Value(Value::Scalar(scalar))) => Ok(Some(vec![scalar])),
            Some(Node::Section(_)) => Err(self.error(key, Refusal::NotA("a list"))),
        }
    }

    pub(crate) fn strings(&mut self, key: &str) -> Result<Option<Vec<String>>, ReadError> {
        let Some(scalars) = self.array(key)? else { return Ok(None) };
        let mut strings = Vec::new();
        for scalar in scalars {
            let Scalar::Str(text) = scalar else {
                return Err(self.error(key, Refusal::NotA("a list of strings")));
            };
            strings.push(text);
        }
        Ok(Some(strings))
    }

    pub(crate) fn uuid(&mut self) -> Result<LvmUuid, ReadError> {
        let text = self.string("id")?;
        let text = self.need("id", text)?;
        LvmUuid::parse(&text).map_err(|bad| self.error("id", bad))
    }

    pub(crate) fn tags(&mut self) -> Result<Vec<TagName>, ReadError> {
        let texts = self.strings("tags")?.unwrap_or_default();
        texts.iter().map(|text| TagName::new(text).map_err(|bad| self.error("tags", bad))).collect()
    }

    /// `status`: every word must be known.
    pub(crate) fn status<W: Word>(&mut self) -> Result<BTreeSet<W>, ReadError> {
        let texts = self.strings("status")?;
        let texts = self.need("status", texts)?;
        let word = |text: String| {
            W::parse(&text)
                .ok_or_else(|| self.error("status", Refusal::UnknownStatus(text.escape_debug().to_string())))
        };
        texts.into_iter().map(word).collect()
    }

    /// `flags`: absent in old texts; unknown words are kept.
    pub(crate) fn flags<W: Word>(&mut self) -> Result<Flags<W>, ReadError> {
        let mut flags = Flags::default();
        for text in self.strings("flags")?.unwrap_or_default() {
            match W::parse(&text) {
                Some(word) => flags.set(word, true),
                None => flags.unknown.push(text),
            }
        }
        Ok(flags)
    }

    /// `status` and `flags` of what can be written to: `WRITE_LOCKED` reads as `write`.
    pub(crate) fn status_and_flags<S: Word, F: Word>(
        &mut self,
        write: S,
    ) -> Result<(BTreeSet<S>, Flags<F>), ReadError> {
        let (mut status, mut flags) = (self.status()?, self.flags::<F>()?);
        let before = flags.unknown.len();
        flags.unknown.retain(|text| text != WRITE_LOCKED);
        if flags.unknown.len() < before {
            status.insert(write);
        }
        Ok((status, flags))
    }

    pub(crate) fn allocation_policy(&mut self) -> Result<Option<AllocationPolicy>, ReadError> {
        let Some(text) = self.string("allocation_policy")? else { return Ok(None) };
        Ok(Some(match text.as_str() {
            "contiguous" => AllocationPolicy::Contiguous,
            "cling" => AllocationPolicy::Cling,
            "normal" => AllocationPolicy::Normal,
            "anywhere" => AllocationPolicy::Anywhere,
            _ => AllocationPolicy::Unknown(text),
        }))
    }
}
