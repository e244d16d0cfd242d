//! The real LVM2 as judge: it reads what we write without a warning, we read what it writes, and both lay out the same
//! VG the same way.
//!
//! Method: image files on loop devices, LVM2 without device-mapper (`--driverloaded n`). Needs root, `lvm` and `losetup`; each
//! test that cannot run says `SKIP`, and fails in continuous integration.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    reason = "a test"
)]

use foldback_device::{Access, Backend, Disks, open_disks, open_files};
use foldback_lvm2_format::vg::{AreaOn, ExtentSize, SegmentKind, Vg};
use foldback_manager::apply::{self, create_lv, create_snapshot};
use foldback_manager::backup::BackupPlaces;
use foldback_manager::config::Config;
use foldback_manager::environment::Machine;
use foldback_manager::lock::{LockMode, LockWait, Locks};
use foldback_manager::ops::extend::{self, Amount, Extension, Situation};
use foldback_manager::ops::keep::{self, Keep};
use foldback_manager::ops::lv_create::{self, NewLv};
use foldback_manager::ops::pv_create::{self, NewPv};
use foldback_manager::ops::snapshot_create::{self, NewSnapshot, WhileMerging};
use foldback_manager::ops::vg_create::{self, NewVg};
use foldback_manager::ops::{Layout, PercentOf, SizeRequest, lv_remove};
use foldback_manager::store::{DiskSet, FoundVg, discover, make_pv};
use foldback_units::{LvName, VgName};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output};

/// Says that a test does not run here: past the capture of a passing test's output, and in the file that
/// `FOLDBACK_SKIPS` names, where it is counted. In continuous integration (`CI`, neither empty nor `false`) it fails.
fn skip(test: &str, reason: &str) {
    let strict = std::env::var_os("CI").is_some_and(|ci| !ci.is_empty() && ci != "false");
    assert!(!strict, "{test} must not be skipped in CI: {reason}");
    let line = format!("SKIP {test}: {}\n", reason.trim().replace('\n', " "));
    std::io::stderr().write_all(line.as_bytes()).unwrap();
    if let Some(path) = std::env::var_os("FOLDBACK_SKIPS") {
        let mut file = std::fs::File::options().create(true).append(true).open(path).unwrap();
        file.write_all(line.as_bytes()).unwrap();
    }
}

/// Loop devices over images in a directory that goes away.
struct Loops {
    directory: tempfile::TempDir,
    devices: Vec<String>,
}

impl Drop for Loops {
    fn drop(&mut self) {
        for device in &self.devices {
            let detached = Command::new("losetup").args(["-d", device]).status();
            assert!(detached.is_ok_and(|status| status.success()), "detaching {device}");
        }
    }
}

