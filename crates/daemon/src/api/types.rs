//! What goes over the API: plain values, as Varlink knows them.
//!
//! What must hold:
//! - A value that came over the socket is checked when it becomes one of ours, and refused with the reason.
//! - Verbs and tables are the texts that `dmsetup` shows; headers are hexadecimal.

use foldback_dm_table::{DeviceRef, DmName, HeaderWrite, Table, Transaction, Verb};
use foldback_units::Bytes;
use serde::{Deserialize, Serialize};
use zlink::introspect::Type;

/// One verb.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, Type)]
pub struct VerbText {
    /// `create`, `load`, `suspend`, `resume`, `clear`, `rename` or `remove`.
    pub verb: String,
    /// The device.
    pub name: String,
    /// Of `create`.
    pub uuid: Option<String>,
    /// Of `load`: the table's lines.
    pub table: Option<String>,
    /// Of `rename`: the new name.
    pub new: Option<String>,
    /// Of `load`: refuse writes. Of `suspend`: freeze a file system first.
    pub flag: bool,
}

/// One header that commits a change.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, Type)]
pub struct HeaderText {
    /// The PV's path.
    pub pv: String,
    /// Byte on it.
    pub offset: u64,
    /// 512 bytes, hexadecimal.
    pub commit: String,
    /// 512 bytes, hexadecimal.
    pub revert: String,
}

/// A change of a VG and of its live devices.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, Type)]
pub struct TransactionText {
    /// What changes nothing live.
    pub preload: Vec<VerbText>,
    /// Top-down.
    pub suspend: Vec<VerbText>,
    /// The commit.
    pub headers: Vec<HeaderText>,
    /// Bottom-up.
    pub resume: Vec<VerbText>,
    /// What is left over.
    pub clean: Vec<VerbText>,
}

/// What lay in a snapshot's store when it was counted.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, Type)]
pub struct CountedInfo {
    /// The snapshot's device.
    pub device: String,
    /// Sectors of data.
    pub sectors: u64,
}

/// A merge.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, Type)]
pub struct MergeInfo {
    /// Chunks when it began.
    pub chunks_total: u64,
    /// Chunks that are left.
    pub chunks_left: u64,
    /// Sectors of each.
    pub chunk_sectors: u64,
    /// Somebody has paused it.
    pub paused: bool,
    /// It stands, for an error.
    pub failed: bool,
    /// Only the metadata's end is missing.
    pub finished: bool,
    /// Chunks merged in a second, where that is known.
    pub rate: Option<u64>,
    /// Bytes that it may move in a second, where that is limited.
    pub limit: Option<u64>,
}

/// Writes that need room in a snapshot's store wait for it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, Type)]
pub struct StoreWaitInfo {
    /// For so many seconds.
    pub seconds: u64,
    /// After so many more the snapshot is invalidated.
    pub seconds_left: u64,
    /// Why the store was not extended.
    pub why: String,
}

/// A live volume.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, Type)]
pub struct LvInfo {
    /// The LV's UUID.
    pub id: String,
    /// Its device-mapper name.
    pub device: String,
    /// Its length.
    pub sectors: u64,
    /// Its requests wait.
    pub suspended: bool,
    /// How many use it: tables of other devices, and one more where programs have it open.
    pub open_count: u32,
    /// The live table.
    pub table: String,
    /// Its status, a text for each line.
    pub status: Vec<String>,
    /// What merges into it.
    pub merge: Option<MergeInfo>,
    /// Sectors of its store that are taken in a second, where that is known.
    pub fill_rate: Option<u64>,
    /// Its store is full, and writes wait for room in it.
    pub wait: Option<StoreWaitInfo>,
    /// The file that serves it.
    pub file: Option<String>,
    /// The block device on that file.
    pub block: Option<String>,
    /// Links to the block device.
    pub links: Vec<String>,
    /// Addresses of NBD servers: `unix:PATH` or `tcp:ADDRESS:PORT`.
    pub nbd: Vec<String>,
}

/// A VG with live volumes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, Type)]
pub struct VgInfo {
    /// Its name now.
    pub name: String,
    /// Its UUID.
    pub id: String,
    /// Its PVs' paths.
    pub devices: Vec<String>,
    /// Why its requests wait, where somebody changed what it stands on.
    pub trouble: Option<String>,
    /// Why volumes are not served as files, where that is so.
    pub no_files: Option<String>,
    /// Stores are extended before they are full, by lvm.conf's threshold.
    pub extends_stores: bool,
    /// Its live volumes.
    pub lvs: Vec<LvInfo>,
}

