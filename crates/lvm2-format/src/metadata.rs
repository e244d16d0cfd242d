//! A whole text: the VG and the header fields that say what the text is and who wrote it (lvm2.md 1.7).
//!
//! What must hold:
//! - `contents` and `version` are LVM2's, or the text is refused.
//! - On a device the first word of the text is the VG's name.
//! - The first section is the VG; items beside it that we have no field for are kept.

use crate::text::{self, Dialect, Duplicate, Item, Notes, ParseError, Scalar, Section, WriteError};
use crate::vg::{Fields, ReadError, Refusal, Vg};

const CONTENTS: &str = "Text Format Volume Group";
const VERSION: i64 = 1;

/// Names that no VG can have: LVM2 2.03.16 does not read, and so does not write, a text whose VG has one of them. It
/// takes the names of the other header fields.
fn is_taken(name: &str) -> bool {
    matches!(name, "contents" | "version")
}

/// The header fields of a text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Header {
    /// Which command wrote it: `Write from lvcreate ...`.
    pub description: String,
    /// `uname -n` of the machine that wrote it.
    pub creation_host: String,
    /// The system ID of that machine, where it has one.
    pub creation_host_system_id: Option<String>,
    /// Seconds since 1970.
    pub creation_time: i64,
    /// Items we have no field for.
    pub other: Vec<Item>,
}

/// A text's meaning.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Metadata {
    /// Who wrote it.
    pub header: Header,
    /// What it says.
    pub vg: Vg,
}

/// Why bytes are not a VG's text.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MetadataError {
    /// On a device: the first word is not the name of the VG.
    #[error("the text does not start with the name of its VG")]
    NoName,
    /// Not a text.
    #[error("the text is damaged: {0}")]
    Parse(#[from] ParseError),
    /// A text, but not of a VG we understand.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// A text that was read, and what is odd about it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Imported {
    /// The meaning.
    pub metadata: Metadata,
    /// Keys that came twice: LVM2 warns and takes the later one, and so do we.
    pub duplicates: Vec<Duplicate>,
}

impl Metadata {
    /// From a text as a device or a backup file holds it.
    pub fn parse(bytes: &[u8], dialect: Dialect) -> Result<Imported, MetadataError> {
        let document = text::parse(bytes)?;
        let metadata = Self::from_tree(document.root)?;
        // LVM2 takes the first word for the VG's name before it trusts the rest: both must say the same.
        if dialect == Dialect::Disk && text::first_word(bytes) != Some(metadata.vg.name.as_str()) {
            return Err(MetadataError::NoName);
        }
        Ok(Imported { metadata, duplicates: document.duplicates })
    }

    /// As a text of the given dialect; on a device the NUL at its end is part of it.
    pub fn write(&self, dialect: Dialect, notes: &Notes<'_>) -> Result<Vec<u8>, WriteError> {
        if is_taken(self.vg.name.as_str()) {
            return Err(WriteError::KeyTwice(self.vg.name.to_string()));
        }
        text::write(&self.to_tree(), dialect, notes)
    }

    /// From a tree.
    pub fn from_tree(root: Section) -> Result<Self, ReadError> {
        let mut fields = Fields::new("text".to_owned(), root);
        match fields.string("contents")? {
            Some(found) if found != CONTENTS => {
                let found = found.escape_debug().to_string();
                return Err(fields.error("contents", Refusal::Not { expected: CONTENTS, found }));
            }
            found => fields.need("contents", found)?,
        };
        match fields.needed_number::<i64>("version")? {
            VERSION => {}
            found => {
                return Err(fields.error("version", Refusal::Not { expected: "1", found: found.to_string() }));
            }
        }
        let mut sections = fields.sections().into_iter();
        let (name, section) = fields.need("a section for the VG", sections.next())?;
        if is_taken(&name) {
            return Err(fields.error(&name, Refusal::NotA("a name that a VG can have")));
        }
        let vg = Vg::from_section(&name, section)?;
        let description = fields.lossy_string("description")?.unwrap_or_default();
        let creation_host = fields.lossy_string("creation_host")?.unwrap_or_default();
        let creation_host_system_id = fields.string("creation_host_system_id")?;
        let creation_time = fields.int("creation_time")?.unwrap_or(0);
        let mut other = fields.rest();
        other.extend(sections.map(|(key, section)| Item::section(&key, section)));
        let header = Header { description, creation_host, creation_host_system_id, creation_time, other };
        Ok(Self { header, vg })
    }

    /// As a tree, in LVM2's order.
    pub fn to_tree(&self) -> Section {
        let mut items = vec![
            Item::section(self.vg.name.as_str(), self.vg.to_section()),
            Item::scalar("contents", CONTENTS),
            Item::scalar("version", Scalar::Int(VERSION)),
            Item::scalar("description", self.header.description.as_str()),
            Item::scalar("creation_host", self.header.creation_host.as_str()),
        ];
        let system_id = self.header.creation_host_system_id.as_deref();
        items.extend(system_id.map(|text| Item::scalar("creation_host_system_id", text)));
        items.push(Item::scalar("creation_time", Scalar::Int(self.header.creation_time)));
        items.extend(self.header.other.iter().cloned());
        Section { items }
    }
}
