//! Links of documents, and paths named as code: what points into the repository must point to something that is there.

use std::path::Path;

use super::Finding;

/// Folders of the root. A path in backticks that begins with one of them is read as one from the root.
const FOLDERS: &[&str] = &["crates", "docs", "fixtures", "fuzz", "rig"];

/// Checks the relative links of a document at `path`; `exists` is asked for places relative to the root.
pub(super) fn lead_somewhere(path: &str, text: &str, exists: &dyn Fn(&Path) -> bool) -> Vec<Finding> {
    if Path::new(path).extension().is_none_or(|extension| extension != "md") {
        return Vec::new();
    }
    let folder = Path::new(path).parent().unwrap_or(Path::new(""));
    let mut findings = Vec::new();
    for (at, line) in (1_usize..).zip(prose(text)) {
        for named in code_paths(line).filter(|named| !exists(Path::new(named))) {
            findings.push(Finding::new(path, format!("line {at} names `{named}`, which is not there")));
        }
        for target in targets(line) {
            let place = target.split('#').next().unwrap_or_default();
            let elsewhere = place.is_empty() || target.contains("://") || target.starts_with("mailto:");
            if elsewhere {
                continue;
            }
            let there =
                !place.starts_with('/') && plain(&folder.join(place)).is_some_and(|place| exists(&place));
            if !there {
                findings
                    .push(Finding::new(path, format!("line {at} links to `{target}`, which is not there")));
            }
        }
    }
    findings
}

/// The lines, those of code blocks empty.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut code = false;
    text.lines().map(move |line| {
        let fence = line.trim_start().starts_with("```");
        code ^= fence;
        if code || fence { "" } else { line }
    })
}

/// What is in the round brackets behind `](`, and behind `[name]: ` at a line's start; what is between backticks is code.
fn targets(line: &str) -> Vec<&str> {
    let mut found = Vec::new();
    if let Some((_, target)) = line.trim_start().strip_prefix('[').and_then(|rest| rest.split_once("]: ")) {
        found.extend(target.split_whitespace().next());
    }
    for (at, _) in line.match_indices("](") {
        let (before, rest) = line.split_at(at);
        // Inside code there is an odd number of backticks before, unless they are in the link's own text.
        let outside = before.rsplit_once('[').map_or(before, |(outside, _)| outside);
        if outside.matches('`').count() % 2 == 1 {
            continue;
        }
        let target = rest.trim_start_matches("](").split(')').next().unwrap_or_default();
        found.extend(target.split_whitespace().next());
    }
    found
}

/// Paths between backticks. One with a blank, a star or a capital is a pattern or a command.
fn code_paths(line: &str) -> impl Iterator<Item = &str> {
    let plain = |code: &&str| {
        let path = |char: char| char.is_ascii_lowercase() || char.is_ascii_digit() || "_-./".contains(char);
        code.chars().all(path) && !code.contains("...")
    };
    let rooted = |code: &&str| code.split_once('/').is_some_and(|(folder, _)| FOLDERS.contains(&folder));
    line.split('`').skip(1).step_by(2).filter(plain).filter(rooted)
}

/// The path without `.` and `..`; none where it leaves the repository.
fn plain(path: &Path) -> Option<std::path::PathBuf> {
    let mut plain = std::path::PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::Normal(name) => plain.push(name),
            std::path::Component::CurDir => {}
            std::path::Component::ParentDir => plain.pop().then_some(())?,
            _ => return None,
        }
    }
    Some(plain)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::lead_somewhere;

    fn found(path: &str, text: &str) -> Vec<String> {
        let exists = |place: &Path| ["docs/a.md", "rig", "README.md"].iter().any(|it| Path::new(it) == place);
        lead_somewhere(path, text, &exists).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_link_to_what_is_not_there_is_found_with_its_line() {
        let text = "see [a](docs/a.md)\nand [`b`](docs/b.md), [rig](rig/)\n[c]: gone.md\n";
        let found = found("README.md", text);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(
            found[0].contains("line 2 links to `docs/b.md`")
                && found[1].contains("line 3 links to `gone.md`")
        );
    }

    #[test]
    fn links_are_followed_from_the_documents_own_folder() {
        assert!(
            found("docs/x.md", "[a](a.md) [r](../README.md#use-it) [h](#here) [w](https://x.example/y)")
                .is_empty()
        );
        assert_eq!(found("docs/x.md", "[a](docs/a.md) [out](../../README.md) [root](/README.md)").len(), 3);
    }

    #[test]
    fn a_path_in_backticks_is_followed_from_the_root_and_a_pattern_is_not() {
        let text = "`docs/a.md` lists, `docs/gone.md` does not; `docs/NAME.md`, `rig/*.sh`, `src/x.rs`, `a/docs/b`\n";
        let found = found("docs/x.md", text);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("names `docs/gone.md`"));
    }

    #[test]
    fn code_has_no_links_and_other_files_are_not_documents() {
        assert!(found("README.md", "`a[0](gone)`\n```\n[x](gone.md)\n```\n").is_empty());
        assert!(found("a.rs", "//! [x](gone.md)\n").is_empty());
    }
}
