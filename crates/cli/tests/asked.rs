//! What is asked before what is active goes, and settings that hold for a whole command, where no device-mapper is needed.
//!
//! Goal: under both names nothing that is active goes without an answer. Method: the real program, its daemon, and no terminal.
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
use lab::live::Live;

#[test]
fn what_is_active_goes_only_when_that_is_answered() {
    let Some(live) = Live::as_root("asked", 64) else { return };
    live.ok("lvcreate -L 8M -n root VG");
    live.ok("lvcreate -L 8M -n two VG");
    live.ok("vgchange -ay VG");
    live.ok("lvcreate -s -L 4M -n snap VG/root");
    for lvm in ["", "lvm "] {
        let two = live.run(&format!("{lvm}lvremove VG/two"));
        two.failed_with(5, &["Do you really want to remove active logical volume", "/two not removed."]);
        let root = live.run(&format!("{lvm}lvremove VG/root"));
        root.failed_with(5, &["remove active origin logical volume", "with 1 snapshots(s)? [y/n]: [n]"]);
        let snap = live.run(&format!("{lvm}lvchange -an VG/snap"));
        snap.failed_with(5, &["Change of snapshot", "will also change its origin", "/snap not changed."]);
        let vg = live.run(&format!("{lvm}vgremove VG"));
        vg.failed_with(5, &["containing 3 logical volumes? [y/n]: [n]", "not removed"]);
    }
    assert_eq!(live.ok("lvs --noheadings -o lv_name VG").split_whitespace().count(), 3);
    live.ok("lvchange -an -y VG/snap");
    assert_eq!(live.ok("lvs --noheadings -o lv_active VG/root").trim(), "");
    live.ok("lvremove -y VG/two");
    // One that is active and is not asked for goes with its VG, since that is forced.
    live.ok("vgchange -ay VG");
    live.ok("vgremove -f VG");
}

#[test]
fn an_inactive_origin_is_asked_about_as_foldback_alone() {
    let lab = Lab::empty(64);
    lab.ok(&["vgcreate", "vg", "disk.img"]);
    lab.ok(&["lvcreate", "-L", "8M", "-n", "root", "vg"]);
    lab.ok(&["lvcreate", "-s", "-L", "4M", "-n", "snap", "vg/root"]);
    lab.run(&["lvremove", "vg/root"]).failed_with(5, &["origin logical volume vg/root with 1 snapshot(s)?"]);
    lab.ok(&["lvm", "lvremove", "vg/root"]);
    assert_eq!(lab.ok(&["lvs", "--noheadings"]).trim(), "");
}

#[test]
fn metadata_that_are_read_only_stay_as_they_are() {
    let lab = Lab::empty(64);
    lab.ok(&["vgcreate", "vg", "disk.img"]);
    let only = "global/metadata_read_only=1";
    for change in [
        &["lvcreate", "-L", "8M", "-n", "a", "vg"][..],
        &["vgremove", "vg"],
        &["vgchange", "--addtag", "x", "vg"],
    ] {
        let words = [change, &["--config", only]].concat();
        lab.run(&words).failed_with(5, &["Operation prohibited while global/metadata_read_only is set."]);
    }
    lab.ok(&["vgs", "--config", only, "vg"]);
}

#[test]
fn a_profile_that_is_not_there_ends_the_command_and_one_that_is_holds() {
    let lab = Lab::empty(64);
    lab.ok(&["vgcreate", "vg", "disk.img"]);
    let dir = lab.path("lvm");
    std::fs::create_dir_all(dir.join("profile")).unwrap();
    std::fs::write(dir.join("profile/p.profile"), "report { headings = 0 }\n").unwrap();
    let config = format!("config/profile_dir=\"{}\"", dir.join("profile").display());
    let run = |name: &str| lab.run(&["vgs", "--config", &config, "--commandprofile", name, "-o", "vg_name"]);
    run("nosuch").failed_with(5, &["nosuch.profile: stat failed", "Failed to apply command profile nosuch."]);
    assert_eq!(run("p").stdout, "  vg\n");
}

#[test]
fn image_files_come_up_where_all_are_named_and_their_vg_is_meant() {
    let lab = Lab::empty(64);
    lab.ok(&["vgcreate", "vg", "disk.img"]);
    let said = lab.ok(&["pvscan", "--cache", "--listvg", "--checkcomplete", "--udevoutput", "disk.img"]);
    assert_eq!(said, "LVM_VG_NAME_COMPLETE='vg'\n");
    let off = ["pvscan", "--cache", "-aay", "disk.img", "--config", "global/event_activation=0"];
    assert_eq!(lab.ok(&off), "");
    lab.run(&["pvscan", "--cache", "-ay", "disk.img"])
        .failed_with(3, &["does not accept option: --activate y."]);
}