impl Loops {
    /// `None`, with a line that says why, where this machine has not what it takes.
    fn new(test: &str, mib: &[u64]) -> Option<Self> {
        if let Some(reason) = lacking() {
            skip(test, reason);
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        let mut loops = Self { devices: Vec::new(), directory };
        for (index, mib) in mib.iter().enumerate() {
            let file = loops.directory.path().join(format!("pv{index}.img"));
            std::fs::File::create(&file).unwrap().set_len(mib << 20).unwrap();
            let made = Command::new("losetup").args(["-f", "--show"]).arg(&file).output().unwrap();
            assert!(made.status.success(), "{made:?}");
            loops.devices.push(String::from_utf8(made.stdout).unwrap().trim().to_owned());
        }
        Some(loops)
    }

    fn locking_dir(&self) -> PathBuf {
        self.directory.path().join("lock")
    }

    /// Runs LVM2; its standard error without the line that it always prints.
    fn lvm(&self, arguments: &[&str]) -> (Output, String) {
        let accept: Vec<String> = self.devices.iter().map(|device| format!("\"a|^{device}$|\"")).collect();
        let config = format!(
            "devices {{ dir=\"{}/dev\" filter=[{}, \"r|.*|\"] use_devicesfile=0 scan=[\"/dev\"] hints=\"none\" }} \
             global {{ use_lvmpolld=0 event_activation=0 wait_for_locks=0 locking_dir=\"{}\" }} activation {{ udev_sync=0 udev_rules=0 }} \
             backup {{ backup=0 archive=0 }}",
            // Whatever this machine has in /dev under the name of the VG is nothing to these tests.
            self.directory.path().display(),
            accept.join(", "),
            self.locking_dir().display()
        );
        let output = Command::new("lvm")
            .args(arguments)
            .args(["--driverloaded", "n", "--config", &config])
            .env("LVM_SUPPRESS_FD_WARNINGS", "1")
            .output()
            .unwrap();
        let known = ["Activation disabled. No device-mapper interaction", "NOT backed up", "not zeroed"];
        let said = String::from_utf8_lossy(&output.stderr);
        let lines = said.lines().filter(|line| !known.iter().any(|known| line.contains(known)));
        (output.clone(), lines.collect::<Vec<_>>().join("\n"))
    }

    /// Runs LVM2, which must succeed without a word of warning; its answer.
    fn lvm_ok(&self, arguments: &[&str]) -> String {
        let (output, said) = self.lvm(arguments);
        assert!(output.status.success() && said.is_empty(), "lvm {arguments:?}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn ours(&self) -> Ours {
        let paths = self.devices.clone();
        let files = open_files(&paths, Access::Write).unwrap();
        let disks = open_disks(&files, Backend::from_environment()).unwrap();
        Ours { disks, paths, machine: Machine::new("foldback test") }
    }
}

fn lacking() -> Option<&'static str> {
    let runs = |program: &str, argument: &str| {
        Command::new(program).arg(argument).output().is_ok_and(|output| output.status.success())
    };
    if !is_root() {
        Some("it needs root for loop devices")
    } else if !runs("lvm", "version") {
        Some("LVM2 is not installed (package lvm2)")
    } else if !runs("losetup", "-a") {
        Some("there are no loop devices")
    } else {
        None
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

struct Ours {
    disks: Box<dyn Disks>,
    paths: Vec<String>,
    machine: Machine,
}

fn lv_name(name: &str) -> LvName {
    LvName::new(name).unwrap()
}

impl Ours {
    fn set(&mut self) -> DiskSet<'_> {
        DiskSet::new(&mut *self.disks, &self.paths)
    }

    fn vg(&mut self) -> FoundVg {
        let mut found = discover(&mut self.set(), None);
        assert!(found.vgs.len() == 1, "{found:?}");
        let vg = found.vgs.remove(0);
        assert_eq!(vg.findings, []);
        vg
    }

    fn make_vg(&mut self, extent_sectors: u32) {
        let Self { disks, paths, machine } = self;
        let mut set = DiskSet::new(&mut **disks, paths);
        for disk in set.ids() {
            let size = set.size(disk).unwrap();
            let label = pv_create::plan(set.path(disk), size, &NewPv::default(), machine).unwrap();
            make_pv(&mut set, disk, &label).unwrap();
        }
        let found = discover(&mut set, None);
        let mut new = NewVg::named(VgName::new("vg").unwrap());
        new.extent_size = ExtentSize::from_sectors(extent_sectors).unwrap();
        let planned = vg_create::plan(&found, &new, paths, machine).unwrap();
        let vg = planned.vg.clone();
        let committed = apply::commit(&mut set, &planned, vg, machine).unwrap();
        assert!(committed.warnings.is_empty(), "{:?}", committed.warnings);
    }

    /// False where it is refused.
    fn make_lv(&mut self, name: &str, extents: u32, stripes: u32) -> bool {
        let found = self.vg();
        let new = NewLv {
            name: Some(lv_name(name)),
            size: SizeRequest::Extents(extents),
            layout: Layout { stripes, ..Layout::LINEAR },
            pvs: Vec::new(),
            read_only: false,
            tags: Vec::new(),
        };
        let Ok(planned) = lv_create::plan(&found.vg, &new, &mut self.machine) else { return false };
        let Self { disks, paths, machine } = self;
        let mut set = DiskSet::new(&mut **disks, paths);
        create_lv(&mut set, &found, &planned, true, machine).unwrap();
        true
    }

    fn make_snapshot(&mut self, origin: &str, name: &str, extents: u32, chunk_sectors: u32) {
        let found = self.vg();
        let new = NewSnapshot {
            origin: lv_name(origin),
            name: Some(lv_name(name)),
            size: SizeRequest::Extents(extents),
            chunk_sectors,
            layout: Layout::LINEAR,
            pvs: Vec::new(),
            read_only: false,
            tags: Vec::new(),
        };
        let planned = snapshot_create::plan(&found.vg, &new, &mut self.machine).unwrap();
        let chunk = snapshot_create::chunk_size(chunk_sectors).unwrap();
        let Self { disks, paths, machine } = self;
        let mut set = DiskSet::new(&mut **disks, paths);
        create_snapshot(&mut set, &found, &planned, chunk, machine).unwrap();
    }

    fn remove(&mut self, name: &str) {
        let removal = lv_remove::plan(&self.vg().vg, &lv_name(name)).unwrap();
        self.commit(removal.vg);
    }

    fn commit(&mut self, vg: Vg) {
        let found = self.vg();
        let Self { disks, paths, machine } = self;
        let mut set = DiskSet::new(&mut **disks, paths);
        drop(apply::commit(&mut set, &found, vg, machine).unwrap());
    }

    /// What is said; the refusal where it is refused.
    fn extend(&mut self, name: &str, amount: Amount) -> Result<Vec<String>, String> {
        let extension = Extension { lv: lv_name(name), amount, pvs: Vec::new(), policy: None };
        let planned = extend::plan(&self.vg().vg, &extension, Situation::default())
            .map_err(|refusal| refusal.to_string())?;
        self.commit(planned.vg);
        Ok(planned.notices.into_iter().chain(planned.done).map(|notice| notice.text).collect())
    }

    /// Every LV with its pieces: PV number, first extent and count of each stripe.
    fn layout(&mut self) -> Vec<String> {
        let found = self.vg();
        let mut lines = Vec::new();
        for lv in &found.vg.lvs {
            for segment in &lv.segments {
                let SegmentKind::Striped(striped) = &segment.kind else { continue };
                let areas: Vec<String> = striped
                    .areas
                    .iter()
                    .map(|area| {
                        let AreaOn::Pv(key) = &area.on else { panic!("{area:?}") };
                        let index = found.vg.pvs.iter().position(|pv| pv.key == *key).unwrap();
                        format!("{index}@{}", area.start_extent)
                    })
                    .collect();
                let (start, count) = (segment.start_extent, segment.extent_count);
                let line = format!("{} {start}+{count}: {}", lv.name, areas.join(" "));
                lines.push(line);
            }
        }
        lines.sort();
        lines
    }
}

#[test]
fn lvm2_reads_and_rewrites_what_we_write() {
    let Some(loops) = Loops::new("lvm2_reads_and_rewrites_what_we_write", &[48, 32]) else { return };
    let mut ours = loops.ours();
    ours.make_vg(2048);
    assert!(ours.make_lv("root", 20, 1) && ours.make_lv("wide", 8, 2));
    ours.make_snapshot("root", "snap", 6, 8);
    ours.make_snapshot("root", "coarse", 30, 128);
    ours.remove("wide");
    drop(ours);
    loops.lvm_ok(&["vgck", "vg"]);
    let show = |what: &str, fields: &str| {
        let answer = loops.lvm_ok(&[what, "--noheadings", "--units", "s", "--nosuffix", "-o", fields]);
        answer.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>()
    };
    assert_eq!(
        show("lvs", "lv_name,lv_size,origin,seg_type,chunk_size"),
        [
            // The store of `coarse` was cut to what it can use.
            "coarse 43008 root linear 128",
            "root 40960 linear 0",
            "snap 12288 root linear 8"
        ]
    );
    assert_eq!(show("vgs", "vg_name,pv_count,vg_extent_size,vg_seqno"), ["vg 2 2048 6"]);
    assert_eq!(show("pvs", "pe_start,pv_mda_size,pv_in_use"), ["2048 2040 used", "2048 2040 used"]);
    for device in &loops.devices {
        loops.lvm_ok(&["pvck", device]);
    }
    loops.lvm_ok(&["vgchange", "--addtag", "theirs", "vg"]);
    let mut ours = loops.ours();
    let found = ours.vg();
    assert_eq!((found.vg.seqno, found.vg.tags.len(), found.vg.lvs.len()), (7, 1, 5));
    ours.remove("root");
    drop(ours);
    loops.lvm_ok(&["vgck", "vg"]);
    assert_eq!(show("vgs", "vg_seqno,lv_count,vg_tags"), ["8 0 theirs"]);
}

#[test]
fn the_same_commands_give_the_same_layout_as_lvm2s() {
    let test = "the_same_commands_give_the_same_layout_as_lvm2s";
    let Some(theirs) = Loops::new(test, &[24, 24]) else { return };
    let Some(loops) = Loops::new(test, &[24, 24]) else { return };
    let mut ours = loops.ours();
    ours.make_vg(2048);
    let devices: Vec<&str> = theirs.devices.iter().map(String::as_str).collect();
    theirs.lvm_ok(&[&["pvcreate"], devices.as_slice()].concat());
    theirs.lvm_ok(&[&["vgcreate", "-s", "1M", "vg"], devices.as_slice()].concat());
    let mut state = 3_u64;
    let mut next = |bound: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) % bound
    };
    let mut names: Vec<String> = Vec::new();
    for step in 0..30 {
        if !names.is_empty() && next(5) < 2 {
            let name = names.swap_remove(next(names.len() as u64) as usize);
            theirs.lvm_ok(&["lvremove", "-y", &format!("vg/{name}")]);
            ours.remove(&name);
        } else {
            let extents = [1, 2, 3, 5, 8, 13][next(6) as usize];
            let name = format!("lv{step}");
            let count = extents.to_string();
            let (output, _) = theirs.lvm(&["lvcreate", "-an", "-Zn", "-l", &count, "-n", &name, "vg"]);
            let made = ours.make_lv(&name, extents, 1);
            assert_eq!(made, output.status.success(), "step {step}: {extents} extents");
            if made {
                names.push(name);
            }
        }
        assert_eq!(ours.layout(), theirs.ours().layout(), "step {step}");
    }
    assert!(names.len() > 2, "{names:?}");
}

