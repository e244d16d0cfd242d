//! What somebody else does to a VG that is served, and what a look cannot read, without a change of what its volumes lie on
//! (architecture.md, "Holding and locking"): only "a foreign change that touches a served LV's extents holds that LV's writes".
//!
//! Method: the real daemon, the real LVM2 on loop devices over its images, and metadata that are overwritten on these.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed step fails the test"
)]
#![allow(clippy::arithmetic_side_effects, clippy::as_conversions, reason = "test code")]

mod lab;

use lab::Lab;
use lab::live::{Live, lvm2, no_lvm2};
use std::cell::Cell;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::mpsc::channel;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Longer than two looks take.
const TWO_LOOKS: Duration = Duration::from_millis(2500);
/// Where the header of a PV's metadata area lies, and how long it is.
const HEADER: (u64, usize) = (4096, 512);

/// A second disk beside the lab's.
fn second_disk(lab: &Lab) {
    File::create(lab.path("disk2.img")).unwrap().set_len(64 << 20).unwrap();
}

/// Runs a command with both disks named.
fn with_both(live: &Live, words: &[&str]) -> lab::Run {
    let words: Vec<String> = words.iter().map(|word| word.replace("VG", &live.vg)).collect();
    let words = words.iter().map(String::as_str);
    live.lab.run(&words.chain(["--devices", "disk.img,disk2.img"]).collect::<Vec<_>>())
}

/// Whether a write to a volume is answered within two seconds.
fn goes_on(live: &Live, lv: &str) -> bool {
    let (file, (told, answered)) = (live.open(lv), channel());
    std::thread::spawn(move || told.send(file.write_all_at(&[7; 4096], 0).and_then(|()| file.sync_all())));
    matches!(answered.recv_timeout(Duration::from_secs(2)), Ok(Ok(())))
}

fn wait_for(live: &Live, text: &str) {
    let begun = Instant::now();
    while !live.log().contains(text) {
        assert!(begun.elapsed() < Duration::from_secs(20), "{text:?} is not in:\n{}", live.log());
        sleep(Duration::from_millis(50));
    }
}

/// A header of a metadata area that cannot be read until it is put back.
struct Spoilt {
    disk: File,
    header: Vec<u8>,
}

impl Spoilt {
    fn on(live: &Live, image: &str) -> Self {
        let disk = File::options().read(true).write(true).open(live.lab.path(image)).unwrap();
        let mut header = vec![0; HEADER.1];
        disk.read_exact_at(&mut header, HEADER.0).unwrap();
        disk.write_all_at(&[0xa5; HEADER.1], HEADER.0).unwrap();
        Self { disk, header }
    }

    fn put_back(self) {
        self.disk.write_all_at(&self.header, HEADER.0).unwrap();
    }
}

/// LVM2's `vgextend`, the natural step when stores fill: volumes go on. A change says how the new PV becomes known.
#[test]
fn a_pv_that_lvm2_adds_holds_no_volume() {
    if no_lvm2("a_pv_that_lvm2_adds_holds_no_volume") {
        return;
    }
    let Some(live) = Live::as_root("wider", 64) else { return };
    live.ok("lvcreate -L 16M -n root VG");
    live.ok("vgchange -ay VG");
    second_disk(&live.lab);
    let new = |devices: &[String]| vec!["vgextend".to_owned(), live.vg.clone(), devices[1].clone()];
    lvm2(&live, &["disk.img", "disk2.img"], new);
    sleep(TWO_LOOKS);
    assert!(goes_on(&live, "root"), "{}", live.log());
    assert!(!live.log().contains("somebody changed"), "{}", live.log());
    let said = live.run("lvs").stderr;
    assert!(!said.contains("requests of its volumes wait"), "{said}");
    live.run("lvextend -L +4M VG/root")
        .failed_with(5, &["PVs are missing", "--devices naming all", "vgchange -an"]);
    let unknown = with_both(&live, &["lvextend", "-L", "+4M", "VG/root"]);
    unknown.failed_with(5, &["disk2.img", "activated without", "vgchange -an", "--devices naming all"]);
    assert!(goes_on(&live, "root"), "{}", live.log());
    assert_eq!(live.run("vgchange -an VG").code, Some(0));
    assert_eq!(with_both(&live, &["vgchange", "-ay", "VG"]).code, Some(0));
    assert_eq!(with_both(&live, &["lvextend", "-L", "+40M", "VG/root"]).code, Some(0), "{}", live.log());
    assert_eq!(with_both(&live, &["vgchange", "-an", "VG"]).code, Some(0));
}

