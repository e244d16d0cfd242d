//! Seeing it: `map`, `watch`, `metrics`, and the events of the daemon.
//!
//! Goal: what is shown is what is on the disks, served or not. Method: the real program and its real daemon on an image file,
//! with changes at known places.
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
    clippy::cast_precision_loss,
    reason = "test code"
)]

mod lab;

use lab::{Lab, random, skip};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::time::{Duration, Instant};

const MIB: u64 = 1 << 20;

/// A VG with `root` (64 MiB, so that a sign of its map is a chunk of 64 KiB) and its snapshot `snap`; its daemon ends with
/// it.
struct Seen {
    lab: Lab,
    vg: String,
}

impl Seen {
    fn new(test: &str) -> Self {
        let lab = Lab::empty(300);
        let vg = format!("fb{test}{}", std::process::id());
        lab.ok(&["vgcreate", &vg, "disk.img"]);
        let seen = Self { lab, vg };
        seen.ok("lvcreate -L 64M -n root VG");
        seen.ok("lvcreate -s -L 80M -c 64k -n snap VG/root");
        seen
    }

    /// `None`, loudly, where nothing can be served.
    fn served(test: &str) -> Option<Self> {
        let root = rustix::process::geteuid().is_root();
        if !root || OpenOptions::new().read(true).write(true).open("/dev/fuse").is_err() {
            skip(test, "it needs root and /dev/fuse");
            return None;
        }
        let seen = Self::new(test);
        seen.ok("vgchange -ay VG");
        Some(seen)
    }

    /// Runs a command in which `VG` stands for the VG's name.
    #[track_caller]
    fn ok(&self, words: &str) -> String {
        let words: Vec<String> = words.split(' ').map(|word| word.replace("VG", &self.vg)).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        self.lab.ok(&words).replace(&self.vg, "VG")
    }

    fn write(&self, lv: &str, at: u64, len: u64) {
        let file = self.lab.path("run").join(&self.vg).join(lv);
        let file = OpenOptions::new().write(true).open(file).unwrap();
        // In pieces that FUSE sends whole.
        for (piece, bytes) in (0..).zip(random(at + 1, len as usize).chunks(64 << 10)) {
            file.write_all_at(bytes, at + piece * (64 << 10)).unwrap();
        }
        file.sync_all().unwrap();
    }

    /// Fields of an LV as numbers; what is blank is left out.
    #[track_caller]
    fn numbers(&self, fields: &str, lv: &str) -> Vec<f64> {
        let said = self.ok(&format!("lvs --noheadings --units b --nosuffix -o {fields} VG/{lv}"));
        said.split_whitespace().map(|number| number.parse().unwrap()).collect()
    }

    /// The lines of signs of a map.
    #[track_caller]
    fn signs(&self, lv: &str) -> Vec<String> {
        let shown = self.ok(&format!("map --ascii VG/{lv}"));
        let rows = shown.lines().skip(2).take_while(|line| !line.is_empty());
        rows.map(|line| line.split_at(14).1.to_owned()).collect()
    }
}

impl Drop for Seen {
    fn drop(&mut self) {
        drop(self.lab.run(&["vgchange", "-an", &self.vg]));
        // What could not be taken down cleanly must not outlive the test.
        let served = self.lab.path("run").join(&self.vg);
        let pid = std::fs::read_to_string(self.lab.path("run/daemon.lock"));
        let pid = pid.ok().and_then(|pid| Pid::from_raw(pid.trim().parse().ok()?));
        if let Some(pid) = pid.filter(|_| served.exists()) {
            kill_process(pid, Signal::KILL).ok();
            drop(std::process::Command::new("umount").arg("-l").arg(served).output());
        }
    }
}

/// `signs` from the first on, and nothing behind them.
fn row(signs: &str) -> String {
    format!("{signs}{}", ".".repeat(64 - signs.len()))
}

