//! Tables that no kernel is given (dm-snapshot.md 1.7 and 4.2; K6).
//!
//! What must hold:
//! - A table that is kept as text is looked at as well: a feature that we do not carry must not hide what crashes.
//! - A snapshot is the whole table of its device, as LVM2 always has it: the kernel's chunks count from the device's start.

use crate::error::KernelDmErrorKind;
use foldback_dm_table::{Line, Table, Target};

/// Whether a table may be handed to a kernel.
///
/// # Errors
/// Why not.
pub(crate) fn check(table: &Table) -> Result<(), KernelDmErrorKind> {
    table.check()?;
    for line in &table.lines {
        check_line(line, table.lines.len())?;
    }
    Ok(())
}

fn check_line(line: &Line, lines: usize) -> Result<(), KernelDmErrorKind> {
    let (Target::Snapshot(_)
    | Target::SnapshotMerge(_)
    | Target::SnapshotOrigin { .. }
    | Target::Other { .. }) = &line.target
    else {
        return Ok(());
    };
    let kind = line.target.kind();
    if !kind.starts_with("snapshot") {
        return Ok(());
    }
    if lines != 1 {
        return Err(KernelDmErrorKind::Crashes("a snapshot target has to be the whole table"));
    }
    let params = line.target.params();
    let words: Vec<&str> = params.split_ascii_whitespace().collect();
    if let [origin, cow, ..] = words.as_slice()
        && origin == cow
    {
        return Err(KernelDmErrorKind::Crashes("origin and store are one device"));
    }
    if let [_, _, persistence, chunk, ..] = words.as_slice() {
        if kind == "snapshot-merge" && persistence.starts_with(['N', 'n']) {
            return Err(KernelDmErrorKind::Crashes("a transient store cannot be merged"));
        }
        if chunk.parse() == Ok(0_u64) && persistence.starts_with(['N', 'n']) {
            return Err(KernelDmErrorKind::Crashes("a transient store needs a chunk size"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::check;
    use foldback_dm_table::{Table, Target};
    use foldback_units::Sectors;

    fn refusal(kind: &str, params: &str) -> Option<String> {
        let target = Target::Other { kind: kind.to_owned(), params: params.to_owned() };
        check(&Table::of(Sectors(8), target)).err().map(|error| error.to_string())
    }

    /// K6, also where a feature makes the line one that is kept as text.
    #[test]
    fn a_transient_merge_never_reaches_a_kernel() {
        for params in ["253:0 253:1 N 8", "253:0 253:1 n 8 1 discard_zeroes_cow", "253:0 253:1 N 8 2 a b"] {
            assert!(refusal("snapshot-merge", params).unwrap().contains("transient"), "{params}");
        }
        assert!(refusal("snapshot-merge", "253:0 253:1 P 8 1 discard_zeroes_cow").is_none());
        assert!(refusal("snapshot", "253:0 253:1 N 0 1 discard_zeroes_cow").unwrap().contains("chunk size"));
    }

    #[test]
    fn a_snapshot_stands_alone_and_on_two_devices() {
        assert!(refusal("snapshot", "253:0 253:0 P 8 1 x").unwrap().contains("one device"));
        let table = Table::parse("0 8 linear 253:0 0\n8 8 snapshot 253:0 253:1 P 8").unwrap();
        assert!(check(&table).unwrap_err().to_string().contains("whole table"));
        let table = Table::parse("0 8 linear 253:0 0\n8 8 delay 253:0 0 1").unwrap();
        assert!(check(&table).is_ok());
    }
}
