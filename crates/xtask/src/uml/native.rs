//! Case `native`: Foldback makes the PV, the VG, an LV and two snapshots; LVM2 and the kernel use and merge them, and
//! Foldback reads what LVM2 left.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::Length;
use crate::rig::{Guest, Scratch};

const USE: &str = include_str!("../../../../rig/native-use.sh");

/// Runs the case.
pub(super) fn run(_: Length) -> Result<String> {
    let program = super::program()?;
    let scratch = Scratch::new("native")?;
    let image = scratch.disk("disk", 192)?;
    let pv = image.display().to_string();
    for words in [
        &["pvcreate", &pv][..],
        &["vgcreate", "vgn", &pv],
        &["lvcreate", "-L", "32m", "-n", "origin", "vgn"],
        &["lvcreate", "-s", "-c", "64k", "-L", "40m", "-n", "s1", "vgn/origin"],
        &["lvcreate", "-s", "-c", "4k", "-L", "40m", "-n", "s2", "vgn/origin"],
    ] {
        program.run(&[&image], words)?;
    }
    let mut guest = Guest::new(&scratch, "native", Duration::from_mins(2));
    let disk = guest.disk(&image)?;
    guest.set("DISK", &disk);
    let console = guest.run(USE)?;
    console.expect_all()?;
    let listed = program.run(&[&image], &["lvs", "-a", "--noheadings", "-o", "lv_name", "vgn"])?;
    let names: Vec<&str> = listed.split_whitespace().collect();
    ensure!(names == ["another", "origin"], "after LVM2's work foldback lvs lists {names:?}");
    Ok(format!("{} checks in the guest", console.checks().len()))
}
