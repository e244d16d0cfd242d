//! Bringing groups up and taking them down through the kernel, in the command's own process.
//!
//! What must hold (lvm2.md 2.7, 3.1):
//! - LVM2's lock of the VG is held meanwhile, and the metadata are read under it.
//! - The devices are asked for under it, too: two that activate at once do not undo each other's work.
//! - What is up already stays as it is; what a killed process has left half or suspended is brought on. A group that does not come
//!   up whole is taken down again, as far as it was not there before.
//! - No store is given to the kernel that cannot be trusted (K5).
//! - What is in use is not taken down, and nothing else of its group is. Nor is what stands on devices of others' kinds; that is told.
//! - Taking down asks the kernel what is there, not the disks, of which one may be gone.
//! - A snapshot that the kernel has given up says so on its disk, once it is down.

use super::claims::clear_left_over;
use super::lost::write_down;
use super::orphans::remove_orphans;
use super::{Kernel, Monitor, devices_of, monitor, read_ahead_as_said};
use crate::carried::in_use_words;
use crate::changing::one_vg;
use crate::commands::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::session::Session;
use foldback_dm_table::{DmName, Info, Verb};
use foldback_lvm2_format::vg::LvFlag;
use foldback_manager::activation::{
    ActivationError, ActivationSet, Device, Group, Layer, Wish, complete, deactivate, tables, to_activate,
    to_deactivate, to_take_down,
};
use foldback_manager::config::VolumeLists;
use foldback_manager::host::locks;
use foldback_manager::job::first_open;
use foldback_manager::lock::LockMode;
use foldback_manager::store::FoundVg;
use foldback_units::{LvName, VgName};

/// What comes with an activation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Boot {
    /// The system is being started.
    pub(crate) sysinit: bool,
    /// Locks are taken where that is possible.
    pub(crate) lockless: bool,
    /// Merges that run get the processes that end them.
    pub(crate) polls: bool,
    /// Whether stores are watched; `None` leaves that as it is.
    pub(crate) monitor: Option<Monitor>,
}

impl Kernel {
    /// Brings LVs up, all that users see where none is named.
    pub(crate) fn activate(
        mut self,
        context: &Context,
        mut session: Session,
        vg: &VgName,
        (lvs, wish): (Option<&[LvName]>, Wish),
        boot: Boot,
    ) -> Result<Exit, CliError> {
        let _lock = match locks(&session.config).vg(vg, LockMode::Exclusive) {
            Ok(lock) => Some(lock),
            // An initramfs has no place for locks, and nobody else who would take one.
            Err(error) if boot.lockless => {
                context.console.detail(&format!("{error}; it goes on without the lock."));
                None
            }
            Err(error) => return Err(error.into()),
        };
        let discovery = session.discover();
        let found = one_vg(&discovery, vg)?;
        self.there = devices_of(&mut self.mapper, &found.vg.id)?;
        if let Some(finding) = found.refuses_use() {
            return Err(CliError::failed(finding.refusal(vg.as_str())));
        }
        let mut set = match lvs {
            None => to_activate(found, wish),
            Some(lvs) => named(found, lvs, wish),
        };
        keep_to_lists(&session.config.volumes, found, &mut set, wish.auto);
        let mut exit = Exit::Success;
        for (_, error) in &set.refused {
            context.console.error(&format!("{error}."));
            exit = Exit::Failed;
        }
        if context.options.test {
            return Ok(exit);
        }
        clear_left_over(&mut self.mapper, &mut self.there)?;
        let boots = boot.sysinit || wish.auto;
        for group in &set.groups {
            if let Err(error) = self.up(context, &mut session, found, (group, boots)) {
                error.tell(context.console);
                exit = Exit::Failed;
                continue;
            }
            let snapshots = group.snapshots.iter().map(|snapshot| &snapshot.lv);
            for lv in std::iter::once(&group.origin.lv).chain(snapshots) {
                read_ahead_as_said(context.console, found, lv);
            }
        }
        self.tell(context, found, lvs.is_none())?;
        if boot.polls {
            self.poll(context, &session.paths, found, lvs)?;
        }
        if let Some(wish) = boot.monitor {
            monitor(context, &session, &found.vg, wish)?;
        }
        Ok(exit)
    }

