//! A stand-in for the kernel's device-mapper: devices, two tables each, and failures where they are wanted.
//!
//! What must hold:
//! - A resume that fails has put the new table in already and leaves the device suspended, as the kernel does (K8); unless
//!   it is the `swap` that fails: then it has not, and the new one is gone.
//! - Allocations are counted while any device is suspended, but not its own.

use super::counting::{arm, uncounted};
use crate::control::Kernel;
use crate::message::{
    ACTIVE, Command, INACTIVE, Message, QUERY_INACTIVE, READ_ONLY, SKIP_LOCKFS, STATUS_TABLE, SUSPEND,
};
use crate::specs::{Spec, encode};
use std::collections::BTreeMap;
use std::io;

/// The major number of its devices.
pub(super) const MAJOR: u32 = 253;

#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(super) struct Device {
    pub(super) uuid: String,
    pub(super) number: u32,
    pub(super) live: Option<Vec<Spec>>,
    pub(super) inactive: Option<Vec<Spec>>,
    pub(super) suspended: bool,
    pub(super) read_only: bool,
}

#[derive(Debug, Default)]
pub(super) struct Fake {
    pub(super) devices: BTreeMap<String, Device>,
    /// Changes, in order.
    pub(super) log: Vec<String>,
    /// Changes that fail, by their whole text.
    pub(super) faults: Vec<String>,
    next: u32,
}

impl Fake {
    /// Whether this change is to fail; once for each mention.
    fn faulty(&mut self, change: &str) -> bool {
        let found = self.faults.iter().position(|fault| change == fault.as_str());
        if let Some(index) = found {
            self.faults.remove(index);
        }
        self.log.push(if found.is_some() { format!("{change} FAILS") } else { change.to_owned() });
        found.is_some()
    }

    /// `NAME: line`, and what state it is in.
    pub(super) fn tables(&self) -> Vec<String> {
        let show = |(name, device): (&String, &Device)| {
            let lines = device.live.iter().flatten().map(|spec| format!(" {} {}", spec.kind, spec.params));
            let state = if device.suspended { " SUSPENDED" } else { "" };
            let inactive = if device.inactive.is_some() { " INACTIVE" } else { "" };
            format!("{name}:{}{state}{inactive}", lines.collect::<String>()).trim_end().to_owned()
        };
        self.devices.iter().map(show).collect()
    }

    fn answer(&mut self, message: &mut Message) -> io::Result<()> {
        let (name, data, flags, count) = {
            let answer = message.answer().unwrap();
            let flags = [SUSPEND, SKIP_LOCKFS, STATUS_TABLE, QUERY_INACTIVE, READ_ONLY];
            let flags = flags.into_iter().filter(|flag| answer.has(*flag)).sum::<u32>();
            let name = answer.name().unwrap();
            let name = if name.is_empty() { self.by_number(answer.dev()) } else { name };
            (name, answer.data.to_vec(), flags, answer.target_count())
        };
        match message.command() {
            Command::Versions => {
                message.reply(0, 0, 0, &versions());
                return Ok(());
            }
            Command::Create => {
                let uuid = message.answer().unwrap().uuid().unwrap();
                if self.devices.contains_key(&name) {
                    return Err(io::Error::from_raw_os_error(libc::EBUSY));
                }
                if self.faulty(&format!("create {name}")) {
                    return Err(io::Error::from_raw_os_error(libc::ENOMEM));
                }
                self.next += 1;
                let device = Device { uuid, number: self.next, ..Device::default() };
                self.devices.insert(name.clone(), device);
            }
            Command::Load => {
                let specs = loaded(count, &data);
                let lines: Vec<String> =
                    specs.iter().map(|spec| format!("{} {}", spec.kind, spec.params)).collect();
                if self.faulty(format!("load {name}: {}", lines.join(" | ")).trim_end()) {
                    return Err(io::Error::from_raw_os_error(libc::EINVAL));
                }
                self.find(&name)?.inactive = Some(specs);
            }
            Command::Clear => {
                if self.faulty(&format!("clear {name}")) {
                    return Err(io::Error::from_raw_os_error(libc::EINVAL));
                }
                self.find(&name)?.inactive = None;
            }
            Command::Suspend if flags & SUSPEND != 0 => {
                let lockfs = if flags & SKIP_LOCKFS == 0 { "lockfs " } else { "" };
                if self.faulty(&format!("suspend {lockfs}{name}")) {
                    return Err(io::Error::from_raw_os_error(libc::EINTR));
                }
                self.find(&name)?.suspended = true;
            }
            Command::Suspend => self.resume(&name)?,
            Command::Remove => return self.remove(message, &name),
            Command::Rename => return self.rename(message, &name, &data),
            Command::TableStatus => return self.tell_table(message, &name, flags & QUERY_INACTIVE == 0),
            Command::Status | Command::List | Command::Version => {}
        }
        let device = self.find(&name)?.clone();
        message.reply(state(&device), number(device.number), 0, &[]);
        message.call_it(&name, &device.uuid);
        Ok(())
    }

