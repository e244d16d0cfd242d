//! Which block devices of this host may be PVs, as lvm.conf says: directories, filters, the devices file.
//!
//! What must hold (lvm2.md 7, traps 13 and 18):
//! - Of a device that is not accepted nothing is read.
//! - LVs are no PVs, unless `scan_lvs` says so; neither are suspended devices, empty ones, parts of multipath devices and RAID arrays.
//! - Where the devices file is used it alone decides, and the filters do not.

mod devices_file;
mod filter;

use foldback_device::scan::{BlockDevice, Traits, block_devices, has_label};
use rustix::fs::major;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

pub use devices_file::DevicesFile;
pub use filter::{BadPattern, Filter};

/// Floppy and CD drives: reading them makes noise, and LVM2 takes none as a PV.
const REMOVABLE: &[u32] = &[2, 11];

/// The section `devices` of lvm.conf, as far as it is used.
#[derive(Clone, Debug)]
pub struct DeviceSettings {
    /// `dir`: where nodes are.
    pub dir: PathBuf,
    /// `scan`: below which directories nodes are looked for.
    pub scan: Vec<PathBuf>,
    /// `filter`.
    pub filter: Filter,
    /// `global_filter`, which `filter` cannot widen.
    pub global_filter: Filter,
    /// `scan_lvs`.
    pub scan_lvs: bool,
    /// The devices file, where `use_devicesfile` is set and it is there.
    pub devices_file: Option<DevicesFile>,
}

impl Default for DeviceSettings {
    fn default() -> Self {
        let dir = PathBuf::from("/dev");
        let (filter, global_filter) = (Filter::default(), Filter::default());
        Self { scan: vec![dir.clone()], dir, filter, global_filter, scan_lvs: false, devices_file: None }
    }
}

impl DeviceSettings {
    /// The PVs of this host: accepted devices with a label. `served` is where our own volumes are served, which are LVs.
    pub fn find(&self, served: &Path) -> Vec<PathBuf> {
        let all = block_devices(&self.scan);
        // What is not meant is told by its names, and LVs by their UUIDs, before anything else is asked of sysfs.
        let meant = |device: &&BlockDevice| {
            (self.devices_file.is_some() || self.passes_filters(device))
                && (self.scan_lvs || !device.dm_uuid().is_some_and(|uuid| uuid.starts_with("LVM-")))
        };
        let accepted =
            all.iter().filter(meant).filter(|device| self.accepts(device, &device.traits(), served));
        accepted.map(BlockDevice::path).filter(|path| has_label(path)).map(Path::to_path_buf).collect()
    }

    /// Why the block device at `path` may not become a PV, in LVM2's words; `None` where it may.
    pub fn rejects(&self, path: &Path, served: &Path) -> Option<&'static str> {
        let number = std::fs::metadata(path).ok()?.rdev();
        let known = block_devices(&self.scan).into_iter().find(|device| device.number == number);
        let device = known.unwrap_or_else(|| BlockDevice { number, names: vec![path.to_path_buf()] });
        let traits = device.traits();
        if self.accepts(&device, &traits, served) {
            return None;
        }
        Some(match &self.devices_file {
            Some(file) if !file.lists(&device, &traits) => "device is not in devices file",
            None if !self.passes_filters(&device) => "device is rejected by filter config",
            _ => "device is not usable for LVM",
        })
    }

    /// Whether filters are set that a devices file makes meaningless.
    pub fn ignores_filters(&self) -> bool {
        self.devices_file.is_some() && !(self.filter.is_empty() && self.global_filter.is_empty())
    }

    fn passes_filters(&self, device: &BlockDevice) -> bool {
        self.global_filter.accepts(&device.names) && self.filter.accepts(&device.names)
    }

    /// Whether the device may be a PV.
    pub fn accepts(&self, device: &BlockDevice, traits: &Traits, served: &Path) -> bool {
        let ours = traits.loop_file.as_deref().is_some_and(|file| Path::new(file).starts_with(served));
        let is_lv = ours || traits.dm_uuid.as_deref().is_some_and(|uuid| uuid.starts_with("LVM-"));
        if traits.suspended || traits.component || traits.empty || (is_lv && !self.scan_lvs) {
            return false;
        }
        if REMOVABLE.contains(&major(device.number)) {
            return false;
        }
        if let Some(file) = &self.devices_file {
            return file.lists(device, traits);
        }
        self.passes_filters(device)
    }
}

#[cfg(test)]
mod tests {
    use super::{DeviceSettings, DevicesFile, Filter};
    use foldback_device::scan::{BlockDevice, Traits};
    use std::path::{Path, PathBuf};

    fn device(name: &str) -> BlockDevice {
        BlockDevice { number: rustix::fs::makedev(8, 16), names: vec![PathBuf::from(name)] }
    }

    fn accepts(settings: &DeviceSettings, traits: &Traits) -> bool {
        settings.accepts(&device("/dev/sdb"), traits, Path::new("/run/foldback"))
    }

    #[test]
    fn lvs_and_what_would_wait_are_no_pvs() {
        let settings = DeviceSettings::default();
        let dm = |uuid: &str| Traits { dm_uuid: Some(uuid.to_owned()), ..Traits::default() };
        assert!(accepts(&settings, &Traits::default()) && accepts(&settings, &dm("CRYPT-LUKS2-x")));
        assert!(!accepts(&settings, &dm("LVM-abc")));
        let scans = DeviceSettings { scan_lvs: true, ..DeviceSettings::default() };
        assert!(accepts(&scans, &dm("LVM-abc")));
        let looped = |file: &str| Traits { loop_file: Some(file.to_owned()), ..Traits::default() };
        assert!(!accepts(&settings, &looped("/run/foldback/vg/root")));
        assert!(accepts(&settings, &looped("/srv/disk.img")));
        assert!(!accepts(&scans, &Traits { suspended: true, ..dm("LVM-abc") }));
        assert!(!accepts(&settings, &Traits { component: true, ..Traits::default() }));
        assert!(!accepts(&settings, &Traits { empty: true, ..Traits::default() }));
        let cd = BlockDevice { number: rustix::fs::makedev(11, 0), ..device("/dev/sr0") };
        assert!(!settings.accepts(&cd, &Traits::default(), Path::new("/run/foldback")));
    }

    #[test]
    fn both_filters_must_accept_unless_there_is_a_devices_file() {
        let filter = |text: &str| Filter::new(&[text.to_owned(), "r|.*|".to_owned()]).unwrap();
        let (yes, no) = (filter("a|sdb$|"), filter("a|sdc$|"));
        let settings = |filter: &Filter, global: &Filter| DeviceSettings {
            filter: filter.clone(),
            global_filter: global.clone(),
            ..DeviceSettings::default()
        };
        assert!(accepts(&settings(&yes, &yes), &Traits::default()));
        assert!(!accepts(&settings(&yes, &no), &Traits::default()));
        assert!(!accepts(&settings(&no, &yes), &Traits::default()));
        let file = DevicesFile::parse("IDTYPE=devname IDNAME=/dev/sdb DEVNAME=/dev/sdb PVID=x\n");
        let listed = DeviceSettings { devices_file: Some(file), ..settings(&no, &no) };
        assert!(accepts(&listed, &Traits::default()));
        assert!(listed.ignores_filters() && !settings(&yes, &yes).ignores_filters());
        let listed = DeviceSettings { devices_file: Some(DevicesFile::parse("")), ..settings(&yes, &yes) };
        assert!(!accepts(&listed, &Traits::default()));
    }
}
