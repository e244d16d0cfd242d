//! `lvcreate`: a linear or striped volume, or a snapshot of one.
//!
//! What must hold:
//! - Options, sizes and refusals are LVM2's.
//! - A new volume never shows what its extents held at its start: it is zeroed although nobody serves it (`-Zn`
//!   leaves it).

mod numbers;
mod options;
mod policy;
mod snapshots;
mod sparse;

use self::options::two_vgs;
pub(super) use numbers::Numbers;
pub(super) use policy::{AllocOption, PolicyOptions};
pub(super) use snapshots::snapshots_live;

use super::Context;
use super::lvremove::take_back;
use super::vgcreate::tags;
use crate::backend::{Boot, Kernel};
use crate::carried::{Carrier, Live};
use crate::changing::{Change, one_vg, refused, tell, vg_to_change};
use crate::console::Console;
use crate::error::CliError;
use crate::exit::Exit;
use crate::live::{is_same, setting};
use crate::names::{Target, default_vg, in_default_vg, plain, vg_name};
use crate::options::YesNo;
use crate::read_ahead::ReadAhead;
use crate::session::Session;
use crate::signatures::{self, Place};
use crate::sizes::{Extents, KibSize, Of, Size};
use clap::{Args, ValueEnum};
use foldback_device::Access;
use foldback_lvm2_format::vg::{AreaOn, Lv, LvFlag, Pv, PvKey, SegmentKind, Vg};
use foldback_manager::activation::Wish;
use foldback_manager::apply::create_lv;
use foldback_manager::ops::allocation::Policy;
use foldback_manager::ops::lv_create::{self, NewLv};
use foldback_manager::ops::names::user_lv_name;
use foldback_manager::ops::snapshot_create::not_understood;
use foldback_manager::ops::trial;
use foldback_manager::ops::{Layout, Notice, PercentOf, Refusal, SizeRequest};
use foldback_manager::report::Units;
use foldback_manager::store::{DiskSet, FoundVg, PvPlace};
use foldback_units::{LvName, Sectors, VgName};

/// What may be done with a volume.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Permission {
    /// Read only.
    #[value(name = "r")]
    Read,
    /// Read and write.
    #[value(name = "rw")]
    Write,
}

/// What can be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Type {
    /// One extent after the other.
    Linear,
    /// Spread over several PVs.
    Striped,
    /// A snapshot.
    Snapshot,
}

/// Create a logical volume, or a snapshot of one
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  lvcreate -L 10G -n root vg\n  lvcreate -s -l 20%ORIGIN -n before vg/root\n  \
                  lvcreate -s -l 20%ORIGIN --freeze -n before vg/root vg/home"
)]
pub(crate) struct LvCreate {
    /// Size, in MiB unless a unit follows: 10g, 512m, 4096s
    #[arg(short = 'L', long, value_name = "SIZE", allow_hyphen_values = true)]
    size: Option<Size>,
    /// Size in extents, or N%VG, N%FREE, N%PVS, N%ORIGIN
    #[arg(short = 'l', long, value_name = "NUMBER[%...]", allow_hyphen_values = true)]
    extents: Option<Extents>,
    /// Name; lvolN if none is given. Of several origins: what stands behind each one's name, ORIGIN_NAME
    #[arg(short, long, value_name = "NAME")]
    name: Option<String>,
    /// Make a snapshot; of several LVs of a VG: all at one instant, or none
    #[arg(short, long)]
    snapshot: bool,
    /// Write back and freeze mounted file systems while the snapshot is taken
    #[arg(long)]
    freeze: bool,
    /// Chunk size of a snapshot: 4k to 512k
    #[arg(short, long, value_name = "SIZE")]
    chunksize: Option<KibSize>,
    /// r or rw
    #[arg(short, long, value_name = "r|rw")]
    permission: Option<Permission>,
    /// Spread over this many PVs
    #[arg(short = 'i', long, value_name = "NUMBER", default_value_t = 1)]
    stripes: u32,
    /// Size of a stripe's piece
    #[arg(short = 'I', long, value_name = "SIZE")]
    stripesize: Option<KibSize>,
    /// Zero the volume's start
    #[arg(short = 'Z', long, value_name = "y|n")]
    zero: Option<YesNo>,
    /// Add a tag; may be repeated
    #[arg(long, value_name = "TAG")]
    addtag: Vec<String>,
    /// What to make
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<Type>,
    #[command(flatten)]
    policy: PolicyOptions,
    /// What the kernel reads ahead: auto, none, or a size in sectors
    #[arg(short, long, value_name = "SIZE|auto|none")]
    readahead: Option<ReadAhead>,
    /// Mark it so that LVM2 activates it only with -K
    #[arg(short = 'k', long, value_name = "y|n")]
    setactivationskip: Option<YesNo>,
    /// Whether events may bring it up, as -aay does
    #[arg(long, value_name = "y|n")]
    setautoactivation: Option<YesNo>,
    /// Make a sparse volume of this size: a snapshot of zeros, whose store -L or -l gives
    #[arg(short = 'V', long, alias = "virtualoriginsize", value_name = "SIZE")]
    virtualsize: Option<Size>,
    #[command(flatten)]
    numbers: numbers::Numbers,
    #[command(flatten)]
    ignored: Ignored,
    /// VG, or VG/LV with -s; may be left out where --name has the VG
    #[arg(value_name = "VG[/LV]", required_unless_present = "name")]
    target: Option<String>,
    /// PVs to put it on; with -s also further origins
    #[arg(value_name = "PV|VG/LV")]
    pvs: Vec<String>,
}

