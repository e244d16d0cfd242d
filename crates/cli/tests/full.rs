//! Stores that fill while they are served (architecture.md, "When things go wrong"; C5 of dm-snapshot.md 2.7; lvm2.md 3.4, 3.5).
//!
//! Goal: with lvm.conf's threshold below 100 no snapshot is lost while there are free extents, however fast it fills; without
//! them writes wait, for a bounded time, and `lvextend` and `lvremove` end that at once; without a threshold the snapshot is
//! invalid at once, as in the kernel. In each case the origin has what was written. Method: the real program and its daemon,
//! in a run directory of their own, with an NBD client that writes; as root also the file that FUSE serves.
#![allow(clippy::big_endian_bytes, reason = "NBD is big-endian")]
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

use lab::{Lab, Run, random, skip};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

const MIB: usize = 1 << 20;
const SIZE: usize = 64 * MIB;
const PATIENCE: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_secs(3);
/// Stores are extended at 70 %, by 20 % at least.
const EXTEND: &str = "activation { snapshot_autoextend_threshold = 70 snapshot_autoextend_percent = 20 }";

/// A volume `root` of 64 MiB with an empty snapshot `snap`, served.
struct Full {
    lab: Lab,
    vg: String,
    /// Where the store is on the image.
    store: u64,
}

impl Full {
    /// On an image of `mebibytes`, with settings.
    fn new(test: &str, mebibytes: u64, config: &str) -> Self {
        let vg = format!("ff{test}{}", std::process::id());
        let mut full = Self { lab: Lab::empty(mebibytes), vg, store: 0 };
        full.ok("vgcreate VG disk.img");
        full.ok("lvcreate -L 64M -n root VG");
        full.ok("lvcreate -s -L 8M -n snap VG/root");
        full.store = full.lab.start_of(&format!("{}/snap", full.vg));
        full.activate(&config.replace("LAB", &full.lab.path("").display().to_string()));
        full
    }

    /// The same on a VG that has nothing free.
    fn without_room(test: &str, config: &str) -> Self {
        // 64 MiB, 8 MiB, and the first one for the metadata.
        let full = Self::new(test, 73, config);
        assert!(full.ok("vgs --noheadings -o vg_free_count").trim() == "0");
        full
    }

    fn activate(&self, config: &str) {
        let words = ["vgchange", "-ay", "--export", "nbd", "--config", config, &self.vg];
        let run = self.lab.run(&words);
        assert_eq!(run.code, Some(0), "{}{}", run.stdout, run.stderr);
    }

    /// Runs a command in which `VG` stands for the VG's name.
    fn run(&self, words: &str) -> Run {
        let words: Vec<String> = words.split(' ').map(|word| word.replace("VG", &self.vg)).collect();
        let run = self.lab.run(&words.iter().map(String::as_str).collect::<Vec<_>>());
        let replaced = |text: String| text.replace(&self.vg, "VG");
        Run { stdout: replaced(run.stdout), stderr: replaced(run.stderr), code: run.code }
    }

    #[track_caller]
    fn ok(&self, words: &str) -> String {
        let run = self.run(words);
        assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""), "{words}\n{}{}", run.stdout, self.log());
        run.stdout
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.lab.path("run/daemon.log")).unwrap_or_default()
    }

    fn daemon(&self) -> Option<Pid> {
        let text = std::fs::read_to_string(self.lab.path("run/daemon.lock")).ok()?;
        Pid::from_raw(text.trim().parse().ok()?)
    }

    fn client(&self, lv: &str) -> Nbd {
        Nbd::enter(&self.lab, &self.vg, lv)
    }

    /// Writes `bytes` in pieces of 1 MiB, in a thread of its own; how long it took.
    fn writer(&self, lv: &str, bytes: &[u8]) -> JoinHandle<Duration> {
        let (mut client, bytes) = (self.client(lv), bytes.to_vec());
        std::thread::spawn(move || {
            let begun = Instant::now();
            for (number, piece) in bytes.chunks(MIB).enumerate() {
                client.write(number * MIB, piece);
            }
            client.flush();
            begun.elapsed()
        })
    }

    /// Until writes wait, since the store could not be extended because of that.
    #[track_caller]
    fn wait_until_held(&self, because: &str) -> Run {
        let begun = Instant::now();
        loop {
            let run = self.run("lvs --noheadings -o lv_name,lv_attr,data_percent VG/snap");
            if run.stderr.contains("is full") && run.stderr.contains(because) {
                return run;
            }
            assert!(begun.elapsed() < PATIENCE, "it is not held: {}{}", run.stdout, self.log());
            sleep(Duration::from_millis(20));
        }
    }

    /// Whether the snapshot's header on the disk says that it is valid: its second word.
    fn is_valid_on_disk(&self) -> bool {
        let mut word = [0; 4];
        File::open(self.lab.path("disk.img")).unwrap().read_exact_at(&mut word, self.store + 4).unwrap();
        word[0] & 1 == 1
    }

    #[track_caller]
    fn holds_in(&self, lv: &str, expected: &[u8]) {
        assert!(self.client(lv).read(0, expected.len()) == expected, "{lv}\n{}", self.log());
    }
}