    fn up(
        &mut self,
        context: &Context,
        session: &mut Session,
        found: &FoundVg,
        (group, boots): (&Group, bool),
    ) -> Result<(), CliError> {
        self.refuse_claimed(&found.vg.name, group)?;
        let all = deactivate(group);
        let of_group = |info: &&Info| all.iter().any(|verb| info.name == *verb.name());
        if self.there.iter().filter(of_group).any(|info| info.suspended) {
            let tables = tables(&mut self.mapper)?;
            drop(self.bring_on(group.clone(), &tables)?);
        }
        self.mapper
            .make_nodes(self.there.iter().filter(of_group).filter(|info| info.live).map(|info| &info.name));
        let verbs = complete(group, &self.there);
        if verbs.is_empty() {
            return Ok(());
        }
        group.check_kernel().map_err(|error| CliError::failed(format!("{error}.")))?;
        for told in self.distrusted(session, found, (group, boots))? {
            context.console.warn(&told);
        }
        let Err(error) = self.mapper.apply_all(&verbs) else { return Ok(()) };
        let there = |name: &DmName| self.there.iter().any(|info| info.name == *name);
        for verb in all.into_iter().filter(|verb| !there(verb.name())) {
            // One that was not made yet is not missed.
            self.mapper.apply_all(&[verb]).ok();
        }
        Err(error.into())
    }

    /// Takes LVs down with their groups, all where none is named.
    pub(crate) fn deactivate(
        mut self,
        context: &Context,
        mut session: Session,
        vg: &VgName,
        lvs: Option<&[LvName]>,
    ) -> Result<Exit, CliError> {
        let _lock = locks(&session.config).vg(vg, LockMode::Exclusive)?;
        let discovery = session.discover();
        let found = one_vg(&discovery, vg)?;
        self.there = devices_of(&mut self.mapper, &found.vg.id)?;
        let (groups, left) = self.to_go(found, active_of(found, lvs));
        let mut exit = Exit::Success;
        for (lv, error) in &left {
            context.console.error(&format!("Logical volume {vg}/{lv} stays active: {}.", error.reason()));
            exit = Exit::Failed;
        }
        if lvs.is_none() {
            self.refuse_open(context, &groups, vg)?;
        }
        for group in &groups {
            let there = |verb: &Verb| self.there.iter().any(|info| info.name == *verb.name());
            let verbs: Vec<Verb> = deactivate(group).into_iter().filter(there).collect();
            if verbs.is_empty() || context.options.test {
                continue;
            }
            let lost = self.lost(group)?;
            let down = match self.in_use(group)? {
                Some((lv, device)) => {
                    let words = in_use_words(&format!("{vg}/{lv}"), &device);
                    let origin = &group.origin.lv;
                    Err(CliError::failed(if lv == *origin {
                        words
                    } else {
                        let open = self.open_snapshots(group)?;
                        format!("{words}\nLV {vg}/{origin} has open {open} snapshot(s), not deactivating.")
                    }))
                }
                None => self.mapper.apply_all(&verbs).map_err(CliError::from),
            };
            match down {
                Ok(()) => write_down(context, vg, &lost),
                Err(error) => {
                    error.tell(context.console);
                    exit = Exit::Failed;
                }
            }
        }
        if !context.options.test {
            remove_orphans(&mut self.mapper, &found.vg)?;
        }
        self.tell(context, found, lvs.is_none())?;
        Ok(exit)
    }

    /// The groups that can be taken down, and what of the others is active.
    fn to_go(&self, found: &FoundVg, set: ActivationSet) -> (Vec<Group>, Vec<(LvName, ActivationError)>) {
        let (mut groups, mut left): (Vec<Group>, _) = (Vec::new(), Vec::new());
        let known = set.groups.into_iter().map(|group| group.origin.lv);
        for lv in known.chain(set.refused.into_iter().map(|(lv, _)| lv)) {
            match to_take_down(found, &lv, &self.there) {
                Ok(group) if groups.contains(&group) => {}
                Ok(group) => groups.push(group),
                Err(error) if self.has_any(found, &lv) => left.push((lv, error)),
                Err(_) => {}
            }
        }
        (groups, left)
    }

    /// Whether any device of an LV is there: its own, or one of its layers, of whatever kind.
    pub(super) fn has_any(&self, found: &FoundVg, lv: &LvName) -> bool {
        let uuid = found.vg.lv(lv).map(|lv| Device::of(found, lv, Layer::Top).uuid);
        uuid.is_some_and(|uuid| self.there.iter().any(|info| info.uuid.starts_with(&uuid)))
    }

