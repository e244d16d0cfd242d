//! Goal: a merge on a real image file, by io_uring and by blocking calls, ends with the snapshot's content; one that is
//! stopped goes on in a new process' place.
//! Method: an image in a temporary folder with an origin and a store that the testkit built; the file read back.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::arithmetic_side_effects, clippy::as_conversions, clippy::cast_possible_truncation)]

use foldback_device::{Access, Backend, Disks, open_disks, open_files};
use foldback_dm_table::{DeviceMapper, DmName, Table, Verb};
use foldback_testkit::cow::{self, Builder};
use foldback_testkit::{Rng, Sector};
use foldback_units::Bytes;
use foldback_user_dm::{MergeEnd, Progress, Settings, UserDm};
use std::ops::ControlFlow;
use std::path::Path;

const LEN: u64 = 8192;

/// Writes origin and store side by side; returns what the snapshot reads as.
fn make(path: &Path, chunk: u64) -> Vec<Sector> {
    let mut rng = Rng::new(chunk);
    let origin: Vec<Sector> = (0..LEN).map(Sector::Stamp).collect();
    let mut store = Builder::new(LEN, chunk, &mut rng);
    let mut chunks: Vec<u64> = (0..LEN / chunk).collect();
    rng.shuffle(&mut chunks);
    for number in chunks.into_iter().take((LEN / chunk / 2) as usize) {
        let data = vec![Sector::Stamp(1 << 20 | number); chunk as usize];
        assert!(store.push(number, &data));
    }
    let store = store.finish(true, false);
    let view = cow::load(&store).unwrap().view(&store, &origin);
    std::fs::write(path, Sector::join(&[origin, store].concat())).unwrap();
    view
}

fn merging(path: &Path, chunk: u64, backend: Backend) -> UserDm<Box<dyn Disks>> {
    let files = open_files(&[path], Access::Write).unwrap();
    let settings = Settings { scratch: Bytes(1 << 20), window: Bytes(128 << 10), depth: 16 };
    let pv = path.to_str().unwrap().to_owned();
    let mut dm =
        UserDm::new(open_disks(&files, backend).unwrap(), std::slice::from_ref(&pv), settings).unwrap();
    for (device, table) in [
        ("real", format!("0 {LEN} linear {pv} 0")),
        ("cow", format!("0 {LEN} linear {pv} {LEN}")),
        ("root", format!("0 {LEN} snapshot-merge real cow P {chunk}")),
    ] {
        let (name, table) = (DmName(device.to_owned()), Table::parse(&table).unwrap());
        dm.apply(&Verb::Create { name: name.clone(), uuid: String::new(), minor: None }).unwrap();
        dm.apply(&Verb::Load { name: name.clone(), table, read_only: false }).unwrap();
        dm.apply(&Verb::Resume { name }).unwrap();
    }
    dm
}

fn merge(dm: &mut UserDm<Box<dyn Disks>>, stop: impl Fn(&Progress) -> bool) -> MergeEnd {
    let mut look = |progress: &Progress| {
        if stop(progress) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    dm.run_until_merged(&DmName("root".to_owned()), &mut look).unwrap()
}

fn is_merged(path: &Path, view: &[Sector]) {
    let sectors = Sector::split(&std::fs::read(path).unwrap());
    let (origin, store) = sectors.split_at(LEN as usize);
    assert_eq!(origin, view);
    assert!(cow::load(store).unwrap().records.is_empty());
}

#[test]
fn a_merge_on_an_image_file_ends_with_the_snapshots_content() {
    let dir = tempfile::tempdir().unwrap();
    for backend in [Backend::Uring, Backend::Blocking] {
        for chunk in [1, 8, 128] {
            let path = dir.path().join(format!("pv-{chunk}.img"));
            let view = make(&path, chunk);
            assert_eq!(
                merge(&mut merging(&path, chunk, backend), |_| false),
                MergeEnd::Finished,
                "{backend:?}"
            );
            is_merged(&path, &view);
        }
    }
}

#[test]
fn a_merge_that_is_cut_off_goes_on_where_it_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pv.img");
    let view = make(&path, 8);
    let mut left = u64::MAX;
    while merge(&mut merging(&path, 8, Backend::Auto), |progress| {
        progress.chunks_left < progress.chunks_total.saturating_sub(40)
    }) == MergeEnd::Stopped
    {
        // The process ends here, without a word to the engine.
        let store = std::fs::read(&path).unwrap().split_off((LEN * 512) as usize);
        let records = cow::load(&Sector::split(&store)).unwrap().records.len() as u64;
        assert!(records < left, "{records} of {left}");
        left = records;
    }
    assert!(left < 512);
    is_merged(&path, &view);
}
