//! What commands say and how they end, against LVM2 2.03.16 on a real kernel.
//!
//! Goal: results, refusals and exit codes are LVM2's words. Method: one after the other, the commands of
//! `words/lvm2-2.03.16.txt` are run under their own names on the PVs of `reports`, each on the disks as the ones before it
//! left them, and compared: standard output, standard error, exit code. A command behind `~` is run and not compared:
//! each of these is a difference that docs/lvm2-differences.md gives a reason for. `premerge` does what the kernel did when the
//! volume was activated: nothing can be activated here.

mod recorded;

use recorded::{Recorded, check_all};

#[test]
fn every_word_is_lvm2s() {
    let disks = Recorded::disks();
    check_all(&disks, include_str!("words/lvm2-2.03.16.txt"), 100);
}
