//! What sysfs says of a loop device, and the one thing that is set there.
//!
//! What must hold:
//! - Nothing here asks the backing file's server, so it works when that is gone.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// What the kernel adds to the path of a file that was removed.
const DELETED: &[u8] = b" (deleted)";

fn attribute(number: u32, name: &str) -> PathBuf {
    PathBuf::from(format!("/sys/block/loop{number}/{name}"))
}

fn value(number: u32, name: &str) -> io::Result<OsString> {
    let mut bytes = fs::read(attribute(number, name))?;
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
    }
    Ok(OsString::from_vec(bytes))
}

/// The backing file's path; `None` where nothing is attached.
pub(super) fn backing(number: u32) -> io::Result<Option<PathBuf>> {
    match value(number, "loop/backing_file") {
        Ok(path) => Ok(Some(PathBuf::from(undeleted(&path)))),
        // The folder is there while something is attached; it goes while it is read, too.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENODEV | libc::ENXIO)) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn undeleted(path: &OsStr) -> &OsStr {
    path.as_bytes().strip_suffix(DELETED).map_or(path, OsStr::from_bytes)
}

/// Whether reads and writes go past the page cache of the backing file.
pub(super) fn is_direct(number: u32) -> io::Result<bool> {
    Ok(value(number, "loop/dio")? == "1")
}

/// No discard reaches the backing file from now on; said only when sysfs says it, too.
pub(super) fn refuse_discard(number: u32) -> io::Result<()> {
    fs::write(attribute(number, "queue/discard_max_bytes"), "0")?;
    let now = value(number, "queue/discard_max_bytes")?;
    if now == "0" { Ok(()) } else { Err(io::Error::other(format!("it stays at {}", now.display()))) }
}

/// Whether that can be said at all: not where sysfs is read-only.
pub(super) fn can_refuse_discard(number: u32) -> io::Result<()> {
    fs::OpenOptions::new().write(true).open(attribute(number, "queue/discard_max_bytes")).map(drop)
}

/// Discards reach the backing file from now on, as far as it can. Linux 6.18 takes no value but 0 once it was 0: with the most
/// it forgot the granularity, and takes multiples of that only.
pub(super) fn allow_discard(number: u32) -> io::Result<()> {
    let read = |name| {
        let text = value(number, name)?;
        text.to_str().and_then(|text| text.parse::<u64>().ok()).ok_or_else(|| io::Error::other(name))
    };
    let most = read("queue/discard_max_hw_bytes")?;
    let unit = read("queue/discard_granularity")?.max(1);
    // Only whole units are taken, and the most that a loop device says is none.
    let whole = most.saturating_sub(most.checked_rem(unit).unwrap_or(0));
    fs::write(attribute(number, "queue/discard_max_bytes"), whole.to_string())
}

/// The names of the devices that are built on it.
pub(super) fn holders(number: u32) -> Vec<String> {
    let holders = fs::read_dir(attribute(number, "holders")).into_iter().flatten().flatten();
    holders.map(|holder| holder.file_name().to_string_lossy().into_owned()).collect()
}

/// The device number, major and minor.
pub(super) fn device(number: u32) -> io::Result<(u32, u32)> {
    let text = value(number, "dev")?;
    let parsed = text.to_str().and_then(|text| {
        let (major, minor) = text.split_once(':')?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    });
    parsed.ok_or_else(|| io::Error::other(format!("a device number of {}", text.display())))
}

/// Where the device can be opened.
pub(super) fn node(number: u32) -> PathBuf {
    Path::new("/dev").join(format!("loop{number}"))
}

#[cfg(test)]
mod tests {
    use super::undeleted;
    use std::ffi::OsStr;

    #[test]
    fn the_path_of_a_removed_file_is_its_path() {
        assert_eq!(undeleted(OsStr::new("/run/vg/root (deleted)")), "/run/vg/root");
        assert_eq!(undeleted(OsStr::new("/run/vg/root")), "/run/vg/root");
    }
}
