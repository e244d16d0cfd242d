//! Case `accept`: after each of Foldback's writes LVM2 checks the disk without a warning, lists the same LVs with the
//! same attributes, writes the metadata itself, and Foldback reads that and writes on.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::Length;
use crate::program::Foldback;
use crate::rig::{Guest, Scratch, copy_disk};

const CHECK: &str = include_str!("../../../../rig/accept.sh");
const LIST: &[&str] =
    &["lvs", "-a", "--noheadings", "-o", "lv_name,lv_attr,lv_size,origin,chunk_size", "--units", "s", "vga"];
const CONTENT: usize = 16 << 20;

/// A disk as it was after one of Foldback's commands.
struct Stage {
    name: String,
    image: PathBuf,
    has_vg: bool,
}

/// Runs the case.
pub(super) fn run(_: Length) -> Result<String> {
    let program = super::program()?;
    let scratch = Scratch::new("accept")?;
    let stages = write_and_copy(&program, &scratch)?;
    let mut guest = Guest::new(&scratch, "accept", Duration::from_mins(2));
    let mut table = Vec::new();
    for stage in &stages {
        let disk = guest.disk(&stage.image)?;
        table.push(format!("{} {disk} {}", stage.name, u8::from(stage.has_vg)));
    }
    guest.set("STAGES", &table.join("\n"));
    guest.run(CHECK)?.expect_all()?;
    for stage in stages.iter().filter(|stage| stage.has_vg) {
        write_on(&program, stage).with_context(|| format!("after {} and LVM2's write", stage.name))?;
    }
    Ok(format!("{} stages", stages.len()))
}

/// Each command in turn, with a copy of the disk after it.
fn write_and_copy(program: &Foldback, scratch: &Scratch) -> Result<Vec<Stage>> {
    let image = scratch.disk("disk", 192)?;
    let content = scratch.path().join("content");
    let bytes: Vec<u8> = (0..CONTENT).map(|at| u8::try_from(at % 251).unwrap_or_default()).collect();
    std::fs::write(&content, &bytes).context("writing the content to import")?;
    let (pv, content) = (image.display().to_string(), content.display().to_string());
    let steps: &[(&str, &[&str])] = &[
        ("pvcreate", &["pvcreate", &pv]),
        ("vgcreate", &["vgcreate", "vga", &pv]),
        ("lvcreate", &["lvcreate", "-L", "16m", "-n", "origin", "vga"]),
        ("lvcreate-free", &["lvcreate", "-l", "25%FREE", "-n", "plain", "vga"]),
        ("import", &["import", &content, "vga/origin"]),
        ("snapshot", &["lvcreate", "-s", "-c", "64k", "-L", "12m", "-n", "s1", "vga/origin"]),
        ("snapshot-second", &["lvcreate", "-s", "-l", "100%ORIGIN", "-n", "s2", "vga/origin"]),
        ("import-snapshot", &["import", &content, "vga/s1"]),
        ("merge", &["lvconvert", "--merge", "vga/s1"]),
        ("remove-snapshot", &["lvremove", "-y", "vga/s2"]),
        ("remove", &["lvremove", "-y", "vga/plain"]),
    ];
    let mut stages = Vec::new();
    for (name, words) in steps {
        program.run(&[&image], words)?;
        let copy = scratch.path().join(format!("{name}.img"));
        copy_disk(&image, &copy)?;
        let has_vg = *name != "pvcreate";
        if has_vg {
            let listed = program.run(&[&image], LIST)?;
            std::fs::write(scratch.path().join(format!("{name}.lvs")), listed)
                .context("keeping a listing")?;
        }
        stages.push(Stage { name: (*name).to_owned(), image: copy, has_vg });
    }
    let exported = scratch.path().join("exported");
    program.run(&[&image], &["export", "vga/origin", &exported.display().to_string()])?;
    ensure!(
        std::fs::read(&exported).context("reading the export")? == bytes,
        "the export is not what was imported"
    );
    Ok(stages)
}

/// LVM2 put a tag on the VG: Foldback shows it, writes, and it is still there.
fn write_on(program: &Foldback, stage: &Stage) -> Result<()> {
    let tags = || program.run(&[&stage.image], &["vgs", "--noheadings", "-o", "vg_tags", "vga"]);
    ensure!(tags()?.trim() == "later", "foldback vgs does not show LVM2's tag");
    program.run(&[&stage.image], &["lvcreate", "-l", "1", "-n", "more", "vga"])?;
    ensure!(tags()?.trim() == "later", "foldback's write lost LVM2's tag");
    Ok(())
}
