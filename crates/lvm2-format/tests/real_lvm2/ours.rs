//! What this crate writes, LVM2 reads without a warning, and its next write keeps it (lvm2.md 1.3 to 1.7 and 1.9).

use crate::agreement::agree;
use crate::lab::Lab;
use crate::reading::{bytes_at, read_pv};
use foldback_lvm2_format::check::check;
use foldback_lvm2_format::label::LabelSector;
use foldback_lvm2_format::mda_header::{MdaHeader, TextLocation};
use foldback_lvm2_format::metadata::{Header, Metadata};
use foldback_lvm2_format::pv_header::{DiskArea, Extension, PvHeader};
use foldback_lvm2_format::text::{Dialect, Notes};
use foldback_lvm2_format::vg::{
    Creation, ExtentSize, Flags, Lv, LvStatus, Pv, PvKey, PvStatus, Segment, SegmentKind, SnapshotSegment,
    Vg, VgStatus,
};
use foldback_units::{Bytes, ChunkSize, LvName, LvmUuid, Sectors, TagName, VgName};
use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

fn open(image: &Path) -> File {
    File::options().read(true).write(true).open(image).unwrap()
}

fn id(number: u8) -> LvmUuid {
    LvmUuid::from_random([number; 32])
}

/// Writes the VG into every area that is in use, pass by pass over all of them (lvm2.md 1.6).
fn commit(lab: &Lab, vg: &Vg) {
    assert_eq!(check(vg), []);
    let header = Header {
        description: "Write from a \"test\" of \\ours.".to_owned(),
        creation_host: "here".to_owned(),
        creation_host_system_id: None,
        creation_time: 1_795_423_891,
        other: Vec::new(),
    };
    let notes = Notes { generated_by: Some("a test"), ..Notes::NONE };
    let text = Metadata { header, vg: vg.clone() }.write(Dialect::Disk, &notes).unwrap();
    let mut areas = Vec::new();
    for disk in &lab.disks {
        let file = open(&disk.image);
        for (header, _) in read_pv(&disk.image).unwrap().areas {
            if !header.is_ignored() {
                areas.push((file.try_clone().unwrap(), header));
            }
        }
    }
    let mut locations = Vec::new();
    for (file, header) in &areas {
        let old = header.committed.text.map(|text| text.place);
        let place = header.ring.place_next(old, Bytes(text.len() as u64)).unwrap();
        let padded = header.ring.pieces_padded(place);
        let mut bytes = text.clone();
        bytes.resize(padded.iter().map(|piece| piece.len as usize).sum(), 0);
        let mut rest = bytes.as_slice();
        for piece in padded.iter() {
            let (here, behind) = rest.split_at(piece.len as usize);
            file.write_all_at(here, header.start.get() + piece.offset).unwrap();
            rest = behind;
        }
        locations.push(TextLocation::of_text(place, &text));
    }
    for ((file, header), location) in areas.iter().zip(&locations) {
        file.write_all_at(&header.with_precommitted(*location).encode(), header.start.get()).unwrap();
    }
    for ((file, header), location) in areas.iter().zip(&locations) {
        file.write_all_at(&header.with_committed(*location).encode(), header.start.get()).unwrap();
    }
}

/// Both sides agree, and LVM2 has nothing to complain of.
fn accepted(lab: &Lab, vg: &Vg) {
    assert_eq!(agree(lab), *vg);
    lab.quietly(&format!("vgck {}", vg.name));
    for number in 0..lab.disks.len() {
        lab.quietly(&format!("pvck pv{number}"));
        lab.quietly(&format!("pvck --dump headers pv{number}"));
    }
    for report in ["pvs -a", "vgs", "lvs -a"] {
        lab.quietly(report);
    }
}

fn visible(name: &str, number: u8, segments: Vec<Segment>) -> Lv {
    let creation = Creation { time: 1_795_423_891, host: "here".to_owned() };
    let mut lv = Lv::new(LvName::new(name).unwrap(), id(number), creation);
    lv.segments = segments;
    lv
}

/// A volume and a snapshot of it, the way LVM2 ties them (lvm2.md 1.9).
fn with_snapshot(vg: &mut Vg) {
    let pv = |number: usize| vg.pvs[number].key.clone();
    let root = visible("root", 20, vec![Segment::linear(0, 5, pv(0), 3), Segment::linear(5, 2, pv(1), 0)]);
    let mut store = visible("snap", 21, vec![Segment::linear(0, 2, pv(1), 2)]);
    store.set_status(LvStatus::Visible, false);
    let mut tie = visible("snapshot0", 22, vec![Segment::linear(0, 7, pv(0), 0)]);
    tie.segments[0].kind = SegmentKind::Snapshot(SnapshotSegment {
        chunk_size: ChunkSize::from_sectors(8).unwrap(),
        origin: root.name.clone(),
        cow: store.name.clone(),
        merging: false,
    });
    vg.lvs.extend([root, store, tie]);
    vg.tags.push(TagName::new("ours").unwrap());
    vg.seqno += 1;
}

