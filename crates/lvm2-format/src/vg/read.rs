//! From tree to VG: the VG's own keys and its PVs (lvm2.md 1.7). LVs are in `read_lv`.
//!
//! What must hold:
//! - Required keys are there and in range; a name that a segment uses exists.
//! - Items without a field end up in `other`, in their order.
//! - What is read may still be inconsistent: [`crate::check`] says so, and is asked before anything is written.

use super::error::{ReadError, Refusal};
use super::fields::Fields;
use super::read_lv::read_lvs;
use super::types::{ExtentSize, Pv, PvKey, Vg};
use super::words::VgStatus;
use crate::text::Section;
use foldback_units::{Sectors, VgName};

impl Vg {
    /// From the VG's section of a text; `name` is the section's key.
    pub fn from_section(name: &str, section: Section) -> Result<Self, ReadError> {
        let mut fields = Fields::new(name.to_owned(), section);
        let name = VgName::new(name).map_err(|bad| fields.error("", bad))?;
        let id = fields.uuid()?;
        check_format(&mut fields)?;
        let extent_size = fields.needed_number("extent_size")?;
        let extent_size =
            ExtentSize::from_sectors(extent_size).map_err(|bad| fields.error("extent_size", bad))?;
        let pvs = fields.section("physical_volumes")?;
        let pvs = read_pvs(&fields, fields.need("physical_volumes", pvs)?)?;
        let lvs = fields.section("logical_volumes")?.unwrap_or_default();
        let lvs = read_lvs(&fields, lvs, &pvs)?;
        let (status, flags) = fields.status_and_flags(VgStatus::Write)?;
        Ok(Self {
            name,
            id,
            seqno: fields.needed_number("seqno")?,
            status,
            flags,
            tags: fields.tags()?,
            system_id: fields.string("system_id")?,
            lock_type: fields.string("lock_type")?,
            extent_size,
            max_lv: fields.needed_number("max_lv")?,
            max_pv: fields.needed_number("max_pv")?,
            allocation_policy: fields.allocation_policy()?,
            metadata_copies: fields.number("metadata_copies")?.unwrap_or(0),
            pvs,
            lvs,
            historical: fields.section("historical_logical_volumes")?,
            other: fields.rest(),
        })
    }
}

/// `format` is informational and may be absent; another format than ours is not to be guessed at.
fn check_format(fields: &mut Fields) -> Result<(), ReadError> {
    match fields.string("format")? {
        Some(found) if found != "lvm2" => Err(fields
            .error("format", Refusal::Not { expected: "lvm2", found: found.escape_debug().to_string() })),
        _ => Ok(()),
    }
}

fn read_pvs(vg: &Fields, section: Section) -> Result<Vec<Pv>, ReadError> {
    let mut list = Fields::new(format!("{}/physical_volumes", vg.place()), section);
    let sections = list.sections();
    if let Some(stray) = list.rest().first() {
        return Err(vg.error(&format!("physical_volumes/{}", stray.key), Refusal::NotA("a section")));
    }
    sections
        .into_iter()
        .map(|(key, section)| {
            read_pv(&key, Fields::new(format!("{}/physical_volumes/{key}", vg.place()), section))
        })
        .collect()
}

fn read_pv(key: &str, mut fields: Fields) -> Result<Pv, ReadError> {
    let key = PvKey::new(key).ok_or_else(|| fields.error("", Refusal::NotA("a plain key")))?;
    let dev_size = fields.number::<u64>("dev_size")?.map(Sectors);
    Ok(Pv {
        key,
        id: fields.uuid()?,
        device: fields.lossy_string("device")?,
        status: fields.status()?,
        flags: fields.flags()?,
        tags: fields.tags()?,
        dev_size,
        pe_start: Sectors(fields.needed_number("pe_start")?),
        pe_count: fields.needed_number("pe_count")?,
        other: fields.rest(),
    })
}
