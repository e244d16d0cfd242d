//! `pvscan --cache`: PVs have come, and a VG that is whole by them comes up.
//!
//! What must hold (compared with 2.03.16):
//! - Only the VGs of the PVs that are named come up, once, and not before all of their PVs have come.
//! - Of block devices this is written where LVM2 reads it (`/run/lvm`), so that either tool may see the next one come. Image
//!   files have no events: those that the command names are there.
//! - What udev's rules read (`--udevoutput`) is all that is printed then.

use super::Context;
use crate::activating::ActivationOptions;
use crate::error::CliError;
use crate::exit::Exit;
use crate::reporting::device_number;
use crate::session::Session;
use clap::Args;
use foldback_lvm2_format::vg::{AreaOn, Lv, Pv, PvKey, Segment};
use foldback_manager::online::{Online, OnlinePv, RUN_DIR};
use foldback_manager::store::{Discovery, FoundPv, FoundVg};
use foldback_units::{LvmUuid, VgName};
use std::path::Path;

/// What is to be done with PVs that have come.
#[derive(Args, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of the command line")]
pub(super) struct OnlineOptions {
    /// Note which PVs have come: all, or those that are named
    #[arg(long)]
    cache: bool,
    /// With --cache: bring up the VGs whose PVs are all there, of those that are named
    #[arg(short, long, value_name = "ay")]
    activate: Option<String>,
    /// With --cache and PVs: print their VGs
    #[arg(long)]
    listvg: bool,
    /// With --cache and PVs: print the volumes on them, too
    #[arg(long)]
    listlvs: bool,
    /// With --listvg or --listlvs: whether all PVs of the VG have come
    #[arg(long)]
    checkcomplete: bool,
    /// With --checkcomplete: note that the VG is whole, and say it once
    #[arg(long)]
    vgonline: bool,
    /// With --listvg and --checkcomplete: as udev's rules read it
    #[arg(long)]
    udevoutput: bool,
    /// Accepted as LVM2 does: who calls
    #[arg(long, value_name = "event", hide = true)]
    autoactivation: Option<String>,
    /// The major number of a device to look at
    #[arg(long, value_name = "NUMBER", requires = "minor")]
    major: Option<u32>,
    /// The minor number of a device to look at
    #[arg(long, value_name = "NUMBER", requires = "major")]
    minor: Option<u32>,
    /// Devices to look at, by path or MAJOR:MINOR
    #[arg(value_name = "PV")]
    pvs: Vec<String>,
}

/// What is noted of the PVs of a command.
struct Noted<'d> {
    found: &'d Discovery,
    /// `None` where the PVs are image files.
    online: Option<Online>,
}

/// How far a VG is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Progress {
    /// So many PVs have not come.
    Lacks(usize),
    /// All are there.
    Whole,
    /// They were before.
    Finished,
}

impl OnlineOptions {
    /// Refuses what LVM2 does not take together.
    pub(super) fn check(&self) -> Result<(), CliError> {
        let named = self.names_some();
        let lists = self.listvg || self.listlvs;
        if named && !self.notes() && self.activate.is_none() {
            let message =
                "No command with matching syntax recognised.  Run 'pvscan --help' for more information.";
            return Err(CliError { exit: Exit::BadCommandLine, message: message.to_owned(), hint: None });
        }
        let refused = [
            (self.activate.as_ref().is_some_and(|value| !self.cache || !matches!(&**value, "ay" | "aay")), {
                let value = self.activate.as_deref().unwrap_or_default();
                // LVM2's own spelling of -aay.
                format!(
                    "--activate {}",
                    value.strip_prefix('a').filter(|rest| *rest == "ay").unwrap_or(value)
                )
            }),
            (self.listvg && !named, "--listvg".to_owned()),
            (self.listlvs && !named, "--listlvs".to_owned()),
            (self.checkcomplete && !(named && lists), "--checkcomplete".to_owned()),
            (self.vgonline && !(named && lists), "--vgonline".to_owned()),
            (self.udevoutput && !(named && lists), "--udevoutput".to_owned()),
            (
                self.autoactivation.is_some() && !named,
                format!("--autoactivation {}", self.autoactivation.as_deref().unwrap_or_default()),
            ),
        ];
        let told: Vec<String> = refused
            .into_iter()
            .filter_map(|(is, what)| is.then(|| format!("Command does not accept option: {what}.")))
            .collect();
        if told.is_empty() {
            return Ok(());
        }
        Err(CliError { exit: Exit::BadCommandLine, message: told.join("\n"), hint: None })
    }

