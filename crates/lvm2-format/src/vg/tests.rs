//! What a VG's text is refused for, with the place; what survives; what one can ask (lvm2.md 1.7 and 1.9).

use super::{AreaOn, Creation, Lv, LvFlag, LvStatus, PvKey, ReadError, Refusal, Segment, SegmentKind, Vg};
use crate::text::{Node, Section, parse};
use foldback_units::{LvName, LvmUuid};

const TEXT: &str = r#"vg {
    id = "AAAAAA-AAAA-AAAA-AAAA-AAAA-AAAA-AAAvg0"
    seqno = 4
    format = "lvm2"
    status = ["RESIZEABLE", "READ", "WRITE"]
    flags = []
    extent_size = 8192
    max_lv = 0
    max_pv = 0
    metadata_copies = 0
    physical_volumes {
        pv0 {
            id = "AAAAAA-AAAA-AAAA-AAAA-AAAA-AAAA-AAApv0"
            status = ["ALLOCATABLE"]
            flags = []
            dev_size = 2097152
            pe_start = 2048
            pe_count = 255
        }
    }
    logical_volumes {
        root {
            id = "AAAAAA-AAAA-AAAA-AAAA-AAAA-AAAA-AAlv00"
            status = ["READ", "WRITE", "VISIBLE"]
            flags = []
            segment_count = 1
            segment1 {
                start_extent = 0
                extent_count = 8
                type = "striped"
                stripe_count = 1
                stripes = ["pv0", 0]
            }
        }
        snap {
            id = "AAAAAA-AAAA-AAAA-AAAA-AAAA-AAAA-AAlv01"
            status = ["READ", "WRITE"]
            flags = []
            segment_count = 1
            segment1 {
                start_extent = 0
                extent_count = 2
                type = "striped"
                stripe_count = 1
                stripes = ["pv0", 8]
            }
        }
        snapshot0 {
            id = "AAAAAA-AAAA-AAAA-AAAA-AAAA-AAAA-AAlv02"
            status = ["READ", "WRITE", "VISIBLE"]
            flags = []
            segment_count = 1
            segment1 {
                start_extent = 0
                extent_count = 8
                type = "snapshot"
                chunk_size = 8
                origin = "root"
                cow_store = "snap"
            }
        }
    }
}"#;

/// Reads the text after replacing `from`, which must be there, by `to`, once.
fn with(from: &str, to: &str) -> Result<Vg, ReadError> {
    assert!(TEXT.contains(from), "{from}");
    read(&TEXT.replacen(from, to, 1))
}

fn read(text: &str) -> Result<Vg, ReadError> {
    let section = parse(text.as_bytes()).unwrap().root.section("vg").unwrap().clone();
    Vg::from_section("vg", section)
}

fn vg() -> Vg {
    read(TEXT).unwrap()
}

fn name(text: &str) -> LvName {
    LvName::new(text).unwrap()
}

#[track_caller]
fn refuses(from: &str, to: &str, place: &str, reason: Refusal) {
    assert_eq!(with(from, to), Err(ReadError { place: place.to_owned(), reason }));
}

#[test]
fn what_must_be_there_is_asked_for_by_name() {
    for (key, place) in [
        ("seqno = 4", "vg/seqno"),
        ("id = \"AAAAAA-AAAA-AAAA-AAAA-AAAA-AAAA-AAAvg0\"", "vg/id"),
        ("status = [\"RESIZEABLE\", \"READ\", \"WRITE\"]", "vg/status"),
        ("extent_size = 8192", "vg/extent_size"),
        ("max_lv = 0", "vg/max_lv"),
        ("max_pv = 0", "vg/max_pv"),
        ("pe_start = 2048", "vg/physical_volumes/pv0/pe_start"),
        ("pe_count = 255", "vg/physical_volumes/pv0/pe_count"),
        ("segment_count = 1", "vg/logical_volumes/root/segment_count"),
        ("type = \"striped\"", "vg/logical_volumes/root/segment1/type"),
        ("stripes = [\"pv0\", 0]", "vg/logical_volumes/root/segment1/stripes"),
        ("origin = \"root\"", "vg/logical_volumes/snapshot0/segment1/origin"),
    ] {
        refuses(key, "", place, Refusal::Missing);
    }
    for optional in ["format = \"lvm2\"", "metadata_copies = 0", "flags = []", "dev_size = 2097152"] {
        assert!(with(optional, "").is_ok(), "{optional}");
    }
}

