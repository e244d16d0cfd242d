//! Goal: tables go from type to text and back without a change, and what is no table is refused.
//! Method: lines seen on a real kernel as golden text; random tables; one line per refusal.
#![allow(missing_docs, clippy::unwrap_used)]

use foldback_dm_table::{
    DeviceRef, Line, Persistence, SnapshotParams, StripeArea, Table, TableError, Target,
};
use foldback_units::{ChunkSize, Sectors};
use proptest::prelude::*;

/// `dmsetup table` under LVM2 2.03.16 and kernel 6.1, through a snapshot's life.
const SEEN: &[&str] = &[
    "0 131072 linear 253:0 2048",
    "0 131072 snapshot-origin 253:2",
    "0 131072 snapshot 253:2 253:3 P 8",
    "0 131072 snapshot-merge 253:2 253:3 P 8",
    "0 32768 snapshot-merge 253:1 253:2 P 8",
    "0 131072 error ",
    "0 4194304 delay 254:0 0 0 254:0 0 60",
    "0 16384 striped 2 128 253:0 2048 253:1 2048",
    "0 8 zero ",
    "0 131072 snapshot 253:2 253:3 PO 32",
    "0 131072 snapshot 253:2 253:3 N 16",
    "0 131072 snapshot 253:2 253:3 P 8 1 discard_zeroes_cow",
];

#[test]
fn golden_lines_go_both_ways() {
    for text in SEEN {
        assert_eq!(Line::parse(text).unwrap().to_string(), *text);
    }
}

#[test]
fn a_golden_table_of_two_lines_goes_both_ways() {
    let text = "0 32768 linear 253:0 2048\n32768 32768 linear 253:0 51200\n";
    let table = Table::parse(text).unwrap();
    assert_eq!(table.len(), Sectors(65536));
    assert_eq!(table.to_string(), text);
}

#[test]
fn features_and_foreign_targets_are_kept_as_text() {
    for text in ["0 8 snapshot 1:1 1:2 P 8 1 discard_zeroes_cow", "0 8 delay 254:0 0 0 254:0 0 60"] {
        let line = Line::parse(text).unwrap();
        assert!(matches!(line.target, Target::Other { .. }), "{line}");
    }
    // No features, spelled out, is what we carry.
    let line = Line::parse("0 8 snapshot 1:1 1:2 P 8 0").unwrap();
    assert!(matches!(line.target, Target::Snapshot(_)));
}

#[test]
fn what_is_no_line_is_refused() {
    for text in [
        "",
        "0",
        "0 8",
        "0 8 ",
        "x 8 linear 1:1 0",
        "0 -8 linear 1:1 0",
        "0 8 linear 1:1",
        "0 8 linear 1:1 0 0",
        "0 8 linear 1:1 x",
        "0 8 striped 0 8",
        "0 8 striped 2 8 1:1 0",
        "0 8 striped 1 0 1:1 0",
        "0 8 striped 1 8 1:1",
        "0 8 striped 4097 8 1:1 0",
        "0 8 snapshot-origin",
        "0 8 snapshot-origin 1:1 1:2",
        "0 8 snapshot 1:1 1:2 P",
        "0 8 snapshot 1:1 1:2 X 8",
        "0 8 snapshot 1:1 1:2 P x",
    ] {
        assert!(Line::parse(text).is_err(), "{text:?}");
    }
    assert!(matches!(Line::parse("0 8 snapshot 1:1 1:2 P 24"), Err(TableError::ChunkSize(_))));
}

#[test]
fn k6_a_transient_merge_is_refused_as_text_and_as_type() {
    assert_eq!(Line::parse("0 8 snapshot-merge 1:1 1:2 N 8"), Err(TableError::TransientMerge));
    let params = SnapshotParams {
        origin: DeviceRef("a".into()),
        cow: DeviceRef("b".into()),
        persistence: Persistence::Transient,
        chunk_size: ChunkSize::from_sectors(8).unwrap(),
    };
    assert_eq!(
        Table::of(Sectors(8), Target::SnapshotMerge(params.clone())).check(),
        Err(TableError::TransientMerge)
    );
    assert_eq!(Table::of(Sectors(8), Target::Snapshot(params)).check(), Ok(()));
}

#[test]
fn lines_touch_and_stripes_divide() {
    let refusal = |text| Table::parse(text).unwrap_err();
    assert_eq!(refusal("0 8 zero\n9 8 zero"), TableError::Gap { expected: 8, found: 9 });
    assert_eq!(refusal("0 8 zero\n7 8 zero"), TableError::Gap { expected: 8, found: 7 });
    assert_eq!(refusal("1 8 zero"), TableError::Gap { expected: 0, found: 1 });
    assert_eq!(refusal("0 0 zero"), TableError::Length(0));
    assert_eq!(refusal("0 18446744073709551615 zero"), TableError::Length(0));
    assert_eq!(refusal(""), TableError::Empty);
    assert!(matches!(refusal("0 24 striped 2 8 1:1 0 1:2 0"), TableError::Stripes { stripes: 2, .. }));
    assert!(Table::parse("0 32 striped 2 8 1:1 0 1:2 0").is_ok());
}

fn device() -> impl Strategy<Value = DeviceRef> {
    prop_oneof!["[0-9]{1,3}:[0-9]{1,3}", "/[a-z /\\\\.-]{1,12}", "[a-z+.-]{1,12}"].prop_map(DeviceRef)
}

fn area() -> impl Strategy<Value = StripeArea> {
    (device(), any::<u64>()).prop_map(|(device, offset)| StripeArea { device, offset: Sectors(offset) })
}

fn snapshot() -> impl Strategy<Value = SnapshotParams> {
    let persistence = prop_oneof![Just(Persistence::Persistent), Just(Persistence::PersistentOverflow)];
    (device(), device(), persistence, 0_u32..=21).prop_map(|(origin, cow, persistence, shift)| {
        SnapshotParams { origin, cow, persistence, chunk_size: ChunkSize::from_sectors(1 << shift).unwrap() }
    })
}

fn target() -> impl Strategy<Value = Target> {
    prop_oneof![
        area().prop_map(Target::Linear),
        (prop::collection::vec(area(), 1..5), 1_u64..1000)
            .prop_map(|(areas, chunk)| Target::Striped { chunk: Sectors(chunk), areas }),
        device().prop_map(|origin| Target::SnapshotOrigin { origin }),
        snapshot().prop_map(Target::Snapshot),
        snapshot().prop_map(Target::SnapshotMerge),
        Just(Target::Error),
        Just(Target::Zero),
        ("[a-z]{3}-pool", "[a-z0-9: ]{0,20}").prop_map(|(kind, params)| Target::Other { kind, params }),
    ]
}

proptest! {
    #[test]
    fn every_line_goes_both_ways(start: u64, len: u64, target in target()) {
        let line = Line { start: Sectors(start), len: Sectors(len), target };
        prop_assert_eq!(Line::parse(&line.to_string()).unwrap(), line);
    }

    #[test]
    fn no_text_panics(text in "[ -~]{0,60}") {
        if let Ok(line) = Line::parse(&text) {
            prop_assert_eq!(Line::parse(&line.to_string()).unwrap(), line);
        }
        let read = Table::parse(&text);
        prop_assert!(read.is_err() || read.unwrap().check().is_ok());
    }
}
