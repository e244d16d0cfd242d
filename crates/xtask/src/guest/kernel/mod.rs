//! The manager's own plans, carried out by the kernel's device-mapper inside the guest of rig 2.
//!
//! Holds: plans, commits and jobs are those of the program; only the words and the faults are this file's.

mod host;

use std::ops::ControlFlow;

use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::{Args, Subcommand, ValueEnum};
use foldback_dm_table::{DeviceMapper, Stage, Table, Target, Transaction, Verb};
use foldback_lvm2_format::vg::Vg;
use foldback_manager::activation::{
    ActivationSet, Change, Wish, activate, deactivate, tables, take_snapshots, to_activate, to_deactivate,
};
use foldback_manager::apply::prepare_stores;
use foldback_manager::environment::Machine;
use foldback_manager::job::{MergeHost, MergeRequest, Observer, Progress, merge};
use foldback_manager::ops::merge_start::Mode;
use foldback_manager::ops::snapshot_create::{NewSnapshot, WhileMerging, chunk_size, plan_several};

use foldback_manager::ops::{Layout, Notice, SizeRequest};
use foldback_manager::recover;
use foldback_manager::store::{FoundVg, select, stage};
use foldback_units::{LvName, Sectors, VgName};

use host::Host;

/// Arguments of `kernel`.
#[derive(Args)]
pub(crate) struct KernelJob {
    /// The PVs, with commas between them
    #[arg(long, value_delimiter = ',')]
    pvs: Vec<String>,
    /// The VG
    #[arg(long)]
    vg: String,
    /// A fault to put into the transaction
    #[arg(long, value_enum)]
    spoil: Option<Spoil>,
    #[command(subcommand)]
    work: Work,
}

#[derive(Subcommand)]
enum Work {
    /// Activate
    Up,
    /// Deactivate
    Down,
    /// Let pv2 work again
    Heal,
    /// Compare every device with the plan: names, UUIDs, tables, read-only
    Agrees,
    /// Take a snapshot of a live origin
    Snapshot {
        origin: String,
        name: String,
        /// Of the store
        mib: u64,
        /// Of a chunk
        sectors: u32,
        /// The PVs for the store
        #[arg(long, value_delimiter = ',')]
        on: Vec<String>,
    },
    /// Merge a snapshot of a live origin
    Merge {
        snapshot: String,
        /// Keep the snapshot's name and device
        #[arg(long)]
        namesnapshot: bool,
        /// End when it has begun
        #[arg(long)]
        leave: bool,
    },
}

/// What goes wrong.
#[derive(Clone, Copy, ValueEnum)]
enum Spoil {
    /// A table that the kernel refuses, last of all loads
    Load,
    /// A table that the kernel takes, and refuses when its device is resumed
    Resume,
    /// A table that the kernel refuses, inside the suspended section
    LateLoad,
    /// The first snapshot is not suspended: the kernel refuses to hand its store over
    Handover,
    /// A header on a disk that takes no writes
    Header,
    /// A removal of a device that is in use
    Remove,
    /// pv2 fails from just before the transaction on
    Store,
}

/// Runs a job.
pub(super) fn run(job: &KernelJob) -> Result<()> {
    let vg = VgName::new(&job.vg)?;
    if matches!(job.work, Work::Heal) {
        return pv2("linear /dev/ubdb 0");
    }
    let mut host = Host::open(&job.pvs, job.spoil.map(Spoil::on))?;
    host.lock(&vg).map_err(|error| anyhow!("{error}"))?;
    let discovery = host.discover();
    let found = select::to_change(&discovery, &vg)?.clone();
    match &job.work {
        Work::Up => {
            for group in groups(to_activate(&found, Wish::default()))? {
                host.mapper.kernel.apply_all(&activate(&group))?;
            }
        }
        Work::Down => {
            for group in groups(to_deactivate(&found))? {
                host.mapper.kernel.apply_all(&deactivate(&group))?;
            }
        }
        Work::Heal => {}
        Work::Agrees => agrees(&mut host, &found)?,
        Work::Snapshot { origin, name, mib, sectors, on } => {
            let new = NewSnapshot {
                origin: LvName::new(origin)?,
                name: Some(LvName::new(name)?),
                size: SizeRequest::Sectors(Sectors(mib * 2048)),
                chunk_sectors: *sectors,
                layout: Layout::LINEAR,
                pvs: pvs(&found, on)?,
                read_only: false,
                tags: Vec::new(),
            };
            snapshot(&mut host, &found, &new)?;
        }
        Work::Merge { snapshot, namesnapshot, leave } => {
            let paths = host.paths.clone();
            let request = MergeRequest {
                paths: &paths,
                system_id: None,
                vg,
                lv: LvName::new(snapshot)?,
                force: false,
                mode: if *namesnapshot { Mode::NameSnapshot } else { Mode::NameOrigin },
                undo: None,
                leave: *leave,
                told: false,
            };
            let outcome = merge(&mut host, &request, &mut Machine::new("guest kernel"), &mut Words);
            println!("OUTCOME {:?}", outcome.map_err(|error| anyhow!("{error}"))?);
        }
    }
    let notes = host.mapper.kernel.take_notes();
    ensure!(notes.is_empty(), "noted: {notes:?}");
    Ok(())
}

