//! Goal: whatever order a volume's life takes (snapshots, merges, refused changes, restarts, held writes), every device reads
//! as a plain array says, and the other snapshot stays as it was.
//! Method: random lives by seed over simulated disks, against one array of bytes per device. No crash: that is the simulator's.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    dead_code
)]

mod rig;

use foldback_device::Memory;
use foldback_dm_table::{DeviceMapper, Stage, Transaction};
use foldback_testkit::{Rng, SimDisks};
use foldback_units::Bytes;
use foldback_user_dm::{RequestKind, UserDm};
use rig::{activate, apply, blank, create, load, name, over, remove, request, resume, suspend};

const LEN: u64 = 1024;
const REAL: &str = "0 1024 linear /pv0.img 512";
/// Where the two stores lie, on different disks.
const COWS: [&str; 2] =
    ["0 1280 linear /pv1.img 0", "0 640 linear /pv0.img 4096\n640 640 linear /pv1.img 4096"];
const CHUNKS: [u64; 2] = [8, 16];
const ORIGIN: &str = "0 1024 snapshot-origin root-real";

/// The volumes as arrays: one value per sector.
struct Model {
    root: Vec<u8>,
    snaps: [Option<Vec<u8>>; 2],
    merging: bool,
}

struct Life {
    rng: Rng,
    disks: SimDisks,
    dm: UserDm<SimDisks>,
    model: Model,
    /// How often each thing happened.
    merges: u32,
    restarts: u32,
}

fn snap(number: usize) -> String {
    format!("0 1024 snapshot root-real s{number}-cow P {}", CHUNKS[number])
}

fn merge_table() -> String {
    format!("0 1024 snapshot-merge root-real s0-cow P {}", CHUNKS[0])
}

impl Life {
    fn begin(seed: u64) -> Self {
        let disks = blank(seed);
        let mut dm = over(&disks);
        activate(&mut dm, "root-real", REAL);
        activate(&mut dm, "root", ORIGIN);
        let model = Model { root: vec![0; LEN as usize], snaps: [None, None], merging: false };
        Self { rng: Rng::new(seed), disks, dm, model, merges: 0, restarts: 0 }
    }

    fn members(&self) -> Vec<String> {
        let snaps = (0..2).filter(|number| self.model.snaps[*number].is_some());
        let mut members: Vec<String> = vec!["root".into()];
        members.extend(snaps.clone().map(|number| format!("s{number}")));
        members.push("root-real".into());
        members.extend(snaps.map(|number| format!("s{number}-cow")));
        members
    }

    fn transact(&mut self, preload: Vec<foldback_dm_table::Verb>, clean: Vec<foldback_dm_table::Verb>) {
        let members = self.members();
        let suspended = members.iter().map(|device| suspend(device)).collect();
        // From the bottom up; the origin before the snapshot whose store it may take over.
        let order = ["root-real", "s0-cow", "s1-cow", "s1", "root", "s0"];
        let in_order = order.iter().filter(|device| members.iter().any(|member| member == *device));
        let resumed = in_order.map(|device| resume(device)).collect();
        let transaction =
            Transaction { preload, suspend: suspended, headers: vec![], resume: resumed, clean };
        self.dm.transact(&transaction).unwrap();
    }

    fn take_snapshot(&mut self, number: usize) {
        if self.model.snaps[number].is_some() || self.model.merging {
            return;
        }
        activate(&mut self.dm, &format!("s{number}-cow"), COWS[number]);
        self.dm.write_at(&name(&format!("s{number}-cow")), Bytes(0), &[0; 4096], true).unwrap();
        let device = format!("s{number}");
        apply(&mut self.dm, &[create(&device), load(&device, &snap(number)), suspend("root")]);
        apply(&mut self.dm, &[resume(&device), resume("root")]);
        self.model.snaps[number] = Some(self.model.root.clone());
    }

    fn drop_snapshot(&mut self, number: usize) {
        if self.model.snaps[number].is_none() || (self.model.merging && number == 0) {
            return;
        }
        let (device, cow) = (format!("s{number}"), format!("s{number}-cow"));
        apply(&mut self.dm, &[suspend("root"), remove(&device), remove(&cow), resume("root")]);
        self.model.snaps[number] = None;
    }

    fn start_merge(&mut self) {
        let (Some(view), false) = (self.model.snaps[0].clone(), self.model.merging) else { return };
        self.transact(vec![load("root", &merge_table()), load("s0", "0 1024 error")], vec![]);
        self.model.root = view;
        self.model.merging = true;
    }

    fn finish_merge(&mut self) {
        if !self.dm.merge_progress(&name("root")).is_some_and(|progress| progress.finished) {
            return;
        }
        self.transact(
            vec![load("root", ORIGIN), load("s0", "0 8 zero")],
            vec![remove("s0"), remove("s0-cow")],
        );
        self.model.snaps[0] = None;
        self.model.merging = false;
        self.merges += 1;
    }

    fn refused(&mut self) {
        let transaction = Transaction {
            preload: vec![load("root", ORIGIN)],
            suspend: self.members().iter().map(|device| suspend(device)).chain([suspend("none")]).collect(),
            ..Transaction::default()
        };
        assert_eq!(self.dm.transact(&transaction).unwrap_err().0, Stage::Suspend);
    }

