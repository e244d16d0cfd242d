//! File systems that are worked on while their volume is snapshotted, rolled back and merged (architecture.md, "Merging"; I1, I3).
//!
//! Goal: ext4 and XFS notice nothing of a snapshot, of a merge that begins right before they are mounted, and of its end
//! under them; every file is what its last writer wrote, or what it was when the snapshot was taken. Method: fio with
//! verification and a build-like load run all the time; a tree that stands still meanwhile is compared file by file, and
//! the file system's own checker has the last word.
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

use lab::live::{Live, Mounted, no_block_devices, sh, sh_alone};
use lab::{random, skip};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// Files that a tree has at the most.
const FILES: usize = 400;

/// A directory in which files come, change, move and go, as under a compiler; it knows what each must hold.
struct Tree {
    at: PathBuf,
    /// By name: the seed of the content, and its length.
    files: BTreeMap<String, (u64, usize)>,
    state: u64,
}

impl Tree {
    fn new(at: PathBuf, seed: u64) -> Self {
        fs::create_dir(&at).unwrap();
        Self { at, files: BTreeMap::new(), state: seed }
    }

    fn draw(&mut self, below: usize) -> usize {
        self.state =
            self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.state >> 33) as usize % below
    }

    /// The path of a file: sixteen directories, and names that do not repeat.
    fn path(&self, name: &str) -> PathBuf {
        self.at.join(&name[..1]).join(name)
    }

    fn fresh_name(&mut self) -> String {
        format!("{:x}{:015x}.o", self.draw(16), self.state >> 4)
    }

    fn write(&mut self, name: String) {
        let (seed, len) = (self.state, 1 + self.draw(24 << 10));
        let path = self.path(&name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, random(seed, len)).unwrap();
        self.files.insert(name, (seed, len));
    }

    /// One of: a new file, another content, another name, gone.
    fn step(&mut self) {
        let old = match self.files.len() {
            0 => None,
            count => {
                let at = self.draw(count);
                self.files.keys().nth(at).cloned()
            }
        };
        match (self.draw(8), old) {
            (0..4, _) | (_, None) if self.files.len() < FILES => {
                let name = self.fresh_name();
                self.write(name);
            }
            (4, Some(old)) => self.write(old),
            (5, Some(old)) => {
                let name = self.fresh_name();
                let (from, to) = (self.path(&old), self.path(&name));
                fs::create_dir_all(to.parent().unwrap()).unwrap();
                fs::rename(from, to).unwrap();
                let content = self.files.remove(&old).unwrap();
                self.files.insert(name, content);
            }
            (_, Some(old)) => {
                fs::remove_file(self.path(&old)).unwrap();
                self.files.remove(&old);
            }
            (_, None) => {}
        }
    }

    fn steps(&mut self, count: usize) {
        (0..count).for_each(|_| self.step());
    }

    /// What it must hold, to be looked at below another mount.
    fn frozen(&self) -> BTreeMap<String, (u64, usize)> {
        self.files.clone()
    }

    /// All files are there, no others, and each is what it must be.
    #[track_caller]
    fn check(at: &Path, files: &BTreeMap<String, (u64, usize)>, when: &str) {
        let mut found = Vec::new();
        for directory in fs::read_dir(at).unwrap() {
            for file in fs::read_dir(directory.unwrap().path()).unwrap() {
                found.push(file.unwrap().file_name().into_string().unwrap());
            }
        }
        found.sort();
        assert!(found.iter().eq(files.keys()), "{when}: other files than there should be");
        for (name, (seed, len)) in files {
            let content = fs::read(at.join(&name[..1]).join(name)).unwrap();
            assert!(content == random(*seed, *len), "{when}: {name}");
        }
    }
}

/// What goes on all the time, on threads of its own: a tree that is changed, and fio that writes and verifies.
struct Load {
    end: Arc<AtomicBool>,
    build: JoinHandle<Tree>,
    /// How often fio ran, or what it said when it found something.
    fio: JoinHandle<Result<u32, String>>,
}

/// One round of fio: random writes, flushed now and then, and all of them read again and verified.
fn fio(file: &Path, seed: u32) -> Result<(), String> {
    let job = "--name=load --size=8M --bs=4k --rw=randwrite --ioengine=psync --direct=1 --fsync=64 --verify=crc32c \
               --verify_fatal=1 --do_verify=1 --verify_state_save=0";
    let mut command = Command::new("fio");
    command.args(job.split_whitespace()).arg(format!("--randseed={seed}"));
    command.arg(format!("--filename={}", file.display()));
    let output = command.output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    output.status.success().then_some(()).ok_or_else(|| String::from_utf8_lossy(&said).into_owned())
}