/// What LVM2 takes and has no meaning where nobody serves the new volume.
#[derive(Args, Default, Debug)]
struct Ignored {
    #[arg(short, long, hide = true, value_parser = ["y", "n", "ay", "ey", "en", "ly", "ln", "sy"])]
    activate: Option<String>,
    #[arg(short = 'W', long, hide = true)]
    wipesignatures: Option<YesNo>,
    #[arg(short = 'K', long, hide = true)]
    ignoreactivationskip: bool,
    #[arg(long, hide = true)]
    pub(super) monitor: Option<YesNo>,
    #[arg(long, hide = true)]
    ignoremonitoring: bool,
}

/// A new volume that is in the metadata, and what is to be said once it is as it should be.
struct Made {
    lv: LvName,
    done: Vec<Notice>,
}

impl LvCreate {
    /// A snapshot as `trial start` takes it.
    pub(crate) fn trial(target: String, name: String, size: Option<Size>, extents: Option<Extents>) -> Self {
        Self {
            size,
            extents,
            name: Some(name),
            snapshot: true,
            freeze: false,
            chunksize: None,
            permission: None,
            stripes: 1,
            stripesize: None,
            zero: None,
            addtag: vec![trial::TRIAL.to_owned()],
            kind: None,
            policy: PolicyOptions::default(),
            readahead: None,
            setactivationskip: None,
            setautoactivation: None,
            virtualsize: None,
            numbers: numbers::Numbers::default(),
            ignored: Ignored::default(),
            target: Some(target),
            pvs: Vec::new(),
        }
    }

