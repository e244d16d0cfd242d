//! What needs the server in a process of its own: a server that is killed, and one without root.
//!
//! Goal: the next server cleans up after one that died, and a user who is not root is served. Method: this program starts
//! itself again, with one test alone and a variable that names the directory; without the variable those tests do nothing.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests: a panic is the verdict"
)]

mod lab;

use foldback_frontend_fuse::{
    FuseErrorKind, LoopDevice, LoopOptions, MountOptions, Session, Stale, detach_stale, unmount_stale,
};
use lab::{id, missing, skip, volumes};
use std::fs::OpenOptions;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

/// Names the directory to serve in, for the process that is started.
const DIR: &str = "FOLDBACK_TEST_SERVE";
const NOBODY: u32 = 65534;

fn asked() -> Option<PathBuf> {
    std::env::var_os(DIR).map(PathBuf::from)
}

fn serve(dir: &Path) -> Session {
    Session::mount(dir, volumes(), MountOptions::default()).unwrap()
}

/// Takes away what a test left, whatever happened.
struct Cleaner(PathBuf, Option<u32>, Child);

impl Drop for Cleaner {
    fn drop(&mut self) {
        drop(self.2.kill());
        drop(self.2.wait());
        if let Some(number) = self.1 {
            drop(detach_stale(number, &self.0.join("home")));
        }
        drop(unmount_stale(&self.0));
    }
}

#[test]
fn serves_until_it_is_killed() {
    let Some(dir) = asked() else { return };
    let session = serve(&dir);
    let device = LoopDevice::attach(&session.path("home"), LoopOptions::default()).unwrap();
    println!("\nattached {}", device.number());
    loop {
        std::thread::park();
    }
}

#[test]
fn the_next_server_takes_away_what_a_killed_one_left() {
    let name = "a killed server";
    if let Some(reason) = missing() {
        return skip(name, &reason);
    }
    if !Path::new("/dev/loop-control").exists() {
        return skip(name, "/dev/loop-control is missing (modprobe loop)");
    }
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("vg");
    std::fs::create_dir(&dir).unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "serves_until_it_is_killed", "--nocapture"])
        .env(DIR, &dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    let mut cleaner = Cleaner(dir.clone(), None, child);
    let mut lines = output.lines().map(Result::unwrap);
    let number = lines.find_map(|line| line.strip_prefix("attached ")?.parse().ok()).unwrap();
    cleaner.1 = Some(number);
    assert!(dir.join("home").exists());
    cleaner.2.kill().unwrap();
    cleaner.2.wait().unwrap();
    let dead = std::fs::metadata(dir.join("home")).unwrap_err();
    assert_eq!(dead.raw_os_error(), Some(libc::ENOTCONN));
    let refused = Session::mount(&dir, volumes(), MountOptions::default()).unwrap_err();
    assert!(refused.to_string().contains("vg"), "{refused}");
    assert_eq!(detach_stale(number, &dir.join("root")).unwrap(), Stale::NotOurs, "that is another file");
    assert_eq!(detach_stale(number, &dir.join("home")).unwrap(), Stale::Detached);
    assert!(unmount_stale(&dir).unwrap());
    assert!(!unmount_stale(&dir).unwrap());
    let again = serve(&dir);
    assert!(dir.join("home").exists());
    again.unmount().unwrap();
    again.join().unwrap();
}

#[test]
fn serves_without_root() {
    let Some(dir) = asked() else { return };
    assert!(!rustix::process::geteuid().is_root());
    let volumes = volumes();
    let served = Arc::clone(&volumes);
    let session = Session::mount(&dir, served, MountOptions::default()).unwrap();
    let file = OpenOptions::new().read(true).write(true).open(session.path("home")).unwrap();
    file.write_all_at(&[3; 1000], 100).unwrap();
    file.sync_all().unwrap();
    assert_eq!(volumes.state().volumes[&id(11)].bytes[100..1100], [3; 1000]);
    let busy = session.unmount().unwrap_err();
    assert!(matches!(busy.kind, FuseErrorKind::InUse(_)), "{busy}");
    drop(file);
    session.unmount().unwrap();
    session.join().unwrap();
    let session = serve(&dir);
    session.detach().unwrap();
    session.join().unwrap();
    println!("\nserved without root");
}

#[test]
fn a_user_who_is_not_root_is_served_through_fusermount() {
    let name = "serving without root";
    if let Some(reason) = missing() {
        return skip(name, &reason);
    }
    if Command::new("fusermount3").arg("-V").output().is_err() {
        return skip(name, "fusermount3 is not installed (apt install fuse3)");
    }
    let parent = tempfile::Builder::new().permissions(all()).tempdir().unwrap();
    let dir = parent.path().join("vg");
    std::fs::create_dir(&dir).unwrap();
    std::os::unix::fs::chown(&dir, Some(NOBODY), Some(NOBODY)).unwrap();
    // The one that cargo built may lie where nobody but root can look.
    let program = parent.path().join("program");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    // Without udev only root can open /dev/fuse. In mounts of its own the process has one as udev makes it, and what it
    // mounts ends with it.
    let script = "mknod -m 666 $0/fuse c 10 229 && mount --bind $0/fuse /dev/fuse && exec setpriv \\
        --reuid 65534 --regid 65534 --clear-groups -- $0/program --exact serves_without_root --nocapture";
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", script])
        .arg(parent.path())
        .env(DIR, &dir)
        .current_dir("/")
        .output()
        .unwrap();
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("served without root"), "{said}");
}

fn all() -> std::fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(0o755)
}
