//! What LVM2 writes, this crate reads.

use crate::agreement::agree;
use crate::lab::Lab;
use crate::reading::read_pv;
use foldback_lvm2_format::metadata::Metadata;
use foldback_lvm2_format::text::{Dialect, Notes};
use foldback_units::VgName;

/// The system ID of the host that the labs are on, where they have one.
const HOST: &str = "this-host";

/// Runs the commands one by one; after each of them both sides must agree.
fn agree_after_each(lab: &Lab, commands: &str) {
    for command in commands.lines().map(str::trim).filter(|line| !line.is_empty()) {
        lab.run(command);
        let vg = agree(lab);
        if vg.is_foreign_to(Some(HOST)) {
            continue;
        }
        lab.run(&format!("vgcfgbackup -f @backup {}", vg.name));
        let backup = std::fs::read(lab.file("backup")).unwrap();
        let from_backup = Metadata::parse(&backup, Dialect::Backup).unwrap();
        assert_eq!(from_backup.metadata.vg, vg, "{command}");
    }
}

/// lvm2.md 1.1 and 1.5: areas of other sizes, places and numbers, a label elsewhere, boot loader areas.
#[test]
fn areas_of_every_shape() {
    let Some(lab) = Lab::new("areas_of_every_shape", &[64, 64, 64, 64, 64]) else { return };
    lab.run(
        "pvcreate --pvmetadatacopies 2 --metadatasize 300k pv0
         pvcreate --dataalignment 192k --bootloaderareasize 1m pv1
         pvcreate --pvmetadatacopies 0 pv2
         pvcreate --labelsector 3 --metadatasize 8m --dataalignmentoffset 7s pv3
         pvcreate --labelsector 0 --metadataignore y pv4",
    );
    // A PV of no VG: an empty area, not in use.
    for (disk, areas) in lab.disks.iter().zip([2, 1, 0, 1, 1]) {
        let pv = read_pv(&disk.image).unwrap();
        assert_eq!(pv.areas.len(), areas);
        assert!(pv.areas.iter().all(|(header, text)| text.is_none() && header.committed.text.is_none()));
        assert!(!pv.label.pv.is_used());
    }
    agree_after_each(
        &lab,
        "vgcreate -s 1m vg pv0 pv1 pv2 pv3 pv4
         lvcreate -an -Zn -Wn -l 100%PVS -n lin vg pv0 pv2
         pvchange --metadataignore y pv0
         pvchange --metadataignore n pv0
         vgchange --metadatacopies 2 vg
         vgchange --metadatacopies all vg
         lvremove -f vg/lin
         vgreduce vg pv0",
    );
    assert!(!read_pv(&lab.disks[0].image).unwrap().label.pv.is_used());
}

/// lvm2.md 1.5: the ring of the smallest area goes round, text by text, also inside a text.
#[test]
fn a_small_ring_goes_round() {
    let Some(lab) = Lab::new("a_small_ring_goes_round", &[16]) else { return };
    lab.run("pvcreate --metadatasize 32k --dataalignment 4k pv0");
    lab.run("vgcreate -s 128k vg pv0");
    let mut wrapped = 0;
    for number in 0..12 {
        lab.run(&format!("lvcreate -an -Zn -Wn -l 1 -n lv{number} --addtag of/{number} vg"));
        let vg = agree(&lab);
        assert_eq!(vg.lvs.len(), number + 1);
        let pv = read_pv(&lab.disks[0].image).unwrap();
        let header = pv.areas[0].0;
        wrapped += u32::from(header.ring.pieces(header.committed.text.unwrap().place).second.is_some());
    }
    assert!(wrapped > 0, "no text went round: the area is too large for this test");
}

/// lvm2.md 1.7: everything that LVM2's commands can set without a kernel.
#[test]
fn options_of_vgs_and_lvs() {
    let Some(lab) = Lab::new("options_of_vgs_and_lvs", &[64, 64]) else { return };
    let tags: Vec<String> = (0..60).map(|number| format!("--addtag t{number}/a=b:c&d#e!")).collect();
    let tags = tags.join(" ");
    lab.run("vgcreate -s 64k vg pv0 pv1");
    agree_after_each(
        &lab,
        &format!(
            "vgchange --alloc cling -l 300 -p 20 vg
             vgchange {tags} vg
             vgchange --setautoactivation n vg
             lvcreate -an -Zn -Wn -L 10m -n lin --contiguous y --addtag x --addtag y/z vg
             lvcreate -an -Zn -Wn -i 2 -I 32k -L 8m -n striped.lv+1 vg
             lvcreate -an -Zn -Wn -L 1m -n -- vg
             lvcreate -an --type error -L 4m -n err vg
             lvcreate -an --type zero -L 4m -n zer vg
             lvchange -r none vg/lin
             lvchange -r 256 vg/striped.lv+1
             lvchange -r auto vg/lin
             lvchange -pr vg/lin
             lvchange -My --minor 7 --major 253 vg/striped.lv+1
             lvchange -Mn vg/striped.lv+1
             lvchange -ky vg/lin
             lvchange --setautoactivation n vg/lin
             lvchange --alloc anywhere vg/lin
             lvextend --alloc normal -L +20m vg/striped.lv+1
             lvextend --alloc anywhere -l +100%FREE vg/zer
             lvreduce -f -l 2 vg/zer
             lvrename vg/lin vg/other
             pvchange -xn pv1
             pvchange --addtag of-a-pv pv1
             pvchange -u pv1
             pvresize --setphysicalvolumesize 60m -y pv1
             vgchange -u vg
             vgrename vg vg-2
             vgchange -x n vg-2
             vgexport vg-2
             vgimport vg-2"
        )
        .replace("-n -- vg", "-n a--b vg"),
    );
}

