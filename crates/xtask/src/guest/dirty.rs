//! Dirtying more pages than the machine has memory, through the page cache, and looking what became of them.
//!
//! Holds: every piece is a function of its place and of the round that wrote it last, and the rounds are kept outside the
//! file that is written, so that an old piece is noticed as well as a wrong one.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;

use super::direct::Random;

const PIECE: usize = 1 << 20;

/// Arguments of `dirty`.
#[derive(Args)]
pub(crate) struct DirtyJob {
    /// The file to write, in a file system
    file: PathBuf,
    /// Where to keep what was written, elsewhere
    table: PathBuf,
    /// Length of the file
    mebibytes: u64,
    /// How long
    seconds: u64,
}

/// Writes pieces at random until the time is over. Tells how much, and the longest that one write took.
pub(super) fn dirty(job: &DirtyJob) -> Result<()> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(&job.file);
    let file = file.with_context(|| format!("opening {}", job.file.display()))?;
    let mut rounds = vec![0_u8; usize::try_from(job.mebibytes)?];
    let mut places = Random::new(job.seconds);
    let (begun, limit) = (Instant::now(), Duration::from_secs(job.seconds));
    let (mut written, mut slowest) = (0_u64, Duration::ZERO);
    while begun.elapsed() < limit {
        let place = places.next() % job.mebibytes;
        let round = rounds.get_mut(usize::try_from(place)?).context("naming a piece")?;
        *round = round.wrapping_add(1).max(1);
        let bytes = piece(place, *round);
        let at = Instant::now();
        file.write_all_at(&bytes, place << 20).with_context(|| format!("writing MiB {place}"))?;
        slowest = slowest.max(at.elapsed());
        written += 1;
    }
    let at = Instant::now();
    file.sync_all().context("syncing what was written")?;
    println!("FACT dirtied {written}");
    println!("FACT slowest {}", slowest.as_millis());
    println!("FACT synced {}", at.elapsed().as_millis());
    std::fs::write(&job.table, rounds).with_context(|| format!("writing {}", job.table.display()))
}

/// Reads everything again.
pub(super) fn dirtied(path: &Path, table: &Path) -> Result<()> {
    let rounds = std::fs::read(table).with_context(|| format!("reading {}", table.display()))?;
    let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
    let mut found = vec![0; PIECE];
    let mut places = 0_u64;
    for (place, round) in (0_u64..).zip(rounds).filter(|(_, round)| *round > 0) {
        file.read_exact_at(&mut found, place << 20).with_context(|| format!("reading MiB {place}"))?;
        ensure!(found == piece(place, round), "MiB {place} is not what round {round} wrote");
        places += 1;
    }
    ensure!(places > 0, "nothing was written");
    Ok(())
}

fn piece(place: u64, round: u8) -> Vec<u8> {
    let mut random = Random::new(place << 8 | u64::from(round));
    let mut bytes = Vec::with_capacity(PIECE);
    while bytes.len() < PIECE {
        bytes.extend(random.next().to_le_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::{DirtyJob, dirtied, dirty};

    #[test]
    fn an_old_piece_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let (file, table) = (dir.path().join("file"), dir.path().join("table"));
        dirty(&DirtyJob { file: file.clone(), table: table.clone(), mebibytes: 1, seconds: 1 }).unwrap();
        dirtied(&file, &table).unwrap();
        let rounds = std::fs::read(&table).unwrap();
        std::fs::write(&table, [rounds[0].wrapping_add(1).max(1)]).unwrap();
        assert!(dirtied(&file, &table).unwrap_err().to_string().contains("MiB 0"));
    }
}