/// Among LVs that come, grow and go; the words, too.
#[test]
fn lvs_are_extended_as_lvm2_extends_them() {
    let test = "lvs_are_extended_as_lvm2_extends_them";
    let Some(theirs) = Loops::new(test, &[40, 24, 32]) else { return };
    let Some(loops) = Loops::new(test, &[40, 24, 32]) else { return };
    let mut ours = loops.ours();
    ours.make_vg(2048);
    let devices: Vec<&str> = theirs.devices.iter().map(String::as_str).collect();
    theirs.lvm_ok(&[&["pvcreate"], devices.as_slice()].concat());
    theirs.lvm_ok(&[&["vgcreate", "-s", "1M", "vg"], devices.as_slice()].concat());
    let mut state = 11_u64;
    let mut next = |bound: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) % bound
    };
    let mut names: Vec<String> = Vec::new();
    let mut grown = 0;
    for step in 0..60 {
        let pick = next(10);
        if names.len() > 2 && pick < 2 {
            let name = names.swap_remove(next(names.len() as u64) as usize);
            theirs.lvm_ok(&["lvremove", "-y", &format!("vg/{name}")]);
            ours.remove(&name);
        } else if names.len() < 2 || pick < 4 {
            let (extents, name) = ([1, 2, 3, 5][next(4) as usize], format!("lv{step}"));
            let count = extents.to_string();
            theirs.lvm_ok(&["lvcreate", "-an", "-Zn", "-l", &count, "-n", &name, "vg"]);
            assert!(ours.make_lv(&name, extents, 1));
            names.push(name);
        } else {
            let name = names[next(names.len() as u64) as usize].clone();
            let count = 1 + next(20) as u32;
            let (size, amount) = match next(4) {
                0 => (format!("+{count}%VG"), Amount::By(SizeRequest::Percent(count, PercentOf::Vg))),
                1 => (format!("+{count}%FREE"), Amount::By(SizeRequest::Percent(count, PercentOf::Free))),
                2 => (format!("+{count}"), Amount::By(SizeRequest::Extents(count))),
                _ => (count.to_string(), Amount::To(SizeRequest::Extents(count))),
            };
            let (output, said) = theirs.lvm(&["lvextend", "-l", &size, &format!("vg/{name}")]);
            let said = format!("{said}{}", String::from_utf8_lossy(&output.stdout));
            let answered = ours.extend(&name, amount);
            assert_eq!(
                answered.is_ok(),
                output.status.success(),
                "step {step}: {size}: {answered:?}, {said}"
            );
            grown += u32::from(answered.is_ok());
            for line in answered.unwrap_or_else(|refusal| vec![refusal]) {
                assert!(said.contains(&line), "step {step}: {line:?} is not in {said}");
            }
        }
        assert_eq!(ours.layout(), theirs.ours().layout(), "step {step}");
    }
    assert!(grown > 10, "{grown}");
}

