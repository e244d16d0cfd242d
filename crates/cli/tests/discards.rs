//! Discards of served volumes (architecture.md, "Discard"; K10 of dm-snapshot.md 4.2).
//!
//! Goal: what a volume without snapshots gives up, the image file gives back; where there are snapshots a discard changes
//! nothing, fills no store, and is no error to who asks over NBD. Method: the real program and its daemon, an NBD client
//! that trims, and as root `fstrim` of a mounted file system; judged by the blocks that the image file takes up.
#![allow(clippy::big_endian_bytes, reason = "the protocol is big-endian")]
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
mod nbd_lab;

use lab::live::{Live, Mounted, no_block_devices, sh, sh_alone};
use lab::{Lab, random, skip};
use nbd_lab::{Client, SIZE};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::process::Command;

const TRIM: u16 = 4;
const MIB: u64 = 1 << 20;

/// Bytes that the image file takes up.
fn taken(lab: &Lab) -> u64 {
    let image = std::fs::File::open(lab.path("disk.img")).unwrap();
    image.sync_all().unwrap();
    image.metadata().unwrap().blocks() * 512
}

#[test]
fn a_trim_gives_space_back_where_nobody_can_miss_it() {
    let content = random(1, SIZE);
    let (half, quarter) = (SIZE / 2, SIZE / 4);
    let live = nbd_lab::Live::with_content(&content);
    live.ok(&["lvchange", "-ay", "--export", "nbd", "vg/root"]);
    let mut client = live.connect();
    let full = taken(&live.lab);
    assert_eq!(client.ask(TRIM, 0, quarter as u32, &[]), 0);
    let less = taken(&live.lab);
    assert!(less + quarter as u64 <= full, "{full} before, {less} after");
    assert_eq!(client.read(quarter, SIZE - quarter), content[quarter..]);

    live.ok(&["lvcreate", "-s", "-L", "8M", "-n", "snap", "vg/root"]);
    let usage = || live.ok(&["lvs", "--noheadings", "-o", "data_percent", "vg/snap"]);
    let before = usage();
    for _ in 0..3 {
        assert_eq!(client.ask(TRIM, quarter as u64, (SIZE - quarter) as u32, &[]), 0);
    }
    assert_eq!(client.read(quarter, SIZE - quarter), content[quarter..], "the origin keeps it");
    assert_eq!(usage(), before, "nothing is copied out");
    live.ok(&["lvchange", "-ay", "--export", "nbd", "vg/snap"]);
    let socket = UnixStream::connect(live.lab.path("run/nbd/vg-snap.sock")).unwrap();
    let mut snapshot = Client::enter(socket, "snap");
    assert_eq!(snapshot.read(quarter, SIZE - quarter), content[quarter..], "the snapshot keeps it");
    drop(snapshot);

    live.ok(&["lvremove", "-f", "vg/snap"]);
    let full = taken(&live.lab);
    assert_eq!(client.ask(TRIM, half as u64, half as u32, &[]), 0);
    let less = taken(&live.lab);
    assert!(less + half as u64 <= full, "{full} before, {less} after");
    assert_eq!(client.read(quarter, quarter), content[quarter..half]);
    drop(client);
    live.end();
}

/// What `fstrim` has given back of a file of 24 MiB that was written and removed.
fn given_back(live: &Live, mounted: &Mounted) -> u64 {
    let file = mounted.at.join("large");
    std::fs::write(&file, random(7, 24 << 20)).unwrap();
    sh(&format!("sync -f {}", mounted.at.display()));
    std::fs::remove_file(&file).unwrap();
    sh(&format!("sync -f {}", mounted.at.display()));
    let before = taken(&live.lab);
    sh(&format!("fstrim {}", mounted.at.display()));
    before.saturating_sub(taken(&live.lab))
}

fn most(live: &Live) -> u64 {
    let device = std::fs::canonicalize(live.device("root")).unwrap();
    let name = device.file_name().unwrap().to_str().unwrap().to_owned();
    let most = std::fs::read_to_string(format!("/sys/block/{name}/queue/discard_max_bytes"));
    most.unwrap().trim().parse().unwrap()
}

#[test]
fn fstrim_shrinks_the_image_and_fills_no_store() {
    const TEST: &str = "fstrim of a served volume";
    if let Some(why) = no_block_devices() {
        return skip(TEST, why);
    }
    let live = Live::new("trim", 160);
    live.ok("lvcreate -L 64M -n root VG");
    live.ok("lvchange -ay VG/root");
    assert_ne!(most(&live), 0);
    sh_alone(&format!("mkfs.ext4 -q {}", live.device("root")));
    let at = live.lab.path("mnt");
    let mounted = Mounted::new(&live.device("root"), &at);
    std::fs::write(mounted.at.join("kept"), random(8, 1 << 20)).unwrap();
    let given = given_back(&live, &mounted);
    assert!(given >= 20 * MIB, "{given}");

    live.ok("lvcreate -s -L 16M -n snap VG/root");
    assert_eq!(most(&live), 0, "no discard can come through");
    sh(&format!("sync -f {}", mounted.at.display()));
    let (content, usage) = (live.content("snap"), live.ok("lvs --noheadings -o data_percent VG/snap"));
    let refused = Command::new("fstrim").arg(&mounted.at).output().unwrap();
    assert!(!refused.status.success(), "{refused:?}");
    assert_eq!(live.ok("lvs --noheadings -o data_percent VG/snap"), usage);
    assert!(live.content("snap") == content, "the snapshot keeps what it had");

    live.ok("lvremove -f VG/snap");
    let again = if most(&live) == 0 {
        // Linux 6.18 and others take no discards of a device that once had none.
        assert_eq!(live.log().matches("when the volume is next activated").count(), 1, "{}", live.log());
        mounted.unmount();
        live.ok("lvchange -an VG/root");
        live.ok("lvchange -ay VG/root");
        Mounted::new(&live.device("root"), &at)
    } else {
        mounted
    };
    let given = given_back(&live, &again);
    assert!(given >= 20 * MIB, "{given}");
    assert_eq!(std::fs::read(again.at.join("kept")).unwrap(), random(8, 1 << 20));
    again.unmount();
    sh_alone(&format!("e2fsck -fn {}", live.device("root")));
}
