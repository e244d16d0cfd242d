//! The merge job over simulated disks and a mapper that folds chunk by chunk, last record first: what the job itself must
//! hold. That an engine merges right is judged elsewhere.

mod fake;
mod polling;

use crate::job::{MergeError, MergeOutcome, MergeRequest, Observer, Progress, merge};
use crate::ops::Notice;
use crate::ops::merge_start::Mode;
use crate::testing::{Bench, TestEnvironment, lv_name};
use fake::{Broken, Ear, bring_up, fill_store, filled, host, names, origin, place, run};
use foldback_dm_table::DmName;
use foldback_lvm2_format::vg::{AreaOn, LvStatus, SegmentKind, Vg, VgStatus};
use foldback_testkit::{Cut, Image, Rng, Sector, SimDisks};
use foldback_units::VgName;
use std::ops::ControlFlow;

#[test]
fn a_merge_marks_folds_and_ends_in_one_commit_each() {
    let (image, expected) = filled();
    let mut host = host(image, 1);
    let mut ear = Ear::default();
    assert_eq!(run(&mut host, &mut ear).unwrap(), MergeOutcome::Finished);
    assert_eq!(
        ear.said,
        [
            "Merging of volume vg/snap started.",
            "Merge of snapshot into logical volume vg/root has finished.",
            "Logical volume \"snap\" successfully removed."
        ]
    );
    assert_eq!((ear.commits, host.locks), (2, 2));
    assert!(host.mapper.devices.is_empty(), "all devices are down");
    let after = host.mapper.disks.visible();
    assert!(origin(&after) == expected);
    assert_eq!(names(&after), ["root"]);
    assert_eq!(Bench::of(after, 1).vg().vg.seqno, 5);
}

#[test]
fn a_merge_that_was_stopped_goes_on() {
    let (image, expected) = filled();
    let mut host = host(image, 2);
    let mut ear = Ear { stop_after: Some(3), ..Ear::default() };
    assert_eq!(run(&mut host, &mut ear).unwrap(), MergeOutcome::Stopped);
    assert!(host.mapper.devices.is_empty());
    assert_eq!(names(&host.mapper.disks.visible()), ["root", "snap", "snapshot0"]);
    let mut ear = Ear::default();
    assert_eq!(run(&mut host, &mut ear).unwrap(), MergeOutcome::Finished);
    assert_eq!(ear.said[0], "Merging of volume vg/snap goes on.");
    assert!(origin(&host.mapper.disks.visible()) == expected);
}

/// A power cut after any operation of the job: repeating the command ends where an undisturbed one ends.
#[test]
fn after_a_power_cut_anywhere_the_same_command_goes_on() {
    let (image, expected) = filled();
    let mut rng = Rng::new(11);
    let mut cuts = 0;
    for step in 0.. {
        let mut first = host(image.clone(), step);
        first.mapper.disks.power_off_after(step);
        let finished = run(&mut first, &mut Ear::default()).is_ok();
        let cut = first.mapper.disks.is_off();
        let left = first.mapper.disks.power_off(Some(Cut::any(&mut rng)));
        if names(&left) == ["root"] {
            assert!(origin(&left) == expected, "step {step}");
        } else {
            assert!(!finished, "step {step}: finished, but not durably");
            let mut second = host(left, step);
            assert_eq!(run(&mut second, &mut Ear::default()).unwrap(), MergeOutcome::Finished);
            let after = second.mapper.disks.visible();
            assert!(origin(&after) == expected && names(&after) == ["root"], "step {step}");
        }
        if !cut {
            break;
        }
        cuts += 1;
    }
    assert!(cuts > 60, "{cuts}");
}