/// A store of 64 KiB chunks, written by whoever is there: the map shows each chunk where it is, served or not.
#[test]
fn a_map_is_the_same_served_or_not() {
    let Some(seen) = Seen::served("map") else { return };
    assert_eq!(seen.signs("snap"), vec![row(""); 16], "nothing is kept yet");
    seen.write("root", 0, 64 << 10);
    seen.write("snap", (64 + 2) * (64 << 10), 3 * (64 << 10));
    let mut expected = vec![row(""); 16];
    (expected[0], expected[1]) = (row("#"), row("..###"));
    for lv in ["root", "snap"] {
        assert_eq!(seen.signs(lv), expected, "{lv}, served");
    }
    assert!(seen.ok("map VG/root").contains("origin of snap, active"));
    seen.ok("vgchange -an VG");
    for lv in ["root", "snap"] {
        assert_eq!(seen.signs(lv), expected, "{lv}, from the disk");
    }
    let told = seen.ok("map VG/snap");
    assert!(told.contains("VG/snap: 64.00 MiB, snapshot of root; one sign is 64.00 KiB"), "{told}");
    assert!(told.contains("256.00 KiB (0.39%)"), "{told}");
}

/// What a merge has left moves to what it has merged.
#[test]
fn the_map_of_a_merge_shows_how_far_it_is() {
    let Some(seen) = Seen::served("merge") else { return };
    seen.write("snap", 0, 48 * MIB);
    seen.ok("lvconvert --merge -b VG/snap");
    let mut was = u64::MAX;
    // As long as it takes: a merge that has ended has no map any more.
    loop {
        let signs: String = seen.signs("root").concat();
        let count = |sign: char| signs.chars().filter(|it| *it == sign).count() as u64;
        // A sign is one chunk: nothing is there in part.
        if count('_') + count('#') == 0 {
            break;
        }
        assert_eq!((count('_') + count('#'), count('.')), (768, 256), "{signs}");
        assert!(count('#') <= was, "what was merged is left again");
        was = count('#');
    }
    assert_eq!(seen.ok("lvs --noheadings -o lv_name VG"), "  root\n");
}

#[test]
fn a_picture_is_written_whole_or_shown() {
    let seen = Seen::new("svg");
    seen.lab.write("map.svg", b"old");
    assert_eq!(seen.ok("map --svg map.svg VG/snap"), "  Map of VG/snap written to map.svg.\n");
    let picture = String::from_utf8(seen.lab.read("map.svg")).unwrap();
    assert!(picture.starts_with("<svg ") && picture.ends_with("</svg>\n"), "{picture}");
    assert_eq!(picture.replace(&seen.vg, "VG"), seen.ok("map --svg - VG/snap"));
    let before = seen.lab.fingerprint();
    seen.lab.run(&["map", "--svg", "disk.img", &format!("{}/snap", seen.vg)]).failed_with(5, &["disk.img"]);
    seen.lab
        .run(&["map", "--svg", "no/such/map.svg", &format!("{}/snap", seen.vg)])
        .failed_with(5, &["no/such"]);
    assert_eq!(seen.lab.fingerprint(), before);
}

/// Where nobody can press keys there is one report, and an end.
#[test]
fn watch_into_a_pipe_reports_once() {
    let Some(seen) = Seen::served("watch") else { return };
    seen.write("snap", 0, 8 * MIB);
    let told = seen.ok("watch VG");
    let lines: Vec<&str> = told.lines().map(str::trim).collect();
    assert_eq!(lines[0], "VG: 296.00 MiB, 164.00 MiB free");
    assert_eq!(lines[1], "root                  64.00 MiB  active");
    assert!(lines[2].starts_with("snap                68.00 MiB  active    11.9"), "{told}");
    seen.ok("vgchange -an VG");
    let told = seen.ok("watch");
    assert!(told.contains("root                  64.00 MiB  -\n"), "{told}");
    assert!(
        told.contains("snap                68.00 MiB  -         11.9"),
        "the store is looked into: {told}"
    );
}

