//! Plans judged by LVM2's facts: layouts of snapshots, sizes, refusals and their words.

use crate::ops::lv_create::{self, NewLv};
use crate::ops::merge::{self, Finish, Mark};
use crate::ops::snapshot_create::{self, chunk_size, largest_store};
use crate::ops::{Layout, PercentOf, Refusal, SizeRequest, lv_remove};
use crate::testing::{Bench, TestEnvironment, lv_name, merging, new_snapshot, vg_of, with_snapshots};
use foldback_lvm2_format::vg::{AllocationPolicy, LvStatus, SegmentKind, Vg};
use foldback_units::Sectors;

fn new_lv(size: SizeRequest) -> NewLv {
    NewLv { name: None, size, layout: Layout::LINEAR, pvs: Vec::new(), read_only: false, tags: Vec::new() }
}

/// lvm2.md 1.9: the table of VISIBLE.
#[test]
fn visible_moves_as_lvm2_moves_it() {
    let words = |vg: &Vg, name: &str| {
        let status = &vg.lv(&lv_name(name)).unwrap().status;
        (status.contains(&LvStatus::Write), status.contains(&LvStatus::Visible))
    };
    let vg = with_snapshots(&["snap"]);
    assert_eq!(words(&vg, "root"), (true, true));
    assert_eq!(words(&vg, "snap"), (true, false));
    assert_eq!(words(&vg, "snapshot0"), (true, true));
    assert_eq!(foldback_lvm2_format::check::check(&vg), []);
    let vg = merging(&["snap"]);
    assert_eq!(words(&vg, "snap"), (true, false));
    assert_eq!(words(&vg, "snapshot0"), (true, false));
    assert_eq!(foldback_lvm2_format::check::check(&vg), []);
}

/// Trap 8: the fictional LV is as long as the origin is when the snapshot is taken.
#[test]
fn the_fictional_lv_has_the_origins_length() {
    let mut vg = vg_of(&["root"]);
    vg.lvs[0].segments[0].extent_count = 7;
    let planned =
        snapshot_create::plan(&vg, &new_snapshot("root", "s", 2), &mut TestEnvironment::new()).unwrap();
    let fictional = planned.vg.lv(&lv_name("snapshot0")).unwrap();
    assert_eq!(fictional.extent_count(), 7);
    let SegmentKind::Snapshot(segment) = &fictional.segments[0].kind else { panic!() };
    assert_eq!((segment.cow.as_str(), segment.merging), ("s", false));
}

#[test]
fn sizes_are_rounded_and_cut_with_lvm2s_words() {
    let vg = vg_of(&["root"]);
    let plan = |size| lv_create::plan(&vg, &new_lv(size), &mut TestEnvironment::new());
    let planned = plan(SizeRequest::Sectors(Sectors(20480))).unwrap();
    assert_eq!(planned.notices[0].text, "Rounding up size to full physical extent 12.00 MiB");
    assert_eq!(planned.vg.lv(&lv_name("lvol0")).unwrap().extent_count(), 3);
    assert_eq!(planned.done[0].text, "Logical volume \"lvol0\" created.");
    let planned = plan(SizeRequest::Percent(500, PercentOf::Vg)).unwrap();
    assert_eq!(planned.notices[0].text, "Reducing 500%VG to remaining free space 396.00 MiB in VG.");
    let refused = plan(SizeRequest::Extents(100)).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "Volume group \"vg\" has insufficient free space (99 extents): 100 required."
    );
    assert!(matches!(plan(SizeRequest::Percent(100, PercentOf::Origin)), Err(Refusal::PercentOf(_))));
    assert_eq!(plan(SizeRequest::Extents(0)), Err(Refusal::Zero("extents")));
    assert_eq!(plan(SizeRequest::Percent(0, PercentOf::Free)), Err(Refusal::CalculatedZero));
}

#[test]
fn an_lv_inherits_the_vgs_contiguous_policy() {
    let mut vg = vg_of(&["a", "b", "c"]);
    vg.pvs[0].pe_count = 9;
    vg.lvs.retain(|lv| lv.name.as_str() != "b");
    let plan = |vg: &Vg| lv_create::plan(vg, &new_lv(SizeRequest::Extents(7)), &mut TestEnvironment::new());
    assert_eq!(plan(&vg).unwrap().vg.lv(&lv_name("lvol0")).unwrap().segments.len(), 2);
    vg.allocation_policy = Some(AllocationPolicy::Contiguous);
    assert_eq!(
        plan(&vg).unwrap_err().to_string(),
        "Insufficient suitable contiguous allocatable extents for logical volume lvol0: 7 more required"
    );
}