/// A VG that was active when a daemon died, and could not be taken up again yet.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, Type)]
pub struct LeftInfo {
    /// Its name then.
    pub name: String,
    /// Why not.
    pub why: String,
}

/// Which chunks of a volume are kept in stores, by cells of equal length; the last cell may be shorter.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, Type)]
pub struct MapInfo {
    /// `snapshot`, `origin`, `merge`, or `plain` where no snapshot is involved.
    pub of: String,
    /// The volume's length.
    pub sectors: u64,
    /// A cell's length: a power of two.
    pub cell_sectors: u64,
    /// For each cell, sectors that are kept in a store; of a merge: that are still to be merged.
    pub kept: Vec<u64>,
    /// Of a merge, for each cell: sectors that were merged since the volume was activated.
    pub merged: Option<Vec<u64>>,
}

/// Something that happened.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, Type)]
pub struct EventInfo {
    /// `listening` (the first), `volume-appeared`, `volume-gone`, `merge-started`, `merge-ended`, `merge-failed`,
    /// `merge-goes-on`, `store-filling`, `store-lost`, `requests-held` or `requests-go-on`.
    pub kind: String,
    /// The VG; empty for `listening`.
    pub vg: String,
    /// The volume's device, where it is about one.
    pub device: Option<String>,
    /// The LV's UUID.
    pub id: Option<String>,
    /// More, for people.
    pub text: String,
}

/// Metrics.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, Type)]
pub struct MetricsText {
    /// In Prometheus's text format 0.0.4.
    pub text: String,
}

/// What came of an activation.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, Type)]
pub struct ActivationInfo {
    /// LVs that were brought up now.
    pub now: Vec<String>,
    /// Sentences about those that could not be.
    pub failed: Vec<String>,
    /// How many LVs of the VG are active.
    pub active: u64,
    /// Merges that go on.
    pub merging: u64,
}

/// One device.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, Type)]
pub struct DeviceInfo {
    /// Its name.
    pub name: String,
    /// Its UUID.
    pub uuid: String,
    /// Its requests wait.
    pub suspended: bool,
    /// Its live table, empty without one.
    pub table: String,
    /// Its status, a text for each line.
    pub status: Vec<String>,
    /// A table waits in the inactive slot.
    pub inactive: bool,
    /// How many use it, tables included.
    pub open_count: u32,
    /// Events it raised.
    pub event: u32,
}

/// A value that is none of ours.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{what}: {value:?} is not understood")]
pub struct BadValue {
    what: &'static str,
    value: String,
}

fn bad(what: &'static str, value: &str) -> BadValue {
    BadValue { what, value: value.to_owned() }
}

impl From<&Verb> for VerbText {
    fn from(verb: &Verb) -> Self {
        let text = |word: &str, name: &DmName| Self {
            verb: word.to_owned(),
            name: name.0.clone(),
            uuid: None,
            table: None,
            new: None,
            flag: false,
        };
        match verb {
            Verb::Create { name, uuid, .. } => Self { uuid: Some(uuid.clone()), ..text("create", name) },
            Verb::Load { name, table, read_only } => {
                Self { table: Some(table.to_string()), flag: *read_only, ..text("load", name) }
            }
            Verb::Suspend { name, lockfs } => Self { flag: *lockfs, ..text("suspend", name) },
            Verb::Resume { name } => text("resume", name),
            Verb::Clear { name } => text("clear", name),
            Verb::Remove { name } => text("remove", name),
            Verb::Rename { name, new } => Self { new: Some(new.0.clone()), ..text("rename", name) },
        }
    }
}

impl TryFrom<&VerbText> for Verb {
    type Error = BadValue;

    fn try_from(text: &VerbText) -> Result<Self, BadValue> {
        let name = DmName(text.name.clone());
        Ok(match text.verb.as_str() {
            "create" => Self::Create { name, uuid: text.uuid.clone().unwrap_or_default(), minor: None },
            "load" => {
                let table = text.table.as_deref().unwrap_or_default();
                let parsed = Table::parse(table).map_err(|_| bad("a table", table))?;
                Self::Load { name, table: parsed, read_only: text.flag }
            }
            "suspend" => Self::Suspend { name, lockfs: text.flag },
            "resume" => Self::Resume { name },
            "clear" => Self::Clear { name },
            "remove" => Self::Remove { name },
            "rename" => Self::Rename { name, new: DmName(text.new.clone().unwrap_or_default()) },
            other => return Err(bad("a verb", other)),
        })
    }
}

