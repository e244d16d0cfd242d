//! `lvconvert --snapshot` and `--splitsnapshot`: ties an LV to an origin as its store, and takes that back.
//!
//! What must hold (lvm2.md 3.1):
//! - Gluing destroys what the LV held, and asks first; with `-Zn` the store is taken as it is, for one that was split off before.
//! - A sparse volume is not taken apart.
//! - A store that is made anew is empty on disk before the commit that names it.
//! - An LV that is active becomes a store only after it was taken down, which fails while somebody has it open; a snapshot that was
//!   active is active as an LV of its own after it was split off.

use crate::activating::ActivationOptions;
use crate::changing::{Change, one_vg, refused, tell, vg_to_change};
use crate::commands::Context;
use crate::commands::lvcreate::snapshots_live;
use crate::commands::lvremove::is_zeros;
use crate::error::CliError;
use crate::exit::Exit;
use crate::names::Target;
use crate::options::YesNo;
use crate::session::Session;
use crate::sizes::KibSize;
use crate::switching::{Otherwise, Switch};
use clap::{Args, ValueEnum};
use foldback_device::Access;
use foldback_dm_table::Transaction;
use foldback_manager::activation::{Change as GroupChange, remove_lvs};
use foldback_manager::apply::{commit, prepare_stores};
use foldback_manager::ops::snapshot_create::{CHUNK_MIN, chunk_size};
use foldback_manager::ops::{glue, split};
use foldback_manager::store::DiskSet;
use foldback_units::{LvName, Sectors, VgName};

/// What an LV can be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Kind {
    /// A snapshot's store.
    Snapshot,
}

/// The options of both.
#[derive(Args, Default, Debug)]
pub(super) struct Gluing {
    /// Make the second LV the first one's snapshot: ORIGIN STORE
    #[arg(short, long, conflicts_with_all = ["merge", "mergesnapshot", "splitsnapshot"])]
    snapshot: bool,
    /// The same, as --type snapshot
    #[arg(long = "type", value_name = "TYPE", conflicts_with_all = ["merge", "mergesnapshot", "splitsnapshot"])]
    kind: Option<Kind>,
    /// Make the snapshot's store an LV of its own again
    #[arg(long, conflicts_with_all = ["merge", "mergesnapshot"])]
    splitsnapshot: bool,
    /// Chunk size of the snapshot: 4k to 512k
    #[arg(short, long, value_name = "SIZE")]
    chunksize: Option<KibSize>,
    /// n: take the store as it is, for one that was split off before
    #[arg(short = 'Z', long, value_name = "y|n")]
    zero: Option<YesNo>,
}

impl Gluing {
    /// Does what is asked for; `None` where it is something else.
    pub(super) fn run(&self, context: &Context, names: &[String]) -> Option<Result<Exit, CliError>> {
        if self.splitsnapshot {
            return Some(split_all(context, names));
        }
        (self.snapshot || self.kind.is_some()).then(|| self.glue(context, names))
    }

    fn glue(&self, context: &Context, names: &[String]) -> Result<Exit, CliError> {
        let usage = |message: &str| CliError::usage(&context.command, message);
        if let Some(more) = names.get(2) {
            return Err(not_accepted(more));
        }
        let [origin, store] = names else {
            return Err(usage("Name the origin and the LV that is to be its store: VG/ORIGIN VG/STORE."));
        };
        let (vg, origin, store) = both(context, origin, store)?;
        let chunk = self.chunksize.map_or(Sectors(CHUNK_MIN.into()), |KibSize(size)| size);
        let chunk = chunk_size(u32::try_from(chunk.get()).unwrap_or(u32::MAX));
        let chunk = chunk.map_err(|refusal| CliError::failed(refusal.to_string()))?;
        let look = || -> Result<_, CliError> {
            let mut change = Change::of_vg(context, &vg, &[])?;
            let (discovery, live) = change.look(&vg)?;
            let found = vg_to_change(&discovery, &vg)?;
            let planned = glue::plan(&found.vg, (&origin, &store), chunk, &mut change.machine);
            let planned = planned.map_err(|refusal| refused(context, &refusal))?;
            let is_up = live.as_ref().is_some_and(|live| live.has(&found.vg, &store));
            Ok((change, live, found.clone(), planned, is_up))
        };
        let mut seen = look()?;
        let full = format!("{vg}/{store}");
        context.console.warn(&format!("Converting logical volume {full} to snapshot exception store."));
        context.console.error("THIS WILL DESTROY CONTENT OF LOGICAL VOLUME (filesystem etc.)");
        if !context.options.yes && !context.console.ask(&format!("Do you really want to convert {full}?")) {
            return Err(CliError::failed("Conversion aborted."));
        }
        if seen.4 && !context.options.test {
            // Taking it down takes locks of its own.
            drop(seen);
            let down =
                ActivationOptions::down().carry_out(context, &vg, Some(std::slice::from_ref(&store)))?;
            if down != Exit::Success {
                return Err(CliError::failed(format!("Couldn't deactivate logical volume {full}.")));
            }
            seen = look()?;
            if seen.4 {
                return Err(CliError::failed(format!("Logical volume {full} was brought up meanwhile.")));
            }
        }
        let (mut change, mut live, found, planned, _) = seen;
        let found = &found;
        let zero = self.zero != Some(YesNo::No);
        if !zero {
            context.console.warn(&format!("{full} not zeroed."));
        }
        if !change.is_test() {
            let stores = if zero { std::slice::from_ref(&store) } else { &[] };
            let prepare = |set: &mut DiskSet<'_>| prepare_stores(set, found, &planned.vg, stores, chunk);
            if let Some(live) = &mut live {
                let origins = std::slice::from_ref(&origin);
                snapshots_live(&mut change, live, (found, &planned.vg), origins, prepare)?;
            } else {
                let _data = change.session.hold_vg(found)?;
                change.apply(&found.vg, |set, machine| {
                    prepare(set)?;
                    commit(set, found, planned.vg.clone(), machine)
                })?;
            }
        }
        tell(context, &planned.done);
        Ok(Exit::Success)
    }
}

