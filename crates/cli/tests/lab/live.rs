//! A lab whose volumes are served, by a daemon of its own that ends with it.

use super::{Lab, Run, skip};
use rustix::fs::OFlags;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

/// A lab with a VG of its own name, whose daemon ends with it.
pub(crate) struct Live {
    pub(crate) lab: Lab,
    pub(crate) vg: String,
}

impl Live {
    /// `None`, loudly, where there is no FUSE.
    pub(crate) fn new(test: &str, mebibytes: u64) -> Option<Self> {
        if OpenOptions::new().read(true).write(true).open("/dev/fuse").is_err() || !is_root() {
            skip(test, "it needs root and /dev/fuse");
            return None;
        }
        let lab = Lab::empty(mebibytes);
        let vg = format!("fb{test}{}", std::process::id());
        lab.ok(&["vgcreate", &vg, "disk.img"]);
        Some(Self { lab, vg })
    }

    /// Runs a command in which `VG` stands for the VG's name.
    pub(crate) fn run(&self, words: &str) -> Run {
        let words: Vec<String> = words.split(' ').map(|word| word.replace("VG", &self.vg)).collect();
        self.lab.run(&words.iter().map(String::as_str).collect::<Vec<_>>())
    }

    #[track_caller]
    pub(crate) fn ok(&self, words: &str) -> String {
        let run = self.run(words);
        assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""), "{words}\n{}", run.stdout);
        run.stdout.replace(&self.vg, "VG")
    }

    pub(crate) fn file(&self, lv: &str) -> PathBuf {
        self.lab.path("run").join(&self.vg).join(lv)
    }

    pub(crate) fn open(&self, lv: &str) -> File {
        OpenOptions::new().read(true).write(true).open(self.file(lv)).unwrap()
    }

    pub(crate) fn content(&self, lv: &str) -> Vec<u8> {
        std::fs::read(self.file(lv)).unwrap()
    }

    pub(crate) fn daemon(&self) -> Option<Pid> {
        let text = std::fs::read_to_string(self.lab.path("run/daemon.lock")).ok()?;
        Pid::from_raw(text.trim().parse().ok()?)
    }

    pub(crate) fn kill_daemon(&self) {
        kill_process(self.daemon().unwrap(), Signal::KILL).unwrap();
    }

    /// Waits for the daemon to end a merge by itself.
    #[track_caller]
    pub(crate) fn wait_until_merged(&self) {
        let begun = Instant::now();
        while self.ok("lvs --noheadings -a -o lv_name,lv_attr").contains('O') {
            assert!(begun.elapsed() < Duration::from_mins(1), "the merge does not end");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        drop(self.run("vgchange -an VG"));
        // What could not be taken down cleanly must not outlive the test.
        let busy = self.file("").exists();
        if let Some(pid) = self.daemon().filter(|_| busy) {
            kill_process(pid, Signal::KILL).ok();
            drop(Command::new("umount").arg("-l").arg(self.file("")).output());
        }
    }
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

pub(crate) fn sh(script: &str) -> String {
    let output = Command::new("sh").args(["-ec", script]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{script}\n{said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

/// The kernel lets go of the device of a file system some time after `umount` has returned.
pub(crate) fn wait_until_free(device: &str) {
    let exclusive = i32::try_from(OFlags::EXCL.bits()).unwrap();
    let begun = Instant::now();
    while let Err(error) = OpenOptions::new().read(true).custom_flags(exclusive).open(device) {
        assert!(begun.elapsed() < Duration::from_secs(20), "{device}: {error}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub(crate) struct Mount(pub(crate) PathBuf);

impl Drop for Mount {
    fn drop(&mut self) {
        drop(Command::new("umount").arg(&self.0).output());
    }
}