    fn remove(&mut self, message: &mut Message, name: &str) -> io::Result<()> {
        if self.faulty(&format!("remove {name}")) {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        self.find(name)?;
        self.devices.remove(name);
        message.reply(0, 0, 0, &[]);
        Ok(())
    }

    fn rename(&mut self, message: &mut Message, name: &str, data: &[u8]) -> io::Result<()> {
        let new = crate::message::text_of(data).unwrap();
        if self.faulty(&format!("rename {name} {new}")) {
            return Err(io::Error::from_raw_os_error(libc::EBUSY));
        }
        let device = self.devices.remove(name).unwrap();
        self.devices.insert(new, device);
        message.reply(0, 0, 0, &[]);
        Ok(())
    }

    fn tell_table(&mut self, message: &mut Message, name: &str, live: bool) -> io::Result<()> {
        let device = self.find(name)?.clone();
        let specs = if live { device.live.clone() } else { device.inactive.clone() };
        let specs = specs.unwrap_or_default();
        let (count, mut bytes) = encode(&specs).unwrap();
        from_first(&specs, &mut bytes);
        message.reply(state(&device), number(device.number), count, &bytes);
        message.call_it(name, &device.uuid);
        Ok(())
    }

    fn resume(&mut self, name: &str) -> io::Result<()> {
        // What does not fit its disk is not put in at all.
        if self.faults.iter().any(|fault| *fault == format!("swap {name}")) {
            self.faulty(&format!("swap {name}"));
            let device = self.find(name)?;
            device.inactive = None;
            device.suspended = true;
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        let fails = self.faulty(&format!("resume {name}"));
        let device = self.find(name)?;
        if let Some(new) = device.inactive.take() {
            device.live = Some(new);
            device.suspended = true;
        }
        if fails || device.live.is_none() {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        device.suspended = false;
        Ok(())
    }

    fn find(&mut self, name: &str) -> io::Result<&mut Device> {
        self.devices.get_mut(name).ok_or_else(|| io::Error::from_raw_os_error(libc::ENXIO))
    }

    fn by_number(&self, dev: u64) -> String {
        let of = |(_, device): &(&String, &Device)| number(device.number) == dev;
        self.devices.iter().find(of).map_or_else(String::new, |(name, _)| name.clone())
    }
}

impl Kernel for Fake {
    fn call(&mut self, message: &mut Message) -> io::Result<()> {
        uncounted(|| {
            let answered = self.answer(message);
            arm(self.devices.values().any(|device| device.suspended));
            answered
        })
    }
}

fn number(minor: u32) -> u64 {
    rustix::fs::makedev(MAJOR, minor)
}

fn state(device: &Device) -> u32 {
    let flag = |set: bool, flag: u32| if set { flag } else { 0 };
    flag(device.suspended, SUSPEND)
        | flag(device.live.is_some(), ACTIVE)
        | flag(device.inactive.is_some(), INACTIVE)
        | flag(device.read_only, READ_ONLY)
}

/// As LIST_VERSIONS answers.
fn versions() -> Vec<u8> {
    let kinds = ["linear", "striped", "error", "snapshot", "snapshot-origin", "snapshot-merge"];
    let mut list = Vec::new();
    for (at, kind) in kinds.iter().enumerate() {
        let next: u32 = if at + 1 == kinds.len() { 0 } else { 40 };
        list.extend_from_slice(&[&next.to_ne_bytes()[..], &[0; 12], kind.as_bytes()].concat());
        list.resize((at + 1) * 40, 0);
    }
    list
}

/// Specs as they are loaded: `next` counts from each.
fn loaded(count: u32, data: &[u8]) -> Vec<Spec> {
    let mut specs = Vec::new();
    let mut at = 0;
    for _ in 0..count {
        let next = u32::from_ne_bytes(data[at + 20..at + 24].try_into().unwrap()) as usize;
        specs.extend(crate::specs::decode(1, &data[at..at + next]).unwrap());
        at += next;
    }
    specs
}

/// Makes `next` of each spec count from the first, as in an answer.
fn from_first(specs: &[Spec], bytes: &mut [u8]) {
    let mut at = 0;
    for spec in specs {
        let next = at + (40 + spec.params.len() + 1).next_multiple_of(8);
        bytes[at + 20..at + 24].copy_from_slice(&(next as u32).to_ne_bytes());
        at = next;
    }
}