/// lvm2.md 1.10: the largest useful store, and not less than three chunks.
#[test]
fn a_store_is_cut_to_what_it_can_use() {
    let vg = vg_of(&["root"]);
    let plan = |extents| {
        let new = new_snapshot("root", "s", extents);
        snapshot_create::plan(&vg, &new, &mut TestEnvironment::new())
    };
    let planned = plan(50).unwrap();
    // 4 MiB are 1024 chunks, 5 areas and the header: 1030 chunks, which is a little more than one extent.
    assert_eq!(largest_store(Sectors(8192), chunk_size(8).unwrap()), Some(Sectors(1030 * 8)));
    assert_eq!(planned.notices[0].text, "Reducing COW size 200.00 MiB down to maximum usable size 8.00 MiB.");
    assert_eq!(planned.vg.lv(&lv_name("s")).unwrap().extent_count(), 2);
    let whole = SizeRequest::Percent(100, PercentOf::Origin);
    let new = snapshot_create::NewSnapshot { size: whole, ..new_snapshot("root", "s", 1) };
    let planned = snapshot_create::plan(&vg, &new, &mut TestEnvironment::new()).unwrap();
    assert_eq!(planned.vg.lv(&lv_name("s")).unwrap().extent_count(), 2);
    // A share of an origin is of its length; room for all tables is added whole.
    let mut larger = vg_of(&["root"]);
    larger.pvs[0].pe_count = 100;
    larger.lvs[0].segments[0].extent_count = 16;
    let share = |percent| {
        let size = SizeRequest::Percent(percent, PercentOf::Origin);
        let new = snapshot_create::NewSnapshot { size, ..new_snapshot("root", "s", 1) };
        let planned = snapshot_create::plan(&larger, &new, &mut TestEnvironment::new()).unwrap();
        (planned.vg.lv(&lv_name("s")).unwrap().extent_count(), planned.notices.len())
    };
    assert_eq!([share(1), share(30), share(100), share(200)], [(2, 0), (6, 0), (17, 0), (17, 1)]);
    for bad in [0, 4, 12, 2048] {
        assert_eq!(
            chunk_size(bad).unwrap_err().to_string(),
            "Chunk size must be a power of 2 in the range 4K to 512K."
        );
    }
    let mut small = vg_of(&["root"]);
    small.extent_size = foldback_lvm2_format::vg::ExtentSize::from_sectors(2).unwrap();
    let refused = snapshot_create::plan(&small, &new_snapshot("root", "s", 3), &mut TestEnvironment::new());
    assert!(refused.unwrap_err().to_string().contains("cannot be smaller than 3 chunks"));
}

/// lvm2.md 3.3.
#[test]
fn snapshots_that_lvm2_refuses_are_refused_in_its_words() {
    let refused = |vg: &Vg, origin: &str| {
        snapshot_create::plan(vg, &new_snapshot(origin, "new", 1), &mut TestEnvironment::new())
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        refused(&merging(&["snap"]), "root"),
        "Snapshots of an origin that has a merging snapshot are not supported."
    );
    let vg = with_snapshots(&["snap"]);
    assert_eq!(refused(&vg, "snap"), "Snapshots of snapshots are not supported.");
    assert_eq!(refused(&vg, "snapshot0"), "Snapshots of hidden volumes are not supported.");
    assert_eq!(refused(&vg, "nope"), "Failed to find logical volume \"vg/nope\"");
}

#[test]
fn merges_that_lvm2_refuses_are_refused_in_its_words() {
    let refused = |vg: &Vg, name: &str| merge::check(vg, &lv_name(name)).unwrap_err().to_string();
    let two = merging(&["a", "b"]);
    assert_eq!(
        refused(&two, "b"),
        "Cannot merge snapshot vg/b into the origin vg/root with merging snapshot vg/a."
    );
    assert_eq!(refused(&two, "root"), "vg/root is not a mergeable logical volume.");
    let mut read_only = with_snapshots(&["a"]);
    read_only.lvs[0].set_status(LvStatus::Write, false);
    assert_eq!(
        refused(&read_only, "a"),
        "Cannot merge snapshot vg/a into the read-only origin vg/root. (Use lvchange -p rw)."
    );
    // The origin may become read-only while the merge is pending, and then it still ends.
    let mut pending = merging(&["a"]);
    pending.lvs[0].set_status(LvStatus::Write, false);
    assert!(merge::check(&pending, &lv_name("a")).is_ok());
}

