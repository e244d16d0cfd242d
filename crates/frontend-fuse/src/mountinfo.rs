//! `/proc/PID/mountinfo`, read.
//!
//! What must hold:
//! - A line that is not understood is left out; nothing is opened or asked but procfs.
//! - Names come back as they are: mountinfo writes blanks, tabs, line ends and backslashes as three octal digits.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// One mount.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Mount {
    /// The mounted file system's device number, major and minor.
    pub(crate) device: (u32, u32),
    /// Where it is mounted.
    pub(crate) point: PathBuf,
    /// Its type, with the subtype of FUSE behind a dot.
    pub(crate) kind: String,
    /// What is mounted, as the one who mounted named it.
    pub(crate) source: PathBuf,
}

/// The mounts that a process sees, the later over the earlier; `who` is a PID, or `self`.
pub(crate) fn read(who: &str) -> io::Result<Vec<Mount>> {
    let path: PathBuf = ["/proc", who, "mountinfo"].iter().collect();
    Ok(parse(&fs::read(path)?))
}

fn parse(text: &[u8]) -> Vec<Mount> {
    text.split(|byte| *byte == b'\n').filter_map(line).collect()
}

/// `36 35 98:0 /root /point options optional... - type source options`
fn line(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|byte| *byte == b' ');
    let device = std::str::from_utf8(fields.nth(2)?).ok()?;
    let (major, minor) = device.split_once(':')?;
    let point = fields.nth(1)?;
    fields.find(|field| *field == b"-")?;
    let kind = fields.next()?;
    let source = fields.next()?;
    Some(Mount {
        device: (major.parse().ok()?, minor.parse().ok()?),
        point: plain(point),
        kind: String::from_utf8_lossy(kind).into_owned(),
        source: plain(source),
    })
}

fn plain(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, behind)) = rest.split_first() {
        let octal = behind.get(..3).filter(|_| *first == b'\\').and_then(|digits| {
            let digits = std::str::from_utf8(digits).ok()?;
            u8::from_str_radix(digits, 8).ok()
        });
        bytes.push(octal.unwrap_or(*first));
        rest = if octal.is_some() { behind.get(3..).unwrap_or_default() } else { behind };
    }
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::parse;
    use std::path::Path;

    #[test]
    fn a_line_with_optional_fields_and_blanks_in_names() {
        let text = b"36 35 7:3 / /mnt/a\\040b\\134 rw,noatime shared:1 master:2 - ext4 /dev/loop3 rw\n\
                     40 35 0:53 / /run/x rw - fuse.foldback foldback rw,user_id=0\n\nrubbish\n1 2 x:y / / - a b\n";
        let mounts = parse(text);
        assert_eq!(mounts.len(), 2);
        assert_eq!(mounts[0].device, (7, 3));
        assert_eq!(mounts[0].point, Path::new("/mnt/a b\\"));
        assert_eq!(
            (mounts[1].kind.as_str(), mounts[1].source.as_path()),
            ("fuse.foldback", Path::new("foldback"))
        );
    }

    #[test]
    fn this_process_has_a_root() {
        assert!(super::read("self").unwrap().iter().any(|mount| mount.point == Path::new("/")));
    }

    #[test]
    fn a_backslash_without_digits_stays() {
        assert_eq!(super::plain(b"a\\zz"), Path::new("a\\zz"));
        assert_eq!(super::plain(b"a\\999"), Path::new("a\\999"));
    }
}
