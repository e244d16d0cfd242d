//! Which Debian packages the rigs need and this machine lacks.
//!
//! A package counts as there when the program that is wanted from it is found; nothing asks the package manager,
//! so a hand-built LVM2 serves as well.

use std::path::{Path, PathBuf};

/// A program, and the Debian package that brings it.
const WANTED: &[(&str, &str)] = &[
    ("linux.uml", "user-mode-linux"),
    ("lvm", "lvm2"),
    ("dmsetup", "dmsetup"),
    ("insmod", "kmod"),
    ("mke2fs", "e2fsprogs"),
    ("nbd-client", "nbd-client"),
    ("cc", "gcc"),
];

/// What the tests need besides.
const WANTED_BY_TESTS: &[(&str, &str)] = &[
    ("fusermount3", "fuse3"),
    ("nbdcopy", "libnbd-bin"),
    ("qemu-img", "qemu-utils"),
    ("mkfs.xfs", "xfsprogs"),
    ("fio", "fio"),
    ("systemd-analyze", "systemd"),
    ("debootstrap", "debootstrap"),
];

/// The packages that are missing for the tests, those of rig 2 among them.
pub(crate) fn missing_for_tests() -> Vec<&'static str> {
    absent(&search_path(), &[WANTED, WANTED_BY_TESTS].concat())
}

/// The packages that are missing for rig 2, in the order in which they are listed here.
pub(crate) fn missing() -> Vec<&'static str> {
    absent(&search_path(), WANTED)
}

/// Whether a program is on the search path of root, which an ordinary user's may lack.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    search_path().iter().map(|dir| dir.join(program)).find(|file| file.is_file())
}

fn absent(dirs: &[PathBuf], wanted: &[(&'static str, &'static str)]) -> Vec<&'static str> {
    let there = |program: &str| dirs.iter().any(|dir| dir.join(program).is_file());
    wanted.iter().filter(|(program, _)| !there(program)).map(|(_, package)| *package).collect()
}

fn search_path() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut dirs: Vec<PathBuf> = std::env::split_paths(&path).collect();
    for sbin in ["/usr/sbin", "/sbin"] {
        if !dirs.iter().any(|dir| dir == Path::new(sbin)) {
            dirs.push(PathBuf::from(sbin));
        }
    }
    dirs
}

#[cfg(test)]
mod tests {
    use super::{WANTED, WANTED_BY_TESTS, absent};

    #[test]
    fn an_empty_machine_lacks_every_package_and_a_file_satisfies_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = [dir.path().to_path_buf()];
        assert_eq!(absent(&path, WANTED).len(), WANTED.len());
        assert_eq!(absent(&path, WANTED_BY_TESTS).len(), WANTED_BY_TESTS.len());
        std::fs::write(dir.path().join("lvm"), "").unwrap();
        let rest = absent(&path, WANTED);
        assert!(!rest.contains(&"lvm2") && rest.contains(&"user-mode-linux"));
    }
}