impl Drop for Full {
    fn drop(&mut self) {
        if self.run("vgchange -an VG").code == Some(0) {
            return;
        }
        // What could not be taken down cleanly must not outlive the test.
        if let Some(pid) = self.daemon().filter(|_| self.lab.path("run/api.sock").exists()) {
            kill_process(pid, Signal::KILL).ok();
            drop(Command::new("umount").arg("-l").arg(self.lab.path("run").join(&self.vg)).output());
        }
    }
}

/// A client that does one thing after the other, with simple replies.
struct Nbd {
    stream: UnixStream,
    cookie: u64,
}

impl Nbd {
    fn enter(lab: &Lab, vg: &str, lv: &str) -> Self {
        let mut stream = UnixStream::connect(lab.path(&format!("run/nbd/{vg}-{lv}.sock"))).unwrap();
        let mut greeting = [0; 18];
        stream.read_exact(&mut greeting).unwrap();
        // Fixed newstyle without the zeroes; then NBD_OPT_EXPORT_NAME.
        let mut hello = vec![0, 0, 0, 3];
        hello.extend(b"IHAVEOPT");
        hello.extend([0, 0, 0, 1]);
        hello.extend((lv.len() as u32).to_be_bytes());
        hello.extend(lv.as_bytes());
        stream.write_all(&hello).unwrap();
        stream.read_exact(&mut [0; 10]).unwrap();
        Self { stream, cookie: 0 }
    }

    fn send(&mut self, command: u16, offset: usize, len: usize, data: &[u8]) {
        self.cookie += 1;
        let mut request = vec![0x25, 0x60, 0x95, 0x13, 0, 0];
        request.extend(command.to_be_bytes());
        request.extend(self.cookie.to_be_bytes());
        request.extend((offset as u64).to_be_bytes());
        request.extend((len as u32).to_be_bytes());
        request.extend(data);
        self.stream.write_all(&request).unwrap();
    }

    /// The error number of the next answer.
    fn answer(&mut self) -> u32 {
        let mut reply = [0; 16];
        self.stream.read_exact(&mut reply).unwrap();
        u32::from_be_bytes(reply[4..8].try_into().unwrap())
    }

    fn read(&mut self, offset: usize, len: usize) -> Vec<u8> {
        let mut all = Vec::new();
        for at in (offset..offset + len).step_by(MIB) {
            let piece = MIB.min(offset + len - at);
            self.send(0, at, piece, &[]);
            assert_eq!(self.answer(), 0);
            let mut data = vec![0; piece];
            self.stream.read_exact(&mut data).unwrap();
            all.extend(data);
        }
        all
    }

    fn write(&mut self, offset: usize, data: &[u8]) {
        self.send(1, offset, data.len(), data);
        assert_eq!(self.answer(), 0);
    }

    fn flush(&mut self) {
        self.send(3, 0, 0, &[]);
        assert_eq!(self.answer(), 0);
    }
}

