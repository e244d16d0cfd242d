//! The made-up system: its files, and what the upgrade makes of them.
//!
//! What must hold:
//! - The same files with the same content every time, some hundred of them, over 100 MB, in a tree that looks like a
//!   computer's.
//! - The upgrade replaces enough for a merge of several windows, and damages four files in four ways.

use std::fs;
use std::io;
use std::path::Path;

/// A file of the system.
#[derive(Clone, Debug)]
pub(super) struct SystemFile {
    /// From the root, without a slash in front.
    pub(super) path: String,
    pub(super) len: usize,
    /// The upgrade brings a new one.
    pub(super) replaced: bool,
}

/// What the upgrade does to a file that it should have left in order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Damage {
    /// It is gone.
    Removed,
    /// It is empty.
    Emptied,
    /// Only its first half is there.
    CutShort,
    /// It holds something else.
    Garbled,
}

/// The files that the upgrade breaks.
pub(super) const DAMAGED: [(&str, Damage); 4] = [
    ("etc/fstab", Damage::Emptied),
    ("etc/passwd", Damage::Removed),
    ("usr/bin/login", Damage::CutShort),
    ("usr/lib/libc.so.6", Damage::Garbled),
];

/// Lengths that look as if they had grown.
fn spread(least: usize, number: usize, step: usize, range: usize) -> usize {
    least.saturating_add(number.saturating_mul(step).checked_rem(range).unwrap_or(0))
}

/// Every file of the system.
pub(super) fn files() -> Vec<SystemFile> {
    let mut files = Vec::new();
    let mut add = |path: String, len: usize, replaced: bool| files.push(SystemFile { path, len, replaced });
    for name in ["fstab", "passwd", "group", "hosts", "hostname", "resolv.conf"] {
        add(format!("etc/{name}"), 700, false);
    }
    for number in 0..120_usize {
        add(
            format!("etc/conf.d/service-{number:03}.conf"),
            spread(400, number, 37, 9000),
            number.is_multiple_of(3),
        );
    }
    add("usr/bin/login".to_owned(), 900_000, true);
    for number in 0..90_usize {
        add(format!("usr/bin/tool-{number:02}"), spread(300_000, number, 7919, 500_000), true);
    }
    add("usr/lib/libc.so.6".to_owned(), 2_000_000, true);
    for number in 0..40_usize {
        add(
            format!("usr/lib/libpart-{number:02}.so"),
            spread(900_000, number, 15_013, 700_000),
            !number.is_multiple_of(8),
        );
    }
    for number in 0..160_usize {
        add(
            format!("usr/share/doc/manual-{number:03}.txt"),
            spread(5_000, number, 211, 30_000),
            number.is_multiple_of(4),
        );
    }
    add("var/lib/packages.db".to_owned(), 6_000_000, true);
    files
}

/// A file's content: of the system as it was, or of the upgrade.
pub(super) fn content(file: &SystemFile, upgraded: bool) -> Vec<u8> {
    let seed = file.path.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mut state = seed ^ if upgraded { 0x9e37_79b9_7f4a_7c15 } else { 0 } | 1;
    let mut bytes = Vec::with_capacity(file.len.next_multiple_of(8));
    while bytes.len() < file.len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(file.len);
    bytes
}

/// What the upgrade really puts there; `None` where it removes the file.
pub(super) fn upgraded(file: &SystemFile) -> Option<Vec<u8>> {
    let damage = DAMAGED.iter().find(|(path, _)| *path == file.path).map(|(_, damage)| *damage);
    let new = content(file, file.replaced);
    match damage {
        None => Some(new),
        Some(Damage::Removed) => None,
        Some(Damage::Emptied) => Some(Vec::new()),
        Some(Damage::CutShort) => Some(new.get(..new.len() / 2).unwrap_or_default().to_vec()),
        Some(Damage::Garbled) => Some(new.iter().map(|byte| byte ^ 0x55).collect()),
    }
}

/// Writes a file below `root`, with its folders.
pub(super) fn write(root: &Path, path: &str, content: &[u8]) -> io::Result<()> {
    let path = root.join(path);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(path, content)
}

/// The commands with which debugfs carries out the upgrade; its files lie below `new`.
pub(super) fn debugfs_script(files: &[SystemFile], new: &Path) -> String {
    let mut lines = Vec::new();
    for file in files {
        let damaged = DAMAGED.iter().any(|(path, _)| *path == file.path);
        if !(file.replaced || damaged) {
            continue;
        }
        let (folder, name) = file.path.rsplit_once('/').unwrap_or(("", &file.path));
        lines.push(format!("cd /{folder}\nrm {name}"));
        if upgraded(file).is_some() {
            lines.push(format!("write {} {name}", new.join(&file.path).display()));
        }
    }
    lines.push(String::new());
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::{DAMAGED, content, files, upgraded};

    #[test]
    fn the_system_is_large_enough_for_several_windows() {
        let files = files();
        let total: usize = files.iter().map(|file| file.len).sum();
        let replaced: usize = files.iter().filter(|file| file.replaced).map(|file| file.len).sum();
        assert!(files.len() > 400 && total > 100 << 20 && replaced > 80 << 20, "{total} {replaced}");
        for (path, _) in DAMAGED {
            let file = files.iter().find(|file| file.path == path).unwrap();
            assert_ne!(upgraded(file).as_deref(), Some(content(file, file.replaced).as_slice()), "{path}");
        }
    }
}