#[test]
fn a_vg_of_theirs_that_we_changed() {
    let Some(lab) = Lab::new("a_vg_of_theirs_that_we_changed", &[64, 64]) else { return };
    lab.run("pvcreate --pvmetadatacopies 2 --metadatasize 32k --dataalignment 4k pv0");
    lab.run("vgcreate -s 1m vg pv0 pv1");
    let mut vg = agree(&lab);
    with_snapshot(&mut vg);
    commit(&lab, &vg);
    accepted(&lab, &vg);
    // A merge, as LVM2 marks it.
    let tie = vg.lv_mut(&LvName::new("snapshot0").unwrap()).unwrap();
    tie.set_status(LvStatus::Visible, false);
    let SegmentKind::Snapshot(segment) = &mut tie.segments[0].kind else { panic!("not a snapshot") };
    segment.merging = true;
    vg.seqno += 1;
    commit(&lab, &vg);
    accepted(&lab, &vg);
    // LVM2's next write keeps all of it.
    lab.run("vgchange --addtag theirs vg");
    let after = agree(&lab);
    assert_eq!((after.seqno, &after.lvs), (vg.seqno + 1, &vg.lvs));
    // Often enough that the ring goes round under both hands.
    let mut wrapped = false;
    for _ in 0..8 {
        vg.seqno = agree(&lab).seqno + 1;
        commit(&lab, &vg);
        accepted(&lab, &vg);
        lab.run("vgchange --addtag theirs vg");
        assert_eq!(agree(&lab).lvs, vg.lvs);
        let (header, _) = &read_pv(&lab.disks[0].image).unwrap().areas[0];
        wrapped |= header.committed.text.unwrap().place.offset() < 4096;
    }
    assert!(wrapped, "the ring never went round: the area is too large for this test");
}

/// Precommitted and no further: the old text holds for LVM2, and its next write goes on (lvm2.md 1.6).
#[test]
fn a_commit_that_stopped_before_the_last_pass() {
    let Some(lab) = Lab::new("a_commit_that_stopped_before_the_last_pass", &[64]) else { return };
    lab.run("vgcreate -s 1m vg pv0");
    lab.run("lvcreate -an -Zn -Wn -l 1 -n lv vg");
    let before = agree(&lab);
    let file = open(&lab.disks[0].image);
    let old = read_pv(&lab.disks[0].image).unwrap().areas[0].0;
    let mut vg = before.clone();
    vg.seqno += 1;
    vg.lvs.clear();
    commit(&lab, &vg);
    let new = read_pv(&lab.disks[0].image).unwrap().areas[0].0.committed.text.unwrap();
    file.write_all_at(&old.with_precommitted(new).encode(), old.start.get()).unwrap();
    accepted(&lab, &before);
    lab.run("vgchange --addtag theirs vg");
    assert_eq!(agree(&lab).lvs, before.lvs);
    assert_eq!(read_pv(&lab.disks[0].image).unwrap().areas[0].0.precommitted.text, None);
}

/// PVs that no LVM2 of this machine makes: an area at 64 KiB (trap 3), and headers from before the extension.
#[test]
fn pvs_of_other_machines_and_times() {
    let none = None;
    let version_1 = Some(Extension { version: 1, flags: 0, bootloader_areas: Vec::new() });
    for (extension, start, size) in
        [(Some(Extension::new(true)), 65536, 983_040), (version_1, 4096, 1_044_480), (none, 4096, 192_512)]
    {
        let Some(lab) = Lab::new("pvs_of_other_machines_and_times", &[64]) else { return };
        let area = DiskArea { offset: Bytes(start), size: Bytes(size) };
        let data = DiskArea { offset: Bytes(1 << 20), size: Bytes(0) };
        let pv = PvHeader {
            id: id(1),
            device_size: Bytes(64 << 20),
            data_areas: vec![data],
            metadata_areas: vec![area],
            extension: extension.clone(),
        };
        let label = LabelSector { sector: 1, pv };
        let file = open(&lab.disks[0].image);
        file.write_all_at(&label.encode().unwrap(), label.offset()).unwrap();
        file.write_all_at(&MdaHeader::empty(area).unwrap().encode(), start).unwrap();
        let mut vg = Vg {
            name: VgName::new("from-elsewhere").unwrap(),
            id: id(2),
            seqno: 1,
            status: BTreeSet::from([VgStatus::Resizeable, VgStatus::Read, VgStatus::Write]),
            flags: Flags::default(),
            tags: Vec::new(),
            system_id: None,
            lock_type: None,
            extent_size: ExtentSize::from_sectors(2048).unwrap(),
            max_lv: 0,
            max_pv: 0,
            allocation_policy: None,
            metadata_copies: 0,
            pvs: vec![Pv {
                key: PvKey::new("pv0").unwrap(),
                id: id(1),
                device: Some(lab.disks[0].device.clone()),
                status: BTreeSet::from([PvStatus::Allocatable]),
                flags: Flags::default(),
                tags: Vec::new(),
                dev_size: Some(Sectors(131_072)),
                pe_start: Sectors(2048),
                pe_count: 63,
                other: Vec::new(),
            }],
            lvs: vec![visible("root", 3, vec![Segment::linear(0, 5, PvKey::new("pv0").unwrap(), 3)])],
            historical: None,
            other: Vec::new(),
        };
        commit(&lab, &vg);
        if extension.is_some_and(|extension| extension.is_used()) {
            accepted(&lab, &vg);
        } else {
            assert_eq!(agree(&lab), vg);
        }
        lab.run("vgchange --addtag theirs from-elsewhere");
        vg.tags.push(TagName::new("theirs").unwrap());
        vg.seqno += 1;
        // LVM2 brings an old header up to date with its first write.
        accepted(&lab, &vg);
        let label = read_pv(&lab.disks[0].image).unwrap().label;
        assert_eq!(label.pv.extension, Some(Extension::new(true)));
        assert_eq!(bytes_at(&file, 0, 512), [0; 512]);
    }
}