impl Spoil {
    fn on(self) -> fn(&mut Transaction) {
        match self {
            Self::Load => |transaction| {
                let last = transaction.preload.last().map(|verb| Verb::Load {
                    name: verb.name().clone(),
                    table: Table::of(Sectors(8), target("linear", "/dev/ubda")),
                    read_only: false,
                });
                transaction.preload.extend(last);
            },
            Self::Resume => |transaction| {
                let last = transaction.preload.last().map(behind_the_end);
                transaction.preload.extend(last);
            },
            Self::LateLoad => |transaction| {
                let bad = transaction.suspend.first().map(|verb| Verb::Load {
                    name: verb.name().clone(),
                    table: Table::of(Sectors(8), target("linear", "/dev/ubda")),
                    read_only: false,
                });
                transaction.suspend.extend(bad);
            },
            Self::Handover => |transaction| {
                let second = transaction.suspend.get(1).map(|verb| verb.name().clone());
                transaction.suspend.retain(|verb| Some(verb.name()) != second.as_ref());
            },
            Self::Header => |transaction| {
                for header in &mut transaction.headers {
                    "/dev/mapper/nowrite".clone_into(&mut header.pv.0);
                }
            },
            Self::Store => |_| {
                pv2("error").unwrap_or_else(|error| println!("{error:#}"));
            },
            Self::Remove => |transaction| {
                let used = transaction.suspend.last().map(|verb| Verb::Remove { name: verb.name().clone() });
                transaction.clean.extend(used);
            },
        }
    }
}

/// Gives the device pv2 another table of the same length.
fn pv2(target: &str) -> Result<()> {
    let script = format!(
        "dmsetup suspend --noflush --nolockfs pv2 && dmsetup load pv2 --table \"0 $(blockdev --getsz /dev/ubdb) {target}\"; dmsetup resume pv2"
    );
    let status =
        std::process::Command::new("sh").args(["-c", &script]).status().context("running dmsetup")?;
    ensure!(status.success(), "dmsetup says {status}");
    Ok(())
}

/// It reaches behind the end of the disk.
fn behind_the_end(verb: &Verb) -> Verb {
    let area = foldback_dm_table::StripeArea {
        device: foldback_dm_table::DeviceRef("/dev/ubda".to_owned()),
        offset: Sectors(1 << 40),
    };
    let table = Table::of(Sectors(8), Target::Linear(area));
    Verb::Load { name: verb.name().clone(), table, read_only: false }
}

fn target(kind: &str, params: &str) -> Target {
    Target::Other { kind: kind.to_owned(), params: params.to_owned() }
}

fn groups(set: ActivationSet) -> Result<Vec<foldback_manager::activation::Group>> {
    ensure!(set.refused.is_empty(), "refused: {:?}", set.refused);
    Ok(set.groups)
}

fn pvs(found: &FoundVg, paths: &[String]) -> Result<Vec<foldback_lvm2_format::vg::PvKey>> {
    let key = |path: &String| {
        let pv = found.vg.pvs.iter().find(|pv| found.place(&pv.key).is_some_and(|place| place.path == *path));
        pv.map(|pv| pv.key.clone()).with_context(|| format!("{path} is no PV of the VG"))
    };
    paths.iter().map(key).collect()
}

/// Compares what is there with what the plans say.
fn agrees(host: &mut Host, found: &FoundVg) -> Result<()> {
    let kernel = &mut host.mapper.kernel;
    let there = kernel.list()?;
    let mut planned = 0;
    for verb in groups(to_activate(found, Wish::default()))?.iter().flat_map(activate) {
        match verb {
            Verb::Create { name, uuid, .. } => {
                planned += 1;
                let info = there.iter().find(|info| info.name == name);
                let info = info.with_context(|| format!("{name} is not there"))?;
                ensure!(info.uuid == uuid, "{name} has the UUID {}, planned is {uuid}", info.uuid);
                ensure!(info.live && !info.suspended && !info.inactive, "{name} is {info:?}");
            }
            Verb::Load { name, table, .. } => {
                let live = kernel.table(&name)?.unwrap_or_default();
                ensure!(live == table, "{name} has the table {live}, planned is {table}");
            }
            _ => {}
        }
    }
    let ours = there.iter().filter(|info| info.uuid.starts_with("LVM-")).count();
    ensure!(ours == planned, "{ours} devices of LVM2's are there, {planned} are planned");
    println!("{planned} devices agree");
    Ok(())
}

fn snapshot(host: &mut Host, found: &FoundVg, new: &NewSnapshot) -> Result<()> {
    let mut machine = Machine::new("guest kernel");
    let planned = plan_several(&found.vg, std::slice::from_ref(new), WhileMerging::Refused, &mut machine)
        .map_err(|refusal| anyhow!("{refusal}"))?;
    let chunk = chunk_size(new.chunk_sectors).map_err(|refusal| anyhow!("{refusal}"))?;
    let (mut set, mapper) = host.set();
    prepare_stores(&mut set, found, &planned.vg, &planned.lvs, chunk)?;
    let handover = stage(&mut set, found, planned.vg, &mut machine)?.hand_over();
    let changes = Change::all(found, &handover.next, std::slice::from_ref(&new.origin))?;
    let transaction = take_snapshots(&changes, handover.headers);
    let Err((failed, error)) = mapper.transact(&transaction) else { return Ok(()) };
    if failed == Stage::Resume {
        // A snapshot whose origin was not switched takes no copies: the VG before, and devices as they were.
        let there = tables(mapper)?;
        let way = recover::take_back(&mut set, (found, &handover.next), &changes, &there, &mut machine)?;
        mapper.transact(&way).map_err(|(stage, error)| anyhow!("taking back: {stage:?}: {error}"))?;
    }
    bail!("{failed:?}: {error}")
}

/// Tells what a job says.
struct Words;

impl Observer for Words {
    fn notice(&mut self, notice: Notice) {
        println!("{}", notice.text);
    }

    fn progress(&mut self, progress: &Progress) -> ControlFlow<()> {
        println!("left {}", progress.chunks_left);
        ControlFlow::Continue(())
    }

    fn committed(&mut self, _: &Vg) {}
}
