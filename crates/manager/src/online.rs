//! Which PVs have come and which VGs were whole: LVM2's files below /run/lvm, by which udev's events add up to a VG.
//!
//! What must hold (compared with 2.03.16):
//! - `pvs_online/PVID` holds the device's number, the VG and the path; `pvs_lookup/VG` the PVIDs of a VG that was not whole yet;
//!   `vgs_online/VG` is empty, and made by exactly one of those who find it whole.
//! - Names come from disks: one that is no plain file name is refused by what makes a [`VgName`].

use foldback_units::{LvmUuid, VgName};
use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// Where LVM2 has them.
pub const RUN_DIR: &str = "/run/lvm";
const PVS: &str = "pvs_online";
const LOOKUP: &str = "pvs_lookup";
const VGS: &str = "vgs_online";

/// A PV that has come.
#[derive(Clone, Copy, Debug)]
pub struct OnlinePv<'p> {
    /// Its UUID.
    pub id: &'p LvmUuid,
    /// The device's major and minor number.
    pub device: (u32, u32),
    /// The VG it belongs to.
    pub vg: Option<&'p VgName>,
    /// The device's path.
    pub path: &'p str,
}

/// The files.
#[derive(Clone, Debug)]
pub struct Online {
    dir: PathBuf,
}

impl Online {
    /// Below this directory.
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    fn directory(&self, name: &str) -> io::Result<PathBuf> {
        let path = self.dir.join(name);
        DirBuilder::new().recursive(true).mode(0o755).create(&path)?;
        Ok(path)
    }

    /// Nobody has come yet.
    ///
    /// # Errors
    /// Of the file that could not be removed.
    pub fn forget_all(&self) -> io::Result<()> {
        for name in [PVS, LOOKUP, VGS] {
            for entry in std::fs::read_dir(self.directory(name)?)? {
                std::fs::remove_file(entry?.path())?;
            }
        }
        Ok(())
    }

    /// Writes down that a PV has come; again is harmless.
    ///
    /// # Errors
    /// Of its file.
    pub fn add(&self, pv: &OnlinePv<'_>) -> io::Result<()> {
        let (major, minor) = pv.device;
        let vg = pv.vg.map_or_else(String::new, |vg| format!("vg:{vg}\n"));
        let text = format!("{major}:{minor}\n{vg}dev:{}\n", pv.path);
        std::fs::write(self.directory(PVS)?.join(pv.id.compact()), text)
    }

    /// Whether a PV has come.
    pub fn has(&self, pv: &LvmUuid) -> bool {
        self.dir.join(PVS).join(pv.compact()).exists()
    }

    /// Writes down which PVs a VG has, of which some have not come: one without metadata cannot tell.
    ///
    /// # Errors
    /// Of its file.
    pub fn expect(&self, vg: &VgName, pvs: &[LvmUuid]) -> io::Result<()> {
        let text: String = pvs.iter().map(|id| id.compact() + "\n").collect();
        std::fs::write(self.directory(LOOKUP)?.join(vg.as_str()), text)
    }

    /// Writes down that a VG was whole; `false` where somebody else did that before.
    ///
    /// # Errors
    /// Of its file.
    pub fn whole(&self, vg: &VgName) -> io::Result<bool> {
        match File::create_new(self.directory(VGS)?.join(vg.as_str())) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether a VG was whole before.
    pub fn was_whole(&self, vg: &VgName) -> bool {
        self.dir.join(VGS).join(vg.as_str()).exists()
    }

    /// The next event may bring the VG up again, as after `lvchange -an`.
    pub fn take_down(&self, vg: &VgName) {
        // One that is not there is not missed; of one that stays, udev's next event does nothing.
        std::fs::remove_file(self.dir.join(VGS).join(vg.as_str())).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::{Online, OnlinePv};
    use foldback_units::{LvmUuid, VgName};

    #[test]
    fn files_are_lvm2s() {
        let dir = tempfile::tempdir().unwrap();
        let online = Online::new(&dir.path().join("lvm"));
        let vg = VgName::new("vg").unwrap();
        let text = "abcdefghijklmnopqrstuvwxyz012345";
        let id = LvmUuid::parse(text).unwrap();
        let read = |name: &str| std::fs::read_to_string(dir.path().join("lvm").join(name)).unwrap();
        assert!(!online.has(&id));
        let pv = OnlinePv { id: &id, device: (98, 16), vg: Some(&vg), path: "/dev/ubdb" };
        online.add(&pv).unwrap();
        online.add(&pv).unwrap();
        assert!(online.has(&id));
        assert_eq!(read(&format!("pvs_online/{text}")), "98:16\nvg:vg\ndev:/dev/ubdb\n");
        online.expect(&vg, &[id]).unwrap();
        assert_eq!(read("pvs_lookup/vg"), format!("{text}\n"));
        assert!(!online.was_whole(&vg));
        assert!(online.whole(&vg).unwrap());
        assert!(!online.whole(&vg).unwrap() && online.was_whole(&vg));
        assert_eq!(read("vgs_online/vg"), "");
        online.take_down(&vg);
        assert!(online.whole(&vg).unwrap());
        online.forget_all().unwrap();
        assert!(!online.has(&id) && !online.was_whole(&vg));
    }
}