/// An LV; without a VG in front of it one of `vg`.
fn lv_of(context: &Context, text: &str, vg: Option<&VgName>) -> Result<(VgName, LvName), CliError> {
    let text = match vg {
        Some(vg) if !text.contains('/') => format!("{vg}/{text}"),
        _ => text.to_owned(),
    };
    match Target::parse(&text)? {
        Target::Lv(vg, lv) => Ok((vg, lv)),
        Target::Vg(_) | Target::Tag(_) => Err(CliError::usage(
            &context.command,
            "Please provide a volume group and a logical volume: VG/LV.",
        )),
    }
}

/// The VG, the origin and the store; LVM2 looks for both in the store's VG.
fn both(context: &Context, name: &str, store: &str) -> Result<(VgName, LvName, LvName), CliError> {
    let origin = lv_of(context, name, None);
    if !store.contains('/')
        && let Ok((vg, origin)) = origin
    {
        let (vg, store) = lv_of(context, store, Some(&vg))?;
        return Ok((vg, origin, store));
    }
    let (vg, store) = lv_of(context, store, None)?;
    let known = Session::open(&context.options, Access::Read)?.discover();
    one_vg(&known, &vg)?;
    match origin {
        Ok((other, origin)) if other == vg => Ok((vg, origin, store)),
        Ok((other, _)) => {
            Err(CliError::failed(format!("Please use a single volume group name (\"{other}\" or \"{vg}\").")))
        }
        Err(_) => Err(CliError::failed(format!("Couldn't find origin volume {name} in Volume group {vg}."))),
    }
}

/// One word too many.
fn not_accepted(word: &str) -> CliError {
    let message = format!("Command does not accept argument: {word}.");
    CliError { exit: Exit::BadCommandLine, message, hint: None }
}

fn split_all(context: &Context, names: &[String]) -> Result<Exit, CliError> {
    if let Some(more) = names.get(1).filter(|_| context.as_lvm2) {
        return Err(not_accepted(more));
    }
    let mut exit = Exit::Success;
    for name in names {
        let one = lv_of(context, name, None).and_then(|(vg, lv)| split_one(context, &vg, &lv));
        if let Err(error) = one {
            error.tell(context.console);
            exit = exit.max(error.exit);
        }
    }
    Ok(exit)
}

fn split_one(context: &Context, vg: &VgName, lv: &LvName) -> Result<(), CliError> {
    let mut change = Change::of_vg(context, vg, &[])?;
    let (discovery, mut live) = change.look(vg)?;
    let found = vg_to_change(&discovery, vg)?;
    // Nobody would see the zeros that are left, or could remove them.
    let of_zeros = |origin: &LvName| is_zeros(&found.vg, origin);
    if found.vg.snapshots().of_cow(lv).is_some_and(|snapshot| of_zeros(&snapshot.segment.origin)) {
        let message = format!("Unable to split off snapshot {vg}/{lv} with virtual origin.");
        return Err(CliError::failed(message));
    }
    let planned = split::plan(&found.vg, lv).map_err(|refusal| refused(context, &refusal))?;
    let device = live.as_ref().and_then(|live| live.of(&found.vg, lv)).map(|live| live.device.clone());
    if let (Some(live), Some(device)) = (live.as_mut(), &device) {
        live.refuse_open(std::slice::from_ref(device))?;
    }
    let forced = context.options.yes || context.options.force > 0 || change.is_test();
    if device.is_some() && !forced {
        let question = format!("Do you really want to split off active logical volume {vg}/{lv}?");
        if !context.console.ask(&question) {
            return Err(CliError::failed(format!("Logical volume {vg}/{lv} not split.")));
        }
    }
    let was_up = device.is_some() && !change.is_test();
    match (live.as_mut(), device) {
        _ if change.is_test() => {}
        (Some(live), Some(device)) => drop(change.apply_live(
            live,
            (found, planned.vg.clone()),
            &[device],
            |_| Ok(()),
            |live, next, headers| {
                let changes = GroupChange::all(found, next, std::slice::from_ref(lv))?;
                let changes = live.all_as_they_run(changes);
                let transaction = remove_lvs(&changes, headers);
                Ok(Switch { transaction, otherwise: Otherwise::On(changes) })
            },
        )?),
        // A volume of the VG that is live stays as it is: the snapshot's group is not.
        (live, _) => change.apply_either(live, (found, planned.vg.clone()), false, |_, _, headers| {
            Ok(Transaction { headers, ..Transaction::default() }.into())
        })?,
    }
    let done = planned.done;
    if was_up {
        // It takes locks of its own.
        drop(change);
        ActivationOptions::up().carry_out(context, vg, Some(std::slice::from_ref(lv)))?;
    }
    tell(context, &done);
    Ok(())
}
