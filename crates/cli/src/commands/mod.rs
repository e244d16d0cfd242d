//! The commands: one file each. A command reads its arguments, asks the libraries, and says what came of it.
//!
//! What must hold:
//! - Every command is listed here, and here only.
//! - With `--test` nothing is written.

mod about;
mod check;
mod daemon;
mod demo;
mod display;
mod dm;
mod export;
mod finish;
mod freeze;
mod generate;
mod import;
mod lvchange;
mod lvconvert;
mod lvcreate;
mod lvextend;
mod lvmonitor;
mod lvpoll;
mod lvreduce;
mod lvremove;
mod lvrename;
mod lvs;
mod map;
mod metrics;
mod online;
mod premerge;
mod properties;
mod pvcreate;
mod pvremove;
mod pvs;
mod scans;
mod trial;
mod vg_properties;
mod vgchange;
mod vgcreate;
mod vgremove;
mod vgs;
mod watch;

use crate::beginning;
use crate::changing::one_vg;
use crate::command_line::{Called, is_command, parse};
use crate::console::Console;
use crate::error::CliError;
use crate::exit::Exit;
use crate::interrupt::survive_file_size_limit;
use crate::names::Target;
use crate::options::Options;
use crate::session::Session;
use crate::shell;
use clap::Subcommand;
use foldback_device::Access;
use foldback_units::{LvName, VgName};
use std::ffi::OsString;

pub(crate) use lvconvert::start_deferred;

/// Every command.
#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    #[command(name = "pvcreate")]
    PvCreate(pvcreate::PvCreate),
    #[command(name = "vgcreate")]
    VgCreate(vgcreate::VgCreate),
    #[command(name = "lvcreate")]
    LvCreate(lvcreate::LvCreate),
    #[command(name = "lvremove")]
    LvRemove(lvremove::LvRemove),
    Pvs(pvs::Pvs),
    Vgs(vgs::Vgs),
    #[command(name = "lvdisplay")]
    LvDisplay(display::LvDisplay),
    #[command(name = "vgdisplay")]
    VgDisplay(display::VgDisplay),
    #[command(name = "pvdisplay")]
    PvDisplay(display::PvDisplay),
    Lvs(lvs::Lvs),
    #[command(name = "lvconvert")]
    LvConvert(lvconvert::LvConvert),
    #[command(name = "lvextend")]
    LvExtend(lvextend::LvExtend),
    #[command(name = "lvrename")]
    LvRename(lvrename::LvRename),
    #[command(name = "lvchange")]
    LvChange(lvchange::LvChange),
    #[command(name = "lvmonitor", hide = true)]
    LvMonitor(lvmonitor::LvMonitor),
    #[command(name = "lvpoll", hide = true)]
    LvPoll(lvpoll::LvPoll),
    Finish(finish::Finish),
    #[command(name = "vgchange")]
    VgChange(vgchange::VgChange),
    #[command(name = "lvreduce")]
    LvReduce(lvreduce::LvReduce),
    #[command(name = "lvresize")]
    LvResize(lvreduce::LvResize),
    #[command(name = "vgremove")]
    VgRemove(vgremove::VgRemove),
    #[command(name = "pvremove")]
    PvRemove(pvremove::PvRemove),
    #[command(name = "vgscan")]
    VgScan(scans::VgScan),
    #[command(name = "vgmknodes")]
    VgMkNodes(scans::VgMkNodes),
    #[command(name = "pvscan")]
    PvScan(scans::PvScan),
    #[command(name = "lvscan")]
    LvScan(scans::LvScan),
    #[command(name = "segtypes")]
    SegTypes(about::SegTypes),
    #[command(name = "lvmconfig", visible_alias = "config", alias = "dumpconfig")]
    LvmConfig(about::LvmConfig),
    Daemon(daemon::Daemon),
    Dm(dm::Dm),
    Check(check::Check),
    Map(map::Map),
    Metrics(metrics::Metrics),
    Watch(watch::Watch),
    Export(export::Export),
    Import(import::Import),
    Demo(demo::Demo),
    Freeze(freeze::Freeze),
    Premerge(premerge::Premerge),
    Trial(trial::Trial),
    Generate(generate::Generate),
}

