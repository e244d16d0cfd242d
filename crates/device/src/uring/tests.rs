//! Both backends against the contract, and what only a ring can do wrong.

use crate::set::{Backend, open_disks, open_files};
use crate::{Access, DiskFile, DiskId, Disks, Memory, Op, Tag, contract};
use foldback_units::Bytes;
use std::sync::Arc;

fn image(sizes: &[u64]) -> (tempfile::TempDir, Vec<Arc<DiskFile>>) {
    let dir = tempfile::tempdir().unwrap();
    let paths: Vec<_> = (0..sizes.len()).map(|index| dir.path().join(index.to_string())).collect();
    for (path, size) in paths.iter().zip(sizes) {
        std::fs::File::create(path).unwrap().set_len(*size).unwrap();
    }
    let files = open_files(&paths, Access::Write).unwrap();
    (dir, files)
}

fn contract_holds(backend: Backend) {
    let mut dirs = Vec::new();
    contract::run(&mut || {
        let (dir, files) = image(&contract::SIZES);
        dirs.push(dir);
        open_disks(&files, backend).unwrap()
    });
}

#[test]
fn io_uring_keeps_the_contract() {
    contract_holds(Backend::Uring);
}

#[test]
fn blocking_calls_keep_the_contract() {
    contract_holds(Backend::Blocking);
}

#[test]
fn a_disk_open_for_reading_is_never_written() {
    let (dir, files) = image(&[4096]);
    drop(files);
    let files = open_files(&[dir.path().join("0")], Access::Read).unwrap();
    for backend in [Backend::Uring, Backend::Blocking] {
        let mut disks = open_disks(&files, backend).unwrap();
        let from = vec![Memory::new(4096).unwrap().whole()];
        disks.submit(Tag(1), DiskId(0), Op::Write { at: Bytes(0), from, durable: false });
        assert!(disks.reap(true).unwrap().unwrap().outcome.is_err());
    }
}

#[test]
fn dropping_the_queue_waits_for_the_kernel() {
    let (_dir, files) = image(&[1 << 20]);
    let mut disks = super::UringDisks::new(&files).unwrap();
    let memory = Memory::new(1 << 20).unwrap();
    for number in 0..100 {
        disks.submit(Tag(number), DiskId(0), Op::Read { at: Bytes(0), into: vec![memory.whole()] });
    }
    let first = disks.reap(false).unwrap();
    assert!(first.is_none_or(|completion| completion.outcome.is_ok()));
    drop(disks);
}
