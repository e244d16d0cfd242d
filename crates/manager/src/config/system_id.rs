//! Who this host is to LVM2: `global/system_id_source`.
//!
//! What must hold (compared with 2.03.16, lvmsystemid(7)):
//! - Only letters, digits and `.-_+` count; others are left out, at the front also what is no letter and no digit.
//! - A source that has none is warned of, and the host has none then.

use super::Settings;
use std::path::Path;

/// The longest there is.
const LONGEST: usize = 128;
/// Where machine-id is.
const MACHINE_ID: &str = "/etc/machine-id";

/// The system ID, and what is to be warned of.
pub(super) fn system_id(settings: &Settings<'_>, host: &str) -> (Option<String>, Vec<String>) {
    let source = settings.text("global", "system_id_source").unwrap_or_else(|| "none".to_owned());
    let mut warnings = Vec::new();
    let found = match source.as_str() {
        "none" => return (None, warnings),
        "lvmlocal" => settings.text("local", "system_id"),
        // A name that every host has tells none from another.
        "uname" => Some(host.to_owned()).filter(|host| !host.starts_with("localhost")),
        "machineid" | "machine-id" => first_line(Path::new(MACHINE_ID), &mut warnings),
        "file" => match settings.text("global", "system_id_file") {
            Some(file) => first_line(Path::new(&file), &mut warnings),
            None => None,
        },
        _ => {
            warnings.push(format!("Unrecognised system_id_source \"{source}\"."));
            None
        }
    };
    let id = found.map(|text| clean(&text)).filter(|id| !id.is_empty());
    if id.is_none() {
        warnings.push(format!("No system ID found from system_id_source {source}."));
    }
    (id, warnings)
}

/// The first line that is neither blank nor a comment.
fn first_line(path: &Path, warnings: &mut Vec<String>) -> Option<String> {
    match std::fs::read_to_string(path) {
        Ok(text) => {
            let mut lines = text.lines().map(str::trim);
            lines.find(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned)
        }
        Err(error) => {
            let why = if error.kind() == std::io::ErrorKind::NotFound {
                "No such file or directory".to_owned()
            } else {
                error.to_string()
            };
            warnings.push(format!("{}: fopen failed: {why}", path.display()));
            None
        }
    }
}

/// What of a text counts.
pub fn clean(text: &str) -> String {
    let counts = |character: &char| character.is_ascii_alphanumeric() || ".-_+".contains(*character);
    let id: String = text.chars().filter(counts).collect();
    id.trim_start_matches(|character: char| !character.is_ascii_alphanumeric())
        .chars()
        .take(LONGEST)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::system_id;
    use crate::config::{Settings, parse_option};

    fn id(text: &str) -> (Option<String>, Vec<String>) {
        system_id(&Settings(&parse_option(text).unwrap()), "the(host)")
    }

    #[test]
    fn each_source_is_asked() {
        let none = (None, Vec::new());
        assert_eq!(id(""), none);
        assert_eq!(id("global/system_id_source=\"none\" local/system_id=\"a\""), none);
        assert_eq!(id("global/system_id_source=\"uname\"").0.as_deref(), Some("thehost"));
        let local = "global/system_id_source=\"lvmlocal\" local { system_id = \"-a b+c\" }";
        assert_eq!(id(local).0.as_deref(), Some("ab+c"));
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("id");
        let of_file =
            format!("global/system_id_source=\"file\" global/system_id_file=\"{}\"", file.display());
        let (none, told) = id(&of_file);
        assert_eq!((none, told.len()), (None, 2));
        assert!(told[0].ends_with("fopen failed: No such file or directory"), "{told:?}");
        std::fs::write(&file, "# mine\n\nhello\nother\n").unwrap();
        assert_eq!(id(&of_file), (Some("hello".to_owned()), Vec::new()));
        let told = ["Unrecognised system_id_source \"x\".", "No system ID found from system_id_source x."];
        assert_eq!(id("global/system_id_source=\"x\""), (None, told.map(str::to_owned).to_vec()));
    }
}
