//! The bookkeeping of a window, step by step.

use super::{Phase, Piece, Policy, Shape, Window};
use crate::spans::Spans;
use crate::wake::Waiter;
use foldback_units::{ChunkSize, SectorRange, Sectors};

fn shape(chunk: u32, slot: u64) -> Shape {
    let chunk_size = ChunkSize::from_sectors(chunk).unwrap();
    Shape { chunk_size, size: Sectors(1000), slot: Sectors(slot) }
}

fn window(chunks: &[(u64, u64)]) -> Window {
    let mut window = Window::new(1, 0..chunks.len() as u64);
    window.fill(chunks);
    window.phase = Phase::Copying;
    window
}

fn range(start: u64, len: u64) -> SectorRange {
    SectorRange::new(Sectors(start), Sectors(len)).unwrap()
}

fn idle() -> Spans {
    Spans::default()
}

#[test]
fn chunks_larger_than_a_slot_are_cut_and_smaller_ones_are_not() {
    let mut window = window(&[(0, 2), (5, 3)]);
    let lens = |pieces: Vec<Piece>| pieces.iter().map(|piece| (piece.item, piece.len.0)).collect::<Vec<_>>();
    assert_eq!(lens(window.next_batch(shape(16, 10), [&idle(), &idle()])), [(0, 10)]);
    assert_eq!(lens(window.next_batch(shape(16, 10), [&idle(), &idle()])), [(0, 6)]);
    assert_eq!(lens(window.next_batch(shape(16, 10), [&idle(), &idle()])), [(1, 10)]);
    let mut window = self::window(&[(0, 2), (5, 3), (6, 4)]);
    assert_eq!(lens(window.next_batch(shape(8, 20), [&idle(), &idle()])), [(0, 8), (1, 8)]);
    assert_eq!(lens(window.next_batch(shape(8, 20), [&idle(), &idle()])), [(2, 8)]);
}

#[test]
fn the_last_chunk_ends_where_the_snapshot_does() {
    let mut window = window(&[(62, 2)]);
    let pieces = window.next_batch(shape(16, 64), [&idle(), &idle()]);
    assert_eq!((pieces[0].origin.0, pieces[0].len.0), (992, 8));
}

#[test]
fn r1_a_chunk_written_while_it_is_copied_is_copied_again_and_held_after_two_more() {
    let mut window = window(&[(3, 2)]);
    for copies in 0..4 {
        let held = if copies < 3 { Policy::Store } else { Policy::Held };
        assert_eq!(window.policy(0, false), held, "before copy {copies}");
        let pieces = window.next_batch(shape(8, 64), [&idle(), &idle()]);
        assert_eq!(window.policy(0, false), held, "during copy {copies}");
        if copies < 3 {
            window.written_in_store(0);
        }
        window.batch_done(&pieces, true);
        assert_eq!(window.is_copied(), copies == 3);
    }
    assert_eq!(window.policy(0, false), Policy::BothWays);
}

#[test]
fn r1_a_write_under_way_when_the_copy_starts_makes_it_dirty_and_delays_the_second() {
    let mut window = window(&[(3, 2)]);
    let mut writes = idle();
    let span = writes.insert(range(30, 1));
    let pieces = window.next_batch(shape(8, 64), [&writes, &idle()]);
    window.batch_done(&pieces, true);
    assert!(!window.is_copied());
    assert_eq!(window.next_batch(shape(8, 64), [&writes, &idle()]), []);
    assert_eq!(window.policy(0, false), Policy::Held);
    writes.remove(span);
    assert_eq!(window.next_batch(shape(8, 64), [&writes, &idle()]).len(), 1);
}

#[test]
fn r2_after_a_truncation_was_begun_nothing_goes_to_the_store_only() {
    let mut window = window(&[(3, 2)]);
    let pieces = window.next_batch(shape(8, 64), [&idle(), &idle()]);
    window.batch_done(&pieces, true);
    window.truncated = true;
    window.spoil(0);
    assert_eq!((window.policy(0, false), window.policy(0, true)), (Policy::Held, Policy::BothWays));
    assert!(!window.is_copied());
}

#[test]
fn a_failed_piece_leaves_its_chunk_to_be_copied_again() {
    let mut window = window(&[(3, 2)]);
    let pieces = window.next_batch(shape(8, 64), [&idle(), &idle()]);
    window.batch_done(&pieces, false);
    assert_eq!((window.policy(0, true), window.is_copied()), (Policy::Store, false));
    assert_eq!(window.next_batch(shape(8, 64), [&idle(), &idle()]).len(), 1);
}

/// A chunk that was begun but did not fit the last slot must not keep its writers waiting.
#[test]
fn what_was_begun_and_not_handed_out_goes_back_when_the_merge_stops() {
    for (chunk, slot) in [(8, 12), (32, 12)] {
        let mut window = window(&[(3, 2), (5, 3)]);
        let pieces = window.next_batch(shape(chunk, slot), [&idle(), &idle()]);
        window.hold(1, Waiter::Op(7));
        assert_eq!(window.stop(), [Waiter::Op(7)]);
        window.batch_done(&pieces, true);
        let Policy::Store = window.policy(1, true) else { panic!("{:?}", window.policy(1, true)) };
        let mut handed_out = 0;
        while !window.is_copied() {
            let pieces = window.next_batch(shape(chunk, slot), [&idle(), &idle()]);
            window.batch_done(&pieces, true);
            handed_out += 1;
            assert!(handed_out < 10);
        }
    }
}

#[test]
fn runs_of_old_chunks_are_found_whatever_the_order_in_the_store() {
    let window = window(&[(9, 2), (4, 3), (8, 4), (3, 5), (10, 6)]);
    assert_eq!(window.run_of_olds(0, 10), Some((3, 2)));
    assert_eq!(window.run_of_olds(2, 10), Some((8, 3)));
    assert_eq!(window.run_of_olds(2, 2), Some((8, 2)));
    assert_eq!(window.run_of_olds(5, 10), None);
    assert_eq!((window.find(8), window.find(7)), (Some(2), None));
}