/// What every command gets beside its own arguments.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    pub(crate) options: Options,
    pub(crate) console: Console,
    /// The command's name.
    pub(crate) command: String,
    /// Called by the name of one of LVM2's commands, or as `lvm`: then nothing may differ from LVM2.
    pub(crate) as_lvm2: bool,
    /// The whole command line from the command's name on, for the metadata's description.
    pub(crate) line: String,
}

impl Command {
    fn name(&self) -> &'static str {
        match self {
            Self::PvCreate(_) => "pvcreate",
            Self::VgCreate(_) => "vgcreate",
            Self::LvCreate(_) => "lvcreate",
            Self::LvRemove(_) => "lvremove",
            Self::Lvs(_) => "lvs",
            Self::LvConvert(_) => "lvconvert",
            Self::LvExtend(_) => "lvextend",
            Self::LvRename(_) => "lvrename",
            Self::LvChange(_) => "lvchange",
            Self::VgChange(_) => "vgchange",
            Self::LvMonitor(_) => "lvmonitor",
            Self::LvPoll(_) => "lvpoll",
            Self::Finish(_) => "finish",
            Self::LvReduce(_) => "lvreduce",
            Self::LvResize(_) => "lvresize",
            Self::VgRemove(_) => "vgremove",
            Self::PvRemove(_) => "pvremove",
            Self::VgScan(_) => "vgscan",
            Self::VgMkNodes(_) => "vgmknodes",
            Self::PvScan(_) => "pvscan",
            Self::LvScan(_) => "lvscan",
            Self::SegTypes(_) => "segtypes",
            Self::LvmConfig(_) => "lvmconfig",
            Self::Daemon(_) => "daemon",
            Self::Dm(_) => "dm",
            Self::Check(_) => "check",
            Self::Map(_) => "map",
            Self::Metrics(_) => "metrics",
            Self::Watch(_) => "watch",
            Self::Export(_) => "export",
            Self::Import(_) => "import",
            Self::Demo(_) => "demo",
            Self::Freeze(_) => "freeze",
            Self::Premerge(_) => "premerge",
            Self::Trial(_) => "trial",
            Self::Generate(_) => "generate",
            Self::Pvs(_) => "pvs",
            Self::Vgs(_) => "vgs",
            Self::LvDisplay(_) => "lvdisplay",
            Self::VgDisplay(_) => "vgdisplay",
            Self::PvDisplay(_) => "pvdisplay",
        }
    }

    fn run(&self, context: &Context) -> Result<Exit, CliError> {
        match self {
            Self::PvCreate(arguments) => arguments.run(context),
            Self::VgCreate(arguments) => arguments.run(context),
            Self::LvCreate(arguments) => arguments.run(context),
            Self::LvRemove(arguments) => arguments.run(context),
            Self::Lvs(arguments) => arguments.run(context),
            Self::LvConvert(arguments) => arguments.run(context),
            Self::LvExtend(arguments) => arguments.run(context),
            Self::LvRename(arguments) => arguments.run(context),
            Self::LvChange(arguments) => arguments.run(context),
            Self::VgChange(arguments) => arguments.run(context),
            Self::LvMonitor(arguments) => arguments.run(context),
            Self::LvPoll(arguments) => arguments.run(context),
            Self::Finish(arguments) => arguments.run(context),
            Self::LvReduce(arguments) => arguments.run(context),
            Self::LvResize(arguments) => arguments.run(context),
            Self::VgRemove(arguments) => arguments.run(context),
            Self::PvRemove(arguments) => arguments.run(context),
            Self::VgScan(arguments) => arguments.run(context),
            Self::VgMkNodes(arguments) => arguments.run(context),
            Self::PvScan(arguments) => arguments.run(context),
            Self::LvScan(arguments) => arguments.run(context),
            Self::SegTypes(arguments) => arguments.run(context),
            Self::LvmConfig(arguments) => arguments.run(context),
            Self::Daemon(arguments) => arguments.run(context),
            Self::Dm(arguments) => arguments.run(context),
            Self::Check(arguments) => arguments.run(context),
            Self::Map(arguments) => arguments.run(context),
            Self::Metrics(arguments) => arguments.run(context),
            Self::Watch(arguments) => arguments.run(context),
            Self::Export(arguments) => arguments.run(context),
            Self::Import(arguments) => arguments.run(context),
            Self::Demo(arguments) => arguments.run(context),
            Self::Freeze(arguments) => arguments.run(context),
            Self::Premerge(arguments) => arguments.run(context),
            Self::Trial(arguments) => arguments.run(context),
            Self::Generate(arguments) => arguments.run(context),
            Self::Pvs(arguments) => arguments.run(context),
            Self::Vgs(arguments) => arguments.run(context),
            Self::LvDisplay(arguments) => arguments.run(context),
            Self::VgDisplay(arguments) => arguments.run(context),
            Self::PvDisplay(arguments) => arguments.run(context),
        }
    }
}