#[test]
fn a_store_that_cannot_be_trusted_is_refused_before_anything_is_written() {
    let refused = |spoil: &dyn Fn(&mut [Sector])| {
        let (mut image, _) = filled();
        let cow = image.disks[0].iter().position(|sector| *sector == Sector::Stamp(1_000_000)).unwrap() - 16;
        spoil(&mut image.disks[0][cow..cow + 24]);
        let mut host = host(image.clone(), 3);
        let error = run(&mut host, &mut Ear::default()).unwrap_err();
        assert!(host.mapper.disks.visible() == image, "nothing is written");
        assert!(host.mapper.devices.is_empty());
        error.to_string()
    };
    let word = |sector: &mut Sector, at: usize, value: u64| {
        let mut bytes = sector.to_bytes();
        bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
        *sector = Sector::from_bytes(&bytes);
    };
    // The header's valid flag, in its second word of 32 bits.
    let invalid = refused(&|store| word(&mut store[0], 0, 0x7041_6e53));
    assert_eq!(invalid, "Unable to merge invalidated snapshot LV vg/snap.");
    // A record that points behind the store.
    let beyond = refused(&|store| word(&mut store[8], 8, 1 << 40));
    assert!(beyond.contains("the exception store of vg/snap is damaged: area 0 slot 0"), "{beyond}");
    assert!(beyond.contains("Nothing was changed"), "{beyond}");
}

/// A store that failed could not be marked invalid on its disk, which looks good again once that works. What the origin
/// wrote meanwhile was not copied out: merged, it would be neither old nor new. lvm2.md 2.6: refused, also where the merge
/// is marked and waits.
#[test]
fn a_live_snapshot_that_says_it_is_invalid_is_not_merged() {
    let (image, _) = filled();
    let mut host = host(image, 6);
    bring_up(&mut host, |group| group);
    let before = host.mapper.disks.visible();
    host.mapper.invalid = Some(DmName("vg-snap".to_owned()));
    for _ in 0..2 {
        let error = run(&mut host, &mut Ear::default()).unwrap_err();
        assert_eq!(error.to_string(), "Unable to merge invalidated snapshot LV vg/snap.");
        assert!(host.mapper.disks.visible() == before, "nothing is written");
    }
    host.mapper.invalid = None;
    assert_eq!(run(&mut host, &mut Ear::default()).unwrap(), MergeOutcome::Finished);
}

/// Every failure before the commit says that nothing was changed.
#[test]
fn a_live_merge_that_cannot_start_says_what_is_left() {
    for word in ["Load", "Suspend"] {
        let (image, _) = filled();
        let mut host = host(image, 7);
        bring_up(&mut host, |group| group);
        host.mapper.refuse = Some(word);
        let told = run(&mut host, &mut Ear::default()).unwrap_err().to_string();
        assert!(told.starts_with("starting the merge of vg/snap: refused"), "{told}");
        assert!(told.ends_with("; nothing was changed"), "{told}");
    }
}

/// lvm2.md 2.6, step 8: the origin's live table says whether it merges. What did not switch begins when the command is given
/// again, as at the next activation.
#[test]
fn a_live_merge_whose_device_did_not_switch_says_whether_it_has_begun() {
    let later = "Merging of snapshot vg/snap will occur on next activation of vg/root.";
    for (device, begins) in [("vg-root\"", false), ("vg-root-real\"", false), ("vg-snap\"", true)] {
        let (image, expected) = filled();
        let mut host = host(image, 8);
        bring_up(&mut host, |group| group);
        let word: &'static str = Box::leak(format!("Resume {{ name: DmName(\"{device}").into_boxed_str());
        host.mapper.refuse_after_commit = Some(word);
        let mut ear = Ear::default();
        let outcome = run(&mut host, &mut ear).unwrap();
        let said = |text: &str| ear.said.iter().any(|said| said.contains(text));
        assert_eq!(host.mapper.refused, 1, "{device}");
        assert!(said("a device was not switched"), "{device}: {:?}", ear.said);
        assert_eq!(said("Merging of volume vg/snap started."), begins, "{device}: {:?}", ear.said);
        assert_eq!(said(later), !begins, "{device}: {:?}", ear.said);
        let expects = if begins { MergeOutcome::Finished } else { MergeOutcome::Deferred };
        assert_eq!(outcome, expects, "{device}");
        if !begins {
            assert_eq!(run(&mut host, &mut Ear::default()).unwrap(), MergeOutcome::Finished, "{device}");
        }
        let after = host.mapper.disks.visible();
        assert!(origin(&after) == expected && names(&after) == ["root"], "{device}");
    }
}

#[test]
fn a_vg_with_a_finding_is_refused_before_anything_is_written() {
    let (image, _) = filled();
    let mut bench = Bench::of(image, 4);
    bench
        .change(|vg| {
            vg.status.insert(VgStatus::Exported);
        })
        .unwrap();
    let image = bench.disks.visible();
    let mut host = host(image.clone(), 4);
    let error = run(&mut host, &mut Ear::default()).unwrap_err();
    assert_eq!(error.to_string(), "Volume group vg is exported");
    assert!(host.mapper.disks.visible() == image);
}