/// Samples by name and labels, after a look whether the text is what Prometheus reads: each name's samples stand together,
/// behind its help and its type, once; counters end in `_total`, and values are numbers.
#[track_caller]
fn samples(text: &str) -> std::collections::BTreeMap<String, u64> {
    let mut samples = std::collections::BTreeMap::new();
    let (mut name, mut kind) = (String::new(), String::new());
    let mut names = std::collections::BTreeSet::new();
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            name = String::from(help.split_once(' ').unwrap().0);
            assert!(names.insert(name.clone()), "{name} comes twice");
        } else if let Some(of) = line.strip_prefix("# TYPE ") {
            kind = String::from(of.strip_prefix(&name).unwrap().trim());
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
        } else {
            let (sample, value) = line.rsplit_once(' ').unwrap();
            let labels = sample.strip_prefix(&name).unwrap();
            assert!(labels.is_empty() || (labels.starts_with('{') && labels.ends_with("\"}")), "{line}");
            assert!(
                !kind.is_empty() && samples.insert(sample.to_owned(), value.parse().unwrap()).is_none(),
                "{line}"
            );
        }
    }
    samples
}

#[test]
fn metrics_count_what_was_done() {
    let Some(seen) = Seen::served("metrics") else { return };
    let volume = |name: &str, lv: &str| format!("foldback_{name}{{vg=\"VG\",lv=\"{lv}\"}}");
    let before = samples(&seen.ok("metrics"));
    assert_eq!(before[&volume("volume_writes_total", "root")], 0);
    seen.write("root", 0, 1 << 20);
    seen.write("snap", 8 << 20, 256 << 10);
    let after = samples(&seen.ok("metrics"));
    let grown = |name: &str| after[name] - before[name];
    assert_eq!(grown(&volume("volume_written_bytes_total", "root")), 1 << 20);
    assert_eq!(grown(&volume("volume_written_bytes_total", "snap")), 256 << 10);
    // Whoever looks at a new block device closes it with a flush, too.
    assert!(grown(&volume("volume_flushes_total", "root")) >= 1);
    // C1: 1 MiB of 64 KiB chunks; a chunk of a snapshot that is written in part is copied out, too.
    let copied = grown(&volume("origin_chunks_copied_out_total", "root"));
    assert!((16..=20).contains(&copied), "{copied}");
    assert_eq!(grown(&volume("store_allocated_bytes", "snap")), 20 * 65536);
    assert_eq!(after[&volume("store_valid", "snap")], 1);
    assert_eq!(after[&volume("volume_errors_total", "root")], 0);
    let disk = |name: &str| {
        let of = format!("foldback_disk_{name}{{vg=\"VG\"");
        after.iter().find(|(sample, _)| sample.starts_with(&of)).unwrap().1
    };
    assert!(*disk("written_bytes_total") >= (2 << 20) + (256 << 10), "the data, and what was copied out");
    assert!(*disk("flushes_total") >= 2);
    seen.ok("vgchange -an VG");
    let nothing = Lab::empty(1).ok(&["metrics"]);
    assert_eq!(samples(&nothing), std::collections::BTreeMap::from([("foldback_up".to_owned(), 0)]));
}

