//! The table of failures (docs/decisions/0002-user-dm.md, 0007-kernel-dm.md), call by call.

use super::counting::taken;
use super::fake::{Fake, MAJOR};
use crate::names::Names;
use crate::verbs::Mapper;
use foldback_dm_table::{DeviceRef, DmName, HeaderWrite, Stage, Table, Transaction, Verb};
use foldback_units::Bytes;
use std::path::Path;

fn name(text: &str) -> DmName {
    DmName(text.to_owned())
}

fn create(text: &str) -> Verb {
    Verb::Create { name: name(text), uuid: format!("LVM-{text}"), minor: None }
}

fn load(text: &str, table: &str) -> Verb {
    Verb::Load { name: name(text), table: Table::parse(table).unwrap(), read_only: false }
}

fn resume(text: &str) -> Verb {
    Verb::Resume { name: name(text) }
}

fn suspend(text: &str, lockfs: bool) -> Verb {
    Verb::Suspend { name: name(text), lockfs }
}

fn remove(text: &str) -> Verb {
    Verb::Remove { name: name(text) }
}

fn up(device: &str, table: &str) -> [Verb; 3] {
    [create(device), load(device, table), resume(device)]
}

const REAL: &str = "0 64 linear 7:0 2048";
const COW: &str = "0 32 linear 7:0 4096";
const SNAPSHOT: &str = "0 64 snapshot vg-root-real vg-snap-cow P 8";
const ORIGIN: &str = "0 64 snapshot-origin vg-root-real";
const MERGE: &str = "0 64 snapshot-merge vg-root-real vg-snap-cow P 8";

/// An origin and its snapshot, up.
fn mapper() -> Mapper<Fake> {
    let names = Names::new(&[], Some(MAJOR), Path::new("/dev"));
    let nodes = Some(crate::nodes::Nodes::new(Path::new("/nonexistent")));
    let mut mapper = Mapper { kernel: Fake::default(), names, nodes, locks: false, notes: Vec::new() };
    for (device, table) in
        [("vg-root-real", REAL), ("vg-snap-cow", COW), ("vg-snap", SNAPSHOT), ("vg-root", ORIGIN)]
    {
        mapper.carry_out_all(&up(device, table)).unwrap();
    }
    mapper.kernel.log.clear();
    mapper
}

/// A PV's file, and the write of its header.
struct Pv {
    dir: tempfile::TempDir,
}

impl Pv {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("pv"), [0; 8192]).unwrap();
        Self { dir }
    }

    fn header(&self) -> HeaderWrite {
        let pv = DeviceRef(self.dir.path().join("pv").display().to_string());
        HeaderWrite { pv, offset: Bytes(4096), commit: Box::new([1; 512]), revert: Box::new([2; 512]) }
    }

    /// The byte of which the header is made.
    fn state(&self) -> u8 {
        let bytes = std::fs::read(self.dir.path().join("pv")).unwrap();
        assert!(bytes[4096..4608].iter().all(|byte| *byte == bytes[4096]));
        bytes[4096]
    }
}

/// lvm2.md 2.6.
fn start_merge(pv: &Pv) -> Transaction {
    Transaction {
        preload: vec![load("vg-root", MERGE), load("vg-snap", "0 64 error")],
        suspend: vec![
            suspend("vg-root", true),
            suspend("vg-snap", true),
            suspend("vg-root-real", false),
            suspend("vg-snap-cow", false),
        ],
        headers: vec![pv.header()],
        resume: ["vg-root-real", "vg-snap-cow", "vg-root", "vg-snap"].map(resume).to_vec(),
        clean: Vec::new(),
    }
}

const OLD: [&str; 4] = [
    "vg-root: snapshot-origin 253:1",
    "vg-root-real: linear 7:0 2048",
    "vg-snap: snapshot 253:1 253:2 P 8",
    "vg-snap-cow: linear 7:0 4096",
];
const NEW: [&str; 4] = [
    "vg-root: snapshot-merge 253:1 253:2 P 8",
    "vg-root-real: linear 7:0 2048",
    "vg-snap: error",
    "vg-snap-cow: linear 7:0 4096",
];

/// Runs the start of a merge with these failures.
fn with(faults: &[&str], pv: &Pv) -> (Mapper<Fake>, Result<(), (Stage, String)>) {
    let mut mapper = mapper();
    mapper.kernel.faults = faults.iter().map(|fault| (*fault).to_owned()).collect();
    taken();
    let outcome = mapper.carry_out_transaction(&start_merge(pv));
    assert_eq!(taken(), 0, "nothing is allocated while devices are suspended, {faults:?}");
    assert!(mapper.kernel.faults.is_empty(), "every failure was met: {:?}", mapper.kernel.faults);
    (mapper, outcome.map_err(|(stage, error)| (stage, error.to_string())))
}

