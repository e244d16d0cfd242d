//! Discovery and commit on simulated disks that lose power at every write and fail at every operation.

use crate::store::{Consequence, DiskSet, Finding, discover, stage};
use crate::testing::{Bench, lv_name};
use foldback_lvm2_format::vg::{PvFlag, SegmentKind, Vg, VgStatus};
use foldback_testkit::{Cut, FaultKind, Image, InjectedFault, Rng, Sector};
use foldback_units::Sectors;

fn tag(vg: &mut Vg, tag: &str) {
    vg.tags.push(foldback_units::TagName::new(tag).unwrap());
}

/// A VG on three disks that was written a few times, so that the rings hold several texts.
fn written() -> Bench {
    let mut bench = Bench::with_vg(&[8, 8, 8], 2048);
    bench.lv("root", 3);
    bench.change(|vg| tag(vg, "old")).unwrap();
    bench
}

#[test]
fn a_vg_is_found_as_it_was_written() {
    let mut bench = written();
    let found = bench.vg();
    assert_eq!(found.findings, []);
    assert_eq!((found.vg.seqno, found.areas.len()), (3, 3));
    assert!(found.places.iter().flatten().all(|place| place.label.pv.is_used()));
    assert!(found.vg.lv(&lv_name("root")).is_some());
}

/// lvm2.md 1.6: whatever of the writes survives a power cut at any moment, the VG reads as old or as new, whole.
#[test]
fn after_a_power_cut_at_any_write_the_vg_is_old_or_new() {
    let mut base = written();
    let (image, old) = (base.disks.visible(), base.vg().vg);
    let mut seen = [0, 0];
    let mut rng = Rng::new(5);
    let mut crash_at = 0;
    loop {
        let mut done = false;
        for _ in 0..6 {
            let mut bench = Bench::of(image.clone(), rng.bits());
            let before = bench.vg();
            bench.disks.power_off_after(crash_at);
            let mut vg = before.vg.clone();
            tag(&mut vg, "new");
            let mut set = DiskSet::new(&mut bench.disks, &bench.paths);
            done = crate::apply::commit(&mut set, &before, vg, &mut bench.environment).is_ok()
                && !bench.disks.is_off();
            let left = bench.disks.power_off(Some(Cut::any(&mut rng)));
            let mut after = Bench::of(left, 1);
            let found = after.vg();
            let bad = found.findings.iter().filter(|one| one.consequence() != Consequence::Warn).count();
            assert_eq!(bad, 0, "crash at {crash_at}: {:?}", found.findings);
            let is_new = found.vg.seqno == old.seqno + 1;
            assert_eq!(found.vg.tags.len(), if is_new { 2 } else { 1 }, "crash at {crash_at}");
            assert!(is_new || found.vg == old);
            assert!(is_new || !done, "committed, but gone after a power cut");
            seen[usize::from(is_new)] += 1;
            // What the crash left is put right by the next write.
            after.change(|vg| tag(vg, "later")).unwrap();
            assert_eq!(after.vg().findings, []);
        }
        if done {
            break;
        }
        crash_at += 1;
    }
    assert!(seen[0] > 10 && seen[1] > 10, "{seen:?}");
}

/// A failed write anywhere: an error that says the VG is unchanged means it, a success means it.
#[test]
fn after_an_io_error_the_answer_is_true() {
    let mut base = written();
    let (image, old) = (base.disks.visible(), base.vg().vg);
    let (mut failed, mut passed) = (0, 0);
    for kind in [FaultKind::Write, FaultKind::Flush, FaultKind::Read] {
        for after in 0..20 {
            let mut bench = Bench::of(image.clone(), after);
            let before = bench.vg();
            let mut vg = before.vg.clone();
            tag(&mut vg, "new");
            bench.disks.inject(InjectedFault { kind, disk: None, after, times: 1 });
            let mut set = DiskSet::new(&mut bench.disks, &bench.paths);
            let outcome = crate::apply::commit(&mut set, &before, vg, &mut bench.environment);
            if bench.disks.faults_hit() == 0 {
                break;
            }
            let mut again = Bench::of(bench.disks.power_off(Some(Cut::LoseAll)), 1);
            let seqno = again.vg().vg.seqno;
            match outcome {
                Ok(_) => assert_eq!(seqno, old.seqno + 1, "{kind:?} after {after}"),
                Err(_) => assert_eq!(seqno, old.seqno, "{kind:?} after {after}"),
            }
            if seqno == old.seqno { failed += 1 } else { passed += 1 }
        }
    }
    assert!(failed > 8 && passed > 1, "{failed} failed, {passed} passed");
}

