//! Reports against what LVM2 2.03.16 printed on a real kernel, byte for byte (lvm2.md 3.4).
//!
//! Goal: `pvs`, `vgs` and `lvs` say what LVM2 says. Method: the first 64 KiB of four PVs that LVM2 made (every field,
//! unit and format was then asked of LVM2 itself, `reports/make.sh`), grown to their sizes again; each command of
//! `reports/lvm2-2.03.16.txt` is run on them and compared: standard output, standard error, exit code.
//! The PVs are named by paths as long as the devices' were, so that columns are as wide.

mod recorded;

use recorded::{Recorded, check_all};

#[test]
fn every_report_is_lvm2s() {
    let disks = Recorded::disks();
    check_all(&disks, include_str!("reports/lvm2-2.03.16.txt"), 800);
}