/// architecture.md, "Merging": from the swap on LVM2 sees a merge that it knows; and what only we can carry it shows, and
/// leaves alone.
#[test]
fn lvm2_knows_a_kept_merge_and_leaves_a_merged_view_alone() {
    let test = "lvm2_knows_a_kept_merge_and_leaves_a_merged_view_alone";
    let Some(loops) = Loops::new(test, &[48]) else { return };
    let mut ours = loops.ours();
    ours.make_vg(2048);
    assert!(ours.make_lv("root", 8, 1));
    ours.make_snapshot("root", "trial", 6, 8);
    let vg = ours.vg().vg;
    let Keep::Fresh(merge) = keep::check(&vg, &lv_name("trial")).unwrap() else { panic!() };
    let kept = keep::swap_and_mark(&vg, &merge);
    ours.commit((*kept.vg).clone());
    let show = || {
        let fields = ["lvs", "-a", "--noheadings", "-o", "lv_name,lv_attr,origin"];
        let (output, _) = loops.lvm(&fields);
        assert!(output.status.success());
        let answer = String::from_utf8(output.stdout).unwrap();
        answer.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>()
    };
    loops.lvm_ok(&["vgck", "vg"]);
    let shown = show();
    assert!(shown[0].starts_with("trial Owi") || shown[1].starts_with("trial Owi"), "{shown:?}");
    assert!(shown.iter().any(|line| line.starts_with("[root] Swi") && line.ends_with(" trial")), "{shown:?}");
    let environment = &mut ours.machine.clone();
    let new = NewSnapshot {
        origin: lv_name("trial"),
        name: Some(lv_name("view")),
        size: SizeRequest::Extents(4),
        chunk_sectors: 8,
        layout: Layout::LINEAR,
        pvs: Vec::new(),
        read_only: false,
        tags: Vec::new(),
    };
    let vg = ours.vg().vg;
    let planned = snapshot_create::plan_several(&vg, &[new], WhileMerging::Running, environment).unwrap();
    ours.commit(planned.vg);
    let seqno = ours.vg().vg.seqno;
    assert!(show().iter().any(|line| line.contains("trial")), "{:?}", show());
    for command in [
        &["vgchange", "--addtag", "x", "vg"][..],
        &["lvremove", "-f", "vg/view"],
        &["lvremove", "-f", "vg/trial"],
    ] {
        let (output, said) = loops.lvm(command);
        assert!(!output.status.success(), "{command:?}: {said}");
    }
    assert_eq!(ours.vg().vg.seqno, seqno, "LVM2 has written nothing");
    ours.remove("view");
    loops.lvm_ok(&["vgchange", "--addtag", "x", "vg"]);
}