#[test]
fn a_device_that_fails_leaves_no_device_and_the_command_goes_on() {
    for word in ["Resume", "Load", "Suspend"] {
        let (image, expected) = filled();
        let mut host = host(image, 5);
        host.mapper.refuse = Some(word);
        let error = run(&mut host, &mut Ear::default()).unwrap_err();
        assert!(matches!(error, MergeError::Host { .. } | MergeError::Finish { .. }), "{error}");
        assert!(host.mapper.devices.is_empty(), "{word}");
        assert_eq!(run(&mut host, &mut Ear::default()).unwrap(), MergeOutcome::Finished);
        assert!(origin(&host.mapper.disks.visible()) == expected);
    }
}

/// Old tables would write to extents that are free by now.
#[test]
fn a_device_that_does_not_follow_the_end_of_a_merge_is_brought_on() {
    for device in ["vg-root\"", "vg-root-real\"", "vg-snap-cow\"", "vg-snap\""] {
        let (image, expected) = filled();
        let mut host = host(image, 6);
        let word: &'static str = Box::leak(format!("Resume {{ name: DmName(\"{device}").into_boxed_str());
        host.mapper.refuse_after_commit = Some(word);
        let mut ear = Ear::default();
        assert_eq!(run(&mut host, &mut ear).unwrap(), MergeOutcome::Finished, "{device}");
        let said = ear.said.iter().find(|said| said.contains("not all devices followed")).unwrap();
        assert!(said.contains("They did when it was tried again"), "{said}");
        assert_eq!(host.mapper.refused, 1, "{device}");
        assert!(host.mapper.devices.is_empty(), "{device}");
        let after = host.mapper.disks.visible();
        assert!(origin(&after) == expected && names(&after) == ["root"], "{device}");
    }
}

/// A merge into which somebody meddles when half is done; the job looks at the VG at the end, or after every chunk.
fn meddled(
    environment: &mut TestEnvironment,
    change: fn(&mut Vg),
) -> (Result<MergeOutcome, MergeError<Broken>>, Image, Image) {
    struct Meddler<'a>(&'a SimDisks, &'a [String], fn(&mut Vg), Option<Image>);
    impl Observer for Meddler<'_> {
        fn notice(&mut self, _: Notice) {}
        fn committed(&mut self, _: &Vg) {}
        fn progress(&mut self, progress: &Progress) -> ControlFlow<()> {
            if progress.chunks_left == 5 && self.3.is_none() {
                let (disks, paths) = (self.0.clone(), self.1.to_vec());
                let mut bench = Bench { disks, paths, environment: TestEnvironment::new() };
                bench.change(self.2).unwrap();
                self.3 = Some(bench.disks.visible());
            }
            ControlFlow::Continue(())
        }
    }
    let (image, _) = filled();
    let mut host = host(image, 6);
    let (disks, paths) = (host.mapper.disks.clone(), host.mapper.paths.clone());
    let request = MergeRequest {
        paths: &paths,
        system_id: None,
        vg: VgName::new("vg").unwrap(),
        lv: lv_name("snap"),
        force: false,
        mode: Mode::NameOrigin,
        undo: None,
        leave: false,
        told: false,
    };
    let mut meddler = Meddler(&disks, &paths, change, None);
    let outcome = merge(&mut host, &request, environment, &mut meddler);
    assert!(!host.locked);
    assert!(outcome.is_err() || host.mapper.devices.is_empty());
    (outcome, meddler.3.unwrap(), disks.visible())
}

fn remove_snapshot(vg: &mut Vg) {
    vg.lvs.retain(|lv| lv.name.as_str() == "root");
}

fn rename_origin(vg: &mut Vg) {
    vg.lvs[0].name = lv_name("renamed");
    for segment in vg.lvs.iter_mut().flat_map(|lv| &mut lv.segments) {
        if let SegmentKind::Snapshot(snapshot) = &mut segment.kind {
            snapshot.origin = lv_name("renamed");
        }
    }
}

fn rename_vg(vg: &mut Vg) {
    vg.name = VgName::new("other").unwrap();
}

