//! The tree of a text: sections of ordered items, each a value or a section.
//!
//! What must hold:
//! - A section holds a key at most once, when it came from a text; the top once as a value and once as a section.
//! - A float keeps the characters it was written with; a string that is not UTF-8 keeps its bytes.

/// A single value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Scalar {
    /// A whole number; LVM2 computes with 64 bits and a sign.
    Int(i64),
    /// A number with a point, as it was written. No key of a VG has one.
    Float(String),
    /// A string, without its quotes and escapes.
    Str(String),
    /// A string that is not UTF-8.
    Bytes(Vec<u8>),
}

impl From<&str> for Scalar {
    fn from(text: &str) -> Self {
        Self::Str(text.to_owned())
    }
}

impl From<u32> for Scalar {
    fn from(number: u32) -> Self {
        Self::Int(i64::from(number))
    }
}

/// What stands behind an equals sign.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Value {
    /// One scalar.
    Scalar(Scalar),
    /// A list in brackets, perhaps empty.
    Array(Vec<Scalar>),
}

/// What belongs to a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Node {
    /// `key = value`
    Value(Value),
    /// `key { ... }`
    Section(Section),
}

/// A key and what belongs to it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Item {
    /// The key; see [`is_plain_key`].
    pub key: String,
    /// Its value or section.
    pub node: Node,
}

impl Item {
    /// `key = scalar`
    pub fn scalar(key: &str, scalar: impl Into<Scalar>) -> Self {
        Self { key: key.to_owned(), node: Node::Value(Value::Scalar(scalar.into())) }
    }

    /// `key = [ ... ]`
    pub fn array(key: &str, scalars: Vec<Scalar>) -> Self {
        Self { key: key.to_owned(), node: Node::Value(Value::Array(scalars)) }
    }

    /// `key { ... }`
    pub fn section(key: &str, section: Section) -> Self {
        Self { key: key.to_owned(), node: Node::Section(section) }
    }
}

/// Ordered items.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Section {
    /// In the order of the text.
    pub items: Vec<Item>,
}

impl Section {
    /// What belongs to `key`. Where a section made in memory holds a key twice, the later one counts, as in LVM2.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.items.iter().rev().find(|item| item.key == key).map(|item| &item.node)
    }

    /// The whole number at `key`.
    pub fn int(&self, key: &str) -> Option<i64> {
        self.items.iter().rev().filter(|item| item.key == key).find_map(|item| match &item.node {
            Node::Value(Value::Scalar(Scalar::Int(number))) => Some(*number),
            _ => None,
        })
    }

    /// The section at `key`.
    pub fn section(&self, key: &str) -> Option<&Section> {
        self.items.iter().rev().filter(|item| item.key == key).find_map(|item| match &item.node {
            Node::Section(section) => Some(section),
            Node::Value(_) => None,
        })
    }
}

/// Whether `key` can stand in a text as a bare word that every reader takes for one word.
///
/// Names of VGs and LVs are plain. A slash is not: LVM2's parser takes `a/b` for `b` inside a section `a`.
pub fn is_plain_key(key: &str) -> bool {
    !key.is_empty()
        && key.bytes().all(|byte| {
            byte.is_ascii_graphic()
                && !matches!(
                    byte,
                    b'#' | b'=' | b'{' | b'}' | b'[' | b']' | b',' | b'/' | b'"' | b'\'' | b'@' | b'\\'
                )
        })
}
