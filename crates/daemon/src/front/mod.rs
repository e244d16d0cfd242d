//! How a VG's live volumes are served: files through FUSE, block devices on them as root, NBD where it was asked for.
//!
//! What must hold:
//! - What is served follows from the live devices: after every change of these, [`Front::settle`] makes it so.
//! - A volume that goes is first kept from being opened; one in use does not go.
//! - A block device lets discards through only where its volume has no snapshots and is none, and all disks make holes: a loop
//!   device wants zeros behind a discard, which elsewhere would be copied out, or written.
//! - Where FUSE is not to be had it is said once, and NBD serves instead.

mod address;
mod block;
mod nbd;
mod table;

pub(crate) use nbd::NbdError;

use crate::carrier::{CarrierHandle, NbdClaim};
use crate::rundir::RunDir;
use crate::state::Front as Left;
use crate::vg::LvStatus;
use block::Block;
use foldback_dm_table::DmName;
use foldback_frontend_fuse::{
    FileClaim, FileId, FuseError, LoopClaim, LoopOptions, MountOptions, Session, Shape, Stale, detach_stale,
    unmount_stale,
};
use foldback_units::{LvmUuid, VgName};
use nbd::Exports;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use table::{ServedLv, Table};

/// A VG's volumes, served.
#[derive(Debug)]
pub(crate) struct Front {
    directory: PathBuf,
    table: Arc<Table>,
    session: Option<Session>,
    /// Why there is no session, once it was tried.
    no_files: Option<String>,
    blocks: Vec<(FileId, Block)>,
    /// Why a loop device could not be had, where that was said.
    no_blocks: Option<String>,
    exports: Exports,
    /// All disks make holes.
    holes: bool,
}

/// Volumes that nobody can open, until this is dropped.
#[derive(Debug, Default)]
pub(crate) struct Closed {
    files: Vec<FileClaim>,
    blocks: Vec<(FileId, LoopClaim)>,
    nbd: Vec<NbdClaim>,
}

/// Where a volume is served.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Places {
    /// A file.
    pub file: Option<PathBuf>,
    /// A block device.
    pub block: Option<PathBuf>,
    /// Links to that.
    pub links: Vec<PathBuf>,
    /// Addresses of NBD servers.
    pub nbd: Vec<String>,
}

/// What else is in the directory.
const TAKEN: &[&str] = &["nbd", "api.sock", "daemon.lock", "daemon.log"];

/// Where the files of a VG are. The sockets have a name that a VG may have, too; its files go to one that none can have.
fn files_directory(run: &RunDir, vg: &str) -> PathBuf {
    let taken = TAKEN.contains(&vg) || vg.starts_with("active.json");
    run.path().join(if taken { format!("{vg}@") } else { vg.to_owned() })
}

fn tell(text: &str) {
    say!("foldback: {text}");
}

/// An LV's name from its device's: `vg-lv` with hyphens doubled.
pub(crate) fn lv_name(vg: &VgName, device: &DmName) -> Option<String> {
    let prefix = format!("{}-", vg.as_str().replace('-', "--"));
    Some(device.0.strip_prefix(&prefix)?.replace("--", "-"))
}

impl Front {
    /// Nothing is served yet.
    pub(crate) fn new(run: &RunDir, vg: &VgName, carrier: CarrierHandle, holes: bool) -> Self {
        Self {
            directory: files_directory(run, vg.as_str()),
            table: Table::new(carrier.clone()),
            session: None,
            no_files: None,
            blocks: Vec::new(),
            no_blocks: None,
            exports: Exports::new(run, carrier),
            holes,
        }
    }

    /// Serves what is live, and nothing else. `closed` are the claims that were taken for the change before.
    pub(crate) fn settle(&mut self, vg: &VgName, lvs: &[LvStatus], mut closed: Closed) {
        let before = self.table.served();
        let wanted: Vec<ServedLv> = lvs.iter().filter_map(|lv| served(vg, lv, self.holes)).collect();
        self.drop_blocks(&before, &wanted, &mut closed);
        self.exports.keep(&wanted);
        self.table.set(wanted);
        let after = self.table.served();
        if after.is_empty() {
            drop(closed);
            return self.end();
        }
        self.mount();
        self.forget(vg, &before, &after);
        // A content that changed under a device must not be read from memory.
        for (_, claim) in &closed.blocks {
            if let Err(error) = claim.flush_buffers() {
                tell(&error.to_string());
            }
        }
        drop(closed);
        self.make_blocks(vg, &after);
        self.settle_discards(lvs, &after);
        self.export_instead(&after);
    }