/// Runs the program.
pub(crate) fn run(arguments: Vec<OsString>) -> Exit {
    survive_file_size_limit();
    let told: Vec<_> = arguments.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    if shell::is_meant(&told) {
        return shell::run(is_command);
    }
    let line = match parse(arguments) {
        Ok(line) => line,
        Err(nothing) => {
            let console = Console::new(0, 0);
            match nothing.exit {
                Exit::Success => console.result(&nothing.text),
                _ => console.raw_error(&nothing.text),
            }
            return nothing.exit;
        }
    };
    let console = Console::new(line.options.quiet, line.options.verbose);
    let command = line.command.name().to_owned();
    let called = Called::by(&told);
    let by_its_name = called.as_command;
    let rest = told.iter().skip(1).skip_while(|word| !by_its_name && **word != command);
    let rest = rest.skip(usize::from(!by_its_name)).map(String::as_str);
    let said = std::iter::once(command.as_str()).chain(rest).collect::<Vec<_>>().join(" ");
    let as_lvm2 = called.as_lvm2();
    let options = Options { as_lvm2, ..line.options };
    let options = match beginning::prepare(options, console, &command) {
        Ok(options) => options,
        Err(error) => {
            error.tell(console);
            return error.exit;
        }
    };
    let context = Context { options, console, command, as_lvm2, line: said };
    if context.options.test {
        console.error("TEST MODE: Metadata will NOT be updated and volumes will not be (de)activated.");
    }
    line.command.run(&context).unwrap_or_else(|error| {
        error.tell(console);
        error.exit
    })
}

/// The LVs a target means, by VG: all visible ones of a VG, those with a tag, or the one that is named.
pub(crate) fn resolve(context: &Context, target: &Target) -> Result<Vec<(VgName, Vec<LvName>)>, CliError> {
    if let Target::Lv(vg, lv) = target {
        return Ok(vec![(vg.clone(), vec![lv.clone()])]);
    }
    let found = Session::open(&context.options, Access::Read)?.discover();
    if let Target::Vg(name) = target {
        one_vg(&found, name)?;
    }
    let wanted = found.vgs.iter().filter_map(|found| {
        let vg = &found.vg;
        let links = vg.snapshots();
        let lvs = vg.lvs.iter().filter(|lv| lv.snapshot().is_none()).filter(|lv| match target {
            Target::Tag(tag) => lv.tags.contains(tag) || vg.tags.contains(tag),
            Target::Vg(name) => vg.name == *name && (links.is_visible(lv) || links.is_cow(&lv.name)),
            Target::Lv(..) => false,
        });
        let lvs: Vec<LvName> = lvs.map(|lv| lv.name.clone()).collect();
        (!lvs.is_empty()).then(|| (vg.name.clone(), lvs))
    });
    Ok(wanted.collect())
}
