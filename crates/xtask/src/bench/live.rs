//! A volume group on an image of its own, with a daemon of its own.
//!
//! Holds: what was brought up is taken down, and the daemon is gone, also after a failure; a process is ended by its id.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::program::Foldback;

/// How long a daemon may take to end.
const PATIENCE: Duration = Duration::from_secs(20);

/// The group, served by nobody else.
pub(super) struct Live {
    pub(super) vg: String,
    pub(super) image: PathBuf,
    program: Foldback,
    dir: TempDir,
}

impl Live {
    /// An image of that many MiB with an empty group.
    pub(super) fn new(mib: u64) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("foldback-bench-").tempdir().context("making a folder")?;
        let image = dir.path().join("disk.img");
        let file = std::fs::File::create_new(&image).context("making the image")?;
        file.set_len(mib << 20).context("sizing the image")?;
        // Links in /dev bear its name: no other group has it.
        let vg = format!("fbbench{}", std::process::id());
        let live = Self { vg, image, program: Foldback::build()?, dir };
        live.run(&["vgcreate", &live.vg.clone(), &live.image.display().to_string()])?;
        Ok(live)
    }

    pub(super) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The LV's name with its group's.
    pub(super) fn lv(&self, name: &str) -> String {
        format!("{}/{name}", self.vg)
    }

    /// Runs a command that has to succeed; what it said.
    pub(super) fn run(&self, words: &[&str]) -> Result<String> {
        let mut command = self.program.command(&[&self.image], words);
        let output = command
            .env("FOLDBACK_RUN_DIR", self.dir.path().join("run"))
            .output()
            .with_context(|| format!("starting foldback {}", words.join(" ")))?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let why = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "foldback {}: {}\n{said}{why}", words.join(" "), output.status);
        Ok(said)
    }

    /// Takes everything down and waits for the daemon to end.
    pub(super) fn down(&self) -> Result<()> {
        self.run(&["vgchange", "-an", &self.vg])?;
        let since = Instant::now();
        while self.dir.path().join("run/api.sock").exists() {
            ensure!(since.elapsed() < PATIENCE, "the daemon does not end");
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    fn pid(&self) -> Option<Pid> {
        let text = std::fs::read_to_string(self.dir.path().join("run/daemon.lock")).ok()?;
        Pid::from_raw(text.trim().parse().ok()?)
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        if self.dir.path().join("run/api.sock").exists()
            && self.down().is_err()
            && let Some(pid) = self.pid()
        {
            // It is ours, and leaves what it served as a crash does.
            kill_process(pid, Signal::TERM).ok();
        }
    }
}
