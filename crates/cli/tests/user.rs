//! Without root (architecture.md, "Served names"): files through `fusermount3`, and NBD where that is not to be had.
//!
//! Goal: an ordinary user activates, writes, snapshots and merges volumes on an image of their own, with the daemon under
//! their own directory; where no files can be served, they are told so and where the volume is instead. Method: root
//! becomes an ordinary user in mounts of its own, where /dev/fuse is as udev makes it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed step fails the test"
)]
#![allow(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    reason = "test code"
)]

mod lab;

use lab::skip;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File, Permissions};
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Output};
use tempfile::TempDir;

const NOBODY: u32 = 65_534;
/// `$0` is the user's folder.
const WITH_FUSE: &str = "mknod -m 666 $0/fuse c 10 229; mount --bind $0/fuse /dev/fuse; ";
/// The program that mounts for users is gone; everything else in its directory is there.
const WITHOUT_FUSERMOUNT: &str = "mkdir $0/hide; mount -t tmpfs tmp $0/hide; mkdir $0/hide/up $0/hide/work; \
    mount -t overlay hide -o lowerdir=/usr/bin,upperdir=$0/hide/up,workdir=$0/hide/work /usr/bin; \
    rm -f /usr/bin/fusermount3 /usr/bin/fusermount; ";
const AS_USER: &str = "exec setpriv --reuid 65534 --regid 65534 --clear-groups -- sh -ec \"$1\" $0";

/// A user's folder: the program, an image with a VG, and `$XDG_RUNTIME_DIR`.
struct User {
    folder: TempDir,
}

impl User {
    /// `None`, loudly, where nobody can become one.
    fn new(test: &str) -> Option<Self> {
        let can = rustix::process::geteuid().is_root()
            && Command::new("unshare")
                .args(["--mount", "setpriv", "--version"])
                .output()
                .is_ok_and(|o| o.status.success());
        if !can {
            skip(test, "it needs root, unshare and setpriv");
            return None;
        }
        let folder = tempfile::Builder::new().permissions(Permissions::from_mode(0o755)).tempdir().unwrap();
        let user = Self { folder };
        // The one that cargo built may lie where nobody but root can look.
        fs::copy(env!("CARGO_BIN_EXE_foldback"), user.path("foldback")).unwrap();
        fs::create_dir(user.path("xdg")).unwrap();
        File::create(user.path("disk.img")).unwrap().set_len(96 << 20).unwrap();
        for name in ["", "xdg", "disk.img"] {
            chown(user.path(name), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        Some(user)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs a script as the user, after root has prepared the mounts.
    fn run(&self, prepared: &str, script: &str) -> Output {
        let folder = self.folder.path();
        let all = format!("set -e; {prepared}{AS_USER}");
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", &all]).arg(folder).arg(script);
        command.env("XDG_RUNTIME_DIR", self.path("xdg")).env("FOLDBACK_DEVICES", self.path("disk.img"));
        command.env("PATH", format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", folder.display()));
        command.env_remove("FOLDBACK_RUN_DIR").env("HOME", folder).current_dir("/");
        command.output().unwrap()
    }

    /// The same for a script that has to succeed; what it said on both.
    #[track_caller]
    fn ok(&self, prepared: &str, script: &str) -> (String, String) {
        let output = self.run(prepared, script);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (said, complained) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{said}{complained}\n{}", self.log());
        (said, complained)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("xdg/foldback/daemon.log")).unwrap_or_default()
    }
}

impl Drop for User {
    fn drop(&mut self) {
        let lock = fs::read_to_string(self.path("xdg/foldback/daemon.lock")).unwrap_or_default();
        let pid = lock.trim().parse().ok().and_then(Pid::from_raw);
        // After a failure; one that has ended by itself left no socket.
        if let Some(pid) = pid.filter(|_| self.path("xdg/foldback/api.sock").exists()) {
            kill_process(pid, Signal::KILL).ok();
        }
    }
}

const MAKE: &str = "foldback vgcreate vgu $0/disk.img; foldback lvcreate -L 16M -n root vgu; ";

#[test]
fn a_user_has_files_under_their_runtime_directory() {
    let test = "a_user_has_files_under_their_runtime_directory";
    let Some(user) = User::new(test) else { return };
    if Command::new("fusermount3").arg("-V").output().is_err() {
        return skip(test, "fusermount3 is not installed (apt install fuse3)");
    }
    let script = "foldback vgchange -ay vgu
        file=$XDG_RUNTIME_DIR/foldback/vgu/root
        head -c 16777216 /dev/urandom >$0/old
        dd if=$0/old of=$file bs=1M conv=notrunc,fsync status=none
        foldback lvcreate -s -l 100%ORIGIN -n snap vgu/root
        head -c 16777216 /dev/zero | dd of=$file bs=1M iflag=fullblock conv=notrunc,fsync status=none
        cmp $0/old $XDG_RUNTIME_DIR/foldback/vgu/snap
        foldback lvconvert --merge vgu/snap
        cmp $0/old $file
        foldback vgchange -an vgu
        test ! -e $file";
    let (_, complained) = user.ok(WITH_FUSE, &format!("{MAKE}{script}"));
    assert!(!complained.contains("WARNING"), "{complained}");
}

#[test]
fn without_fusermount_a_user_is_served_over_nbd_and_told_so() {
    let Some(user) = User::new("without_fusermount_a_user_is_served_over_nbd_and_told_so") else { return };
    let prepared = format!("{WITH_FUSE}{WITHOUT_FUSERMOUNT}");
    let (said, complained) = user.ok(&prepared, &format!("{MAKE}foldback vgchange -ay vgu"));
    assert!(
        complained.contains("WARNING: Volume group vgu is served over NBD and not as files"),
        "{complained}"
    );
    assert!(complained.contains("fusermount3"), "what is missing is named: {complained}");
    let socket = user.path("xdg/foldback/nbd/vgu-root.sock");
    let told = format!("Logical volume vgu/root exported: nbd+unix:///root?socket={}", socket.display());
    assert!(said.contains(&told), "{said}");
    let mut greeting = [0; 16];
    UnixStream::connect(&socket).unwrap().read_exact(&mut greeting).unwrap();
    assert_eq!(&greeting, b"NBDMAGICIHAVEOPT");
    // The daemon lives in the mounts of the first script; its socket is in the folder.
    user.ok("", "foldback vgchange -an vgu");
    assert!(!socket.exists());
}