#[test]
fn lvm2_keeps_to_our_locks() {
    let Some(loops) = Loops::new("lvm2_keeps_to_our_locks", &[16]) else { return };
    let mut ours = loops.ours();
    ours.make_vg(2048);
    drop(ours);
    let locks = Locks::new(&loops.locking_dir(), LockWait::Fail);
    let vg = VgName::new("vg").unwrap();
    let held = locks.vg(&vg, LockMode::Exclusive).unwrap();
    assert!(held.is_held());
    let (output, said) = loops.lvm(&["vgs", "vg"]);
    assert!(!output.status.success() && said.contains("Can't get lock for vg"), "{said}");
    drop(held);
    loops.lvm_ok(&["vgs", "vg"]);
    let held = locks.vg(&vg, LockMode::Shared).unwrap();
    loops.lvm_ok(&["vgs", "vg"]);
    let (output, said) = loops.lvm(&["vgchange", "--addtag", "x", "vg"]);
    assert!(!output.status.success() && said.contains("Can't get lock for vg"), "{said}");
    drop(held);
}

#[test]
fn lvm2_restores_from_our_backup() {
    let Some(loops) = Loops::new("lvm2_restores_from_our_backup", &[16]) else { return };
    let mut ours = loops.ours();
    ours.make_vg(2048);
    assert!(ours.make_lv("root", 5, 1));
    let config = Config::read(Some(loops.directory.path()), None).unwrap();
    let places = BackupPlaces::choose(&config, None);
    let vg = ours.vg().vg;
    let file = places.backup(&vg, &mut ours.machine).unwrap().unwrap();
    ours.remove("root");
    drop(ours);
    // It looks for device-mapper although it was told that there is none, and says so.
    let (output, said) = loops.lvm(&["vgcfgrestore", "-f", &file.display().to_string(), "vg"]);
    assert!(output.status.success(), "{said}");
    loops.lvm_ok(&["vgck", "vg"]);
    let restored = loops.ours().vg().vg;
    assert_eq!(restored.lvs, vg.lvs);
}