/// A burst far faster than anybody looks: each time the store is full, writes wait until it is extended, and for no longer.
#[test]
fn no_snapshot_is_lost_to_a_burst_while_there_are_free_extents() {
    let full = Full::new("burst", 256, EXTEND);
    let new = random(1, SIZE);
    let took = full.writer("root", &new).join().unwrap();
    // Whoever looks once a second lets it wait a second for each.
    let extensions = full.log().matches("changed from").count() as u32;
    let told = Duration::from_millis(700) * (extensions - 1);
    assert!(extensions >= 4 && took < told, "{took:?} for {extensions} extensions\n{}", full.log());
    full.holds_in("root", &new);
    full.holds_in("snap", &vec![0; SIZE]);
    assert_eq!(full.ok("lvs --noheadings -o lv_attr VG/snap").trim(), "swi-a-s---");
    assert!(!full.log().contains("is full"), "nobody had to be told: {}", full.log());
    // What was written before each extension and after it is in the archive and the backup.
    let backup =
        String::from_utf8(full.lab.read(&format!("disk.img.foldback-backup/backup/{}", full.vg))).unwrap();
    assert!(backup.contains("*after* executing 'lvextend --use-policies"));
}

/// The last extents are given out although they are fewer than lvm.conf's percentage wants.
#[test]
fn the_last_free_extents_are_used() {
    // 20 % and 43 % of 8 MiB are one extent and two: with one left only the first is given.
    let full = Full::new("last", 77, EXTEND);
    let writer = full.writer("root", &random(2, 11 * MIB));
    writer.join().unwrap();
    assert_eq!(full.ok("vgs --noheadings -o vg_free_count").trim(), "0");
    full.holds_in("snap", &vec![0; SIZE]);
    full.holds_in("root", &random(2, 11 * MIB));
}

/// C5: without room writes wait as long as the settings say; then the snapshot is invalid, and durably so, and the origin's
/// writes go out. Meanwhile `lvs` says what happens and what to do.
#[test]
fn without_free_extents_writes_wait_and_then_the_snapshot_is_given_up() {
    let full = Full::without_room("wait", &format!("{EXTEND} foldback {{ hold_seconds = 3 }}"));
    let new = random(3, 16 * MIB);
    let writer = full.writer("root", &new);
    let said = full.wait_until_held("not extended: Insufficient free space: ");
    assert_eq!(said.stdout.split_whitespace().collect::<Vec<_>>(), ["snap", "swi-a-s---", "100.00"]);
    for words in [
        "WARNING: Snapshot VG/snap is full; writes that need room in it have waited for ",
        "lvextend -L +SIZE VG/snap",
        "lvremove VG/snap",
    ] {
        assert!(said.stderr.contains(words), "{words:?} is not in: {}", said.stderr);
    }
    assert!(full.is_valid_on_disk());
    full.holds_in("snap", &vec![0; SIZE]);
    let took = writer.join().unwrap();
    assert!(took >= SHORT, "{took:?}: it was not waited for");
    assert!(!full.is_valid_on_disk(), "C5: the origin was written");
    full.holds_in("root", &new);
    let said = full.ok("lvs --noheadings -o lv_name,lv_attr,data_percent");
    let lines: Vec<Vec<&str>> = said.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines, [vec!["root", "owi-a-s---"], vec!["snap", "swi-I-s---", "100.00"]], "lvm2.md 3.4");
    assert!(full.log().contains("is given up"), "{}", full.log());
}

/// LVM2's default, a threshold of 100: as the kernel does.
#[test]
fn without_a_threshold_the_snapshot_is_invalid_at_once() {
    let full = Full::new("kernel", 256, "");
    let new = random(4, 16 * MIB);
    let took = full.writer("root", &new).join().unwrap();
    assert!(took < SHORT, "{took:?}");
    assert!(!full.is_valid_on_disk(), "C5");
    full.holds_in("root", &new);
    let said = full.ok("lvs --noheadings -o lv_attr,data_percent,lv_size VG/snap");
    assert_eq!(said.split_whitespace().collect::<Vec<_>>(), ["swi-I-s---", "100.00", "8.00m"]);
}

/// A daemon that cannot have the VG's lock, since somebody holds it: it cannot extend. Commands lock elsewhere.
fn locked_out(test: &str, hold_seconds: u32) -> (Full, File) {
    let settings = format!("{EXTEND} foldback {{ hold_seconds = {hold_seconds} }}");
    let full = Full::new(test, 256, &format!("{settings} global {{ locking_dir = \"LAB/locks\" }}"));
    let lock = lock_of(&full);
    (full, lock)
}

fn lock_of(full: &Full) -> File {
    std::fs::create_dir_all(full.lab.path("locks")).unwrap();
    let lock = File::create(full.lab.path(&format!("locks/V_{}:aux", full.vg))).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).unwrap();
    lock
}