#[test]
fn a_merge_starts_in_the_order_of_the_plan_and_nothing_is_allocated_meanwhile() {
    let pv = Pv::new();
    let (mapper, outcome) = with(&[], &pv);
    outcome.unwrap();
    assert_eq!(mapper.kernel.tables(), NEW);
    assert_eq!(pv.state(), 1);
    assert_eq!(
        mapper.kernel.log,
        [
            "load vg-root: snapshot-merge 253:1 253:2 P 8",
            "load vg-snap: error",
            "suspend lockfs vg-root",
            "suspend lockfs vg-snap",
            "suspend vg-root-real",
            "suspend vg-snap-cow",
            "resume vg-root-real",
            "resume vg-snap-cow",
            "resume vg-root",
            "resume vg-snap",
        ]
    );
}

#[test]
fn a_load_that_fails_changes_nothing() {
    let pv = Pv::new();
    let (mapper, outcome) = with(&["load vg-snap: error"], &pv);
    let (stage, told) = outcome.unwrap_err();
    assert_eq!(stage, Stage::Preload);
    assert!(told.starts_with("loading a table into vg-snap: Invalid argument"), "{told}");
    assert_eq!(mapper.kernel.tables(), OLD);
    assert_eq!(pv.state(), 0);
}

/// Somebody was killed between a load and its resume: what he loaded does not come up with a resume of ours.
#[test]
fn a_table_that_a_dead_process_has_loaded_never_comes_up() {
    let pv = Pv::new();
    let mut mapper = mapper();
    mapper.carry_out_all(&[load("vg-root-real", "0 64 error")]).unwrap();
    assert_eq!(mapper.kernel.tables()[1], "vg-root-real: linear 7:0 2048 INACTIVE");
    mapper.carry_out_transaction(&start_merge(&pv)).unwrap();
    assert_eq!(mapper.kernel.tables(), NEW);
}

/// Inactive tables go before anything is resumed.
#[test]
fn a_suspend_that_fails_is_taken_back_from_the_bottom_up() {
    let pv = Pv::new();
    let (mapper, outcome) = with(&["suspend vg-root-real"], &pv);
    assert_eq!(outcome.unwrap_err().0, Stage::Suspend);
    assert_eq!(mapper.kernel.tables(), OLD);
    assert_eq!(pv.state(), 0);
    let after: Vec<&str> = mapper.kernel.log.iter().skip(4).map(String::as_str).collect();
    assert_eq!(
        after,
        [
            "suspend vg-root-real FAILS",
            "clear vg-snap",
            "clear vg-root",
            "resume vg-snap",
            "resume vg-root",
            "clear vg-snap",
            "clear vg-root"
        ]
    );
}

#[test]
fn a_commit_that_fails_everywhere_is_taken_back() {
    let pv = Pv::new();
    let mut mapper = mapper();
    let mut transaction = start_merge(&pv);
    transaction.headers[0].pv = DeviceRef("/dev/full".to_owned());
    transaction.headers[0].offset = Bytes(0);
    taken();
    let (stage, error) = mapper.carry_out_transaction(&transaction).unwrap_err();
    assert_eq!(taken(), 0);
    assert_eq!(stage, Stage::Commit);
    let told = error.to_string();
    assert!(
        told.starts_with("writing the metadata header of /dev/full: ")
            && told.contains("the VG reads as either old or new, and its devices have their old tables"),
        "{told}"
    );
    assert_eq!(mapper.kernel.tables(), OLD);
}

#[test]
fn one_header_that_was_written_is_the_commit() {
    let pv = Pv::new();
    let mut mapper = mapper();
    let mut transaction = start_merge(&pv);
    let mut full = pv.header();
    full.pv = DeviceRef("/dev/full".to_owned());
    transaction.headers.insert(0, full);
    taken();
    mapper.carry_out_transaction(&transaction).unwrap();
    assert_eq!(taken(), 0);
    let said = mapper.notes.join("\n");
    assert!(
        said.starts_with("writing the metadata header of /dev/full: ") && said.contains("put right"),
        "{said}"
    );
    assert_eq!(mapper.kernel.tables(), NEW);
    assert_eq!(pv.state(), 1);
}

