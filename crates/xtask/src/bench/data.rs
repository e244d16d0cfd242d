//! The disk that is merged: made once by LVM2 and the kernel in rig 2, copied for each run.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::rig::{Guest, Scratch, copy_disk};

const FILL: &str = include_str!("../../../../rig/bench-fill.sh");
const IMAGE_MIB: u64 = 1400;
/// LVM2's defaults, which the fill uses: where extents start on the PV, and their size.
const PE_START: u64 = 1 << 20;
const EXTENT: u64 = 4 << 20;
/// Bytes of a chunk, and exceptions that its metadata chunk describes.
pub(super) const CHUNK: u64 = 4096;
const PER_AREA: u64 = CHUNK / 16;
/// Sizes in the fill.
const ORIGIN_LEN: u64 = 1 << 30;
const STORE_LEN: u64 = 300 << 20;
/// The program's command that merges it.
pub(super) const MERGE: &[&str] = &["lvconvert", "--merge", "-q", "vgb/snap"];

/// One exception as places on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    /// Byte of the store's data chunk.
    pub(super) from: u64,
    /// Byte of the origin's chunk.
    pub(super) to: u64,
}

/// A filled disk.
pub(super) struct Data {
    pub(super) scratch: Scratch,
    pub(super) count: u64,
    /// What the snapshot read as: what every merged origin has to be.
    pub(super) snap: String,
    image: PathBuf,
    origin: u64,
    store: u64,
}

impl Data {
    pub(super) fn make(name: &str, count: u64) -> Result<Self> {
        let scratch = Scratch::new(&format!("bench-{name}"))?;
        let image = scratch.disk("filled", IMAGE_MIB)?;
        let mut guest = Guest::new(&scratch, "bench-fill", Duration::from_mins(5));
        let disk = guest.disk(&image)?;
        guest.set("DISK", &disk).set("COUNT", &count.to_string());
        let console = guest.run(FILL)?;
        console.expect_all()?;
        let pieces = console.fact("pieces")?;
        let (origin, store) =
            (start(pieces, "origin")?, start(pieces, "[snap]").or_else(|_| start(pieces, "snap"))?);
        let snap = console.fact("snap")?.to_owned();
        Ok(Self { scratch, count, snap, image, origin, store })
    }

    /// A copy that is on the disk.
    pub(super) fn copy(&self, name: &str) -> Result<PathBuf> {
        let path = self.scratch.path().join(format!("{name}.img"));
        copy_disk(&self.image, &path)?;
        File::open(&path)
            .and_then(|file| file.sync_all())
            .with_context(|| format!("syncing {}", path.display()))?;
        Ok(path)
    }

    /// The exceptions in store order, read from the store's areas.
    pub(super) fn extents(&self) -> Result<Vec<Extent>> {
        let file = File::open(&self.image).context("opening the filled image")?;
        let mut extents = Vec::new();
        for area in 0.. {
            let mut bytes = [0; 4096];
            let at = self.store + (1 + area * (PER_AREA + 1)) * CHUNK;
            file.read_exact_at(&mut bytes, at).with_context(|| format!("reading area {area}"))?;
            let (records, _) = bytes.as_chunks::<16>();
            for record in records {
                let [old, new] = words(record);
                if new == 0 {
                    ensure!(
                        extents.len() == usize::try_from(self.count)?,
                        "the store holds {}",
                        extents.len()
                    );
                    return Ok(extents);
                }
                extents.push(Extent { from: self.store + new * CHUNK, to: self.origin + old * CHUNK });
            }
        }
        bail!("the store has no end")
    }

    /// SHA-256 of the origin in an image.
    fn origin_digest(&self, image: &Path) -> Result<String> {
        let script = "dd if=\"$0\" bs=1M skip=\"$1\" count=1024 status=none | sha256sum | cut -c1-64";
        let output = std::process::Command::new("sh")
            .args(["-c", script])
            .arg(image)
            .arg((self.origin >> 20).to_string())
            .output()
            .context("running sha256sum")?;
        ensure!(output.status.success(), "reading the origin of {}: {}", image.display(), output.status);
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// Refuses an image whose origin is not what the snapshot was.
    pub(super) fn expect_merged(&self, image: &Path) -> Result<()> {
        let same = self.origin_digest(image)? == self.snap;
        ensure!(same, "the merged origin is not what the snapshot was");
        Ok(())
    }

    /// First byte and length of the origin.
    pub(super) fn origin_range(&self) -> (u64, u64) {
        (self.origin, ORIGIN_LEN)
    }

    /// First byte and length of the store.
    pub(super) fn store_range(&self) -> (u64, u64) {
        (self.store, STORE_LEN)
    }

    /// Where the origin begins, in bytes.
    pub(super) fn origin(&self) -> u64 {
        self.origin
    }

    /// The filled image; to be read only.
    pub(super) fn image(&self) -> &Path {
        &self.image
    }
}

fn words(record: &[u8; 16]) -> [u64; 2] {
    let (words, _) = record.as_chunks::<8>();
    let mut values = words.iter().map(|word| u64::from_le_bytes(*word));
    [values.next().unwrap_or_default(), values.next().unwrap_or_default()]
}

/// The first byte of an LV, from `NAME /dev/x:FIRST-LAST` pairs. More than one range would be a surprise.
fn start(pieces: &str, name: &str) -> Result<u64> {
    let words: Vec<&str> = pieces.split_whitespace().collect();
    let ranges: Vec<&str> = words
        .windows(2)
        .filter_map(|pair| (pair.first() == Some(&name)).then(|| pair.get(1).copied())?)
        .collect();
    let [range] = ranges.as_slice() else { bail!("{name} is not in one piece: {pieces}") };
    let first =
        range.split_once(':').and_then(|(_, extents)| extents.split_once('-')).context("reading a range")?.0;
    Ok(PE_START + first.parse::<u64>().context("reading the first extent")? * EXTENT)
}

#[cfg(test)]
mod tests {
    use super::start;

    #[test]
    fn the_start_of_a_volume_follows_from_its_first_extent() {
        let pieces = "origin /dev/ubda:0-255 snap /dev/ubda:256-330";
        assert_eq!(start(pieces, "origin").unwrap(), 1 << 20);
        assert_eq!(start(pieces, "snap").unwrap(), (1 << 20) + 256 * (4 << 20));
        assert!(start("origin /dev/ubda:0-9 origin /dev/ubda:20-29", "origin").is_err());
    }
}