    /// Whether anything is noted or said of PVs that have come.
    pub(super) fn notes(&self) -> bool {
        self.cache || self.listvg || self.listlvs
    }

    fn names_some(&self) -> bool {
        !self.pvs.is_empty() || self.major.is_some()
    }

    /// Does it.
    pub(super) fn carry_out(
        &self,
        context: &Context,
        session: Session,
        found: &Discovery,
    ) -> Result<Exit, CliError> {
        let pid = std::process::id();
        if !session.config.event_activation && (self.names_some() || self.activate.is_some()) {
            let lists = self.listvg || self.listlvs;
            let ignored = format!("pvscan[{pid}] Ignoring pvscan");
            if self.udevoutput {
                context.console.result("LVM_EVENT_ACTIVATION=0\n");
            } else if lists && self.checkcomplete {
                let why = "with --checkcomplete because event_activation is disabled.";
                context.console.say(&format!("{ignored} {why}"));
            } else {
                context.console.detail(&format!("{ignored} --cache because event_activation is disabled."));
            }
            return Ok(Exit::Success);
        }
        let by_events = found.pvs.iter().any(|pv| device_number(&pv.path).is_some());
        let online = by_events.then(|| Online::new(Path::new(RUN_DIR)));
        drop(session);
        let noted = Noted { found, online };
        let pvs: Vec<&FoundPv> = if self.names_some() {
            self.named(context, found)
        } else {
            if let Some(online) = &noted.online {
                online.forget_all().map_err(|error| CliError::failed(format!("{RUN_DIR}: {error}.")))?;
            }
            found.pvs.iter().collect()
        };
        let mut up: Vec<(&VgName, bool)> = Vec::new();
        for pv in pvs {
            self.one(context, &noted, pv, &mut up)?;
        }
        let mut exit = Exit::Success;
        for (vg, first) in &up {
            let how = if *first { "run" } else { "skip" };
            context.console.say(&format!("pvscan[{pid}] VG {vg} {how} autoactivation."));
        }
        for (vg, _) in up.into_iter().filter(|(_, first)| *first) {
            let up = ActivationOptions::auto().carry_out(context, vg, None);
            exit = exit.max(up.unwrap_or_else(|error| {
                error.tell(context.console);
                error.exit
            }));
        }
        Ok(exit)
    }