    /// Everything goes and comes back, as by `vgchange -an` and `vgchange -ay`.
    fn restart(&mut self) {
        apply(&mut self.dm, &[suspend("root")]);
        self.dm = over(&self.disks);
        activate(&mut self.dm, "root-real", REAL);
        for (number, cow) in COWS.into_iter().enumerate() {
            if self.model.snaps[number].is_some() {
                activate(&mut self.dm, &format!("s{number}-cow"), cow);
                let merging = self.model.merging && number == 0;
                let table = if merging { "0 1024 error".to_owned() } else { snap(number) };
                activate(&mut self.dm, &format!("s{number}"), &table);
            }
        }
        let table = if self.model.merging { merge_table() } else { ORIGIN.to_owned() };
        activate(&mut self.dm, "root", &table);
        self.restarts += 1;
    }

    /// A volume that can be used, and its array.
    fn pick(&mut self) -> (String, &mut Vec<u8>) {
        let usable =
            |number: &usize| self.model.snaps[*number].is_some() && !(self.model.merging && *number == 0);
        let snaps: Vec<usize> = (0..2).filter(usable).collect();
        if snaps.is_empty() || self.rng.percent(60) {
            return ("root".into(), &mut self.model.root);
        }
        let number = *self.rng.pick(&snaps);
        (format!("s{number}"), self.model.snaps[number].as_mut().unwrap())
    }

    fn range(&mut self) -> (u64, u64) {
        let at = self.rng.below(LEN);
        (at, self.rng.between(1, 40).min(LEN - at))
    }

    fn write(&mut self) {
        let ((at, len), fill) = (self.range(), self.rng.between(1, 255) as u8);
        let (device, array) = self.pick();
        array[at as usize..(at + len) as usize].fill(fill);
        self.dm.write_at(&name(&device), Bytes(at * 512), &vec![fill; (len * 512) as usize], false).unwrap();
    }

    /// A write that is submitted while its volume is suspended.
    fn held_write(&mut self) {
        let ((at, len), fill) = (self.range(), self.rng.between(1, 255) as u8);
        let (device, array) = self.pick();
        array[at as usize..(at + len) as usize].fill(fill);
        apply(&mut self.dm, &[suspend(&device)]);
        let memory = Memory::new((len * 512) as usize).unwrap();
        assert!(memory.whole().copy_from(&vec![fill; memory.len()]));
        let mut held = request(RequestKind::Write { fua: true }, at, len);
        held.buffer = Some(memory.whole());
        let ticket = self.dm.submit(&name(&device), held);
        apply(&mut self.dm, &[resume(&device)]);
        assert_eq!(self.dm.wait_for_answer(ticket).unwrap(), Ok(()));
    }

    /// Discarding what somebody's origin, snapshot or store is changes nothing, whichever device is asked.
    fn discard(&mut self) {
        let ((at, len), devices) = (self.range(), self.members());
        let device = self.rng.pick(&devices).clone();
        let ticket = self.dm.submit(&name(&device), request(RequestKind::Discard, at, len));
        // The stand-in of a merging snapshot refuses it.
        let _answered: Result<(), _> = self.dm.wait_for_answer(ticket).unwrap();
    }

    fn check(&mut self) {
        let mut devices = vec![("root".to_owned(), self.model.root.clone())];
        for number in 0..2 {
            if let Some(array) = &self.model.snaps[number]
                && !(self.model.merging && number == 0)
            {
                devices.push((format!("s{number}"), array.clone()));
            }
        }
        for (device, array) in devices {
            let mut bytes = vec![0; (LEN * 512) as usize];
            self.dm.read_at(&name(&device), Bytes(0), &mut bytes).unwrap();
            for (sector, (found, expected)) in bytes.chunks(512).zip(&array).enumerate() {
                assert!(found.iter().all(|byte| byte == expected), "sector {sector} of {device}");
            }
        }
    }

    fn step(&mut self) {
        match self.rng.below(20) {
            0 => self.take_snapshot(0),
            1 => self.take_snapshot(1),
            2 => self.start_merge(),
            3 => self.finish_merge(),
            4 => self.refused(),
            5 if self.rng.one_in(3) => self.drop_snapshot(1),
            6 if self.rng.one_in(3) => self.restart(),
            7 | 8 => self.held_write(),
            9 => self.check(),
            13 => self.discard(),
            10..=12 => {
                for _ in 0..self.rng.below(30) {
                    self.dm.step(true).unwrap();
                }
            }
            _ => self.write(),
        }
    }
}

#[test]
fn a_volume_reads_right_through_any_life() {
    let (mut merges, mut restarts) = (0, 0);
    for seed in 0..60 {
        let ran = std::panic::catch_unwind(|| {
            let mut life = Life::begin(seed);
            for _ in 0..120 {
                life.step();
            }
            life.check();
            (life.merges, life.restarts)
        });
        let counts = ran.unwrap_or_else(|_| panic!("seed {seed}"));
        merges += counts.0;
        restarts += counts.1;
    }
    assert!(merges > 20 && restarts > 20, "{merges} merges, {restarts} restarts");
}
