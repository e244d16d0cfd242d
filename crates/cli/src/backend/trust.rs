//! Stores that cannot be trusted, before the kernel is given them.
//!
//! What must hold (dm-snapshot.md 1.4, K5):
//! - The kernel follows whatever records say, and a merge would into the origin: a store that merges is never given to it damaged.
//! - A damaged one that does not merge spoils what the snapshot shows, not the origin. Who activates it is refused; a machine that boots
//!   gets its origin, with a warning.

use super::Kernel;
use crate::error::CliError;
use crate::session::Session;
use foldback_dm_snapshot_format::{FindingKind, Severity};
use foldback_manager::activation::{Device, Group};
use foldback_manager::check::check;
use foldback_manager::store::{DiskSet, FoundVg};

impl Kernel {
    /// What to warn of in a group that comes up, as when the machine `boots`; a store that the kernel has in use already is not
    /// looked at, since it is written meanwhile.
    ///
    /// # Errors
    /// The group must stay down.
    pub(super) fn distrusted(
        &self,
        session: &mut Session,
        found: &FoundVg,
        (group, boots): (&Group, bool),
    ) -> Result<Vec<String>, CliError> {
        let (vg, origin) = (&found.vg.name, &group.origin.lv);
        let mut set = DiskSet::new(&mut *session.disks, &session.paths);
        let is_used =
            |cow: &Device| self.there.iter().any(|info| info.uuid == cow.uuid && info.open_count > 0);
        let mut warnings = Vec::new();
        for snapshot in group.snapshots.iter().filter(|snapshot| !is_used(&snapshot.cow)) {
            let lv = &snapshot.lv;
            let why = match check(&mut set, found, lv) {
                Err(error) => error.to_string(),
                // Of a lost one the kernel follows nothing.
                Ok(report) if report.findings.iter().any(|found| found.kind == FindingKind::Invalidated) => {
                    continue;
                }
                Ok(report) => {
                    let refuses = report.findings.iter().find(|found| found.severity() == Severity::Refuse);
                    let Some(finding) = refuses else { continue };
                    format!(
                        "the exception store of {vg}/{lv} is damaged: {finding}; `check {vg}/{lv}` lists all that is wrong"
                    )
                }
            };
            if boots && !snapshot.merging {
                warnings.push(format!("{vg}/{origin} comes up, and {vg}/{lv} shows wrong data: {why}."));
                continue;
            }
            let error = CliError::failed(format!("{vg}/{origin} remains inactive: {why}."));
            if snapshot.merging {
                return Err(error);
            }
            return Err(
                error.hint(format!("without that snapshot it comes up; remove it with: lvremove {vg}/{lv}"))
            );
        }
        Ok(warnings)
    }
}