/// A VG with a segment that LVM2 would not know is not changed (lvm2.md 1.7); types that LVM2 knows, and we do not carry, are
/// no reason.
#[test]
fn unknown_segments_refuse_every_change_of_the_vg() {
    let refusal = |type_text: &str| {
        let mut bench = written();
        bench
            .change(|vg| {
                let kind = SegmentKind::Unknown { type_text: type_text.to_owned() };
                vg.lv_mut(&lv_name("root")).unwrap().segments[0].kind = kind;
            })
            .unwrap();
        let found = bench.vg();
        assert_eq!(found.refuses_use(), None, "it may be looked at");
        found.refuses_change().map(|finding| finding.refusal("vg"))
    };
    for type_text in ["striped+FOO", "raid9", "raid1+MERGEVIEW"] {
        let said = refusal(type_text).unwrap();
        assert!(said.starts_with("Cannot change VG vg with unknown segments in it!\n"), "{said}");
        assert!(said.contains(type_text), "{said}");
    }
    for type_text in ["raid1", "thin-pool", "cache+CACHE_USES_CACHEVOL"] {
        assert_eq!(refusal(type_text), None);
    }
}

#[test]
fn a_staged_change_that_is_dropped_is_reverted() {
    let mut bench = written();
    let found = bench.vg();
    let mut set = DiskSet::new(&mut bench.disks, &bench.paths);
    let staged = stage(&mut set, &found, found.vg.clone(), &mut bench.environment).unwrap();
    assert_eq!(staged.vg().seqno, found.vg.seqno + 1);
    drop(staged);
    let after = bench.vg();
    assert_eq!(after, found, "no precommitted slot is left");
}

#[test]
fn headers_that_are_handed_over_commit_and_revert() {
    let mut bench = written();
    let found = bench.vg();
    let mut set = DiskSet::new(&mut bench.disks, &bench.paths);
    let handover = stage(&mut set, &found, found.vg.clone(), &mut bench.environment).unwrap().hand_over();
    assert_eq!(handover.headers.len(), 3);
    let write = |set: &mut DiskSet<'_>, bytes: fn(&foldback_dm_table::HeaderWrite) -> &[u8; 512]| {
        for header in &handover.headers {
            let disk = set.find(&header.pv.0).unwrap();
            set.write("test", disk, header.offset, bytes(header), true).unwrap();
        }
    };
    write(&mut set, |header| &header.revert);
    assert_eq!(discover(&mut set, None).vgs[0], found);
    write(&mut set, |header| &header.commit);
    assert_eq!(discover(&mut set, None).vgs[0], handover.next);
}

