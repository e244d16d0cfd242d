//! The Debian packages that the tests need: installed when this runs as root, else named with the line to type.

use std::process::Command;

use anyhow::Result;

use super::command;
use crate::outcome::Verdict;
use crate::rig;

/// Installs what is missing, or says how.
pub(super) fn packages() -> Result<Verdict> {
    let missing = rig::missing_for_tests();
    if missing.is_empty() {
        return Ok(Verdict::Passed("every needed package is there".to_owned()));
    }
    let line = format!("apt-get install --yes --no-install-recommends {}", missing.join(" "));
    if !rustix::process::geteuid().is_root() {
        return Ok(Verdict::Skipped(format!("not root, so do this first: sudo {line}")));
    }
    if rig::find("apt-get").is_none() {
        return Ok(Verdict::Skipped(format!("no apt-get here; the packages are {}", missing.join(" "))));
    }
    for words in ["apt-get update", &line] {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("{words} >&2")]).env("DEBIAN_FRONTEND", "noninteractive");
        if let Verdict::Failed(why) = command::run(command)? {
            return Ok(Verdict::Failed(why));
        }
    }
    let still = rig::missing_for_tests();
    if still.is_empty() {
        return Ok(Verdict::Passed(format!("installed {}", missing.join(" "))));
    }
    Ok(Verdict::Failed(format!("still missing after the installation: {}", still.join(" "))))
}