fn unmark(vg: &mut Vg) {
    for lv in &mut vg.lvs {
        if let SegmentKind::Snapshot(snapshot) = &mut lv.segments[0].kind {
            snapshot.merging = false;
            lv.set_status(LvStatus::Visible, true);
        }
    }
}

/// lvm2.md 2.10: the snapshot is looked up by UUID, and may be gone or changed at the end.
#[test]
fn what_others_did_to_the_vg_meanwhile_is_noticed_at_the_end() {
    let meddled = |change| meddled(&mut TestEnvironment::new(), change);
    let (outcome, _, after) = meddled(remove_snapshot);
    assert!(matches!(outcome, Ok(MergeOutcome::Finished)));
    assert_eq!(names(&after), ["root"]);
    let (outcome, _, after) = meddled(rename_origin);
    assert!(matches!(outcome, Ok(MergeOutcome::Finished)), "{outcome:?}");
    assert_eq!(names(&after), ["renamed"]);
    let (outcome, ..) = meddled(unmark);
    assert!(matches!(outcome, Err(MergeError::NotMerging { .. })), "{outcome:?}");
}

/// lvremove takes a merging snapshot of an inactive origin without a word (lvm2.md 1.9), and its extents may be given to
/// another LV the moment after.
#[test]
fn extents_that_somebody_took_away_are_not_written_any_more() {
    for change in [remove_snapshot, rename_vg, unmark] {
        let (outcome, then, after) = meddled(&mut TestEnvironment::hurried(), change);
        assert!(matches!(outcome, Err(MergeError::Changed { .. })), "{outcome:?}");
        // One step may be under way when it is noticed: the chunk that was being folded, and its record.
        let differ =
            |disk: usize| then.disks[disk].iter().zip(&after.disks[disk]).filter(|(a, b)| a != b).count();
        let written: usize = (0..then.disks.len()).map(differ).sum();
        assert!(written <= 9, "{written} sectors");
    }
    let (outcome, _, after) = meddled(&mut TestEnvironment::hurried(), rename_origin);
    assert!(matches!(outcome, Ok(MergeOutcome::Finished)), "{outcome:?}");
    assert_eq!(names(&after), ["renamed"]);
}

/// An origin of seven chunks and a half, extended elsewhere after its snapshot was taken; the store holds these chunks.
fn grown(chunks: &[usize]) -> (Image, (usize, usize), Vec<(usize, Sector)>) {
    let mut bench = Bench::with_vg(&[16, 8], 4);
    bench.lv("root", 15);
    bench.snapshot("root", "snap", 20);
    let (root, (cow_disk, cow)) = (place(&mut bench, "root"), place(&mut bench, "snap"));
    bench
        .change(|vg| {
            let root = vg.lv_mut(&lv_name("root")).unwrap();
            let mut more = root.segments[0].clone();
            (more.start_extent, more.extent_count) = (15, 5);
            let SegmentKind::Striped(striped) = &mut more.kind else { panic!("it is linear") };
            assert!(matches!(striped.areas[0].on, AreaOn::Pv(_)));
            striped.areas[0].start_extent = 1000;
            root.segments.push(more);
        })
        .unwrap();
    let mut image = bench.disks.visible();
    let data = fill_store(&mut image.disks[cow_disk], cow, chunks);
    (image, root, data)
}

/// The kernel writes the old end's chunk whole, and with it what was written behind that end since.
#[test]
fn an_origin_that_grew_from_the_middle_of_a_chunk_keeps_what_lies_behind() {
    let (image, ..) = grown(&[1, 7]);
    let mut refusing = host(image.clone(), 8);
    let error = run(&mut refusing, &mut Ear::default()).unwrap_err();
    assert!(matches!(error, MergeError::Grown { .. }), "{error}");
    assert!(refusing.mapper.disks.visible() == image && refusing.mapper.devices.is_empty());
    let (image, (disk, start), data) = grown(&[1, 6]);
    let mut merging = host(image, 9);
    assert_eq!(run(&mut merging, &mut Ear::default()).unwrap(), MergeOutcome::Finished);
    let after = merging.mapper.disks.visible();
    assert!(data.iter().all(|(sector, stamp)| after.disks[disk][start + sector] == *stamp));
    assert_eq!(names(&after), ["root"]);
}
