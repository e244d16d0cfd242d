//! The devices file, `/etc/lvm/devices/system.devices`: the devices that may be used, and no others.
//!
//! What must hold (lvm2.md trap 18):
//! - A line that is not understood lists nothing, so a device is left out rather than taken by mistake.
//! - An entry is matched by what its IDTYPE says; by its name only where it says `devname`.

use foldback_device::scan::{BlockDevice, Traits};
use std::fs;
use std::path::Path;

/// The entries.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct DevicesFile {
    entries: Vec<Entry>,
}

#[derive(Clone, PartialEq, Eq, Default, Debug)]
struct Entry {
    id_type: String,
    id_name: String,
    part: Option<u32>,
}

impl DevicesFile {
    /// Reads the text.
    pub fn parse(text: &str) -> Self {
        let lines = text.lines().map(str::trim).filter(|line| line.starts_with("IDTYPE="));
        Self { entries: lines.map(entry).filter(|entry| !matches!(&*entry.id_name, "" | ".")).collect() }
    }

    /// Whether a device is listed.
    pub fn lists(&self, device: &BlockDevice, traits: &Traits) -> bool {
        self.entries.iter().any(|entry| entry.is_of(device, traits))
    }
}

fn entry(line: &str) -> Entry {
    let mut entry = Entry::default();
    for (key, value) in line.split_whitespace().filter_map(|word| word.split_once('=')) {
        match key {
            "IDTYPE" => value.clone_into(&mut entry.id_type),
            "IDNAME" => value.clone_into(&mut entry.id_name),
            "PART" => entry.part = value.parse().ok().filter(|part| *part != 0),
            _ => {}
        }
    }
    entry
}

impl Entry {
    fn is_of(&self, device: &BlockDevice, traits: &Traits) -> bool {
        let id = self.id_name.as_str();
        let dm = |prefix: &str| {
            traits.dm_uuid.as_deref().is_some_and(|uuid| uuid.starts_with(prefix) && uuid == id)
        };
        match self.id_type.as_str() {
            "devname" => device.names.iter().any(|name| name == Path::new(id)),
            "loop_file" => self.part.is_none() && traits.loop_file.as_deref() == Some(id),
            "mpath_uuid" => dm("mpath-"),
            "crypt_uuid" => dm("CRYPT-"),
            "lvmlv_uuid" => dm("LVM-"),
            "sys_wwid" => self.in_sysfs(device, &["device/wwid", "wwid"]),
            "sys_serial" => self.in_sysfs(device, &["device/serial", "serial"]),
            "md_uuid" => self.in_sysfs(device, &["md/uuid"]),
            _ => false,
        }
    }

    /// A partition has no identity of its own in sysfs: it is its disk's, and its number.
    fn in_sysfs(&self, device: &BlockDevice, places: &[&str]) -> bool {
        let own = device.sysfs();
        let read = |path: &Path| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let part: Option<u32> = read(&own.join("partition")).parse().ok();
        if part != self.part {
            return false;
        }
        // "..": sysfs' own links make the parent directory that of the disk.
        let disk = if part.is_some() { fs::canonicalize(&own).unwrap_or(own).join("..") } else { own };
        let blanks_as_lvm2 = |text: String| text.split_whitespace().collect::<Vec<_>>().join("_");
        places.iter().any(|place| blanks_as_lvm2(read(&disk.join(place))) == self.id_name)
    }
}

#[cfg(test)]
mod tests {
    use super::DevicesFile;
    use foldback_device::scan::{BlockDevice, Traits};

    #[test]
    fn an_entry_is_matched_by_its_kind_of_id() {
        let text = "# LVM uses devices listed in this file.\nSYSTEMID=\nVERSION=1.1.2\n\
                    IDTYPE=devname IDNAME=/dev/sdb DEVNAME=/dev/sdb PVID=abc\n\
                    IDTYPE=loop_file IDNAME=/srv/disk.img DEVNAME=/dev/loop0 PVID=abc\n\
                    IDTYPE=mpath_uuid IDNAME=mpath-123 DEVNAME=/dev/dm-0 PVID=abc\n\
                    IDTYPE=sys_wwid IDNAME=. DEVNAME=/dev/sdz PVID=abc\n";
        let file = DevicesFile::parse(text);
        let lists = |name: &str, traits: &Traits| {
            file.lists(&BlockDevice { number: 0, names: vec![name.into()] }, traits)
        };
        assert!(lists("/dev/sdb", &Traits::default()));
        assert!(!lists("/dev/sdz", &Traits::default()), "no id, no device");
        let looped = |file: &str| Traits { loop_file: Some(file.to_owned()), ..Traits::default() };
        assert!(lists("/dev/loop5", &looped("/srv/disk.img")) && !lists("/dev/loop0", &looped("/srv/other")));
        let mapped = |uuid: &str| Traits { dm_uuid: Some(uuid.to_owned()), ..Traits::default() };
        assert!(lists("/dev/mapper/a", &mapped("mpath-123")) && !lists("/dev/dm-0", &mapped("LVM-123")));
    }
}