/// LVM2 takes the names of header fields for VGs, but for two that it could not read back. Nor do we.
#[test]
fn vgs_with_the_names_of_header_fields() {
    let Some(lab) = Lab::new("vgs_with_the_names_of_header_fields", &[16]) else { return };
    for name in ["description", "creation_host", "creation_time"] {
        agree_after_each(
            &lab,
            &format!("vgcreate -s 1m {name} pv0\nlvcreate -an -Zn -Wn -l 1 -n status {name}"),
        );
        lab.run(&format!("vgremove -f {name}"));
    }
    let mut renamed =
        Metadata::parse(&std::fs::read(lab.file("backup")).unwrap(), Dialect::Backup).unwrap().metadata;
    for name in ["contents", "version"] {
        renamed.vg.name = VgName::new(name).unwrap();
        assert!(renamed.write(Dialect::Disk, &Notes::NONE).is_err());
        assert!(!lab.ask(&format!("vgcreate -s 1m {name} pv0")).ok);
        let text = format!("{name} {{ }} contents = \"Text Format Volume Group\" version = 1");
        assert!(Metadata::parse(text.as_bytes(), Dialect::Disk).is_err());
    }
}

/// lvm2.md 1.7, WRITE_LOCKED: a VG with an owner hides WRITE.
#[test]
fn a_vg_with_an_owner() {
    let Some(lab) = Lab::new("a_vg_with_an_owner", &[64]) else { return };
    lab.configure(Some(HOST));
    agree_after_each(
        &lab,
        "vgcreate vg pv0
         lvcreate -an -Zn -Wn -l 3 -n lin vg
         lvchange -pr vg/lin
         vgchange -y --systemid another vg",
    );
    let vg = agree(&lab);
    assert!(vg.hides_write() && vg.is_writable() && vg.is_foreign_to(Some(HOST)));
}

/// lvm2.md 1.7: a PV that is gone, before and after a write that records it.
#[test]
fn a_missing_pv() {
    let Some(mut lab) = Lab::new("a_missing_pv", &[64, 64]) else { return };
    lab.run(
        "vgcreate vg pv0 pv1
         lvcreate -an -Zn -Wn -l 4 -n on0 vg pv0
         lvcreate -an -Zn -Wn -l 4 -n on1 vg pv1",
    );
    lab.lose_last_disk();
    let vg = agree(&lab);
    // As long as nothing was written the text does not know.
    assert_eq!(vg.missing_pvs().count(), 0);
    lab.run("vgchange --addtag written vg");
    let vg = agree(&lab);
    assert_eq!(vg.missing_pvs().count(), 1);
    let partial: Vec<&str> =
        vg.lvs.iter().filter(|lv| vg.is_partial(lv)).map(|lv| lv.name.as_str()).collect();
    assert_eq!(partial, ["on1"]);
    lab.run("lvchange --addtag x vg/on0");
    agree(&lab);
    lab.run("vgreduce --removemissing --force -y vg");
    assert_eq!(agree(&lab).lvs.len(), 1);
}

/// lvm2.md 1.7 and 1.9: segments that only a kernel could make, restored from texts as LVM2 writes them.
#[test]
fn segments_of_every_kind() {
    for (file, vg, disks) in [
        ("fixtures/lvm2/rich.vg", "rich", 2),
        ("fixtures/cow/vg-segments.vg", "fx", 2),
        ("fixtures/lvm2/kinds.vg", "kinds", 2),
    ] {
        let Some(lab) = Lab::new("segments_of_every_kind", &vec![128; disks]) else { return };
        let path = std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..").join(file);
        let text = std::fs::read_to_string(&path).unwrap();
        let wanted = Metadata::parse(text.as_bytes(), Dialect::Backup).unwrap();
        let wanted = wanted.metadata.vg;
        assert_eq!((wanted.name.as_str(), wanted.pvs.len()), (vg, disks), "{file}");
        lab.configure(wanted.system_id.as_deref());
        for (index, pv) in wanted.pvs.iter().enumerate() {
            lab.run(&format!("pvcreate --norestorefile --uuid {} pv{index}", pv.id));
        }
        std::fs::write(lab.file("source"), &text).unwrap();
        lab.run(&format!("vgcfgrestore --force -y -f @source {vg}"));
        let read = agree(&lab);
        assert_eq!(read.lvs.len(), wanted.lvs.len(), "{file}");
        lab.quietly(&format!("vgck {vg}"));
        let tag = lab.ask(&format!("vgchange --addtag written {vg}"));
        assert!(tag.ok, "{tag:?}");
        agree(&lab);
        lab.run(&format!("vgcfgbackup -f @backup {vg}"));
        let backup = std::fs::read(lab.file("backup")).unwrap();
        let from_backup = Metadata::parse(&backup, Dialect::Backup).unwrap();
        let on_disk = agree(&lab);
        assert_eq!(from_backup.metadata.vg, on_disk, "{file}");
    }
}
