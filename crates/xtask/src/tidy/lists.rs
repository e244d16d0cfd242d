//! Rules about lists that have to be complete: the map of crates, the fixtures, where packages come from.

use std::collections::BTreeSet;

use super::Finding;

const MAP: &str = "ARCHITECTURE.md";
const PUBLIC: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Every directory with a manifest under `crates` has a heading on the map.
pub(super) fn crates_on_the_map(files: &[String], map: &str) -> Vec<Finding> {
    let headings = map.lines().filter_map(|line| line.strip_prefix("### "));
    let named: BTreeSet<&str> = headings.flat_map(|line| line.split(',')).map(str::trim).collect();
    let manifest =
        |path: &String| Some(path.strip_prefix("crates/")?.strip_suffix("/Cargo.toml")?.to_owned());
    let dirs = files.iter().filter_map(manifest).filter(|dir| !dir.contains('/'));
    dirs.filter(|dir| !named.contains(dir.as_str()))
        .map(|dir| Finding::new(&format!("crates/{dir}"), format!("has no heading `### {dir}` in {MAP}")))
        .collect()
}

/// Every file under `fixtures` is named in the README beside it, or in one above it.
pub(super) fn fixtures_listed(files: &[String], read: &dyn Fn(&str) -> String) -> Vec<Finding> {
    let fixtures = files.iter().filter(|path| path.starts_with("fixtures/") && !path.ends_with("/README.md"));
    fixtures
        .filter(|path| {
            let name = path.rsplit('/').next().unwrap_or_default();
            !readmes(path).any(|readme| names(&read(&readme), name))
        })
        .map(|path| {
            Finding::new(
                path,
                "is in no README of its directory or of one above: what is it, how was it made?",
            )
        })
        .collect()
}

/// The READMEs that may list a file, nearest first, up to `fixtures`.
fn readmes(path: &str) -> impl Iterator<Item = String> {
    let parent = |path: &str| path.rsplit_once('/').map(|(dir, _)| dir.to_owned());
    std::iter::successors(parent(path), move |dir| parent(dir)).map(|dir| format!("{dir}/README.md"))
}

/// Whether a word of the text is that name.
fn names(text: &str, name: &str) -> bool {
    let part_of_name = |char: char| char.is_alphanumeric() || "._-".contains(char);
    text.split(|char: char| !part_of_name(char)).any(|word| word.trim_end_matches('.') == name)
}

/// Every package of the lock file comes from the public registry, so that anyone can build.
pub(super) fn public_registry_only(lock: &str) -> Vec<Finding> {
    let sources = lock.lines().filter_map(|line| line.strip_prefix("source = "));
    let foreign: BTreeSet<&str> =
        sources.map(|source| source.trim_matches('"')).filter(|it| *it != PUBLIC).collect();
    foreign
        .into_iter()
        .map(|source| Finding::new("Cargo.lock", format!("a package comes from {source}")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{PUBLIC, crates_on_the_map, fixtures_listed, public_registry_only};

    fn files(paths: &[&str]) -> Vec<String> {
        paths.iter().map(|path| (*path).to_owned()).collect()
    }

    #[test]
    fn a_crate_without_a_heading_is_found() {
        let files =
            files(&["crates/units/Cargo.toml", "crates/lost/Cargo.toml", "crates/units/fuzz/Cargo.toml"]);
        let found = crates_on_the_map(&files, "### sim, units\ntext about lost\n");
        assert_eq!(found.len(), 1);
        assert!(found[0].to_string().starts_with("crates/lost:"));
    }

    #[test]
    fn a_fixture_that_no_readme_names_is_found() {
        let files =
            files(&["fixtures/cow/a.cow", "fixtures/cow/b.cow", "fixtures/cow/README.md", "fixtures/c.sh"]);
        let read = |path: &str| match path {
            "fixtures/cow/README.md" => "| a.cow | zeros |\nnot-b.cow".to_owned(),
            "fixtures/README.md" => "made by `c.sh`.".to_owned(),
            _ => String::new(),
        };
        let found = fixtures_listed(&files, &read);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].to_string().starts_with("fixtures/cow/b.cow:"));
    }

    #[test]
    fn a_package_from_elsewhere_is_found() {
        let lock = format!("source = \"{PUBLIC}\"\nsource = \"registry+https://mirror.example/index\"\n");
        let found = public_registry_only(&lock);
        assert_eq!(found.len(), 1);
        assert!(found[0].to_string().contains("mirror.example"));
    }
}
