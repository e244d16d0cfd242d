//! What there is of a VG's devices at this moment: device-mapper's names and UUIDs, udev's database, and every link.
//!
//! Holds: names and numbers that differ between two VGs of the same shape are told under common names, nothing else is changed; nothing
//! is waited for, and no program is started, so that it is what a command leaves as it returns.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};

/// Lines with a file system's UUID, whose digits are told as zeros.
const UUID_LINES: [&str; 2] = ["E:ID_FS_UUID", "S:disk/by-uuid/"];
/// What says only whether the last event was an activation or one after it, which the kernel's own `watch` makes at any time: the
/// latter leaves an empty flag where the former leaves none.
const OF_THE_LAST_EVENT: [&str; 6] = [
    "E:DM_ACTIVATION=",
    "E:DM_DISABLE_OTHER_RULES_FLAG_OLD=",
    "E:DM_NOSCAN=",
    "E:USEC_INITIALIZED=",
    "I:",
    "E:DM_UDEV_DISABLE_OTHER_RULES_FLAG=\n",
];

/// A device-mapper device.
struct Device {
    kernel_name: String,
    name: String,
    uuid: String,
    suspended: bool,
}

/// Prints it, in lines that are sorted under the common names.
pub(super) fn tell(vg: &str) -> Result<()> {
    let devices = devices()?;
    let mut lines = Vec::new();
    for device in &devices {
        if device.suspended {
            lines.push(format!("suspended {}", device.name));
        }
        if device.name.starts_with(&format!("{vg}-")) {
            lines.push(format!("device {} {}", device.name, device.uuid));
            lines.extend(database(device)?.into_iter().map(|line| format!("udev {} {line}", device.name)));
        }
    }
    let names: BTreeMap<&str, &str> =
        devices.iter().map(|device| (device.kernel_name.as_str(), device.name.as_str())).collect();
    for dir in ["/dev/disk", "/dev/mapper", &format!("/dev/{vg}")] {
        links(Path::new(dir), &mut |link, target| {
            let target = names.get(target).copied().unwrap_or(target);
            if link.contains(&format!("/{vg}/"))
                || target.starts_with(&format!("{vg}-"))
                || link.contains(&format!("/{vg}-"))
            {
                lines.push(format!("link {link} {target}"));
            }
        })?;
    }
    let semaphores = std::fs::read_to_string("/proc/sysvipc/sem").context("reading the semaphores")?;
    lines.extend(semaphores.lines().skip(1).map(|line| format!("semaphore {}", line.trim())));
    let mut lines: Vec<String> = lines.iter().map(|line| neutral(line, vg, &devices)).collect();
    lines.sort();
    for line in lines {
        println!("{line}");
    }
    Ok(())
}

fn devices() -> Result<Vec<Device>> {
    let mut devices = Vec::new();
    for entry in std::fs::read_dir("/sys/block").context("listing the block devices")? {
        let path = entry.context("listing the block devices")?.path();
        let read = |name: &str| {
            std::fs::read_to_string(path.join("dm").join(name)).map(|text| text.trim().to_owned())
        };
        // Others have no such files, and one that goes meanwhile is not there.
        if let (Ok(name), Ok(uuid), Ok(suspended)) = (read("name"), read("uuid"), read("suspended")) {
            let kernel_name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            devices.push(Device { kernel_name, name, uuid, suspended: suspended != "0" });
        }
    }
    Ok(devices)
}

/// udev's record of a device, without what differs from event to event.
fn database(device: &Device) -> Result<Vec<String>> {
    let number = std::fs::read_to_string(Path::new("/sys/block").join(&device.kernel_name).join("dev"))
        .with_context(|| format!("reading the number of {}", device.name))?;
    let path = format!("/run/udev/data/b{}", number.trim());
    let Ok(text) = std::fs::read_to_string(&path) else { return Ok(vec!["has no record".to_owned()]) };
    let lasting = |line: &&str| !OF_THE_LAST_EVENT.iter().any(|start| format!("{line}\n").starts_with(start));
    Ok(text.lines().filter(lasting).map(str::to_owned).collect())
}

fn links(dir: &Path, found: &mut impl FnMut(&str, &str)) -> Result<()> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Ok(()) };
    for entry in entries {
        let path = entry.with_context(|| format!("listing {}", dir.display()))?.path();
        if let Ok(target) = std::fs::read_link(&path) {
            let target = target.file_name().unwrap_or_default().to_string_lossy().into_owned();
            found(&path.to_string_lossy(), &target);
        } else if path.is_dir() {
            links(&path, found)?;
        }
    }
    Ok(())
}

/// The line under names that both VGs share.
fn neutral(line: &str, vg: &str, devices: &[Device]) -> String {
    let mut line = line.to_owned();
    for device in devices {
        if let Some(ids) = device.uuid.strip_prefix("LVM-").and_then(|rest| rest.get(..64)) {
            line = line.replace(ids, "IDS");
        }
    }
    let of_a_file_system = UUID_LINES.iter().any(|start| line.contains(start)) || line.contains("/by-uuid/");
    if of_a_file_system {
        let start = line.find(['=']).or_else(|| line.find("by-uuid/")).unwrap_or(line.len());
        let (head, tail) = line.split_at(start);
        // Behind a link is where it leads.
        let (uuid, target) = tail.split_at(tail.find(' ').unwrap_or(tail.len()));
        line = format!("{head}{}{target}", uuid.replace(|char: char| char.is_ascii_digit(), "0"));
    }
    line.replace(vg, "VG")
}

#[cfg(test)]
mod tests {
    use super::{Device, neutral};

    #[test]
    fn only_what_two_vgs_cannot_share_is_renamed() {
        let uuid = format!("LVM-{}", "x".repeat(64));
        let device = Device { kernel_name: "dm-3".into(), name: "vga-root".into(), uuid, suspended: false };
        let told = |line: &str| neutral(line, "vga", std::slice::from_ref(&device));
        assert_eq!(
            told(&format!("device vga-root LVM-{}-real", "x".repeat(64))),
            "device VG-root LVM-IDS-real"
        );
        assert_eq!(told("udev vga-root E:ID_FS_UUID=1111-41"), "udev VG-root E:ID_FS_UUID=0000-00");
        assert_eq!(told("link /dev/disk/by-uuid/22-4 vga-s1"), "link /dev/disk/by-uuid/00-0 VG-s1");
        assert_eq!(told("udev vga-s1 L:-100"), "udev VG-s1 L:-100");
    }
}