/// A merging table is refused beside the one that merges. At the end of a merge it stays as it is where the new one does not
/// fit its disk, and whoever uses the device goes on.
#[test]
fn a_table_that_was_not_put_in_leaves_the_old_one_without_loading_it_again() {
    let pv = Pv::new();
    let (mut mapper, outcome) = with(&[], &pv);
    outcome.unwrap();
    let end = Transaction {
        preload: vec![load("vg-root", "0 64 linear 7:0 2048")],
        suspend: vec![suspend("vg-root", false), suspend("vg-root-real", false)],
        headers: vec![pv.header()],
        resume: ["vg-root-real", "vg-root"].map(resume).to_vec(),
        clean: vec![remove("vg-snap")],
    };
    let again = format!("load vg-root: {}", NEW[0].trim_start_matches("vg-root: "));
    mapper.kernel.faults = vec!["swap vg-root".to_owned(), again];
    taken();
    let (stage, error) = mapper.carry_out_transaction(&end).unwrap_err();
    assert_eq!((stage, taken()), (Stage::Resume, 0));
    assert!(error.to_string().starts_with("resuming vg-root: "), "{error}");
    assert_eq!(mapper.kernel.tables(), NEW);
    assert_eq!(mapper.kernel.faults.len(), 1, "the old table was not loaded");
}

/// K8: the kernel has left the device suspended with its new table; its old one is loaded again, and what is behind it
/// keeps its old one, so that the store stays with the snapshot.
#[test]
fn a_resume_that_fails_goes_back_to_old_tables_from_there_on() {
    let pv = Pv::new();
    let (mapper, outcome) = with(&["resume vg-root"], &pv);
    let (stage, told) = outcome.unwrap_err();
    assert_eq!((stage, pv.state()), (Stage::Resume, 1));
    assert!(told.starts_with("resuming vg-root: "), "{told}");
    assert_eq!(mapper.kernel.tables(), OLD);
    let log = mapper.kernel.log.join("\n");
    assert!(
        log.contains("resume vg-root FAILS\nload vg-root: snapshot-origin 253:1\nresume vg-root\n"),
        "{log}"
    );
    assert!(log.ends_with("clear vg-snap\nresume vg-snap"), "{log}");
}

/// Nobody may hang on it for ever.
#[test]
fn a_device_whose_old_table_cannot_be_had_answers_with_errors() {
    let pv = Pv::new();
    let (mapper, outcome) = with(&["resume vg-root", "load vg-root: snapshot-origin 253:1"], &pv);
    let (stage, told) = outcome.unwrap_err();
    assert_eq!(stage, Stage::Resume);
    assert!(told.contains("answers with errors now"), "{told}");
    assert_eq!(mapper.kernel.tables()[0], "vg-root: error");
    assert!(mapper.kernel.devices.values().all(|device| !device.suspended));
}

#[test]
fn new_devices_go_when_the_change_is_taken_back() {
    let pv = Pv::new();
    let mut mapper = mapper();
    let mut transaction = start_merge(&pv);
    transaction.preload.extend(up("vg-new-cow", COW));
    transaction
        .preload
        .extend([create("vg-new"), load("vg-new", "0 64 snapshot vg-root-real vg-new-cow P 8")]);
    transaction.resume.insert(2, resume("vg-new"));
    mapper.kernel.faults = vec!["suspend lockfs vg-snap".to_owned()];
    assert_eq!(mapper.carry_out_transaction(&transaction).unwrap_err().0, Stage::Suspend);
    assert_eq!(mapper.kernel.tables(), OLD);
}

/// The kernel suspends a device before it puts its first table in.
#[test]
fn a_new_device_without_a_table_goes_when_its_resume_fails() {
    let pv = Pv::new();
    let mut mapper = mapper();
    let mut transaction = start_merge(&pv);
    transaction.preload.extend([create("vg-new"), load("vg-new", "0 64 error")]);
    transaction.resume.insert(2, resume("vg-new"));
    mapper.kernel.faults = vec!["resume vg-snap-cow".to_owned()];
    assert_eq!(mapper.carry_out_transaction(&transaction).unwrap_err().0, Stage::Resume);
    assert_eq!(mapper.kernel.tables(), OLD);
}