    pub(crate) fn run(&self, context: &Context) -> Result<Exit, CliError> {
        let usage = |message: &str| CliError::usage(&context.command, message);
        let is_snapshot = self.snapshot || self.kind == Some(Type::Snapshot);
        self.check_options(context, is_snapshot)?;
        if is_snapshot && self.size.is_none() && self.extents.is_none() {
            self.refuse_other_kinds(context)?;
        }
        let size = self.size_request(context, is_snapshot)?;
        if self.stripes > 1 && self.stripesize.is_none() {
            let size = Units::in_words(Layout::DEFAULT_STRIPE_SIZE);
            context.console.say(&format!("Using default stripesize {size}."));
        }
        let (in_name, name) = self.split_name(context)?;
        let is_sparse = is_snapshot && self.virtualsize.is_some();
        let target = match (&self.target, &in_name, default_vg()) {
            (Some(target), ..) if is_snapshot && !is_sparse => in_default_vg(target),
            (Some(target), ..) => target.clone(),
            (None, Some(vg), _) if !is_snapshot || is_sparse => vg.to_string(),
            (None, None, Some(vg)) if !is_snapshot || is_sparse => vg,
            _ => return Err(usage("Please provide a volume group name")),
        };
        let (vg, origin) = if is_snapshot && !is_sparse {
            match Target::parse(&target)? {
                Target::Lv(vg, lv) => (vg, Some(lv)),
                Target::Vg(_) | Target::Tag(_) => {
                    return Err(usage("The origin name should include the volume group."));
                }
            }
        } else if plain(&target).contains('/') {
            return Err(usage("Volume group name expected (no slash)"));
        } else {
            (vg_name(plain(&target))?, None)
        };
        if let Some(other) = in_name.filter(|other| *other != vg) {
            return Err(usage(&two_vgs(is_snapshot, &vg, &other)));
        }
        self.numbers.check(context.console)?;
        if let Some(origin) = origin.as_ref().filter(|_| self.freeze && !context.options.test) {
            self.write_back(context, &vg, origin)?;
        }
        let mut change = Change::of_vg(context, &vg, &[])?;
        let (discovery, live) = change.look(&vg)?;
        let found = vg_to_change(&discovery, &vg)?;
        if let Some(origin) = origin {
            return self.snapshots(&mut change, live, found, origin, (name, size));
        }
        let made = match self.virtualsize.filter(|_| is_sparse) {
            Some(Size(len)) => self.sparse(&mut change, live.is_some(), found, (name, size, len))?,
            None => self.linear(&mut change, found, (name, size))?,
        };
        // Activation reads, and shares the locks.
        drop(change);
        if context.options.test {
            tell(context, &made.done);
            return Ok(Exit::Success);
        }
        let exit = self.bring_up(context, (&vg, &made.lv), live)?;
        tell(context, &made.done);
        Ok(exit)
    }

    fn linear(
        &self,
        change: &mut Change<'_>,
        found: &FoundVg,
        (name, size): (Option<LvName>, SizeRequest),
    ) -> Result<Made, CliError> {
        let context = change.context;
        let new = NewLv {
            name,
            size,
            layout: self.layout(),
            pvs: pv_keys(context, found, &self.pvs)?,
            read_only: self.permission == Some(Permission::Read),
            tags: tags(context, &self.addtag)?,
        };
        let mut planned = lv_create::plan(&found.vg, &new, &mut change.machine)
            .map_err(|refusal| refused(context, &refusal))?;
        self.mark(context.console, &mut planned.vg, &planned.lv);
        tell(context, &planned.notices);
        let zero = self.zero != Some(YesNo::No) && !new.read_only;
        let wipes = self.ignored.wipesignatures.map_or(zero, |wipes| wipes == YesNo::Yes);
        let lists = &change.session.config.volumes;
        let new = planned.vg.lv(&planned.lv).filter(|_| zero || wipes);
        if let Some(lv) = new.filter(|lv| !lists.allow(&planned.vg, lv, false)) {
            return Err(CliError::failed(format!(
                "Volume {}/{} is not active locally (volume_list activation filter?).\nAborting. Failed to wipe start of new LV.",
                found.vg.name, lv.name
            )));
        }
        if wipes && !change.is_test() {
            wipe_start(change, found, &planned)?;
        }
        if !zero && !change.is_test() {
            context.console.warn(&format!("Logical volume {}/{} not zeroed.", found.vg.name, planned.lv));
        }
        if !change.is_test() {
            change.apply(&found.vg, |set, machine| create_lv(set, found, &planned, zero, machine))?;
        }
        Ok(Made { lv: planned.lv, done: planned.done })
    }