impl Load {
    fn begin(at: &Path, seed: u32) -> Self {
        let end = Arc::new(AtomicBool::new(false));
        let mut tree = Tree::new(at.join("busy"), u64::from(seed));
        let ended = Arc::clone(&end);
        let build = std::thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                tree.steps(50);
            }
            tree
        });
        let (file, ended) = (at.join("fio"), Arc::clone(&end));
        let fio = std::thread::spawn(move || {
            let mut rounds = 0;
            while rounds == 0 || !ended.load(Ordering::Relaxed) {
                fio(&file, seed + rounds)?;
                rounds += 1;
            }
            Ok(rounds)
        });
        Self { end, build, fio }
    }

    /// Both end, and neither found anything wrong.
    #[track_caller]
    fn end(self, when: &str) {
        self.end.store(true, Ordering::Relaxed);
        let (tree, rounds) = (self.build.join().unwrap(), self.fio.join().unwrap());
        if let Err(said) = rounds {
            panic!("{when}: {said}");
        }
        Tree::check(&tree.at, &tree.files, when);
        fs::remove_dir_all(&tree.at).unwrap();
    }
}

/// A kind of file system.
struct Kind {
    name: &'static str,
    make: &'static str,
    /// How a second one with the same UUID is mounted.
    twin: &'static str,
    check: &'static str,
}

const EXT4: Kind = Kind { name: "ext4", make: "mkfs.ext4 -q", twin: "", check: "e2fsck -fn" };
const XFS: Kind = Kind { name: "xfs", make: "mkfs.xfs -q", twin: "-o nouuid ", check: "xfs_repair -n" };

fn is_there(program: &str) -> bool {
    Command::new("sh").args(["-c", &format!("command -v {program}")]).output().unwrap().status.success()
}

fn missing(kind: &Kind) -> Option<String> {
    if let Some(why) = no_block_devices() {
        return Some(why.to_owned());
    }
    let programs = [kind.make, kind.check, "fio"].map(|line| line.split(' ').next().unwrap());
    if let Some(program) = programs.into_iter().find(|program| !is_there(program)) {
        return Some(format!("there is no {program}"));
    }
    let known = fs::read_to_string("/proc/filesystems").unwrap();
    (!known.contains(kind.name)).then(|| format!("this kernel does not know {}", kind.name))
}

fn a_busy_file_system_goes_back(kind: &Kind) {
    if let Some(why) = missing(kind) {
        return skip(&format!("a_busy_file_system_goes_back on {}", kind.name), &why);
    }
    let live = Live::new(kind.name, 1400);
    live.ok("lvcreate -L 320M -n root VG");
    live.ok("vgchange -ay VG");
    let (device, mount) = (live.device("root"), live.lab.path("mnt"));
    assert!(Path::new(&device).exists(), "{}", live.log());
    sh_alone(&format!("{} {device}", kind.make));
    let mounted = Mounted::new(&device, &mount);
    let mut tree = Tree::new(mount.join("tree"), 7);
    tree.steps(3000);
    let load = Load::begin(&mount, 11);
    sh(&format!("sync -f {}", mount.display()));
    let first = tree.frozen();
    live.ok("lvcreate -s -L 400M -n other VG/root");
    tree.steps(2000);
    sh(&format!("sync -f {}", mount.display()));
    let second = tree.frozen();
    live.ok("lvcreate -s -L 400M -n before VG/root");
    tree.steps(3000);
    Tree::check(&tree.at, &tree.frozen(), "after the snapshots");
    let said = live.ok("lvconvert --merge VG/before");
    assert!(said.contains("Delaying merge since origin is open."), "{said}");
    load.end("while it waits for the merge");
    mounted.unmount();
    sh(&format!("{} {device}", kind.check));

    live.ok("lvconvert --merge -b VG/before");
    let mounted = Mounted::new(&device, &mount);
    Tree::check(&tree.at, &second, "mounted at once");
    // What was busy when the snapshot was taken is as a power cut leaves it.
    sh(&format!("rm -rf {0}/busy {0}/fio", mount.display()));
    let load = Load::begin(&mount, 1013);
    tree.files = second;
    tree.steps(2000);
    live.wait_until_merged();
    tree.steps(2000);
    Tree::check(&tree.at, &tree.frozen(), "mounted through the merge's end");
    load.end("through the merge's end");
    mounted.unmount();
    sh(&format!("{} {device}", kind.check));
    let other = Mounted::new(&format!("{}{}", kind.twin, live.device("other")), &live.lab.path("other"));
    Tree::check(&live.lab.path("other/tree"), &first, "the other snapshot");
    drop(other);
    live.ok("lvremove -y VG/other");
    live.ok("vgchange -an VG");
}

#[test]
fn a_busy_ext4_goes_back_to_its_snapshot_and_stays_mounted() {
    a_busy_file_system_goes_back(&EXT4);
}

#[test]
fn a_busy_xfs_goes_back_to_its_snapshot_and_stays_mounted() {
    a_busy_file_system_goes_back(&XFS);
}