    /// The PVs that are named; what is none is told.
    fn named<'d>(&self, context: &Context, found: &'d Discovery) -> Vec<&'d FoundPv> {
        let pid = std::process::id();
        let by_number = self.major.zip(self.minor).map(|(major, minor)| format!("{major}:{minor}"));
        let mut pvs = Vec::new();
        for name in self.pvs.iter().chain(&by_number) {
            let number = name
                .split_once(':')
                .and_then(|(major, minor)| Some((major.parse::<u32>().ok()?, minor.parse::<u32>().ok()?)));
            let device = number.or_else(|| device_number(name));
            let is_it =
                |pv: &&FoundPv| pv.path == *name || (device.is_some() && device_number(&pv.path) == device);
            if let Some(pv) = found.pvs.iter().find(is_it) {
                pvs.push(pv);
            } else if self.udevoutput {
                // udev's rules read nothing then.
            } else if let (Some((major, minor)), None) = (number, by_path(number)) {
                context.console.error(&format!("No device name found from {major}:{minor}."));
                context.console.error(&format!("pvscan[{pid}] No device set up for arg  {major}:{minor}"));
            } else if number.is_none() && !Path::new(name).exists() {
                context.console.error(&format!("Cannot access device {name} for 0:0."));
                context.console.error(&format!("pvscan[{pid}] No device set up for arg {name} 0:0"));
            } else {
                context.console.say(&format!("pvscan[{pid}] {name} not an lvm device."));
            }
        }
        pvs
    }

    /// A PV has come.
    fn one<'d>(
        &self,
        context: &Context,
        noted: &Noted<'d>,
        pv: &FoundPv,
        up: &mut Vec<(&'d VgName, bool)>,
    ) -> Result<(), CliError> {
        let pid = std::process::id();
        let failed = |error: std::io::Error| CliError::failed(format!("{RUN_DIR}: {error}."));
        let id = &pv.label.pv.id;
        let of_pv = noted.found.vgs.iter().find_map(|found| Some((found, found.vg.pv_by_id(id)?)));
        noted.add(pv, of_pv.map(|(found, _)| &found.vg.name)).map_err(failed)?;
        let lists = self.listvg || self.listlvs;
        let counts = self.activate.is_some() || (lists && self.checkcomplete);
        let Some((found, known)) = of_pv.filter(|_| counts || lists) else {
            if !lists {
                context.console.say(&format!("pvscan[{pid}] PV {} online.", pv.path));
            }
            return Ok(());
        };
        let vg = &found.vg.name;
        let mut progress = if counts { noted.progress(found).map_err(failed)? } else { Progress::Whole };
        if counts && !self.udevoutput {
            let how = match progress {
                Progress::Lacks(count) => format!("incomplete (need {count})"),
                _ => "is complete".to_owned(),
            };
            context.console.say(&format!("pvscan[{pid}] PV {} online, VG {vg} {how}.", pv.path));
        }
        let whole = progress == Progress::Whole;
        if whole && self.activate.is_some() {
            up.push((vg, noted.is_first(vg).map_err(failed)?));
        }
        if whole && lists && self.checkcomplete && self.vgonline && !noted.is_first(vg).map_err(failed)? {
            progress = Progress::Finished;
        }
        if lists {
            self.list(context, noted, (found, known), progress);
        }
        Ok(())
    }

    /// Prints the VG of a PV, and the LVs on it.
    fn list(&self, context: &Context, noted: &Noted<'_>, (found, pv): (&FoundVg, &Pv), progress: Progress) {
        let vg = &found.vg.name;
        if self.udevoutput {
            match progress {
                _ if !self.checkcomplete => {}
                Progress::Lacks(_) => context.console.result(&format!("LVM_VG_NAME_INCOMPLETE='{vg}'\n")),
                Progress::Whole => context.console.result(&format!("LVM_VG_NAME_COMPLETE='{vg}'\n")),
                Progress::Finished => {}
            }
            return;
        }
        let how = match progress {
            _ if !self.checkcomplete => "",
            Progress::Lacks(_) => " incomplete",
            Progress::Whole => " complete",
            Progress::Finished => " finished",
        };
        context.console.say(&format!("VG {vg}{how}"));
        let links = found.vg.snapshots();
        let on_it = |lv: &&Lv| links.is_visible(lv) && keys_of(lv).any(|key| *key == pv.key);
        for lv in found.vg.lvs.iter().filter(|_| self.listlvs).filter(on_it) {
            let there = keys_of(lv).all(|key| found.vg.pv(key).is_some_and(|pv| noted.has(found, &pv.id)));
            let how = match there {
                _ if !self.checkcomplete => "",
                true => " complete",
                false => " incomplete",
            };
            context.console.say(&format!("LV {vg}/{}{how}", lv.name));
        }
    }
}

/// The PVs that an LV names itself.
fn keys_of(lv: &Lv) -> impl Iterator<Item = &PvKey> {
    lv.segments.iter().flat_map(Segment::areas).filter_map(|area| match &area.on {
        AreaOn::Pv(key) => Some(key),
        AreaOn::Lv(_) => None,
    })
}

/// Whether the kernel has a device of that number.
fn by_path(number: Option<(u32, u32)>) -> Option<()> {
    let (major, minor) = number?;
    Path::new(&format!("/sys/dev/block/{major}:{minor}")).exists().then_some(())
}

impl Noted<'_> {
    fn add(&self, pv: &FoundPv, vg: Option<&VgName>) -> std::io::Result<()> {
        match (&self.online, device_number(&pv.path)) {
            (Some(online), Some(device)) => {
                online.add(&OnlinePv { id: &pv.label.pv.id, device, vg, path: &pv.path })
            }
            _ => Ok(()),
        }
    }

    fn has(&self, found: &FoundVg, pv: &LvmUuid) -> bool {
        let place = found.vg.pvs.iter().zip(&found.places).find(|(known, _)| known.id == *pv);
        let place = place.and_then(|(_, place)| place.as_ref());
        match (&self.online, place) {
            // An image file has no event of its own.
            (_, Some(place)) if device_number(&place.path).is_none() => true,
            (Some(online), _) => online.has(pv),
            (None, place) => place.is_some(),
        }
    }

    fn progress(&self, found: &FoundVg) -> std::io::Result<Progress> {
        let all: Vec<LvmUuid> = found.vg.pvs.iter().map(|pv| pv.id).collect();
        let lacks = all.iter().filter(|pv| !self.has(found, pv)).count();
        if lacks == 0 {
            return Ok(Progress::Whole);
        }
        if let Some(online) = &self.online {
            online.expect(&found.vg.name, &all)?;
        }
        Ok(Progress::Lacks(lacks))
    }

    /// Whether nobody has found the VG whole before.
    fn is_first(&self, vg: &VgName) -> std::io::Result<bool> {
        self.online.as_ref().map_or(Ok(true), |online| online.whole(vg))
    }
}