    /// Where files cannot be had, NBD serves all.
    fn export_instead(&mut self, after: &[(FileId, ServedLv)]) {
        if self.no_files.is_none() {
            return;
        }
        for (_, lv) in after {
            if !self.exports.is_exported(&lv.lv)
                && let Err(error) = self.exports.export(lv, None)
            {
                tell(&error.to_string());
            }
        }
    }

    fn served_lv(&self, lv: &str) -> Result<ServedLv, NbdError> {
        let mut served = self.table.served().into_iter().map(|(_, served)| served);
        let found = served.find(|served| served.device.0 == lv || served.name == lv);
        found.ok_or_else(|| NbdError::NotActive(lv.to_owned()))
    }

    /// Serves a volume over NBD, by its name or its device's; where.
    pub(crate) fn export_nbd(&mut self, lv: &str, address: Option<&str>) -> Result<String, NbdError> {
        let lv = self.served_lv(lv)?;
        self.exports.export(&lv, address)
    }

    /// Ends that, unless a client is connected or nothing else serves the volume.
    pub(crate) fn unexport_nbd(&mut self, lv: &str) -> Result<(), NbdError> {
        let lv = self.served_lv(lv)?;
        if self.no_files.is_some() {
            return Err(NbdError::OnlyWay(lv.device.0));
        }
        let closed = self.exports.close(&lv).map_err(|(device, by)| NbdError::InUse { device, by })?;
        self.exports.stop(&lv.lv);
        drop(closed);
        Ok(())
    }

    /// Serves again what an earlier daemon served.
    pub(crate) fn export_again(&mut self, left: &[Left]) {
        for (_, lv) in self.table.served() {
            let of = left.iter().filter(|left| left.lv == lv.lv.to_string());
            for address in of.flat_map(|left| &left.nbd) {
                if let Err(error) = self.exports.export(&lv, Some(address)) {
                    tell(&error.to_string());
                }
            }
        }
    }

    fn mount(&mut self) {
        if self.session.is_some() || self.no_files.is_some() {
            return;
        }
        let made =
            std::fs::create_dir_all(&self.directory).map_err(|error| error.to_string()).and_then(|()| {
                let options = MountOptions::default();
                let volumes = Arc::clone(&self.table);
                Session::mount(&self.directory, volumes, options).map_err(|error| error.to_string())
            });
        match made {
            Ok(session) => self.session = Some(session),
            Err(error) => {
                tell(&format!("{error}; volumes are served over NBD instead"));
                self.no_files = Some(error);
            }
        }
    }

    /// Makes the kernel forget names and sizes that are no more.
    fn forget(&mut self, vg: &VgName, before: &[(FileId, ServedLv)], after: &[(FileId, ServedLv)]) {
        let Some(session) = &self.session else { return };
        for (id, was) in before {
            let now = after.iter().find(|(other, _)| other == id).map(|(_, lv)| lv);
            if now.is_none_or(|now| now.name != was.name) {
                session.forget_name(&was.name).unwrap_or_else(|error| tell(&error.to_string()));
            }
            if let Some(now) = now.filter(|now| now.name != was.name) {
                let links = links_of(vg, now);
                for (_, block) in self.blocks.iter_mut().filter(|(other, _)| other == id) {
                    block.relink(&links, &mut |text| tell(&text));
                }
            }
            if let Some(now) = now.filter(|now| now.shape != was.shape) {
                session.invalidate(*id).unwrap_or_else(|error| tell(&error.to_string()));
                let file = session.path(&now.name);
                for (_, block) in self.blocks.iter().filter(|(other, _)| other == id) {
                    block.device.resize(&file).unwrap_or_else(|error| tell(&error.to_string()));
                }
            }
        }
    }