/// Traps 17 and 19: each of these is listed and refused, and nothing is written then.
#[test]
fn a_vg_with_a_finding_that_refuses_is_not_written() {
    type Change = fn(&mut Vg);
    let rows: &[(Change, &str)] = &[
        (|vg| vg.system_id = Some("other".into()), "Cannot access VG vg with system ID other with unknown"),
        (
            |vg| {
                vg.status.insert(VgStatus::Exported);
            },
            "Volume group vg is exported",
        ),
        (
            |vg| {
                vg.status.insert(VgStatus::Clustered);
            },
            "Cannot access clustered VG vg",
        ),
        (|vg| vg.lock_type = Some("sanlock".into()), "lock type \"sanlock\""),
        (
            |vg| {
                vg.status.remove(&VgStatus::Write);
            },
            "Volume group vg is read-only",
        ),
        (|vg| vg.pvs[0].flags.set(PvFlag::Missing, true), "Cannot change VG vg while PVs are missing."),
        (|vg| vg.pvs[0].pe_start = Sectors(0), "lie over what is at sector 8"),
        (|vg| vg.pvs[0].pe_start = Sectors(2047), "lie over what is at sector 8"),
        (|vg| vg.pvs[0].pe_start = Sectors(1 << 40), "but the PV on it needs"),
    ];
    for (change, words) in rows {
        let mut bench = written();
        bench.change(change).unwrap();
        let before = bench.disks.visible();
        let refused = bench.change(|vg| tag(vg, "x")).unwrap_err().to_string();
        assert!(refused.contains(words), "{refused}");
        assert_eq!(bench.disks.visible(), before, "{words}");
    }
}

fn rearranged(arrange: fn(&mut Vec<Vec<Sector>>)) -> Bench {
    let mut disks = written().disks.visible().disks;
    arrange(&mut disks);
    Bench::of(Image::new(disks), 3)
}

#[test]
fn missing_and_duplicate_pvs_are_found() {
    let mut missing = rearranged(|disks| drop(disks.remove(1)));
    let found = missing.vg();
    assert!(
        matches!(&found.findings[..], [Finding::MissingPv { hint: Some(hint), .. }] if hint == "/dev/sim1")
    );
    assert!(found.places[1].is_none() && found.refuses_use().is_none());
    assert!(missing.change(|vg| tag(vg, "x")).is_err());
    let mut twice = rearranged(|disks| disks.push(disks[0].clone()));
    let found = twice.vg();
    let refuses = found.refuses_use().unwrap();
    assert!(
        matches!(refuses, Finding::DuplicatePv { used, other, .. } if used == "/dev/sim0" && other == "/dev/sim3")
    );
    let words = twice.change(|vg| tag(vg, "x")).unwrap_err().to_string();
    assert!(words.starts_with("Cannot update volume group vg with duplicate PV devices."), "{words}");
}

#[test]
fn a_damaged_area_refuses_a_change_and_old_metadata_does_not() {
    let mut damaged = rearranged(|disks| disks[2][8] = Sector::Stamp(1));
    assert!(matches!(damaged.vg().findings[..], [Finding::DamagedArea { at: 4096, .. }]));
    assert!(damaged.change(|vg| tag(vg, "x")).is_err());
    // A torn text: its checksum is wrong.
    let mut torn = rearranged(|disks| {
        for sector in &mut disks[0][9..2048] {
            if *sector != Sector::Zero {
                *sector = Sector::Stamp(2);
            }
        }
    });
    assert!(matches!(torn.vg().findings[..], [Finding::DamagedArea { .. }]));
    // One disk as it was before the last commit.
    let mut bench = written();
    let earlier = bench.disks.visible().disks[1].clone();
    bench.change(|vg| tag(vg, "newer")).unwrap();
    let mut disks = bench.disks.visible().disks;
    disks[1] = earlier;
    let mut bench = Bench::of(Image::new(disks), 4);
    assert!(matches!(bench.vg().findings[..], [Finding::OldMetadata { found: 3, newest: 4, .. }]));
    bench.change(|vg| tag(vg, "put-right")).unwrap();
    assert_eq!(bench.vg().findings, []);
}

#[test]
fn the_ring_wraps_and_texts_stay_readable() {
    let mut bench = written();
    // About 24 KiB each: 60 of them go round the ring of 1 MiB.
    let name =
        |number: u32, tag: u32| foldback_units::TagName::new(&format!("a-long-tag-{number}-{tag}")).unwrap();
    for number in 0..60 {
        bench.change(|vg| vg.tags = (0..900).map(|tag| name(number, tag)).collect()).unwrap();
    }
    let found = bench.vg();
    assert_eq!((found.vg.seqno, found.findings.len()), (63, 0));
}
