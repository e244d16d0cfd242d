//! The cases: their disks, their boots, their scripts.

use anyhow::Result;

use super::boot::Machine;
use super::tree::System;

const UDEV: &str = include_str!("../../../../rig/machine/udev.sh");
const RACES: &str = include_str!("../../../../rig/machine/races.sh");
const SERVICE: &str = include_str!("../../../../rig/machine/service.sh");

/// Case `udev`: two VGs as twins, one Foldback's and one LVM2's.
pub(super) fn udev(system: &System) -> Result<String> {
    let mut machine = Machine::new(system, "udev")?;
    machine.disk(160)?;
    machine.disk(160)?;
    let console = machine.boot(UDEV)?;
    console.expect_all()?;
    Ok(format!("{} checks", console.checks().len()))
}

/// Case `races`.
pub(super) fn races(system: &System) -> Result<String> {
    let mut machine = Machine::new(system, "races")?;
    machine.disk(256)?;
    machine.disk(64)?;
    let console = machine.boot(RACES)?;
    console.expect_all()?;
    Ok(format!("{} checks", console.checks().len()))
}

/// Case `service`: a boot that begins, a shutdown, a boot that ends.
pub(super) fn service(system: &System) -> Result<String> {
    let mut machine = Machine::new(system, "service")?;
    machine.disk(256)?;
    let mut checks = 0;
    for _ in 0..2 {
        let console = machine.boot(SERVICE)?;
        console.expect_all()?;
        checks += console.checks().len();
    }
    Ok(format!("{checks} checks in two boots"))
}
