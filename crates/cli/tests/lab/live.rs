//! A lab whose volumes a daemon of its own serves, and file systems on them.

use super::{Lab, Run, skip};
use rustix::fs::OFlags;
use rustix::process::{Pid, Signal, kill_process};
use std::cell::Cell;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long anything may take before the test gives it up.
const PATIENCE: Duration = Duration::from_mins(2);

/// The lab, whose daemon ends with it.
pub(crate) struct Live {
    pub(crate) lab: Lab,
    pub(crate) vg: String,
    /// Its daemon was killed, and no command has said so yet.
    pub(crate) died: Cell<bool>,
}

impl Live {
    /// An image with a VG; nothing is live.
    pub(crate) fn new(test: &str, mebibytes: u64) -> Self {
        let lab = Lab::empty(mebibytes);
        let vg = format!("fb{test}{}", std::process::id());
        lab.ok(&["vgcreate", &vg, "disk.img"]);
        Self { lab, vg, died: Cell::new(false) }
    }

    /// `None`, loudly, where files cannot be served as the tests want them.
    pub(crate) fn as_root(test: &str, mebibytes: u64) -> Option<Self> {
        if OpenOptions::new().read(true).write(true).open("/dev/fuse").is_err() || !is_root() {
            skip(test, "it needs root and /dev/fuse");
            return None;
        }
        Some(Self::new(test, mebibytes))
    }

    fn words(&self, words: &str) -> Vec<String> {
        words.split(' ').map(|word| word.replace("VG", &self.vg)).collect()
    }

    /// Runs a command in which `VG` stands for the VG's name.
    pub(crate) fn run(&self, words: &str) -> Run {
        let words = self.words(words);
        self.lab.run(&words.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Runs and wants success without a word on standard error, but for the one that a new daemon serves the volumes.
    #[track_caller]
    pub(crate) fn ok(&self, words: &str) -> String {
        let mut run = self.run(words);
        let told = |line: &&str| line.contains("has died, and another one does now");
        if self.died.get() && run.stderr.lines().any(|line| told(&line)) {
            self.died.set(false);
            run.stderr = run.stderr.lines().filter(|line| !told(line)).collect();
        }
        assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""), "{words}\n{}\n{}", run.stdout, self.log());
        run.stdout.replace(&self.vg, "VG")
    }

    /// The file of an LV.
    pub(crate) fn file(&self, lv: &str) -> PathBuf {
        self.lab.path("run").join(&self.vg).join(lv)
    }

    pub(crate) fn open(&self, lv: &str) -> File {
        OpenOptions::new().read(true).write(true).open(self.file(lv)).unwrap()
    }

    pub(crate) fn content(&self, lv: &str) -> Vec<u8> {
        std::fs::read(self.file(lv)).unwrap()
    }

    /// The block device of an LV.
    pub(crate) fn device(&self, lv: &str) -> String {
        format!("/dev/{}/{lv}", self.vg)
    }

