//! Finding records that share a chunk, in a table that may have ten million of them.
//!
//! What must hold (K5, I5):
//! - Each record whose chunk an earlier one has is told once, with the *first* that has it, in table order.
//! - A table without repetitions, nearly every one, costs one sorted array of its chunks and nothing else.

use crate::record::Record;
use foldback_units::Chunk;

/// Two records with the same chunk, by their index in the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Repeat {
    pub(crate) first: (usize, Record),
    pub(crate) later: (usize, Record),
}

/// Tells `each` of every record whose `chunk` an earlier record has as well.
pub(crate) fn for_each_repeat(records: &[Record], chunk: fn(Record) -> Chunk, mut each: impl FnMut(Repeat)) {
    let repeated = repeated_chunks(records, chunk);
    if repeated.is_empty() {
        return;
    }
    let mut firsts = vec![None; repeated.len()];
    for (index, &record) in records.iter().enumerate() {
        let Ok(at) = repeated.binary_search(&chunk(record)) else { continue };
        let Some(slot) = firsts.get_mut(at) else { continue };
        match *slot {
            None => *slot = Some((index, record)),
            Some(first) => each(Repeat { first, later: (index, record) }),
        }
    }
}

/// The chunks that more than one record has, ascending, each once.
fn repeated_chunks(records: &[Record], chunk: fn(Record) -> Chunk) -> Vec<Chunk> {
    let mut chunks: Vec<Chunk> = records.iter().map(|&record| chunk(record)).collect();
    chunks.sort_unstable();
    let behind = chunks.iter().skip(1);
    let mut repeated: Vec<Chunk> =
        chunks.iter().zip(behind).filter(|(chunk, next)| chunk == next).map(|(chunk, _)| *chunk).collect();
    repeated.dedup();
    repeated
}

#[cfg(test)]
mod tests {
    use super::{Repeat, for_each_repeat};
    use crate::record::Record;
    use foldback_units::Chunk;
    use proptest::prelude::{any, proptest};

    fn repeats(records: &[Record]) -> Vec<Repeat> {
        let mut found = Vec::new();
        for_each_repeat(records, Record::old_chunk, |repeat| found.push(repeat));
        found
    }

    proptest! {
        /// The slow twin compares every record with every earlier one.
        #[test]
        fn the_sorted_search_agrees_with_comparing_all_pairs(olds in proptest::collection::vec(any::<u8>(), 0..200)) {
            let records: Vec<Record> = olds
                .iter()
                .enumerate()
                .map(|(index, &old)| Record::new(Chunk(old.into()), Chunk(index as u64 + 2)).unwrap())
                .collect();
            let mut expected = Vec::new();
            for (index, &later) in records.iter().enumerate() {
                let first = records[..index].iter().position(|first| first.old_chunk() == later.old_chunk());
                if let Some(first) = first {
                    expected.push(Repeat { first: (first, records[first]), later: (index, later) });
                }
            }
            assert_eq!(repeats(&records), expected);
        }
    }
}
