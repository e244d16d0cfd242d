//! `cargo xtask tidy`: the rules of this repository's shape that no compiler checks.
//!
//! Holds: every rule is a function from text to findings, with a test that shows it firing; the walk looks at every
//! file of the repository except build output and git's own.

mod links;
mod lists;
mod text;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::places;

/// A broken rule: where, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    path: String,
    what: String,
}

impl Finding {
    fn new(path: &str, what: impl Into<String>) -> Self {
        Self { path: path.to_owned(), what: what.into() }
    }
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.path, self.what)
    }
}

/// Checks the whole repository and prints what is found. True when nothing is.
pub(crate) fn run() -> Result<bool> {
    let root = places::root()?;
    let findings = check(&root)?;
    for finding in &findings {
        println!("{finding}");
    }
    Ok(findings.is_empty())
}

/// All findings in the tree below `root`.
fn check(root: &Path) -> Result<Vec<Finding>> {
    let mut files = Vec::new();
    walk(root, root, &mut files)?;
    files.sort();
    let mut findings = Vec::new();
    for path in &files {
        findings.extend(text::name(path));
        let bytes = std::fs::read(root.join(path)).with_context(|| format!("reading {path}"))?;
        if let Ok(content) = std::str::from_utf8(&bytes) {
            findings.extend(text::content(path, content));
            findings.extend(links::lead_somewhere(path, content, &|place| root.join(place).exists()));
        }
    }
    let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap_or_default();
    findings.extend(lists::crates_on_the_map(&files, &read("ARCHITECTURE.md")));
    findings.extend(lists::fixtures_listed(&files, &read));
    findings.extend(lists::public_registry_only(&read("Cargo.lock")));
    Ok(findings)
}

/// Paths of all files, relative to the root, with `/` between the parts.
fn walk(root: &Path, dir: &Path, files: &mut Vec<String>) -> Result<()> {
    let entries = std::fs::read_dir(dir).with_context(|| format!("listing {}", dir.display()))?;
    for entry in entries {
        let path: PathBuf = entry.with_context(|| format!("listing {}", dir.display()))?.path();
        let relative = path.strip_prefix(root).context("leaving the root")?.to_string_lossy().into_owned();
        let ignored = relative == ".git" || relative == "target" || relative.starts_with("target-");
        if ignored || path.is_symlink() {
            continue;
        }
        if path.is_dir() {
            walk(root, &path, files)?;
        } else {
            files.push(relative);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn a_tree_with_a_bad_file_and_a_crate_off_the_map_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        std::fs::create_dir_all(root.join("crates/lost/src")).unwrap();
        std::fs::create_dir_all(root.join("target/debug")).unwrap();
        std::fs::write(root.join("ARCHITECTURE.md"), "### kept\n").unwrap();
        std::fs::write(root.join("crates/lost/Cargo.toml"), "[package]\n").unwrap();
        std::fs::write(root.join("crates/lost/src/lib.rs"), "fn main() {}\n").unwrap();
        std::fs::write(root.join("target/debug/utils.rs"), "ignored").unwrap();
        let found: Vec<String> = check(root).unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with("crates/lost/src/lib.rs: ") && found[1].contains("ARCHITECTURE.md"));
    }
}