    /// Of a whole VG nothing is taken down while anything is open, as with LVM2.
    fn refuse_open(&mut self, context: &Context, groups: &[Group], vg: &VgName) -> Result<(), CliError> {
        let mut open = 0_usize;
        for group in groups {
            if let Some((lv, device)) = self.in_use(group)? {
                context.console.error(&in_use_words(&format!("{vg}/{lv}"), &device));
                open = open.saturating_add(1);
            }
        }
        if open == 0 {
            return Ok(());
        }
        let words = format!("Can't deactivate volume group \"{vg}\" with {open} open logical volume(s)");
        Err(CliError::failed(words))
    }

    /// How many snapshots of a group somebody has open.
    fn open_snapshots(&mut self, group: &Group) -> Result<usize, CliError> {
        let mut open = 0_usize;
        for snapshot in &group.snapshots {
            let device = std::slice::from_ref(&snapshot.top.name);
            open = open.saturating_add(usize::from(first_open(&mut self.mapper, device)?.is_some()));
        }
        Ok(open)
    }

    /// The first LV of a group that somebody has open.
    fn in_use(&mut self, group: &Group) -> Result<Option<(LvName, DmName)>, CliError> {
        let origin = std::iter::once((&group.origin.lv, &group.origin.top.name));
        let snapshots = group.snapshots.iter().map(|snapshot| (&snapshot.lv, &snapshot.top.name));
        let all: Vec<(&LvName, &DmName)> = origin.chain(snapshots).collect();
        let names: Vec<DmName> = all.iter().map(|(_, device)| (*device).clone()).collect();
        let open = first_open(&mut self.mapper, &names)?;
        let of = |open: &DmName| all.iter().find(|(_, device)| *device == open).map(|(lv, _)| (*lv).clone());
        Ok(open.and_then(|open| Some((of(&open)?, open))))
    }

    /// How many are active now, in LVM2's words, and what could not be done beside the verbs.
    fn tell(&mut self, context: &Context, found: &FoundVg, whole: bool) -> Result<(), CliError> {
        for note in self.mapper.take_notes() {
            context.console.warn(&format!("{note}."));
        }
        if !whole || context.options.test {
            return Ok(());
        }
        let there = devices_of(&mut self.mapper, &found.vg.id)?;
        let links = found.vg.snapshots();
        // A snapshot that is merged is no longer one of those that LVM2 counts.
        let seen = found.vg.lvs.iter().filter(|lv| links.is_visible(lv));
        let is_up = |uuid: &str| there.iter().any(|info| info.uuid == uuid && info.live);
        let active = seen.filter(|lv| is_up(&Device::of(found, lv, Layer::Top).uuid)).count();
        let vg = &found.vg.name;
        context.console.say(&format!("{active} logical volume(s) in volume group \"{vg}\" now active"));
        Ok(())
    }
}

/// Leaves out what lvm.conf does not let come up here, and takes the right to write from what it wants read-only.
fn keep_to_lists(lists: &VolumeLists, found: &FoundVg, set: &mut ActivationSet, auto: bool) {
    let vg = &found.vg;
    set.groups.retain(|group| vg.lv(&group.origin.lv).is_none_or(|lv| lists.allow(vg, lv, auto)));
    let read_only = |lv: &LvName| vg.lv(lv).is_some_and(|lv| lists.keep_read_only(vg, lv));
    for group in &mut set.groups {
        group.origin.read_only |= read_only(&group.origin.lv);
        for snapshot in &mut group.snapshots {
            snapshot.read_only |= read_only(&snapshot.lv) || read_only(&group.origin.lv);
        }
    }
}

/// The groups of LVs that may be active and are meant, all where none is named.
pub(super) fn active_of(found: &FoundVg, lvs: Option<&[LvName]>) -> ActivationSet {
    match lvs {
        None => to_deactivate(found),
        Some(lvs) => named(found, lvs, Wish { ignore_skip: true, auto: false }),
    }
}

/// The groups of LVs that are named.
fn named(found: &FoundVg, lvs: &[LvName], wish: Wish) -> ActivationSet {
    let mut set = ActivationSet::default();
    // Those that are not there were told already.
    for name in lvs.iter().filter(|name| found.vg.lv(name).is_some()) {
        let flags = found.vg.lv(name).map(|lv| &lv.flags);
        let has = |flag| flags.is_some_and(|flags| flags.contains(flag));
        if (has(LvFlag::ActivationSkip) && !wish.ignore_skip) || (has(LvFlag::NoAutoactivate) && wish.auto) {
            continue;
        }
        match Group::of(found, name) {
            Ok(group) if set.groups.contains(&group) => {}
            Ok(group) => set.groups.push(group),
            Err(error) => set.refused.push((name.clone(), error)),
        }
    }
    set
}