    /// Detaches the block devices of volumes that go.
    fn drop_blocks(&mut self, before: &[(FileId, ServedLv)], wanted: &[ServedLv], closed: &mut Closed) {
        let stays = |id: &FileId| {
            let lv = before.iter().find(|(other, _)| other == id).map(|(_, lv)| lv);
            lv.is_some_and(|lv| wanted.iter().any(|wanted| wanted.lv == lv.lv))
        };
        let (stay, go): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.blocks).into_iter().partition(|(id, _)| stays(id));
        self.blocks = stay;
        for (id, block) in go {
            let claim = closed.blocks.iter().position(|(other, _)| *other == id);
            let claim = claim.map(|index| closed.blocks.swap_remove(index).1);
            block.detach(claim).unwrap_or_else(|error| tell(&error.to_string()));
        }
    }

    fn make_blocks(&mut self, vg: &VgName, after: &[(FileId, ServedLv)]) {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let Some(session) = &self.session else { return };
        for (id, lv) in after {
            if self.blocks.iter().any(|(other, _)| other == id) {
                continue;
            }
            let links = links_of(vg, lv);
            let file = session.path(&lv.name);
            let options = LoopOptions {
                read_only: lv.shape.read_only,
                discards: lv.discards,
                ..LoopOptions::default()
            };
            match Block::attach(&file, options, &links, &mut |text| tell(&text)) {
                Ok(block) => {
                    self.blocks.push((*id, block));
                    self.no_blocks = None;
                }
                Err(error) => {
                    // It is tried again after every change; the same reason is said once.
                    let error = Some(error.to_string());
                    if self.no_blocks != error {
                        if let Some(error) = &error {
                            tell(error);
                        }
                        self.no_blocks = error;
                    }
                    return;
                }
            }
        }
    }

    /// Lets discards through where they reach the disks by now, and nowhere else.
    fn settle_discards(&mut self, lvs: &[LvStatus], after: &[(FileId, ServedLv)]) {
        for (id, block) in &mut self.blocks {
            let Some((_, lv)) = after.iter().find(|(other, _)| other == id) else { continue };
            // What is set waits for requests, and these would wait for a resume.
            if lvs.iter().any(|status| status.id == lv.lv && status.suspended) {
                continue;
            }
            if lv.discards {
                block.allow_discards(&mut |text| tell(&text));
            } else {
                block.refuse_discards().unwrap_or_else(|error| tell(&error.to_string()));
            }
        }
    }

    /// Keeps discards from these devices, whose requests are not held.
    pub(crate) fn refuse_discards(&mut self, devices: &[DmName]) -> Result<(), (DmName, FuseError)> {
        for (id, lv) in self.table.served() {
            if devices.contains(&lv.device)
                && let Some((_, block)) = self.blocks.iter_mut().find(|(other, _)| *other == id)
            {
                block.refuse_discards().map_err(|error| (lv.device, error))?;
            }
        }
        Ok(())
    }

    /// Keeps these devices from being opened; who uses the first that is in use.
    pub(crate) fn close(&self, devices: &[DmName]) -> Result<Closed, (DmName, String)> {
        let closed = self.claim(devices)?;
        for (id, claim) in &closed.blocks {
            // What somebody wrote and closed belongs to the volume as it is before the change.
            claim.flush_buffers().map_err(|error| (self.device_of(*id), error.to_string()))?;
        }
        Ok(closed)
    }

    fn device_of(&self, id: FileId) -> DmName {
        let served = self.table.served();
        let found = served.into_iter().find(|(other, _)| *other == id);
        found.map_or_else(|| DmName(String::new()), |(_, lv)| lv.device)
    }

    /// The same of devices whose requests wait: nothing is written back to them, which would wait as well.
    pub(crate) fn claim(&self, devices: &[DmName]) -> Result<Closed, (DmName, String)> {
        let mut closed = Closed::default();
        for (id, lv) in self.table.served() {
            if !devices.contains(&lv.device) {
                continue;
            }
            let used = |error: FuseError| {
                let by = error.in_use().map_or_else(|| error.to_string(), ToString::to_string);
                (lv.device.clone(), by.trim_start_matches("it is in use: ").to_owned())
            };
            closed.nbd.extend(self.exports.close(&lv)?);
            if let Some((_, block)) = self.blocks.iter().find(|(other, _)| *other == id) {
                closed.blocks.push((id, block.device.claim().map_err(used)?));
            }
            if let Some(session) = &self.session {
                closed.files.push(session.claim(id).map_err(used)?);
            }
        }
        Ok(closed)
    }

    /// Where a volume is served.
    pub(crate) fn places(&self, lv: &LvmUuid) -> Places {
        let served = self.table.served();
        let Some((id, lv)) = served.iter().find(|(_, served)| served.lv == *lv) else {
            return Places::default();
        };
        let block = self.blocks.iter().find(|(other, _)| other == id).map(|(_, block)| block);
        Places {
            file: self.session.as_ref().map(|session| session.path(&lv.name)),
            block: block.map(|block| block.device.path()),
            links: block.map(|block| block.links.clone()).unwrap_or_default(),
            nbd: self.exports.addresses(&lv.lv),
        }
    }

    /// Whether somebody uses a volume, as far as that is known without looking at processes.
    pub(crate) fn is_open(&self, lv: &LvmUuid) -> bool {
        let served = self.table.served();
        let Some((id, lv)) = served.iter().find(|(_, served)| served.lv == *lv) else { return false };
        let mut blocks = self.blocks.iter().filter(|(other, _)| other == id);
        self.session.as_ref().is_some_and(|session| session.is_open(*id))
            || blocks.any(|(_, block)| block.device.is_built_on())
            || self.exports.is_open(lv)
    }

    /// Why there are no files, where that is so.
    pub(crate) fn no_files(&self) -> Option<&str> {
        self.no_files.as_deref()
    }

    /// What the next daemon has to clear away.
    pub(crate) fn left(&self) -> Vec<Left> {
        let left = |(id, lv): (FileId, ServedLv)| {
            let places = self.places(&lv.lv);
            let text = |path: PathBuf| path.to_string_lossy().into_owned();
            let attached = self.blocks.iter().find(|(other, _)| *other == id);
            let file = attached.map(|(_, block)| text(block.device.backing().to_path_buf()));
            Left {
                lv: lv.lv.to_string(),
                file,
                block: places.block.map(text),
                links: places.links.into_iter().map(text).collect(),
                nbd: places.nbd,
            }
        };
        self.table.served().into_iter().map(left).collect()
    }

    /// Ends the session; nothing is served any more.
    fn end(&mut self) {
        if let Some(session) = self.session.take() {
            let ended = session.unmount().or_else(|error| {
                tell(&error.to_string());
                session.abort()
            });
            ended.and_then(|()| session.join()).unwrap_or_else(|error| tell(&error.to_string()));
            // Whoever put something there may keep it.
            std::fs::remove_dir(&self.directory).ok();
        }
    }
}