/// One of two PVs has a metadata area that cannot be read; the other's text says that nothing has changed.
#[test]
fn a_spoilt_area_of_a_second_pv_holds_no_volume() {
    let lab = Lab::empty(64);
    second_disk(&lab);
    let live = Live { lab, vg: format!("fbspoilt{}", std::process::id()), died: Cell::new(false) };
    assert_eq!(with_both(&live, &["vgcreate", "VG", "disk.img", "disk2.img"]).code, Some(0));
    assert_eq!(with_both(&live, &["lvcreate", "-L", "16M", "-n", "root", "VG"]).code, Some(0));
    assert_eq!(with_both(&live, &["vgchange", "-ay", "VG"]).code, Some(0));
    let spoilt = Spoilt::on(&live, "disk2.img");
    sleep(TWO_LOOKS + Duration::from_secs(4));
    assert!(!live.log().contains("Requests to"), "{}", live.log());
    spoilt.put_back();
    assert_eq!(with_both(&live, &["vgchange", "-an", "VG"]).code, Some(0));
}

/// Nothing can be read for a moment: nobody changed anything. For longer than that the volumes wait, and it is said why.
#[test]
fn metadata_that_cannot_be_read_for_a_moment_hold_no_volume() {
    let Some(live) = Live::as_root("unread", 64) else { return };
    live.ok("lvcreate -L 16M -n root VG");
    live.ok("vgchange -ay VG");
    let spoilt = Spoilt::on(&live, "disk.img");
    wait_for(&live, "cannot read the metadata");
    assert!(goes_on(&live, "root"), "{}", live.log());
    spoilt.put_back();
    sleep(TWO_LOOKS);
    assert!(!live.log().contains("Requests to"), "{}", live.log());
    let spoilt = Spoilt::on(&live, "disk.img");
    wait_for(&live, "wait until the metadata can be read");
    assert!(!live.log().contains("somebody changed"), "{}", live.log());
    spoilt.put_back();
    wait_for(&live, "its requests go on");
    assert!(goes_on(&live, "root"), "{}", live.log());
    live.ok("vgchange -an VG");
}

/// LVM2 renames the VG: its volumes lie where they lay, and can be taken down by the name that they have by now.
#[test]
fn a_vg_that_lvm2_renames_is_served_on() {
    if no_lvm2("a_vg_that_lvm2_renames_is_served_on") {
        return;
    }
    let live = Live::new("renamed", 64);
    live.ok("lvcreate -L 16M -n root VG");
    live.ok("vgchange -ay VG");
    let vg = live.vg.clone();
    lvm2(&live, &["disk.img"], |_| ["vgrename", &vg, "other"].map(str::to_owned).to_vec());
    sleep(TWO_LOOKS);
    assert!(goes_on(&live, "root"), "{}", live.log());
    let served = live.ok("lvs --noheadings -o vg_name,lv_active other");
    assert_eq!(served.split_whitespace().collect::<Vec<_>>(), ["other", "active"]);
    live.ok("lvcreate -s -L 4M -n snap other/root");
    assert!(goes_on(&live, "root"), "{}", live.log());
    live.run("vgchange -an VG").failed_with(5, &["not found"]);
    live.ok("vgchange -an other");
    live.ok("vgchange -ay other");
    live.ok("vgchange -an other");
}
