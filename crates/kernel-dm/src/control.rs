//! /dev/mapper/control: opened, made where it is missing, and asked which version it speaks.
//!
//! What must hold:
//! - A machine without device-mapper is told so, and what would bring it.
//! - Only a kernel of interface version 4 is spoken to.

use crate::choice::Choice;
use crate::error::{KernelDmError, KernelDmErrorKind};
use crate::message::{Command, Message};
use crate::system;
use foldback_dm_table::DmName;
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::process::Stdio;

/// Who answers messages: the kernel, or in tests a stand-in.
pub(crate) trait Kernel {
    /// Sends a message; it holds the answer afterwards. The kernel's own allocates nothing.
    fn call(&mut self, message: &mut Message) -> io::Result<()>;
}

/// The kernel's device-mapper.
#[derive(Debug)]
pub(crate) struct Control {
    file: File,
    /// Of the interface that the kernel speaks.
    pub(crate) version: [u32; 3],
}

impl Kernel for Control {
    fn call(&mut self, message: &mut Message) -> io::Result<()> {
        let request = message.command().request();
        system::control(&self.file, request, message.bytes_mut())
    }
}

impl Control {
    /// Opens `DEV/mapper/control`.
    ///
    /// # Errors
    /// There is no device-mapper, or it speaks another version.
    pub(crate) fn open(dev: &Path) -> Result<Self, KernelDmError> {
        let path = dev.join("mapper/control");
        let name = DmName(path.display().to_string());
        let failed = |kind: KernelDmErrorKind| kind.on("opening", &name);
        if !Choice::chosen().driver {
            return Err(failed(KernelDmErrorKind::NoDriver));
        }
        if !is_character_device(&path) {
            make(&path).map_err(failed)?;
        }
        let file = File::options().read(true).write(true).open(&path).map_err(|error| {
            failed(match error.raw_os_error() {
                Some(libc::ENODEV | libc::ENXIO) => KernelDmErrorKind::NoDriver,
                _ => KernelDmErrorKind::System(error),
            })
        })?;
        let mut control = Self { file, version: [0; 3] };
        let mut message = Message::global(Command::Version);
        control.call(&mut message).map_err(|error| failed(KernelDmErrorKind::Refused(error)))?;
        control.version = message.answer().map_err(|error| failed(error.into()))?.version();
        let version = control.version;
        if version[0] == 4 { Ok(control) } else { Err(failed(KernelDmErrorKind::Version(version))) }
    }
}

fn is_character_device(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|found| found.file_type().is_char_device())
}

/// Makes the node where neither devtmpfs nor udev has.
fn make(path: &Path) -> Result<(), KernelDmErrorKind> {
    let minor = minor().or_else(|| {
        modprobe("dm-mod");
        minor()
    });
    let minor = minor.ok_or(KernelDmErrorKind::NoDriver)?;
    if is_character_device(path) {
        return Ok(());
    }
    // "misc" of /proc/devices is 10 on every Linux.
    let made = mknodat(CWD, path, FileType::CharacterDevice, Mode::RUSR | Mode::WUSR, makedev(10, minor));
    let made = match made {
        Err(rustix::io::Errno::NOENT) => {
            let parent = path.parent().unwrap_or(path);
            std::fs::create_dir_all(parent).map_err(KernelDmErrorKind::System)?;
            mknodat(CWD, path, FileType::CharacterDevice, Mode::RUSR | Mode::WUSR, makedev(10, minor))
        }
        made => made,
    };
    made.map_err(|error| KernelDmErrorKind::System(error.into()))
}

/// Whether the kernel has device-mapper at this moment.
pub(crate) fn has_driver() -> bool {
    Choice::chosen().driver && minor().is_some()
}

/// The number under which the kernel has device-mapper among its miscellaneous devices.
fn minor() -> Option<u32> {
    let misc = std::fs::read_to_string("/proc/misc").ok()?;
    minor_in(&misc)
}

fn minor_in(misc: &str) -> Option<u32> {
    misc.lines().find_map(|line| line.trim().strip_suffix(" device-mapper")?.trim().parse().ok())
}

/// The major number of mapped devices.
pub(crate) fn major() -> Option<u32> {
    major_in(&std::fs::read_to_string("/proc/devices").ok()?)
}

fn major_in(devices: &str) -> Option<u32> {
    let (_, block) = devices.split_once("Block devices:")?;
    block.lines().find_map(|line| line.trim().strip_suffix(" device-mapper")?.trim().parse().ok())
}

/// Asks for a module. What comes of it is seen by who asked for it.
pub(crate) fn modprobe(module: &str) {
    let mut command = std::process::Command::new("modprobe");
    command.arg("-q").arg(module).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    drop(command.status());
}

#[cfg(test)]
mod tests {
    use super::{Control, major_in, minor_in};

    #[test]
    fn numbers_are_read_as_the_kernel_lists_them() {
        assert_eq!(minor_in("236 device-mapper\n  1 psaux\n"), Some(236));
        assert_eq!(minor_in("  1 psaux\n"), None);
        let devices =
            "Character devices:\n 10 misc\n\nBlock devices:\n  7 loop\n253 device-mapper\n254 mdp\n";
        assert_eq!(major_in(devices), Some(253));
        assert_eq!(major_in("Block devices:\n  7 loop\n"), None);
    }

    #[test]
    fn a_directory_without_the_node_is_told_by_name() {
        if std::fs::read_to_string("/proc/misc").is_ok_and(|misc| minor_in(&misc).is_some()) {
            // With a device-mapper the node would be made.
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let told = Control::open(dir.path()).unwrap_err().to_string();
        assert!(told.starts_with("opening ") && told.contains("mapper/control"), "{told}");
        assert!(told.contains("this kernel has no device-mapper"), "{told}");
    }
}