/// The names that LVM2 would give its block device.
fn links_of(vg: &VgName, lv: &ServedLv) -> [PathBuf; 2] {
    [Path::new("/dev").join(vg.as_str()).join(&lv.name), Path::new("/dev/mapper").join(&lv.device.0)]
}

/// What a live LV is served as; `None` for what is no LV of this VG by its name.
fn served(vg: &VgName, lv: &LvStatus, holes: bool) -> Option<ServedLv> {
    let name = lv_name(vg, &lv.device)?;
    let shape = Shape { size: lv.size, read_only: lv.read_only };
    let (device, discards) = (lv.device.clone(), lv.discards && holes);
    Some(ServedLv { lv: lv.id, name, device, number: lv.number, shape, discards })
}

/// Clears away what a daemon that died has left: loop devices first, then its mount.
pub(crate) fn clear(run: &RunDir, vg: &str, left: &[Left]) {
    for front in left {
        for path in front.nbd.iter().filter_map(|address| address.strip_prefix("unix:")) {
            if let Err(error) = address::remove_stale(Path::new(path)) {
                tell(&format!("removing {path}: {error}"));
            }
        }
        if let (Some(block), Some(file)) = (&front.block, &front.file) {
            let number = block.trim_start_matches("/dev/loop").parse();
            for name in &front.links {
                block::unlink(Path::new(block), Path::new(name));
            }
            match number.map(|number| detach_stale(number, Path::new(file))) {
                Ok(Ok(Stale::InUse(users))) => tell(&format!(
                    "{block} of {vg} is dead, and {users}; unmount what is mounted on it, and mount the volume anew: \
                     {block} goes when nobody uses it any more"
                )),
                Ok(Ok(Stale::NotOurs)) => {
                    tell(&format!(
                        "{block}, which served {file}, is attached to that no more; it is left alone"
                    ));
                }
                Ok(Ok(Stale::Detached)) | Err(_) => {}
                Ok(Err(error)) => tell(&error.to_string()),
            }
        }
    }
    let directory = files_directory(run, vg);
    if let Err(error) = unmount_stale(&directory) {
        tell(&error.to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::lv_name;
    use foldback_dm_table::DmName;
    use foldback_units::VgName;

    #[test]
    fn an_lv_is_called_as_its_device_says() {
        let vg = VgName::new("my-vg").unwrap();
        let name = |device: &str| lv_name(&vg, &DmName(device.to_owned()));
        assert_eq!(name("my--vg-a--b").as_deref(), Some("a-b"));
        assert_eq!(name("my--vg-root").as_deref(), Some("root"));
        assert_eq!(name("other-root"), None);
    }
}