impl From<&Transaction> for TransactionText {
    fn from(transaction: &Transaction) -> Self {
        let verbs = |verbs: &[Verb]| verbs.iter().map(VerbText::from).collect();
        Self {
            preload: verbs(&transaction.preload),
            suspend: verbs(&transaction.suspend),
            headers: transaction.headers.iter().map(HeaderText::from).collect(),
            resume: verbs(&transaction.resume),
            clean: verbs(&transaction.clean),
        }
    }
}

impl TryFrom<&TransactionText> for Transaction {
    type Error = BadValue;

    fn try_from(text: &TransactionText) -> Result<Self, BadValue> {
        let verbs = |verbs: &[VerbText]| -> Result<Vec<Verb>, BadValue> {
            verbs.iter().map(Verb::try_from).collect()
        };
        Ok(Self {
            preload: verbs(&text.preload)?,
            suspend: verbs(&text.suspend)?,
            headers: text.headers.iter().map(HeaderWrite::try_from).collect::<Result<_, _>>()?,
            resume: verbs(&text.resume)?,
            clean: verbs(&text.clean)?,
        })
    }
}

impl From<&HeaderWrite> for HeaderText {
    fn from(header: &HeaderWrite) -> Self {
        Self {
            pv: header.pv.0.clone(),
            offset: header.offset.get(),
            commit: to_hex(&header.commit[..]),
            revert: to_hex(&header.revert[..]),
        }
    }
}

impl TryFrom<&HeaderText> for HeaderWrite {
    type Error = BadValue;

    fn try_from(text: &HeaderText) -> Result<Self, BadValue> {
        Ok(Self {
            pv: DeviceRef(text.pv.clone()),
            offset: Bytes(text.offset),
            commit: sector(&text.commit)?,
            revert: sector(&text.revert)?,
        })
    }
}

fn to_hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte.checked_shr(4).unwrap_or_default(), byte & 15]);
    digits.filter_map(|digit| char::from_digit(digit.into(), 16)).collect()
}

fn sector(text: &str) -> Result<Box<[u8; 512]>, BadValue> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let bytes =
        pairs.iter().map(|[high, low]| Some(digit(high)?.checked_mul(16)?.saturating_add(digit(low)?)));
    let bytes: Option<Vec<u8>> = bytes.collect();
    let whole = bytes.filter(|_| rest.is_empty()).and_then(|bytes| <Box<[u8; 512]>>::try_from(bytes).ok());
    whole.ok_or_else(|| bad("a metadata header", text))
}

#[cfg(test)]
mod tests {
    use super::{TransactionText, sector, to_hex};
    use foldback_dm_table::{DeviceRef, DmName, HeaderWrite, Table, Transaction, Verb};
    use foldback_units::Bytes;

    #[test]
    fn a_transaction_survives_the_way() {
        let name = || DmName("vg-root".to_owned());
        let table = Table::parse("0 8192 snapshot-origin vg-root-real\n").unwrap();
        let header = HeaderWrite {
            pv: DeviceRef("/pv.img".to_owned()),
            offset: Bytes(4096),
            commit: Box::new([0xa5; 512]),
            revert: Box::new([0x0f; 512]),
        };
        let transaction = Transaction {
            preload: vec![
                Verb::Create { name: name(), uuid: "LVM-x".to_owned(), minor: None },
                Verb::Load { name: name(), table, read_only: true },
            ],
            suspend: vec![Verb::Suspend { name: name(), lockfs: true }],
            headers: vec![header],
            resume: vec![Verb::Resume { name: name() }],
            clean: vec![Verb::Clear { name: name() }, Verb::Remove { name: name() }],
        };
        let text = TransactionText::from(&transaction);
        assert_eq!(Transaction::try_from(&text).unwrap(), transaction);
        let mut wrong = text.clone();
        wrong.suspend[0].verb = "melt".to_owned();
        assert!(Transaction::try_from(&wrong).unwrap_err().to_string().contains("melt"));
        let mut wrong = text;
        wrong.headers[0].commit.pop();
        assert!(Transaction::try_from(&wrong).is_err());
    }

    #[test]
    fn a_header_is_512_bytes_and_nothing_else() {
        assert_eq!(*sector(&to_hex(&[7; 512])).unwrap(), [7; 512]);
        assert!(sector(&to_hex(&[7; 511])).is_err());
        assert!(sector(&"zz".repeat(512)).is_err());
    }
}
