//! What was measured on, in one line: no name and no path of it, but all that the numbers depend on.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

/// Processor, cores, memory, kernel, the file system under `dir`, and the day.
pub(super) fn line(dir: &Path) -> Result<String> {
    let model = field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown processor".to_owned());
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let memory =
        field("/proc/meminfo", "MemTotal").and_then(|text| text.split(' ').next()?.parse::<u64>().ok());
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let gib = memory.unwrap_or_default() >> 20;
    let mounts = std::fs::read_to_string("/proc/self/mounts").context("reading the mounts")?;
    let dir = dir.canonicalize().with_context(|| format!("finding {}", dir.display()))?;
    let under = file_system(&mounts, &dir).unwrap_or("an unknown file system");
    let day = Command::new("date").args(["-u", "+%F"]).output().context("asking date for the day")?;
    let day = String::from_utf8_lossy(&day.stdout).trim().to_owned();
    Ok(format!(
        "Machine: {model}, {cores} cores, {gib} GiB, Linux {}, images on {under}; {day}.",
        kernel.trim()
    ))
}

/// The load of the last minute: what others do on the machine, if it is asked for before the measurement.
pub(super) fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or_default().to_owned()
}

fn field(path: &str, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// The type of the deepest mount that holds `dir`; of two at one place the later one.
fn file_system<'a>(mounts: &'a str, dir: &Path) -> Option<&'a str> {
    let mount = |line: &'a str| {
        let mut words = line.split(' ').skip(1);
        Some((Path::new(words.next()?), words.next()?))
    };
    let holding = mounts.lines().filter_map(mount).filter(|(place, _)| dir.starts_with(place));
    holding.max_by_key(|(place, _)| place.components().count()).map(|(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::file_system;

    #[test]
    fn the_deepest_mount_counts() {
        let mounts = "/dev/a / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n/dev/b /tmpx xfs rw 0 0\n";
        let of = |dir: &str| file_system(mounts, Path::new(dir));
        assert_eq!([of("/tmp/x/y"), of("/var"), of("/tmpx")], [Some("tmpfs"), Some("ext4"), Some("xfs")]);
    }
}
