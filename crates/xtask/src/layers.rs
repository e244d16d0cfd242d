//! `cargo xtask layers`: which crate may use which, written once, compared with what cargo says.
//!
//! Holds: an arrow that is not in the table fails, and so does a crate that is not in it; tests may use the testkit
//! and whatever lies below the crate besides; nothing may use xtask or sim.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::places;

const PREFIX: &str = "foldback-";
const TESTKIT: &str = "testkit";
const ALL_BELOW: &[&str] = &[
    "units",
    "device",
    "lvm2-format",
    "dm-snapshot-format",
    "dm-table",
    "engine",
    "user-dm",
    "kernel-dm",
    "frontend-fuse",
    "manager",
    "frontend-nbd",
    "daemon",
    "testkit",
];

/// Each crate, and the crates of this workspace that it may use.
const ALLOWED: &[(&str, &[&str])] = &[
    ("units", &[]),
    ("device", &["units"]),
    ("lvm2-format", &["units"]),
    ("dm-snapshot-format", &["units"]),
    ("dm-table", &["units"]),
    ("engine", &["units", "dm-snapshot-format"]),
    ("user-dm", &["units", "device", "dm-table", "engine"]),
    ("kernel-dm", &["units", "dm-table"]),
    ("frontend-fuse", &["units", "engine", "user-dm"]),
    ("manager", &["units", "device", "lvm2-format", "dm-snapshot-format", "dm-table"]),
    ("frontend-nbd", &["units", "device", "engine", "user-dm"]),
    (
        "daemon",
        &[
            "units",
            "device",
            "lvm2-format",
            "dm-table",
            "engine",
            "user-dm",
            "manager",
            "frontend-fuse",
            "frontend-nbd",
        ],
    ),
    (
        "cli",
        &[
            "units",
            "device",
            "lvm2-format",
            "dm-snapshot-format",
            "frontend-fuse",
            "dm-table",
            "engine",
            "kernel-dm",
            "user-dm",
            "manager",
            "daemon",
        ],
    ),
    (
        "testkit",
        &["units", "device", "lvm2-format", "dm-snapshot-format", "dm-table", "engine", "user-dm", "manager"],
    ),
    ("sim", ALL_BELOW),
    ("xtask", ALL_BELOW),
];

/// A dependency of one crate of the workspace on another.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Arrow {
    from: String,
    to: String,
    kind: String,
}

/// Compares and prints what is wrong. True when nothing is.
pub(crate) fn run() -> Result<bool> {
    let wrong = wrong(&metadata()?)?;
    for line in &wrong {
        println!("{line}");
    }
    Ok(wrong.is_empty())
}

fn metadata() -> Result<Value> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(places::root()?)
        .output()
        .context("running cargo metadata")?;
    ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).context("reading cargo's metadata")
}

/// Every sentence about a crate or an arrow that is not allowed.
fn wrong(metadata: &Value) -> Result<Vec<String>> {
    let packages = metadata.get("packages").and_then(Value::as_array).context("cargo names no packages")?;
    let names: Vec<&str> = packages.iter().filter_map(|package| short(package.get("name")?)).collect();
    ensure!(!names.is_empty(), "cargo names no packages");
    let unknown = names.iter().filter(|name| !ALLOWED.iter().any(|(known, _)| known == *name));
    let mut wrong: Vec<String> =
        unknown.map(|name| format!("the crate {name} is not in the table of layers")).collect();
    let arrows = packages.iter().flat_map(|package| arrows(package, &names));
    wrong.extend(arrows.filter(|arrow| !allowed(arrow)).map(|arrow| {
        let Arrow { from, to, kind } = arrow;
        format!("{from} -> {to} ({kind}): {from} may not use {to}")
    }));
    Ok(wrong)
}

fn arrows(package: &Value, names: &[&str]) -> Vec<Arrow> {
    let Some(from) = package.get("name").and_then(short) else { return Vec::new() };
    let dependencies = package.get("dependencies").and_then(Value::as_array).cloned().unwrap_or_default();
    let arrow = |dependency: &Value| {
        let to = dependency.get("name").and_then(short).filter(|to| names.contains(to))?;
        let kind = dependency.get("kind").and_then(Value::as_str).unwrap_or("normal");
        Some(Arrow { from: from.to_owned(), to: to.to_owned(), kind: kind.to_owned() })
    };
    dependencies.iter().filter_map(arrow).collect()
}

fn short(name: &Value) -> Option<&str> {
    let name = name.as_str()?;
    Some(name.strip_prefix(PREFIX).unwrap_or(name))
}

fn allowed(arrow: &Arrow) -> bool {
    let test = arrow.kind == "dev" && (arrow.to == TESTKIT || below(&arrow.from, &arrow.to));
    uses(&arrow.from).contains(&arrow.to.as_str()) || test
}

/// The crates that one may use.
fn uses(name: &str) -> &'static [&'static str] {
    ALLOWED.iter().find(|(from, _)| *from == name).map_or(&[], |(_, uses)| uses)
}

/// Whether `to` is used by `from`, or by anything that it uses. The table has no circle.
fn below(from: &str, to: &str) -> bool {
    uses(from).iter().any(|name| *name == to || below(name, to))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{ALLOWED, metadata, wrong};

    fn workspace(from: &str, to: &str, kind: &Value) -> Value {
        let dependency = json!({ "name": format!("foldback-{to}"), "kind": kind });
        json!({ "packages": [
            { "name": format!("foldback-{from}"), "dependencies": [dependency, { "name": "libc", "kind": null }] },
            { "name": format!("foldback-{to}"), "dependencies": [] },
        ] })
    }

    #[test]
    fn an_arrow_of_the_table_passes_and_its_reverse_is_refused() {
        assert!(wrong(&workspace("engine", "dm-snapshot-format", &Value::Null)).unwrap().is_empty());
        let found = wrong(&workspace("dm-snapshot-format", "engine", &Value::Null)).unwrap();
        assert_eq!(found, ["dm-snapshot-format -> engine (normal): dm-snapshot-format may not use engine"]);
    }

    #[test]
    fn tests_may_use_the_testkit_and_a_library_may_not() {
        assert!(wrong(&workspace("manager", "testkit", &json!("dev"))).unwrap().is_empty());
        assert_eq!(wrong(&workspace("manager", "testkit", &Value::Null)).unwrap().len(), 1);
        assert_eq!(wrong(&workspace("engine", "device", &json!("dev"))).unwrap().len(), 1);
    }

    #[test]
    fn tests_may_use_what_lies_below_and_a_library_may_not() {
        assert!(wrong(&workspace("user-dm", "dm-snapshot-format", &json!("dev"))).unwrap().is_empty());
        assert_eq!(wrong(&workspace("user-dm", "dm-snapshot-format", &Value::Null)).unwrap().len(), 1);
    }

    #[test]
    fn a_crate_that_the_table_does_not_know_is_refused() {
        let found = wrong(&workspace("frontend-ublk", "units", &Value::Null)).unwrap();
        assert!(found[0].contains("frontend-ublk is not in the table"));
    }

    #[test]
    fn the_table_has_no_circle_and_names_only_its_own_crates() {
        for (at, (from, uses)) in ALLOWED.iter().enumerate() {
            for to in *uses {
                let place = ALLOWED.iter().position(|(name, _)| name == to);
                assert!(place.is_some_and(|place| place < at || *to == "testkit"), "{from} -> {to}");
            }
        }
    }

    #[test]
    fn this_workspace_keeps_to_the_table() {
        assert_eq!(wrong(&metadata().unwrap()).unwrap(), Vec::<String>::new());
    }
}