/// Reads, and writes that need nothing new of the store, go on while others wait, in the group and beside it; nothing that is
/// in use is removed; and `lvextend` lets go.
#[test]
fn lvextend_lets_the_writes_go_on() {
    let (full, _lock) = locked_out("extend", 600);
    full.ok("lvcreate -L 8M -n other VG");
    full.ok("lvcreate -s -L 4M -n others VG/other");
    full.run("lvchange -ay --export nbd VG/other VG/others");
    let new = random(5, 16 * MIB);
    let writer = full.writer("root", &new);
    let said = full.wait_until_held("");
    assert!(said.stderr.contains("Can't get lock for"), "{}", said.stderr);
    let mut second = full.client("root");
    assert!(second.read(0, 4 * MIB) == new[..4 * MIB]);
    second.write(0, &new[..4096]);
    full.holds_in("snap", &vec![0; SIZE]);
    let mut other = full.client("other");
    other.write(0, &new[..MIB]);
    other.flush();
    drop((second, other));
    full.run("lvremove -y VG/root").failed_with(5, &["in use", "nothing was changed"]);
    full.run("vgchange -an VG").failed_with(5, &["in use"]);
    full.ok("lvextend -L +32M VG/snap");
    writer.join().unwrap();
    assert_eq!(full.ok("lvs --noheadings -o lv_attr,lv_size VG/snap").trim(), "swi-a-s--- 40.00m");
    full.holds_in("root", &new);
    full.holds_in("snap", &vec![0; SIZE]);
    full.holds_in("others", &vec![0; 8 * MIB]);
    let folder = full.lab.path("disk.img.foldback-backup/archive");
    let archived = std::fs::read_dir(folder).unwrap().filter_map(Result::ok);
    let is_before = |file: std::fs::DirEntry| {
        let text = std::fs::read_to_string(file.path()).unwrap();
        text.contains("*before* executing 'lvextend -L +32M")
    };
    assert!(archived.into_iter().any(is_before), "the metadata before it are archived");
}

#[test]
fn lvremove_lets_the_writes_go_on() {
    let (full, _lock) = locked_out("remove", 600);
    let new = random(6, 16 * MIB);
    let writer = full.writer("root", &new);
    drop(full.wait_until_held(""));
    full.ok("lvremove -y VG/snap");
    writer.join().unwrap();
    full.holds_in("root", &new);
    assert_eq!(full.ok("lvs --noheadings -o lv_name,lv_attr").trim(), "root -wi-a-----");
}

/// The lock is let go: the store is extended within a second or two, and nothing was lost.
#[test]
fn a_lock_that_is_let_go_is_enough() {
    let (full, lock) = locked_out("lock", 600);
    let new = random(7, 16 * MIB);
    let writer = full.writer("root", &new);
    drop(full.wait_until_held(""));
    drop(lock);
    writer.join().unwrap();
    full.holds_in("root", &new);
    full.holds_in("snap", &vec![0; SIZE]);
}

/// kill -9 while it holds: what waited was not answered and has changed nothing; the next daemon finds the store full, and
/// the next write waits again.
#[test]
fn a_daemon_that_is_killed_while_it_holds_loses_nothing() {
    let full = Full::without_room("killed", &format!("{EXTEND} foldback {{ hold_seconds = 600 }}"));
    let new = random(8, 16 * MIB);
    let mut client = full.client("root");
    let mut pieces = new.chunks(MIB).enumerate();
    for (number, piece) in pieces.by_ref().take(6) {
        client.write(number * MIB, piece);
    }
    client.flush();
    for (number, piece) in pieces {
        client.send(1, number * MIB, MIB, piece);
    }
    drop(full.wait_until_held(""));
    kill_process(full.daemon().unwrap(), Signal::KILL).unwrap();
    drop(client);
    assert!(full.run("lvs").stderr.contains("has died, and another one does now"));
    full.holds_in("snap", &vec![0; SIZE]);
    assert!(full.client("root").read(0, 6 * MIB) == new[..6 * MIB], "what was flushed is there");
    let writer = full.writer("root", &new);
    drop(full.wait_until_held(""));
    full.ok("lvremove -y VG/snap");
    writer.join().unwrap();
    full.holds_in("root", &new);
}