    /// What the daemon said.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.lab.path("run/daemon.log")).unwrap_or_default()
    }

    /// The daemon that runs now.
    pub(crate) fn daemon(&self) -> Option<Pid> {
        let text = std::fs::read_to_string(self.lab.path("run/daemon.lock")).ok()?;
        Pid::from_raw(text.trim().parse().ok()?)
    }

    pub(crate) fn kill_daemon(&self) {
        kill_process(self.daemon().unwrap(), Signal::KILL).unwrap();
        self.died.set(true);
    }

    /// Waits for the daemon to end a merge by itself.
    #[track_caller]
    pub(crate) fn wait_until_merged(&self) {
        let begun = Instant::now();
        while self.ok("lvs --noheadings -a -o lv_attr").contains('O') {
            assert!(begun.elapsed() < PATIENCE, "the merge does not end\n{}", self.log());
            sleep(Duration::from_millis(50));
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

/// A file system that is mounted until this is dropped.
pub(crate) struct Mounted {
    pub(crate) at: PathBuf,
    device: String,
}

impl Mounted {
    /// Mounts a device at a new directory.
    #[track_caller]
    pub(crate) fn new(device: &str, at: &Path) -> Self {
        std::fs::create_dir_all(at).unwrap();
        sh(&format!("mount {device} {}", at.display()));
        Self { at: at.to_path_buf(), device: device.to_owned() }
    }

    /// Unmounts, and waits until the kernel has let go of the device, which is some time later.
    #[track_caller]
    pub(crate) fn unmount(self) {
        sh(&format!("umount {}", self.at.display()));
        wait_until_free(&self.device);
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // After `unmount` there is nothing to do, and it says so.
        drop(Command::new("umount").arg("-l").arg(&self.at).output());
    }
}

/// The kernel lets go of the device of a file system some time after `umount` has returned.
#[track_caller]
pub(crate) fn wait_until_free(device: &str) {
    let exclusive = i32::try_from(OFlags::EXCL.bits()).unwrap();
    let begun = Instant::now();
    while let Err(error) = OpenOptions::new().read(true).custom_flags(exclusive).open(device) {
        assert!(begun.elapsed() < PATIENCE, "{device}: {error}");
        sleep(Duration::from_millis(20));
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Runs a script that has to succeed; its output.
#[track_caller]
pub(crate) fn sh(script: &str) -> String {
    let output = Command::new("sh").args(["-ec", script]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{script}\n{said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

/// Runs a script that opens a fresh device with `O_EXCL`. Another daemon that looks for a free loop device at this moment
/// may hold it while it finds out that it is taken.
#[track_caller]
pub(crate) fn sh_alone(script: &str) -> String {
    let begun = Instant::now();
    loop {
        let output = Command::new("sh").args(["-ec", script]).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        if output.status.success() {
            return said;
        }
        let again = said.contains("busy") && begun.elapsed() < Duration::from_secs(5);
        assert!(again, "{script}\n{said}");
        sleep(Duration::from_millis(50));
    }
}

/// Loop devices over images, until this is dropped.
struct Loops(Vec<String>);

impl Drop for Loops {
    fn drop(&mut self) {
        for device in &self.0 {
            drop(Command::new("losetup").args(["-d", device]).output());
        }
    }
}

/// Runs the real LVM2 on loop devices over images of the lab, which no lock of the daemon prevents; `words` makes the command
/// of the devices.
#[track_caller]
pub(crate) fn lvm2(live: &Live, images: &[&str], words: impl FnOnce(&[String]) -> Vec<String>) {
    let mut loops = Loops(Vec::new());
    for image in images {
        let attach = format!("losetup -f --show {}", live.lab.path(image).display());
        loops.0.push(sh(&attach).trim().to_owned());
    }
    let ours: Vec<String> = loops.0.iter().map(|device| format!("\"a|^{device}$|\"")).collect();
    let config = format!(
        "devices {{ dir=\"{}/dev\" filter=[{}, \"r|.*|\"] use_devicesfile=0 scan=[\"/dev\"] hints=\"none\" }} \
         global {{ use_lvmpolld=0 event_activation=0 locking_dir=\"{}\" }} activation {{ udev_sync=0 udev_rules=0 }} \
         backup {{ backup=0 archive=0 }}",
        live.lab.path("").display(),
        ours.join(", "),
        live.lab.path("lock").display()
    );
    let run = Command::new("lvm")
        .args(words(&loops.0))
        .args(["--driverloaded", "n", "--config", &config])
        .output()
        .unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
}

/// Whether there is no LVM2 here, which is said.
pub(crate) fn no_lvm2(test: &str) -> bool {
    let lacks = Command::new("lvm").arg("version").output().is_err();
    if lacks {
        skip(test, "there is no lvm");
    }
    lacks
}

/// Why served block devices cannot be tried here, where that is so.
pub(crate) fn no_block_devices() -> Option<&'static str> {
    if !is_root() {
        return Some("it needs root");
    }
    if OpenOptions::new().read(true).write(true).open("/dev/fuse").is_err() {
        return Some("there is no /dev/fuse");
    }
    (!Path::new("/dev/loop-control").exists()).then_some("there are no loop devices")
}
