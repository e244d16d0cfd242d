//! Options that every command takes.
//!
//! What must hold:
//! - What LVM2 takes everywhere is taken everywhere; what has no meaning here is accepted and does nothing, and the
//!   help says so.

use crate::backend::Backend;
use clap::{ArgAction, Args, ValueEnum};

/// Yes or no, as LVM2 spells it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum YesNo {
    /// Yes.
    #[value(name = "y", alias = "1", alias = "yes")]
    Yes,
    /// No.
    #[value(name = "n", alias = "0", alias = "no")]
    No,
}

/// Options that every command takes.
#[derive(Args, Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of the command line")]
pub(crate) struct Options {
    /// Image files and block devices that are the PVs [env: FOLDBACK_DEVICES]
    #[arg(
        long,
        value_name = "FILE,...",
        global = true,
        value_delimiter = ',',
        help_heading = "Global options"
    )]
    pub(crate) devices: Vec<String>,

    /// Say more; may be repeated
    #[arg(short, long, global = true, action = ArgAction::Count, help_heading = "Global options")]
    pub(crate) verbose: u8,

    /// Say less; twice: nothing but errors
    #[arg(short, long, global = true, action = ArgAction::Count, help_heading = "Global options")]
    pub(crate) quiet: u8,

    /// Answer every question with yes
    #[arg(short, long, global = true, help_heading = "Global options")]
    pub(crate) yes: bool,

    /// Go on where a question or a safeguard would stop; may be repeated
    #[arg(short, long, global = true, action = ArgAction::Count, help_heading = "Global options")]
    pub(crate) force: u8,

    /// Say what would be done, and do nothing
    #[arg(short, long, global = true, help_heading = "Global options")]
    pub(crate) test: bool,

    /// Settings in lvm.conf's syntax: devices/dir, backup/backup_dir, foldback/hold_seconds and others
    #[arg(long, value_name = "TEXT", global = true, help_heading = "Global options")]
    pub(crate) config: Option<String>,

    /// Write a backup of the metadata after a change
    #[arg(short = 'A', long, value_name = "y|n", global = true, help_heading = "Global options")]
    pub(crate) autobackup: Option<YesNo>,
    /// Without a lock, for commands that only read; whatever changes something takes its locks all the same
    #[arg(long, global = true, hide = true)]
    pub(crate) nolocking: bool,

    /// Who carries volumes: kernel (its device-mapper), user (the daemon), auto (the default: the kernel where it has
    /// device-mapper and the PVs are block devices, else the daemon). Where a VG is active already that decides
    #[arg(long, value_name = "WHO", global = true, help_heading = "Global options")]
    pub(crate) backend: Option<Backend>,

    /// Under LVM2's names PVs are found, not named.
    #[arg(skip)]
    pub(crate) as_lvm2: bool,
    /// PVs are found, whatever was named.
    #[arg(skip)]
    pub(crate) finds: bool,

    #[command(flatten)]
    pub(crate) ignored: Ignored,
}

/// What LVM2 takes and hardly anybody needs; some of it has no meaning here.
#[derive(Args, Clone, Debug)]
pub(crate) struct Ignored {
    /// Accepted as LVM2 does; without effect
    #[arg(short, long, global = true, action = ArgAction::Count, hide = true)]
    debug: u8,
    /// Settings of this file in the directory profile of lvm.conf's
    #[arg(long, global = true, hide = true, value_name = "PROFILE")]
    pub(crate) commandprofile: Option<String>,
    /// The same; for commands that LVM2 would note it of in the metadata it has to be there, and does nothing
    #[arg(long, global = true, hide = true, value_name = "PROFILE", conflicts_with = "commandprofile")]
    pub(crate) profile: Option<String>,
    /// n: device-mapper is not spoken to
    #[arg(long, global = true, hide = true, value_name = "y|n")]
    pub(crate) driverloaded: Option<YesNo>,
    /// The devices file to use, by its name in /etc/lvm/devices; empty: none
    #[arg(long, global = true, hide = true, value_name = "FILE")]
    pub(crate) devicesfile: Option<String>,
    #[arg(long, global = true, hide = true, value_name = "TEXT")]
    journal: Option<String>,
    #[arg(long, global = true, hide = true, value_name = "TEXT")]
    lockopt: Option<String>,
    #[arg(long, global = true, hide = true)]
    nohints: bool,
    /// udev is not waited for
    #[arg(long, global = true, hide = true)]
    pub(crate) noudevsync: bool,
}

impl Options {
    /// Whether the disks are looked for as LVM2 does: nobody named any.
    pub(crate) fn scans(&self) -> bool {
        self.finds || (self.as_lvm2 && self.disks().is_empty())
    }

    /// The same options for all PVs of this host, whatever was named.
    #[must_use]
    pub(crate) fn of_host(&self) -> Self {
        Self { devices: Vec::new(), finds: true, ..self.clone() }
    }

    /// The disks to use: named on the command line, else in the environment.
    pub(crate) fn disks(&self) -> Vec<String> {
        let named = self.devices.iter().filter(|name| !name.is_empty());
        let mut paths: Vec<String> = named.cloned().collect();
        if paths.is_empty()
            && !self.finds
            && let Ok(list) = std::env::var("FOLDBACK_DEVICES")
        {
            paths.extend(list.split(',').filter(|name| !name.is_empty()).map(str::to_owned));
        }
        paths
    }
}
