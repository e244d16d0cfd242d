//! The cases: their disks, their boots, their scripts.

use anyhow::Result;

use super::boot::{Entry, Machine};
use super::tree::System;

const UDEV: &str = include_str!("../../../../rig/machine/udev.sh");
const RACES: &str = include_str!("../../../../rig/machine/races.sh");
const SERVICE: &str = include_str!("../../../../rig/machine/service.sh");
const ROOT: &str = include_str!("../../../../rig/machine/root.sh");

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

/// Case `root`: the system moves to an LV; then LVM2's initrd, with the power cut, and one with our hook.
pub(super) fn root(system: &System) -> Result<String> {
    let mut machine = Machine::new(system, "root")?;
    machine.disk(2048)?;
    machine.disk(256)?;
    let mut checks = 0;
    let mut boot = |machine: &mut Machine<'_>| -> Result<()> {
        let console = machine.boot(ROOT)?;
        console.expect_all()?;
        checks += console.checks().len();
        Ok(())
    };
    boot(&mut machine)?;
    machine.enter(Entry { initrd: machine.take(1, "plain")?, root: "/dev/mapper/sys-root" });
    for _ in 0..3 {
        boot(&mut machine)?;
    }
    machine.enter(Entry { initrd: machine.take(1, "hooked")?, root: "/dev/mapper/sys-root" });
    boot(&mut machine)?;
    Ok(format!("{checks} checks in five boots"))
}