/// A program that listens: its lines, until it ends.
struct Listener {
    child: std::process::Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Listener {
    fn new(seen: &Seen) -> Self {
        let mut child = seen.lab.command(&["watch", "--events"]).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut listener = Self { child, lines };
        assert_eq!(listener.next(), "listening");
        listener
    }

    fn next(&mut self) -> String {
        self.lines.next().unwrap().unwrap().trim().to_owned()
    }

    /// The next lines, whatever comes between them.
    fn wait_for(&mut self, seen: &Seen, expected: &[&str]) {
        for expected in expected {
            let expected = expected.replace("VG", &seen.vg);
            while !self.next().starts_with(&expected) {}
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// What happens is told, in its order, to everybody who listens.
#[test]
fn events_tell_what_happens() {
    let Some(seen) = Seen::served("events") else { return };
    let mut listeners = [Listener::new(&seen), Listener::new(&seen)];
    seen.ok("lvcreate -L 4M -n more VG");
    seen.ok("lvchange -ay VG/more");
    // 36 of 68 MiB.
    seen.write("snap", 0, 36 * MIB);
    std::thread::sleep(Duration::from_millis(500));
    seen.ok("lvchange -an VG/more");
    std::thread::sleep(Duration::from_millis(500));
    seen.ok("lvremove -y VG/snap");
    for listener in &mut listeners {
        let expected = [
            "volume-appeared  VG  VG-more",
            "store-filling  VG  VG-snap  50%",
            "volume-gone  VG  VG-more",
            "volume-gone  VG  VG-snap",
        ];
        listener.wait_for(&seen, &expected);
    }
    seen.ok("vgchange -an VG");
    listeners[0].wait_for(&seen, &["volume-gone  VG  VG-root"]);
    let [mut first, _] = listeners;
    assert!(first.lines.next().is_none(), "the daemon ends, and so does listening to it");
    assert_eq!(first.child.wait().unwrap().code(), Some(0));
}

/// The API describes itself, as `varlinkctl introspect` asks for it.
#[test]
fn the_api_describes_itself() {
    let Some(seen) = Seen::served("varlink") else { return };
    let mut socket = UnixStream::connect(seen.lab.path("run/api.sock")).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let call = "{\"method\":\"org.varlink.service.GetInterfaceDescription\",\"parameters\":\
                {\"interface\":\"org.foldback.Daemon\"}}\0";
    socket.write_all(call.as_bytes()).unwrap();
    let mut reply = Vec::new();
    BufReader::new(socket).read_until(0, &mut reply).unwrap();
    let reply = String::from_utf8(reply).unwrap();
    let methods = ["Activate", "Transact", "List", "Map", "Metrics", "Monitor"];
    for text in methods.map(|name| format!("method {name}(")).iter().map(String::as_str).chain([
        "interface org.foldback.Daemon",
        "Supports 'more' flag",
        "error NotActive (",
    ]) {
        assert!(reply.contains(text), "{text} is not in {reply}");
    }
}

/// How fast it goes and how long it lasts, in `lvs`: a merge that may move so much in a second, and a store that somebody fills
/// steadily.
#[test]
fn rates_and_what_follows_from_them_are_what_happens() {
    let Some(seen) = Seen::served("rates") else { return };
    let file = seen.lab.path("run").join(&seen.vg).join("root");
    let file = OpenOptions::new().write(true).open(file).unwrap();
    let begun = Instant::now();
    let mut written = 0;
    while begun.elapsed() < Duration::from_secs(4) {
        file.write_all_at(&random(written + 1, 1 << 16), written).unwrap();
        written += 1 << 16;
        std::thread::sleep(Duration::from_millis(50));
        if written.is_multiple_of(MIB) {
            seen.numbers("store_seconds", "snap");
        }
    }
    let rate = written as f64 / begun.elapsed().as_secs_f64();
    let used = seen.numbers("data_percent", "snap")[0];
    let left = written as f64 * (100.0 - used) / used / rate;
    let told = seen.numbers("store_seconds", "snap")[0];
    assert!(told > left / 3.0 && told < left * 3.0, "lasts {told} s, and it should be about {left}");
    drop(file);
    seen.ok("lvconvert --merge -b --rate 256k VG/snap");
    let begun = Instant::now();
    loop {
        let all = seen.numbers("merge_left,merge_rate,merge_seconds", "root");
        if let [left, rate, seconds] = all[..]
            && (128.0..512.0).contains(&(rate / 1024.0))
        {
            let expected = left / rate;
            assert!(seconds >= expected / 2.0 - 1.0 && seconds <= expected * 2.0 + 1.0, "{all:?}");
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "not what it may move: {all:?}");
        std::thread::sleep(Duration::from_millis(300));
    }
    seen.ok("lvconvert --rate none VG/root");
}
