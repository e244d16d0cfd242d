//! The kernel as an executor of verbs.
//!
//! What must hold:
//! - What could not be done for a node, a link or udev does not fail a verb: the device is there. It is noted, and the
//!   caller tells it.

use crate::control::{Control, has_driver, major};
use crate::cookie::udev_runs;
use crate::error::{KernelDmError, KernelDmErrorKind};
use crate::names::Names;
use crate::nodes::Nodes;
use crate::query::{self, Slot};
use crate::verbs::Mapper;
use foldback_dm_table::{DeviceMapper, DmName, Info, Stage, Table, Transaction, Verb};
use std::path::PathBuf;

/// The kernel's device-mapper.
#[derive(Debug)]
pub struct KernelDm {
    mapper: Mapper<Control>,
}

impl KernelDm {
    /// Opens the kernel's device-mapper, for tables that name PVs by these paths. `DM_DEV_DIR` is the directory of devices
    /// where it is set.
    ///
    /// # Errors
    /// There is no device-mapper, or it speaks another version.
    pub fn open(pvs: &[String]) -> Result<Self, KernelDmError> {
        let dev = dev_dir();
        let kernel = Control::open(&dev)?;
        let names = Names::new(pvs, major(), &dev);
        let nodes = (!udev_runs()).then(|| Nodes::new(&dev));
        Ok(Self { mapper: Mapper { kernel, names, nodes, locks: true, notes: Vec::new() } })
    }

    /// Whether the kernel has device-mapper, without loading or making anything.
    pub fn is_there() -> bool {
        has_driver()
    }

    /// The version of its interface.
    pub fn version(&self) -> [u32; 3] {
        self.mapper.kernel.version
    }

    /// Carries out verbs one after the other, up to the first that fails. udev is waited for once.
    ///
    /// # Errors
    /// Of that verb; those before it are done.
    pub fn apply_all(&mut self, verbs: &[Verb]) -> Result<(), KernelDmError> {
        self.mapper.carry_out_all(verbs)
    }

    /// A device's number, as stat(2) has it, and whether it takes no writes; `None` where it is gone.
    ///
    /// # Errors
    /// The kernel's.
    pub fn number(&mut self, name: &DmName) -> Result<Option<(u64, bool)>, KernelDmError> {
        let known = query::find(&mut self.mapper.kernel, name).map_err(|kind| kind.on("looking at", name))?;
        Ok(known.map(|known| (known.dev, known.read_only)))
    }

    /// Makes the nodes and links of devices that are there, where udev does not: who made them may have been killed before.
    pub fn make_nodes<'n>(&mut self, names: impl IntoIterator<Item = &'n DmName>) {
        names.into_iter().for_each(|name| self.mapper.bring_nodes(name));
    }

    /// What could not be done beside the verbs, since this was last asked.
    pub fn take_notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.mapper.notes)
    }

    /// The node of a device that has no live table yet, for which udev makes none: ours where udev does not run, else the kernel's
    /// own. It goes with the device. Nobody gets anything but errors or an end through it.
    ///
    /// # Errors
    /// The device is gone, or the node cannot be made.
    pub fn early_node(&mut self, name: &DmName) -> Result<PathBuf, KernelDmError> {
        let attempt = "making the node of";
        let number = self.number(name)?.ok_or_else(|| KernelDmErrorKind::Missing.on(attempt, name))?.0;
        let Some(nodes) = &self.mapper.nodes else {
            return Ok(dev_dir().join(format!("dm-{}", rustix::fs::minor(number))));
        };
        let made = nodes.appear(name, number);
        made.map_err(|error| KernelDmErrorKind::System(std::io::Error::other(error)).on(attempt, name))?;
        Ok(Self::node(name))
    }

    /// The node of a device.
    pub fn node(name: &DmName) -> PathBuf {
        dev_dir().join("mapper").join(&name.0)
    }
}

fn dev_dir() -> PathBuf {
    std::env::var_os("DM_DEV_DIR")
        .filter(|dir| !dir.is_empty())
        .map_or_else(|| PathBuf::from("/dev"), PathBuf::from)
}

impl DeviceMapper for KernelDm {
    type Error = KernelDmError;

    fn apply(&mut self, verb: &Verb) -> Result<(), KernelDmError> {
        self.mapper.carry_out_all(std::slice::from_ref(verb))
    }

    fn transact(&mut self, transaction: &Transaction) -> Result<(), (Stage, KernelDmError)> {
        self.mapper.carry_out_transaction(transaction)
    }

    fn list(&mut self) -> Result<Vec<Info>, KernelDmError> {
        let everything = DmName("mapped devices".to_owned());
        query::list(&mut self.mapper.kernel).map_err(|kind| kind.on("listing", &everything))
    }

    fn table(&mut self, name: &DmName) -> Result<Option<Table>, KernelDmError> {
        let Mapper { kernel, names, .. } = &mut self.mapper;
        let specs =
            query::table(kernel, name, Slot::Live).map_err(|kind| kind.on("reading the table of", name))?;
        Ok(specs.map(|specs| names.table(kernel, &specs)))
    }

    fn status(&mut self, name: &DmName) -> Result<Vec<String>, KernelDmError> {
        let specs = query::status(&mut self.mapper.kernel, name);
        let specs = specs.map_err(|kind| kind.on("reading the status of", name))?;
        let specs = specs.ok_or_else(|| KernelDmErrorKind::NoTable.on("reading the status of", name))?;
        Ok(specs.into_iter().map(|spec| spec.params).collect())
    }
}