#[test]
fn what_cannot_be_removed_is_told_and_the_rest_goes() {
    let mut mapper = mapper();
    let clean = ["vg-root", "vg-snap", "vg-snap-cow", "vg-root-real"].map(remove).to_vec();
    mapper.kernel.faults = vec!["remove vg-snap".to_owned()];
    let transaction = Transaction { clean, ..Transaction::default() };
    let (stage, error) = mapper.carry_out_transaction(&transaction).unwrap_err();
    assert_eq!(stage, Stage::Clean);
    assert!(error.to_string().starts_with("removing vg-snap: "), "{error}");
    assert_eq!(mapper.kernel.tables(), [OLD[2]]);
}

#[test]
fn a_plan_that_would_leave_a_device_suspended_is_refused() {
    let pv = Pv::new();
    let mut mapper = mapper();
    let mut transaction = start_merge(&pv);
    transaction.resume.pop();
    let (stage, error) = mapper.carry_out_transaction(&transaction).unwrap_err();
    assert_eq!(stage, Stage::Preload);
    assert_eq!(error.to_string(), "suspending vg-snap: the plan suspends it and never resumes it");
    let mut transaction = start_merge(&pv);
    transaction.suspend.push(create("vg-late"));
    assert_eq!(mapper.carry_out_transaction(&transaction).unwrap_err().0, Stage::Preload);
    assert_eq!(mapper.kernel.tables(), OLD);
}

/// Every single call of the transaction fails once: old or new, never suspended, and the answer says which.
#[test]
fn whatever_fails_no_device_stays_suspended() {
    let pv = Pv::new();
    let all = with(&[], &pv).0.kernel.log;
    for fault in &all {
        let pv = Pv::new();
        let mut mapper = mapper();
        mapper.kernel.faults = vec![fault.clone()];
        taken();
        let (stage, _) = mapper.carry_out_transaction(&start_merge(&pv)).unwrap_err();
        assert_eq!(taken(), 0, "{fault}");
        // The store is the merge's by then: the snapshot's old table beside it would write to it, too.
        let wanted = if fault == "resume vg-snap" { NEW } else { OLD };
        assert_eq!(mapper.kernel.tables(), wanted, "{fault}");
        assert_eq!(pv.state() == 1, stage == Stage::Resume, "{fault}: {stage:?}");
    }
    assert_eq!(all.len(), 10);
}

#[test]
fn tables_come_back_as_they_were_planned() {
    let mut mapper = mapper();
    let specs =
        crate::query::table(&mut mapper.kernel, &name("vg-snap"), crate::query::Slot::Live).unwrap().unwrap();
    let table = mapper.names.table(&mut mapper.kernel, &specs);
    assert_eq!(table, Table::parse(SNAPSHOT).unwrap());
}

#[test]
fn names_of_open_devices_change_and_come_back() {
    let mut mapper = mapper();
    let rename = |from: &str, to: &str| Verb::Rename { name: name(from), new: name(to) };
    let clean = vec![rename("vg-snap", "vg-kept")];
    mapper.carry_out_transaction(&Transaction { clean, ..Transaction::default() }).unwrap();
    assert!(mapper.kernel.devices.contains_key("vg-kept"));
    let preload = vec![rename("vg-kept", "vg-again"), create("vg-root")];
    let told = mapper.carry_out_transaction(&Transaction { preload, ..Transaction::default() }).unwrap_err();
    assert!(told.1.to_string().contains("exists already"), "{}", told.1);
    assert!(mapper.kernel.devices.contains_key("vg-kept"));
}

/// The first buffer is too small for it.
#[test]
fn a_table_that_does_not_fit_is_asked_for_again() {
    let mut mapper = mapper();
    let lines: Vec<String> = (0..2000).map(|at| format!("{} 8 linear 7:0 {}", at * 8, at * 16)).collect();
    mapper.carry_out_all(&up("vg-long", &lines.join("\n"))).unwrap();
    let specs =
        crate::query::table(&mut mapper.kernel, &name("vg-long"), crate::query::Slot::Live).unwrap().unwrap();
    assert_eq!(mapper.names.table(&mut mapper.kernel, &specs), Table::parse(&lines.join("\n")).unwrap());
}

#[test]
fn a_table_that_leads_to_its_own_device_is_refused() {
    let mut mapper = mapper();
    let told =
        mapper.carry_out_all(&[load("vg-root-real", "0 8 linear vg-root-real 0")]).unwrap_err().to_string();
    assert_eq!(told, "loading a table into vg-root-real: the table leads back to the device itself");
    let told = mapper.carry_out_all(&[load("vg-root-real", "0 8 linear nowhere 0")]).unwrap_err().to_string();
    assert!(told.contains("nowhere is neither"), "{told}");
}
