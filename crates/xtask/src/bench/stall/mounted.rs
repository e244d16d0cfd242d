//! A file system on a live volume's block device.
//!
//! Holds: it is unmounted also after a failure.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::bench::live::Live;

/// How long a device may take to appear.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) struct Mounted {
    at: PathBuf,
    mounted: bool,
}

impl Mounted {
    /// Makes an ext4 on the volume and mounts it.
    pub(super) fn make(live: &Live, lv: &str) -> Result<Self> {
        let device = device(live, lv)?;
        succeed(
            Command::new("mkfs.ext4")
                .args(["-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0"])
                .arg(device),
        )?;
        Self::of(live, lv)
    }

    /// Mounts the file system that is there.
    pub(super) fn of(live: &Live, lv: &str) -> Result<Self> {
        let at = live.path().join("mnt");
        std::fs::create_dir_all(&at).context("making the mount point")?;
        succeed(Command::new("mount").args(["-o", "noatime"]).arg(device(live, lv)?).arg(&at))?;
        Ok(Self { at, mounted: true })
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.at.join(name)
    }

    /// A file of that many MiB, all of it written.
    pub(super) fn fill(&self, name: &str, mib: u64) -> Result<()> {
        let mut file = File::create_new(self.path(name)).context("making the file")?;
        let piece = vec![0x5a; 1 << 20];
        for _ in 0..mib {
            file.write_all(&piece).context("filling the file")?;
        }
        file.sync_all().context("syncing the file")
    }

    pub(super) fn unmount(mut self) -> Result<()> {
        self.mounted = false;
        succeed(Command::new("umount").arg(&self.at))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if self.mounted {
            // The measurement has failed for another reason.
            drop(succeed(Command::new("umount").arg(&self.at)));
        }
    }
}

/// The volume's block device, once it is there.
fn device(live: &Live, lv: &str) -> Result<PathBuf> {
    let device = Path::new("/dev").join(&live.vg).join(lv);
    let since = Instant::now();
    while !device.exists() {
        ensure!(since.elapsed() < PATIENCE, "{} does not appear", device.display());
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(device)
}

fn succeed(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("starting {program}"))?;
    ensure!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}