#[test]
fn marking_again_changes_nothing_and_finishing_takes_both_lvs() {
    let vg = merging(&["a", "b"]);
    let checked = merge::check(&vg, &lv_name("a")).unwrap();
    assert_eq!(merge::mark(&vg, &checked), Mark::Already);
    let Finish::Finished(after) = merge::finish(&vg, &checked.snapshot_id) else { panic!() };
    let names: Vec<&str> = after.lvs.iter().map(|lv| lv.name.as_str()).collect();
    assert_eq!(names, ["root", "b", "snapshot1"]);
    assert_eq!(foldback_lvm2_format::check::check(&after), []);
    assert_eq!(merge::finish(&after, &checked.snapshot_id), Finish::Gone);
    let unmarked = with_snapshots(&["a"]);
    let id = unmarked.lv(&lv_name("a")).unwrap().id;
    assert_eq!(merge::finish(&unmarked, &id), Finish::NotMerging);
}

#[test]
fn an_origin_takes_its_snapshots_along_and_a_half_merged_one_is_asked_about() {
    let vg = with_snapshots(&["a", "b"]);
    let removal = lv_remove::plan(&vg, &lv_name("root")).unwrap();
    assert!(removal.vg.lvs.is_empty());
    assert_eq!(removal.removed, [lv_name("a"), lv_name("b"), lv_name("root")]);
    assert_eq!(
        removal.questions[0].to_string(),
        "Do you really want to remove origin logical volume vg/root with 2 snapshot(s)?"
    );
    let asked = |lv: &str, active: &str| {
        let removal = lv_remove::plan_several(&vg, &[lv_name(lv)], &|lv| lv.as_str() == active).unwrap();
        removal.questions.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let origin = "Do you really want to remove active origin logical volume vg/root with 2 snapshots(s)?";
    assert_eq!(
        (asked("root", "root"), asked("root", "b")),
        (vec![origin.to_owned()], vec![origin.to_owned()])
    );
    assert_eq!(asked("a", "a"), ["Do you really want to remove active logical volume vg/a?"]);
    assert_eq!(asked("a", "root"), Vec::<String>::new());
    let removal = lv_remove::plan(&vg, &lv_name("a")).unwrap();
    assert!(removal.questions.is_empty());
    assert_eq!(removal.done[0].text, "Logical volume \"a\" successfully removed.");
    assert_eq!(foldback_lvm2_format::check::check(&removal.vg), []);
    let removal = lv_remove::plan(&merging(&["a"]), &lv_name("a")).unwrap();
    assert!(removal.questions[0].to_string().contains("can never be finished"));
    assert!(matches!(lv_remove::plan(&vg, &lv_name("snapshot0")), Err(Refusal::LvNotFound { .. })));
}

/// C6: the store is whole before the snapshot is named, whatever lay on its extents before.
#[test]
fn a_new_store_has_a_header_and_an_empty_area() {
    use crate::check::Usage;
    use foldback_dm_snapshot_format::{Severity, StoreStatus};
    use foldback_testkit::Sector;
    let mut bench = Bench::with_vg(&[16], 2048);
    bench.lv("root", 2);
    let mut disks = bench.disks.visible().disks;
    let end = disks[0].len();
    for (number, sector) in disks[0][2048 + 2 * 2048..end].iter_mut().enumerate() {
        *sector = Sector::Stamp(number as u64 + 1);
    }
    let mut bench = Bench::of(foldback_testkit::Image::new(disks), 9);
    bench.snapshot("root", "snap", 3);
    let found = bench.vg();
    assert_eq!(found.findings, []);
    assert_eq!(found.vg.seqno, 3);
    let report = crate::check::check(&mut bench.set(), &found, &lv_name("snap")).unwrap();
    // What lies behind area 0 is zeroed by whoever fills that area, as the kernel does.
    assert!(report.worst() <= Some(Severity::Pass) && report.visible == 0, "{report:?}");
    let usage = crate::check::usage(&found, &lv_name("snap"), &report).unwrap();
    let status = StoreStatus { allocated: Sectors(16), metadata: Sectors(16) };
    assert_eq!(usage, Usage::Used { status, total: Sectors(3 * 2048) });
}