#[test]
fn unknown_words_of_a_status_refuse_the_vg_and_unknown_flags_do_not() {
    let unknown = |text: &str| Refusal::UnknownStatus(text.to_owned());
    refuses("\"RESIZEABLE\"", "\"MERGING\"", "vg/status", unknown("MERGING"));
    refuses("\"ALLOCATABLE\"", "\"HOT\"", "vg/physical_volumes/pv0/status", unknown("HOT"));
    refuses("\"VISIBLE\"", "\"SNAPSHOT\"", "vg/logical_volumes/root/status", unknown("SNAPSHOT"));
    let vg = with("flags = []", "flags = [\"NEW_ONE\", \"NOAUTOACTIVATE\"]").unwrap();
    assert_eq!(vg.flags.unknown, ["NEW_ONE"]);
    assert_eq!(Vg::from_section("vg", vg.to_section()), Ok(vg));
}

#[test]
fn values_out_of_range_or_of_another_type_are_refused() {
    refuses("seqno = 4", "seqno = -1", "vg/seqno", Refusal::Range(-1));
    refuses("seqno = 4", "seqno = 4294967296", "vg/seqno", Refusal::Range(1 << 32));
    refuses("seqno = 4", "seqno = \"4\"", "vg/seqno", Refusal::NotA("a number"));
    refuses("seqno = 4", "seqno { }", "vg/seqno", Refusal::NotA("a number"));
    refuses("max_lv = 0", "max_lv = [0]", "vg/max_lv", Refusal::NotA("a number"));
    refuses("pe_start = 2048", "pe_start = -8", "vg/physical_volumes/pv0/pe_start", Refusal::Range(-8));
    let strings = Refusal::NotA("a list of strings");
    refuses("\"RESIZEABLE\", ", "1, ", "vg/status", strings);
    let format = Refusal::Not { expected: "lvm2", found: "lvm1".to_owned() };
    refuses("\"lvm2\"", "\"lvm1\"", "vg/format", format);
    for bad in [0_u32, 3, 8191, 8193] {
        let refused = with("extent_size = 8192", &format!("extent_size = {bad}")).unwrap_err();
        assert!(matches!(refused.reason, Refusal::ExtentSize(_)), "{bad}");
    }
    for good in [1_u32, 2, 8192, 768] {
        assert!(with("extent_size = 8192", &format!("extent_size = {good}")).is_ok(), "{good}");
    }
    refuses("pv0 {", "stray = 1 pv0 {", "vg/physical_volumes/stray", Refusal::NotA("a section"));
}

#[test]
fn segments_that_do_not_add_up_are_refused() {
    let place = "vg/logical_volumes/root/segment_count";
    refuses("segment_count = 1", "segment_count = 2", place, Refusal::SegmentCount { said: 2, found: 1 });
    let stripes = "vg/logical_volumes/root/segment1/stripes";
    let count = |said, found| Refusal::StripeCount { said, found };
    refuses("stripe_count = 1", "stripe_count = 2", stripes, count(2, 1));
    refuses("[\"pv0\", 0]", "[\"pv0\", 0, \"pv0\"]", stripes, count(1, 1));
    refuses("[\"pv0\", 0]", "[]", stripes, count(1, 0));
    refuses("[\"pv0\", 0]", "[\"pv1\", 0]", stripes, Refusal::UnknownName("pv1".to_owned()));
    refuses("[\"pv0\", 0]", "[\"pv0\", -1]", stripes, Refusal::Range(-1));
    refuses("[\"pv0\", 0]", "[0, \"pv0\"]", stripes, Refusal::NotA("a list of names and extents"));
    let three = |size: &str| {
        format!("stripe_count = 3 {size} stripes = [\"pv0\", 20, \"pv0\", 30, \"pv0\", 40] other = [")
    };
    let from = "stripe_count = 1\n                stripes = [";
    let place = "vg/logical_volumes/root/segment1/stripe_size";
    refuses(from, &three(""), place, Refusal::Missing);
    refuses(from, &three("stripe_size = 0"), place, Refusal::Missing);
    let place = "vg/logical_volumes/root/segment1/stripe_count";
    refuses(from, &three("stripe_size = 8"), place, Refusal::Stripes { extents: 8, stripes: 3 });
}

