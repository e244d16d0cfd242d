//! The text in which LVM2 keeps a VG: its grammar, its tree, its two dialects (lvm2.md 1.7).
//!
//! What must hold:
//! - The tree keeps every key and every order it was read with; nothing is dropped because it is not known.
//! - Reading and writing are inverse on trees: `parse(write(tree)) == tree`.
//! - Texts are hostile: depth, size and number of items are bounded.

mod layout;
mod parse;
mod tree;
mod write;

#[cfg(test)]
mod tests;

pub use layout::{Dialect, Notes};
pub use parse::{Document, Duplicate, ParseError, ParseErrorKind, first_word, parse};
pub use tree::{Item, Node, Scalar, Section, Value, is_plain_key};
pub use write::{WriteError, write};

/// Sections inside sections; LVM2 needs six.
pub const DEPTH_MAX: usize = 16;
/// Bytes of a text. The largest VGs known to be in use take less than a tenth of this.
pub const TEXT_MAX: usize = 64 << 20;
/// Keys and scalars of a text: what bounds the memory a crafted text can ask for.
pub const ITEMS_MAX: usize = 2 << 20;
