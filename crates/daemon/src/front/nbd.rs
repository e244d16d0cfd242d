//! The volumes of a VG that are served over NBD.
//!
//! What must hold:
//! - Asking twice for the same is asking once.
//! - A volume stays exported, with its clients, whatever it is called: sockets keep their names, exports do not.
//! - A volume that is gone is not listened for, and its sockets are gone with it.

use super::address::{Address, Place, make_directory};
use super::table::ServedLv;
use crate::carrier::{CarrierGone, CarrierHandle, NbdClaim, NbdExport};
use crate::rundir::RunDir;
use foldback_dm_table::DmName;
use foldback_units::LvmUuid;
use foldback_user_dm::DeviceId;
use std::io;
use std::path::PathBuf;

/// Why a volume is not served over NBD.
#[derive(Debug, thiserror::Error)]
pub enum NbdError {
    /// It is not live.
    #[error("{0} is not active")]
    NotActive(String),
    /// The address.
    #[error("{0} is no address to serve at; known are tcp:PORT, tcp:ADDRESS:PORT and unix:/PATH")]
    Address(String),
    /// The socket.
    #[error("listening at {address}: {error}")]
    Listen {
        /// Where.
        address: String,
        /// Why not.
        error: io::Error,
    },
    /// A client is connected.
    #[error("{device} is in use: {by}")]
    InUse {
        /// Which.
        device: DmName,
        /// Who.
        by: String,
    },
    /// Nothing else serves it.
    #[error(
        "{0} is served over NBD alone, since there are no files; to end that, take it down: lvchange -an"
    )]
    OnlyWay(String),
    /// The carrier.
    #[error(transparent)]
    Gone(#[from] CarrierGone),
}

#[derive(Debug)]
struct Exported {
    lv: LvmUuid,
    device: DeviceId,
    /// What clients call it.
    name: String,
    place: Place,
}

/// What a VG serves over NBD.
#[derive(Debug)]
pub(super) struct Exports {
    directory: PathBuf,
    carrier: CarrierHandle,
    all: Vec<Exported>,
}

impl Exports {
    pub(super) fn new(run: &RunDir, carrier: CarrierHandle) -> Self {
        Self { directory: run.path().join("nbd"), carrier, all: Vec::new() }
    }

    /// Serves a volume, at the usual address where none is named; the address.
    pub(super) fn export(&mut self, lv: &ServedLv, wish: Option<&str>) -> Result<String, NbdError> {
        let address = match wish {
            Some(text) => Address::parse(text).ok_or_else(|| NbdError::Address(text.to_owned()))?,
            None => self.usual(lv),
        };
        let mut there = self.all.iter().filter(|exported| exported.lv == lv.lv);
        if let Some(exported) = there.find(|exported| address.is_served_by(&exported.place.address)) {
            return Ok(exported.place.address.to_string());
        }
        let failed = |error| NbdError::Listen { address: address.to_string(), error };
        if matches!(&address, Address::Unix(path) if path.starts_with(&self.directory)) {
            make_directory(&self.directory).map_err(failed)?;
        }
        let bound = address.bind().map_err(failed)?;
        let export = NbdExport { device: lv.number, name: lv.name.clone() };
        let tcp = matches!(address, Address::Tcp(_));
        if let Err(error) = self.carrier.nbd_listen(export, bound.socket, tcp) {
            bound.place.remove();
            return Err(failed(error));
        }
        if address.is_public() {
            super::tell(&format!("{} is served to other machines, without a password", lv.device.0));
        }
        let text = bound.place.address.to_string();
        let (lv, device, name) = (lv.lv, lv.number, lv.name.clone());
        self.all.push(Exported { lv, device, name, place: bound.place });
        Ok(text)
    }

    /// Where a volume is served that was wished nowhere else: by its name, or, while another one that was called so before
    /// is served there, beside that. No other LV's device is called so: hyphens in LVs' names are doubled.
    fn usual(&self, lv: &ServedLv) -> Address {
        let called = |end: &str| Address::Unix(self.directory.join(format!("{}{end}.sock", lv.device.0)));
        let is_free = |address: &Address| {
            self.all.iter().all(|other| other.lv == lv.lv || other.place.address != *address)
        };
        let mut address = called("");
        for number in 2..=self.all.len().saturating_add(1) {
            if is_free(&address) {
                break;
            }
            address = called(&format!("-{number}"));
        }
        address
    }

    /// Ends serving what does not stay.
    fn retain(&mut self, stays: impl Fn(&Exported) -> bool) {
        let (stay, go): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.all).into_iter().partition(|exported| stays(exported));
        self.all = stay;
        for exported in go {
            // With a carrier that is gone nobody listens.
            self.carrier.nbd_stop(exported.device).ok();
            exported.place.remove();
        }
    }

    /// Ends serving a volume.
    pub(super) fn stop(&mut self, lv: &LvmUuid) {
        self.retain(|exported| exported.lv != *lv);
    }

    /// Ends serving volumes that are no more. One that was renamed is served on at its socket, by its new name.
    pub(super) fn keep(&mut self, served: &[ServedLv]) {
        let is = |exported: &Exported, lv: &ServedLv| lv.lv == exported.lv && lv.number == exported.device;
        self.retain(|exported| served.iter().any(|lv| is(exported, lv)));
        for exported in &mut self.all {
            let found = served.iter().find(|lv| lv.lv == exported.lv && lv.name != exported.name);
            // With a carrier that is gone nobody listens.
            if let Some(lv) = found
                && self.carrier.nbd_rename(exported.device, &lv.name).is_ok()
            {
                exported.name.clone_from(&lv.name);
            }
        }
    }

    pub(super) fn is_exported(&self, lv: &LvmUuid) -> bool {
        self.all.iter().any(|exported| exported.lv == *lv)
    }

    /// Where a volume is served.
    pub(super) fn addresses(&self, lv: &LvmUuid) -> Vec<String> {
        let of = self.all.iter().filter(|exported| exported.lv == *lv);
        of.map(|exported| exported.place.address.to_string()).collect()
    }

    /// Whether an NBD client has a volume open.
    pub(super) fn is_open(&self, lv: &ServedLv) -> bool {
        self.is_exported(&lv.lv) && matches!(self.carrier.nbd_users(lv.number), Ok(1..))
    }

    /// Keeps a volume from being opened; who uses it, where somebody does.
    pub(super) fn close(&self, lv: &ServedLv) -> Result<Option<NbdClaim>, (DmName, String)> {
        if !self.is_exported(&lv.lv) && !matches!(self.carrier.nbd_users(lv.number), Ok(1..)) {
            return Ok(None);
        }
        match self.carrier.nbd_close(lv.number) {
            Ok(Ok(claim)) => Ok(Some(claim)),
            Ok(Err(by)) => Err((lv.device.clone(), by)),
            Err(gone) => Err((lv.device.clone(), gone.to_string())),
        }
    }
}