/// LVM2 writes a list of one element without brackets in what it did not know, and reads it as a list everywhere.
#[test]
fn a_list_of_one_may_stand_without_brackets() {
    let vg = with("status = [\"ALLOCATABLE\"]", "status = \"ALLOCATABLE\" tags = \"one\"").unwrap();
    assert!(vg.pvs[0].is_allocatable());
    assert_eq!(vg.pvs[0].tags[0].as_str(), "one");
    refuses("flags = []", "flags { }", "vg/flags", Refusal::NotA("a list"));
    refuses(
        "status = [\"ALLOCATABLE\"]",
        "status = 1",
        "vg/physical_volumes/pv0/status",
        Refusal::NotA("a list of strings"),
    );
}

/// The path is a hint, and may be any bytes.
#[test]
fn a_device_that_is_not_utf_8_does_not_hide_the_vg() {
    let text = TEXT.replacen("pe_start", "device = \"/dev/\u{1}\" pe_start", 1);
    let bytes: Vec<u8> = text.bytes().map(|byte| if byte == 1 { 0xff } else { byte }).collect();
    let section = parse(&bytes).unwrap().root.section("vg").unwrap().clone();
    let vg = Vg::from_section("vg", section).unwrap();
    assert_eq!(vg.pvs[0].device.as_deref(), Some("/dev/\u{fffd}"));
}

/// lvm2.md 1.9: both keys are an error, neither is one, and merging is nothing but the other key.
#[test]
fn a_snapshot_has_exactly_one_store() {
    let place = "vg/logical_volumes/snapshot0/segment1";
    let both = "merging_store = \"snap\" cow_store = \"snap\"";
    refuses("cow_store = \"snap\"", both, place, Refusal::SnapshotStore);
    refuses("cow_store = \"snap\"", "", place, Refusal::SnapshotStore);
    let store = "vg/logical_volumes/snapshot0/segment1/cow_store";
    refuses("cow_store = \"snap\"", "cow_store = \"x\"", store, Refusal::UnknownName("x".to_owned()));
    let chunk = with("chunk_size = 8", "chunk_size = 12").unwrap_err();
    assert!(matches!(chunk.reason, Refusal::ChunkSize(_)));
    let merging = with("cow_store", "merging_store").unwrap();
    let links = merging.snapshots();
    assert_eq!(links.merging_into(&name("root")).unwrap().segment.cow, name("snap"));
    assert!(vg().snapshots().merging_into(&name("root")).is_none());
}

#[test]
fn a_type_with_a_flag_is_unknown_and_kept_word_by_word() {
    let body = "type = \"striped+NEWFLAG\" later { a = 1 } b = 'x'";
    let vg = with("type = \"striped\"", body).unwrap();
    let root = vg.lv(&name("root")).unwrap();
    assert!(!root.is_understood());
    assert_eq!(root.segments[0].kind.type_text(), "striped+NEWFLAG");
    let keys: Vec<&str> = root.segments[0].other.iter().map(|item| item.key.as_str()).collect();
    assert_eq!(keys, ["later", "b", "stripe_count", "stripes"]);
    assert_eq!(Vg::from_section("vg", vg.to_section()), Ok(vg));
}

/// Our own flag is read, and written where it was; with another flag beside it, or on a kind that is not understood, the
/// type is not ours.
#[test]
fn the_flag_of_a_merged_view_goes_both_ways() {
    let flagged = TEXT
        .replace("\"striped\"", "\"striped+MERGEVIEW\"")
        .replace("\"snapshot\"", "\"snapshot+MERGEVIEW\"");
    let read = read(&flagged).unwrap();
    assert!(read.has_merge_view() && !vg().has_merge_view());
    assert!(read.lvs.iter().all(|lv| lv.has_merge_view() && lv.is_understood()));
    assert!(read.snapshots().all()[0].merge_view);
    let again = Vg::from_section("vg", read.to_section()).unwrap();
    assert_eq!(again, read);
    assert_eq!(read.lvs[0].segments[0].type_text(), "striped+MERGEVIEW");
    let mut plain = read;
    plain.lvs.iter_mut().flat_map(|lv| &mut lv.segments).for_each(|segment| segment.merge_view = false);
    assert_eq!(plain, vg());
    for other in
        ["striped+MERGEVIEW+X", "striped+X+MERGEVIEW", "raid1+MERGEVIEW", "stripedMERGEVIEW", "+MERGEVIEW"]
    {
        let vg = with("\"striped\"", &format!("\"{other}\"")).unwrap();
        assert!(!vg.lvs[0].is_understood() && !vg.has_merge_view(), "{other}");
        assert_eq!(vg.lvs[0].segments[0].type_text(), other);
    }
}