/// A merge of 16 MiB in live volumes, beside a snapshot whose store takes 8: what it said on standard error.
fn merge_beside(full: &Full, new: &[u8]) -> String {
    full.ok("lvcreate -s -L 32M -n source VG/root");
    full.run("lvchange -ay --export nbd VG/source");
    full.writer("source", new).join().unwrap();
    let merge = full.run("lvconvert --merge VG/source");
    assert_eq!(merge.code, Some(0), "{}{}", merge.stdout, merge.stderr);
    full.holds_in("root", new);
    merge.stderr
}

/// The number is what the merge copies out; the merge is not refused: stores can be extended while it runs.
#[test]
fn a_merge_by_which_another_snapshot_overflows_is_warned_of() {
    let full = Full::new("warn", 256, "");
    let said = merge_beside(&full, &random(10, 16 * MIB));
    for words in [
        "WARNING: Merging VG/source copies up to 4096 chunks of 4.00 KiB out to snapshot VG/snap, which has room for 2039.",
        "When it is full it becomes invalid, and its content is lost. Extend it by 8.0",
        "lvextend -L +SIZE VG/snap",
    ] {
        assert!(said.contains(words), "{words:?} is not in: {said}");
    }
    assert_eq!(full.ok("lvs --noheadings -o lv_attr VG/snap").trim(), "swi-I-s---");
    // With room there is nothing to say.
    full.ok("lvremove -y VG/snap");
    full.ok("lvcreate -s -L 32M -n snap VG/root");
    assert_eq!(merge_beside(&full, &random(11, 16 * MIB)), "");
    assert_eq!(full.ok("lvs --noheadings -o lv_attr VG/snap").trim(), "swi-a-s---");
}

/// I3 beside a store that fills: the merge itself waits for the room, and the other snapshot is what it was.
#[test]
fn a_merge_extends_the_other_snapshots_where_lvm_conf_says_so() {
    let full = Full::new("merge", 256, EXTEND);
    let said = merge_beside(&full, &random(12, 16 * MIB));
    assert!(said.contains("which has room for 2039. It will be extended as lvm.conf says"), "{said}");
    full.holds_in("snap", &vec![0; SIZE]);
    assert_eq!(full.ok("lvs --noheadings -o lv_attr VG/snap").trim(), "swi-a-s---");
}

/// A write that waits keeps its volume in use, also when its client is gone; without the snapshot it goes on, and then the
/// origin can be removed.
#[test]
fn an_origin_is_removed_after_its_full_snapshot() {
    let (full, _lock) = locked_out("gone", 600);
    let mut client = full.client("root");
    for (number, piece) in random(13, 16 * MIB).chunks(MIB).enumerate() {
        client.send(1, number * MIB, MIB, piece);
    }
    drop(full.wait_until_held(""));
    drop(client);
    let why = "in use: an NBD client that has gone, but its requests are not over; nothing was changed";
    full.run("lvremove -y VG/root").failed_with(5, &[why]);
    full.ok("lvremove -y VG/snap");
    let begun = Instant::now();
    while full.run("lvremove -y VG/root").code != Some(0) {
        assert!(begun.elapsed() < PATIENCE, "{}", full.log());
        sleep(Duration::from_millis(50));
    }
    assert_eq!(full.ok("lvs --noheadings"), "");
}

/// A file that FUSE serves, too: through it only the writes wait that have to.
#[test]
fn a_file_holds_its_writes_as_well() {
    if OpenOptions::new().read(true).write(true).open("/dev/fuse").is_err()
        || !rustix::process::geteuid().is_root()
    {
        return skip("a_file_holds_its_writes_as_well", "it needs root and /dev/fuse");
    }
    let (full, _lock) = locked_out("file", 600);
    let path = full.lab.path("run").join(&full.vg).join("root");
    let file = || OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let (new, own) = (random(9, 16 * MIB), file());
    let writer = {
        let new = new.clone();
        std::thread::spawn(move || {
            own.write_all_at(&new, 0).unwrap();
            own.sync_all().unwrap();
        })
    };
    drop(full.wait_until_held(""));
    let second = file();
    let mut found = vec![0; 4 * MIB];
    second.read_exact_at(&mut found, 0).unwrap();
    assert!(found == new[..4 * MIB]);
    second.write_all_at(&new[..4096], 0).unwrap();
    drop(second);
    full.ok("lvextend -L +32M VG/snap");
    writer.join().unwrap();
    full.holds_in("root", &new);
    full.holds_in("snap", &vec![0; SIZE]);
}