    /// Of a VG that is carried a new volume is, too, as with LVM2.
    fn bring_up(
        &self,
        context: &Context,
        (vg, lv): (&VgName, &LvName),
        live: Option<Live>,
    ) -> Result<Exit, CliError> {
        let how = self.ignored.activate.as_deref().unwrap_or_default();
        if how.contains('n') || self.setactivationskip == Some(YesNo::Yes) {
            return Ok(Exit::Success);
        }
        if let Some(Live { by: Carrier::Daemon(mut served), .. }) = live {
            let setting = setting(&context.options, &served.info.devices)?;
            let _unchanged = Session::open_to_activate(&context.options, vg)?;
            let done = served.client.activate(&served.info.name, &[lv.to_string()], &setting)?;
            return match done.failed.first() {
                None => Ok(Exit::Success),
                Some(why) => Err(CliError::failed(format!("{why}. The volume is there, and not active."))),
            };
        }
        match Kernel::of(context, vg, true)? {
            Some((kernel, session, _)) => {
                let wish = Wish { ignore_skip: false, auto: how.contains('a') };
                let boot = Boot { sysinit: false, lockless: false, polls: false, monitor: None };
                let up = kernel.activate(context, session, vg, (Some(std::slice::from_ref(lv)), wish), boot);
                if let Ok(Exit::Success) = up {
                    return up;
                }
                if let Err(error) = up {
                    error.tell(context.console);
                }
                take_back(context, vg, lv)?;
                Err(CliError::failed(format!("Failed to activate new LV {vg}/{lv}.")))
            }
            None => Ok(Exit::Success),
        }
    }

    /// Sets what is asked for of the new LV alone. Thick snapshots are not marked by themselves, as with LVM2.
    fn mark(&self, console: Console, vg: &mut Vg, lv: &LvName) {
        if let Some(lv) = vg.lv_mut(lv) {
            lv.flags.set(LvFlag::ActivationSkip, self.setactivationskip == Some(YesNo::Yes));
            lv.flags.set(LvFlag::NoAutoactivate, self.setautoactivation == Some(YesNo::No));
            lv.allocation_policy = self.policy.chosen();
            if let Some(read_ahead) = self.readahead {
                lv.read_ahead = read_ahead.in_pages(console).in_metadata();
            }
            self.numbers.set(lv);
        }
    }

    /// The name, and the VG where it stands in front of it.
    fn split_name(&self, context: &Context) -> Result<(Option<VgName>, Option<LvName>), CliError> {
        let Some(text) = &self.name else { return Ok((None, None)) };
        let text = plain(text);
        let (vg, name) = match text.split_once('/') {
            Some((vg, name)) => (Some(vg_name(vg)?), name),
            None => (None, text),
        };
        let name = user_lv_name(name).map_err(|refusal| refused(context, &refusal))?;
        Ok((vg, Some(name)))
    }

    /// Without a size LVM2 makes a thin snapshot of a thin volume: said as what it is, not as a size that is missing.
    fn refuse_other_kinds(&self, context: &Context) -> Result<(), CliError> {
        let Some(Ok(Target::Lv(vg, lv))) = self.target.as_deref().map(Target::parse) else { return Ok(()) };
        let found = Session::open(&context.options, Access::Read)?.discover();
        let found = one_vg(&found, &vg)?;
        let type_text = found.vg.lv(&lv).and_then(not_understood);
        let refusal = type_text.map(|type_text| Refusal::NotUnderstood { vg, lv, type_text });
        refusal.map_or(Ok(()), |refusal| Err(refused(context, &refusal)))
    }