/// Unknown keys at every level survive a change of something else.
#[test]
fn unknown_keys_survive_read_change_write() {
    let text = TEXT
        .replacen("seqno = 4", "seqno = 4 of_vg = [1, \"a\"] sub_vg { x = 1 }", 1)
        .replacen("pe_start", "of_pv = 2 sub_pv { x = 2 } pe_start", 1)
        .replacen("segment_count = 1", "of_lv = 3 segment_count = 1", 1)
        .replacen("type = \"striped\"", "of_segment = 4 sub_segment { x = 4 } type = \"striped\"", 1);
    let mut vg = read(&text).unwrap();
    vg.seqno += 1;
    vg.lv_mut(&name("root")).unwrap().set_status(LvStatus::Write, false);
    let written = vg.to_section();
    assert_eq!(written.int("seqno"), Some(5));
    assert!(matches!(written.get("of_vg"), Some(Node::Value(_))));
    assert_eq!(written.section("sub_vg").and_then(|section| section.int("x")), Some(1));
    let inside = |section: &Section, path: &[&str]| {
        path.iter().try_fold(section.clone(), |section, key| section.section(key).cloned()).unwrap()
    };
    let pv = inside(&written, &["physical_volumes", "pv0"]);
    assert_eq!((pv.int("of_pv"), inside(&pv, &["sub_pv"]).int("x")), (Some(2), Some(2)));
    let lv = inside(&written, &["logical_volumes", "root"]);
    assert_eq!(lv.int("of_lv"), Some(3));
    let segment = inside(&lv, &["segment1"]);
    assert_eq!((segment.int("of_segment"), inside(&segment, &["sub_segment"]).int("x")), (Some(4), Some(4)));
    assert_eq!(Vg::from_section("vg", written), Ok(vg));
}

/// Trap 17: whose VG this is.
#[test]
fn questions_of_ownership() {
    let vg = vg();
    assert!(!vg.is_exported() && !vg.is_clustered() && vg.is_writable());
    assert_eq!(vg.shared_lock_type(), None);
    assert!(!vg.is_foreign_to(None) && !vg.is_foreign_to(Some("us")));
    let add = |text: &str| with("max_lv = 0", &format!("max_lv = 0 {text}")).unwrap();
    let theirs = add("system_id = \"them\"");
    assert!(theirs.is_foreign_to(None) && theirs.is_foreign_to(Some("us")));
    assert!(!theirs.is_foreign_to(Some("them")));
    assert_eq!(add("lock_type = \"sanlock\"").shared_lock_type(), Some("sanlock"));
    assert_eq!(add("lock_type = \"none\"").shared_lock_type(), None);
    let status = |word: &str| with("\"RESIZEABLE\"", &format!("\"{word}\"")).unwrap();
    assert!(status("EXPORTED").is_exported() && status("CLUSTERED").is_clustered());
    assert_eq!(status("SHARED").shared_lock_type(), Some(""));
}

/// A PV is missing by status (old) or by flag (new), and takes its LVs along.
#[test]
fn missing_pvs_make_lvs_partial() {
    assert_eq!(vg().missing_pvs().count(), 0);
    let old = with("[\"ALLOCATABLE\"]", "[\"ALLOCATABLE\", \"MISSING\"]").unwrap();
    let new =
        with("[\"ALLOCATABLE\"]\n            flags = []", "[\"ALLOCATABLE\"] flags = [\"MISSING\"]").unwrap();
    for mut vg in [old, new] {
        assert_eq!(vg.missing_pvs().count(), 1);
        assert!(vg.is_partial(vg.lv(&name("root")).unwrap()));
        assert!(!vg.is_partial(vg.lv(&name("snapshot0")).unwrap()));
        vg.pvs[0].set_missing(false);
        assert_eq!(vg.missing_pvs().count(), 0);
    }
}

