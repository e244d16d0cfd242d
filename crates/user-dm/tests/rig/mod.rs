//! Devices over simulated disks, and short ways to say verbs.

use foldback_dm_table::{DeviceMapper, DmName, Table, Verb};
use foldback_testkit::{Image, InjectedFault, Order, Sector, SimDisks};
use foldback_units::{Bytes, Sectors};
use foldback_user_dm::{DmError, RequestKind, Settings, UserDm, VolumeRequest};

/// The PVs' paths.
pub(crate) const PVS: [&str; 2] = ["/pv0.img", "/pv1.img"];

/// Sectors of each PV.
pub(crate) const PV_SECTORS: u64 = 16384;

/// Settings that make small groups.
pub(crate) fn small() -> Settings {
    Settings { scratch: Bytes(1 << 20), window: Bytes(64 << 10), depth: 8 }
}

pub(crate) fn name(name: &str) -> DmName {
    DmName(name.to_owned())
}

/// Two PVs of zeros.
pub(crate) fn blank(seed: u64) -> SimDisks {
    let disk = vec![Sector::Zero; PV_SECTORS as usize];
    SimDisks::new(Image::new(vec![disk.clone(), disk]), &[8, 8], Order::Any, seed)
}

pub(crate) fn over(disks: &SimDisks) -> UserDm<SimDisks> {
    UserDm::new(disks.clone(), &PVS.map(str::to_owned), small()).unwrap()
}

pub(crate) fn create(device: &str) -> Verb {
    Verb::Create { name: name(device), uuid: format!("LVM-{device}"), minor: None }
}

pub(crate) fn load(device: &str, table: &str) -> Verb {
    Verb::Load { name: name(device), table: Table::parse(table).unwrap(), read_only: false }
}

pub(crate) fn suspend(device: &str) -> Verb {
    Verb::Suspend { name: name(device), lockfs: false }
}

pub(crate) fn resume(device: &str) -> Verb {
    Verb::Resume { name: name(device) }
}

pub(crate) fn clear(device: &str) -> Verb {
    Verb::Clear { name: name(device) }
}

pub(crate) fn remove(device: &str) -> Verb {
    Verb::Remove { name: name(device) }
}

pub(crate) fn apply(dm: &mut UserDm<SimDisks>, verbs: &[Verb]) {
    for verb in verbs {
        dm.apply(verb).unwrap_or_else(|error| panic!("{verb:?}: {error}"));
    }
}

/// Creates, loads and resumes.
pub(crate) fn activate(dm: &mut UserDm<SimDisks>, device: &str, table: &str) {
    apply(dm, &[create(device), load(device, table), resume(device)]);
}

pub(crate) fn refusal(dm: &mut UserDm<SimDisks>, verb: &Verb) -> DmError {
    dm.apply(verb).expect_err("the verb should have been refused")
}

/// One byte value per sector written, over `sectors`.
pub(crate) fn write(dm: &mut UserDm<SimDisks>, device: &str, at: u64, sectors: u64, fill: u8) {
    dm.write_at(&name(device), Bytes(at * 512), &vec![fill; (sectors * 512) as usize], false).unwrap();
}

/// The first byte of each sector.
pub(crate) fn read(dm: &mut UserDm<SimDisks>, device: &str, at: u64, sectors: u64) -> Vec<u8> {
    let mut bytes = vec![0; (sectors * 512) as usize];
    dm.read_at(&name(device), Bytes(at * 512), &mut bytes).unwrap();
    bytes.chunks(512).map(|sector| sector[0]).collect()
}

/// A request without data.
pub(crate) fn request(kind: RequestKind, at: u64, len: u64) -> VolumeRequest {
    let range = foldback_units::SectorRange::new(Sectors(at), Sectors(len)).unwrap();
    VolumeRequest { kind, range, buffer: None }
}

/// Fails every operation of a kind, from the one after `after` on.
pub(crate) fn fail(disks: &SimDisks, kind: foldback_testkit::FaultKind, after: u64, times: u64) {
    disks.inject(InjectedFault { kind, disk: None, after, times });
}
