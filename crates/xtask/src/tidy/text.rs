//! Rules about one file: its name, its head, its size, its words.

use super::Finding;

/// Names that say nothing about what is inside.
const EMPTY_NAMES: &[&str] = &["utils", "util", "helpers", "helper", "common", "misc", "manager"];
/// The one directory that may have such a name: the crate that manages volume groups.
const ALLOWED_DIRECTORY: &str = "crates/manager/";
/// Put together here, so that this file does not contain them.
const REFUSED_WORDS: &[&str] = &[concat!("FIX", "ME"), concat!("XX", "X"), concat!("to", "do!")];
const OPEN_WORD: &str = concat!("TO", "DO");
/// Directories of the machine on which something was made.
const MACHINE_PATHS: &[&str] = &[concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/")];
/// Lines without tests above which a file has to say why.
const LINES_EXPLAINED: usize = 500;
/// Lines without tests above which no reason helps.
const LINES_MAX: usize = 800;
const REASON: &str = "Longer than 500 lines because";
const TESTS: &str = "#[cfg(test)]";

/// Checks the name of a file or of a directory on its way.
pub(super) fn name(path: &str) -> Option<Finding> {
    let rest = path.strip_prefix(ALLOWED_DIRECTORY).unwrap_or(path);
    let stem = |part: &str| part.split('.').next().unwrap_or_default().to_lowercase();
    let empty = rest.split('/').map(stem).find(|part| EMPTY_NAMES.contains(&part.as_str()))?;
    Some(Finding::new(path, format!("the name `{empty}` says nothing about the content; name what it holds")))
}

/// Checks the text of a file by its kind.
pub(super) fn content(path: &str, text: &str) -> Vec<Finding> {
    let extension = path.rsplit_once('.').map_or("", |(_, extension)| extension);
    let code = matches!(extension, "rs" | "sh" | "c" | "toml" | "conf") || path == ".ci/run";
    let mut findings = Vec::new();
    if extension == "rs" {
        findings.extend(head(path, text));
        findings.extend(size(path, text));
    }
    if code {
        findings.extend(ascii(path, text));
        findings.extend(words(path, text));
    }
    if path != "Cargo.lock" {
        findings.extend(machine(path, text));
    }
    findings
}

fn head(path: &str, text: &str) -> Option<Finding> {
    (!text.starts_with("//!")).then(|| Finding::new(path, "does not open with `//!`, saying what must hold"))
}

fn size(path: &str, text: &str) -> Option<Finding> {
    let lines = text.lines().take_while(|line| line.trim() != TESTS).count();
    if lines > LINES_MAX {
        return Some(Finding::new(path, format!("{lines} lines without tests; {LINES_MAX} is the most")));
    }
    let doc = text.lines().take_while(|line| line.starts_with("//!"));
    let explained = doc.into_iter().any(|line| line.contains(REASON));
    (lines > LINES_EXPLAINED && !explained).then(|| {
        Finding::new(path, format!("{lines} lines without tests; its `//!` must say `{REASON} ...`"))
    })
}

fn ascii(path: &str, text: &str) -> Option<Finding> {
    let (at, line) = (1..).zip(text.lines()).find(|(_, line)| !line.is_ascii())?;
    let odd = line.chars().find(|char| !char.is_ascii()).unwrap_or_default();
    Some(Finding::new(path, format!("line {at} has {}; source is ASCII", odd.escape_unicode())))
}

fn words(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (at, line) in (1..).zip(text.lines()) {
        if let Some(word) = REFUSED_WORDS.iter().find(|word| line.contains(*word)) {
            findings.push(Finding::new(path, format!("line {at} has `{word}`: do it, or file an issue")));
        }
        if line.contains(OPEN_WORD) && !names_an_issue(line) {
            findings.push(Finding::new(
                path,
                format!("line {at} has `{OPEN_WORD}` without the number of an issue"),
            ));
        }
    }
    findings
}

fn names_an_issue(line: &str) -> bool {
    line.split('#').skip(1).any(|rest| rest.starts_with(|char: char| char.is_ascii_digit()))
}

/// A path counts where it begins: after a blank, a quote or the like, not inside a longer one.
fn machine(path: &str, text: &str) -> Option<Finding> {
    let begins = |line: &str, word: &str| {
        line.match_indices(word).any(|(at, _)| {
            let before = line.get(..at).and_then(|before| before.chars().next_back());
            before.is_none_or(|char| !char.is_alphanumeric() && !"_-./".contains(char))
        })
    };
    let (at, word) = (1_usize..)
        .zip(text.lines())
        .find_map(|(at, line)| MACHINE_PATHS.iter().find(|word| begins(line, word)).map(|word| (at, word)))?;
    Some(Finding::new(path, format!("line {at} names `{word}`, a directory of one machine")))
}

#[cfg(test)]
mod tests {
    use super::{LINES_EXPLAINED, LINES_MAX, OPEN_WORD, REASON, REFUSED_WORDS, content, name};

    fn found(path: &str, text: &str) -> String {
        content(path, text).iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn a_good_file_passes() {
        assert_eq!(found("a.rs", "//! What holds.\nfn a() {}\n"), "");
        assert!(name("crates/manager/src/plan.rs").is_none());
    }

    #[test]
    fn empty_names_are_refused_except_the_manager_crate() {
        for path in ["crates/a/src/utils.rs", "crates/a/src/common/b.rs", "crates/manager/src/manager.rs"] {
            assert!(name(path).is_some(), "{path}");
        }
    }

    #[test]
    fn a_file_without_a_head_is_refused() {
        assert!(found("a.rs", "// Not a head.\n").contains("does not open"));
    }

    #[test]
    fn a_long_file_needs_a_reason_and_a_very_long_one_has_none() {
        let long = "fn a() {}\n".repeat(LINES_EXPLAINED);
        assert!(found("a.rs", &format!("//! A.\n{long}")).contains("must say"));
        assert_eq!(found("a.rs", &format!("//! {REASON} it is a table.\n{long}")), "");
        let too_long = "fn a() {}\n".repeat(LINES_MAX);
        assert!(found("a.rs", &format!("//! {REASON} it is a table.\n{too_long}")).contains("the most"));
    }

    #[test]
    fn the_tests_of_a_file_do_not_count() {
        let tests = "fn a() {}\n".repeat(LINES_MAX);
        assert_eq!(found("a.rs", &format!("//! A.\n#[cfg(test)]\n{tests}")), "");
    }

    #[test]
    fn non_ascii_source_is_refused_and_named() {
        assert!(found("a.sh", "ok\nna\u{ef}ve\n").contains("line 2 has \\u{ef}"));
    }

    #[test]
    fn refused_words_are_found_in_code() {
        for word in REFUSED_WORDS {
            assert!(found("a.sh", &format!("# {word}\n")).contains(word));
        }
    }

    #[test]
    fn an_open_end_needs_an_issue() {
        assert!(found("a.toml", &format!("# {OPEN_WORD}: later\n")).contains("without the number"));
        assert_eq!(found("a.toml", &format!("# {OPEN_WORD} #12: later\n")), "");
    }

    #[test]
    fn directories_of_one_machine_are_found_also_in_documents() {
        for dir in super::MACHINE_PATHS {
            assert!(found("a.md", &format!("run `{dir}main/x`\n")).contains("line 1"), "{dir}");
            assert_eq!(found("a.md", &format!("`vg{dir}x` is a volume\n")), "");
        }
    }
}