#[test]
fn write_locked_is_write() {
    let locked = "status = [\"READ\", \"VISIBLE\"] flags = [\"WRITE_LOCKED\", \"ACTIVATION_SKIP\"] x = [";
    let mut vg = with("status = [\"READ\", \"WRITE\", \"VISIBLE\"]\n            flags = [", locked).unwrap();
    let root = vg.lv(&name("root")).unwrap();
    assert!(root.is_writable() && root.flags.contains(LvFlag::ActivationSkip));
    assert_eq!(root.flags.unknown, [""; 0]);
    let written = |vg: &Vg| format!("{:?}", vg.to_section());
    // LVM2 writes it only for a VG with an owner or a lock manager.
    assert!(!written(&vg).contains("WRITE_LOCKED"));
    vg.system_id = Some("us".to_owned());
    assert_eq!(written(&vg).matches("WRITE_LOCKED").count(), 4);
    assert_eq!(Vg::from_section("vg", vg.to_section()), Ok(vg));
}

#[test]
fn visible_lvs_are_written_first() {
    let mut vg = vg();
    vg.lvs.rotate_right(1);
    let order =
        |vg: &Vg| -> Vec<String> { vg.lvs_in_writing_order().iter().map(|lv| lv.name.to_string()).collect() };
    assert_eq!(order(&vg), ["root", "snap", "snapshot0"]);
    vg.lvs.swap(1, 2);
    assert_eq!(order(&vg), ["snap", "root", "snapshot0"]);
    let SegmentKind::Snapshot(snapshot) = &mut vg.lvs[0].segments[0].kind else { panic!() };
    snapshot.merging = true;
    assert_eq!(order(&vg), ["root", "snapshot0", "snap"]);
}

/// LVM2 takes an invisible origin for a sparse snapshot's, whatever it is made of: it hides itself, not its snapshots.
#[test]
fn a_hidden_origin_does_not_hide_its_snapshots() {
    let mut vg = vg();
    vg.lv_mut(&name("root")).unwrap().set_status(LvStatus::Visible, false);
    let seen = |vg: &Vg| {
        let links = vg.snapshots();
        ["root", "snap", "snapshot0"].map(|lv| links.is_visible(vg.lv(&name(lv)).unwrap()))
    };
    assert_eq!(seen(&vg), [false, true, false]);
    let SegmentKind::Snapshot(snapshot) = &mut vg.lvs[2].segments[0].kind else { panic!() };
    snapshot.merging = true;
    assert_eq!(seen(&vg), [false, true, false]);
}

#[test]
fn new_names_are_free() {
    let mut vg = vg();
    assert_eq!(vg.free_snapshot_name(), Some(name("snapshot1")));
    assert_eq!(vg.free_pv_key(), PvKey::new("pv1").unwrap());
    // An LV of that name would be mistaken for the PV by segments.
    let creation = Creation { time: 0, host: "h".to_owned() };
    let mut lv = Lv::new(name("pv1"), LvmUuid::from_random([7; 32]), creation);
    lv.segments.push(Segment::linear(0, 4, PvKey::new("pv0").unwrap(), 100));
    vg.lvs.push(lv);
    assert_eq!(vg.free_pv_key(), PvKey::new("pv2").unwrap());
    assert_eq!(Vg::from_section("vg", vg.to_section()).unwrap().lvs.len(), 4);
}

#[test]
fn users_of_an_lv_are_found_also_in_what_is_not_understood() {
    let text = TEXT.replacen("cow_store", "type2 = \"x\" cow_store", 1).replacen(
        "type = \"snapshot\"",
        "type = \"cache\" nested { deep = [\"a\", \"snap\"] }",
        1,
    );
    let vg = read(&text).unwrap();
    let users = |of: &str| vg.users_of(&name(of)).map(|lv| lv.name.to_string()).collect::<Vec<_>>();
    assert_eq!(users("snap"), ["snapshot0"]);
    assert_eq!(users("root"), ["snapshot0"]);
    assert_eq!(users("snapshot0"), [""; 0]);
}

#[test]
fn areas_are_looked_up_among_pvs_first() {
    let text = TEXT.replacen("stripes = [\"pv0\", 8]", "stripes = [\"root\", 0]", 1);
    let vg = read(&text).unwrap();
    let on = |vg: &Vg| vg.lv(&name("snap")).unwrap().segments[0].areas().next().unwrap().on.clone();
    assert_eq!(on(&vg), AreaOn::Lv(name("root")));
    let vg = read(&text.replacen("pv0 {", "root {", 1).replacen("[\"pv0\", 0]", "[\"root\", 0]", 1)).unwrap();
    assert_eq!(on(&vg), AreaOn::Pv(PvKey::new("root").unwrap()));
}