    fn size_request(&self, context: &Context, is_snapshot: bool) -> Result<SizeRequest, CliError> {
        let zero = |option| refused(context, &Refusal::Zero(option));
        match (self.size, self.extents) {
            (Some(_), Some(_)) => {
                Err(CliError::usage(&context.command, "Please specify either size or extents (not both)."))
            }
            (None, None) if is_snapshot && self.virtualsize.is_none() => {
                Err(CliError::failed("Please specify either size or extents with snapshots."))
            }
            (None, None) => Err(CliError {
                exit: Exit::BadCommandLine,
                message: "No command with matching syntax recognised.  Run 'lvcreate --help' for more \
                          information."
                    .to_owned(),
                hint: Some("give a size with -L, or a number of extents with -l".to_owned()),
            }),
            (Some(Size(Sectors::ZERO)), None) => Err(zero("size")),
            (Some(Size(size)), None) => Ok(SizeRequest::Sectors(size)),
            (None, Some(Extents::Count(0) | Extents::Percent(0, _))) => Err(zero("extents")),
            (None, Some(Extents::Count(count))) => Ok(SizeRequest::Extents(count)),
            (None, Some(Extents::Percent(percent, of))) => {
                let of = match of {
                    Of::Vg => PercentOf::Vg,
                    Of::Free => PercentOf::Free,
                    Of::Pvs => PercentOf::Pvs,
                    Of::Origin if is_snapshot => PercentOf::Origin,
                    Of::Origin | Of::Lv => {
                        let of =
                            if is_snapshot { "%FREE, %ORIGIN, %PVS or %VG" } else { "%FREE, %PVS or %VG" };
                        return Err(refused(context, &Refusal::PercentOf(of)));
                    }
                };
                Ok(SizeRequest::Percent(percent, of))
            }
        }
    }

    fn layout(&self) -> Layout {
        Layout {
            stripes: self.stripes,
            stripe_size: self.stripesize.map_or(Layout::DEFAULT_STRIPE_SIZE, |KibSize(size)| size),
            policy: self.policy.chosen().as_ref().map(Policy::of),
        }
    }
}

/// Asks about what lies where a new LV is to begin.
fn wipe_start(
    change: &mut Change<'_>,
    found: &FoundVg,
    planned: &lv_create::Planned,
) -> Result<(), CliError> {
    let vg = &found.vg;
    let Some(place) = planned.vg.lv(&planned.lv).and_then(|lv| start_of(found, lv)) else { return Ok(()) };
    let context = change.context;
    let yes = context.options.yes || context.options.force > 0;
    let mut set = DiskSet::new(&mut *change.session.disks, &change.session.paths);
    signatures::wipe(context.console, &mut set, &place, yes, false).map_err(|error| {
        let lv = &planned.lv;
        let message = format!(
            "{}\nFailed to wipe signatures on logical volume {}/{lv}.\nAborting. Failed to wipe start of new LV.",
            error.message, vg.name
        );
        CliError { message, ..error }
    })
}

/// The first piece of an LV.
fn start_of(found: &FoundVg, lv: &Lv) -> Option<Place> {
    let vg = &found.vg;
    let SegmentKind::Striped(striped) = &lv.segments.first()?.kind else { return None };
    let area = striped.areas.first()?;
    let AreaOn::Pv(key) = &area.on else { return None };
    let (pv, place) = vg.pvs.iter().zip(&found.places).find(|(pv, _)| pv.key == *key)?;
    let start = pv.pe_start.checked_add(vg.extent_size.of(area.start_extent))?;
    let first = vg.extent_size.of(lv.segments.first()?.extent_count);
    let len = if striped.areas.len() > 1 { striped.stripe_size? } else { first };
    let path = format!("/dev/{}/{}", vg.name, lv.name);
    Some(Place { path, disk: place.as_ref()?.disk, at: start.to_bytes()?, len: len.to_bytes()? })
}

pub(super) fn pv_keys(context: &Context, found: &FoundVg, paths: &[String]) -> Result<Vec<PvKey>, CliError> {
    let Vg { name, pvs, .. } = &found.vg;
    let mut keys = Vec::new();
    for path in paths {
        let tag = path.strip_prefix('@');
        let meant = |(pv, place): &(&Pv, &Option<PvPlace>)| match tag {
            Some(tag) => pv.tags.iter().any(|known| known.as_str() == tag),
            None => place.as_ref().is_some_and(|place| is_same(&place.path, path)),
        };
        let before = keys.len();
        keys.extend(pvs.iter().zip(&found.places).filter(meant).map(|(pv, _)| pv.key.clone()));
        if keys.len() == before && tag.is_some() {
            return Err(CliError::failed("No specified PVs have space available."));
        }
        if keys.len() == before {
            let absent = Refusal::PvNotInVg { path: path.clone(), vg: name.clone() };
            return Err(refused(context, &absent));
        }
    }
    Ok(keys)
}
