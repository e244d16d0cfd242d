//! `vgcreate`: a volume group of PVs that belong to none.
//!
//! What must hold:
//! - A disk without a label becomes a PV first, as with LVM2.

use super::Context;
use super::lvcreate::AllocOption;
use super::pvcreate::{PvLayout, create};
use crate::changing::{Change, refused};
use crate::error::CliError;
use crate::exit::Exit;
use crate::options::YesNo;
use crate::session::split_missing;
use crate::sizes::{Number, PlainSize};
use clap::Args;
use foldback_manager::apply::commit;
use foldback_manager::config::clean_system_id;
use foldback_manager::ops::Refusal;
use foldback_manager::ops::extent_size::extent_size;
use foldback_manager::ops::names::user_vg_name;
use foldback_manager::ops::vg_change::stated;
use foldback_manager::ops::vg_create::{NewVg, plan};
use foldback_units::{BadName, TagName, VgName};

/// Create a volume group
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  vgcreate vg disk.img\n  vgcreate -s 1m --addtag lab vg a.img b.img")]
pub(crate) struct VgCreate {
    /// Size of an extent
    #[arg(short = 's', long, value_name = "SIZE", allow_hyphen_values = true)]
    physicalextentsize: Option<PlainSize>,
    /// Most LVs it may have; 0: any number
    #[arg(short = 'l', long, value_name = "NUMBER", allow_hyphen_values = true)]
    maxlogicalvolumes: Option<Number>,
    /// Most PVs it may have; 0: any number
    #[arg(short = 'p', long, value_name = "NUMBER", allow_hyphen_values = true)]
    maxphysicalvolumes: Option<Number>,
    /// How extents are chosen for volumes without a policy of their own
    #[command(flatten)]
    alloc: AllocOption,
    /// Add a tag; may be repeated
    #[arg(long, value_name = "TAG")]
    addtag: Vec<String>,
    /// Whether events may bring its volumes up, as vgchange -aay does
    #[arg(long, value_name = "y|n")]
    setautoactivation: Option<YesNo>,
    /// The host that owns it; else this one, as lvm.conf's global/system_id_source names it
    #[arg(long, value_name = "ID")]
    systemid: Option<String>,
    #[command(flatten)]
    layout: PvLayout,
    /// The new volume group's name
    #[arg(value_name = "VG")]
    name: String,
    /// Image files and disks
    #[arg(value_name = "PV", required = true)]
    pvs: Vec<String>,
}

impl VgCreate {
    pub(crate) fn run(&self, context: &Context) -> Result<Exit, CliError> {
        let mut new = self.new_vg(context)?;
        let (present, exit) = split_missing(context, &self.pvs);
        if exit != Exit::Success {
            return Ok(exit);
        }
        let mut change = Change::global(context, &present)?;
        let mut found = change.discover();
        let given = self.systemid.as_deref().map(clean_system_id);
        new.system_id = given.or_else(|| change.session.config.system_id.clone()).filter(|id| !id.is_empty());
        if found.named(new.name.as_str()).next().is_none() {
            for path in &present {
                if !found.pvs.iter().any(|pv| pv.path == *path) {
                    create(&mut change, &found, path, &self.layout.new_pv(None))?;
                }
            }
            if change.is_test() {
                context.console.say(&format!("Volume group \"{}\" successfully created", new.name));
                return Ok(Exit::Success);
            }
            found = change.session.discover();
        }
        let planned = plan(&found, &new, &present, &mut change.machine)
            .map_err(|refusal| refused(context, &refusal))?;
        change.apply(&planned.vg, |set, machine| commit(set, &planned, planned.vg.clone(), machine))?;
        let owner = new.system_id.as_ref().map_or_else(String::new, |id| format!(" with system ID {id}"));
        context.console.say(&format!("Volume group \"{}\" successfully created{owner}", new.name));
        Ok(Exit::Success)
    }

    fn new_vg(&self, context: &Context) -> Result<NewVg, CliError> {
        let usage = |message: &str| CliError::usage(&context.command, message);
        if let Err(BadName::Character { .. }) = VgName::new(&self.name) {
            let set = "Name contains invalid character, valid set includes: [a-zA-Z0-9.-_+].";
            return Err(usage(&format!("{set}\nNew volume group name \"{}\" is invalid.", self.name)));
        }
        let name = user_vg_name(&self.name).map_err(|refusal| usage(&refusal.to_string()))?;
        let mut new = NewVg::named(name);
        if let Some(PlainSize(size)) = self.physicalextentsize {
            new.extent_size = extent_size(size).map_err(|refusal| match refusal {
                Refusal::ExtentZero => usage(&refusal.to_string()),
                _ => refused(context, &refusal),
            })?;
        }
        new.max_lv = self.maxlogicalvolumes.map_or(0, |Number(number)| number);
        new.max_pv = self.maxphysicalvolumes.map_or(0, |Number(number)| number);
        let policy = self.alloc.of_vg().map_err(|refusal| usage(&refusal.to_string()))?;
        new.policy = policy.and_then(stated);
        new.tags = tags(context, &self.addtag)?;
        new.autoactivation = self.setautoactivation != Some(YesNo::No);
        Ok(new)
    }
}

/// Tags that are to be added.
pub(super) fn tags(context: &Context, texts: &[String]) -> Result<Vec<TagName>, CliError> {
    let tag = |text: &String| TagName::new(text.strip_prefix('@').unwrap_or(text));
    let tags: Result<Vec<_>, _> = texts.iter().map(tag).collect();
    tags.map_err(|error| CliError::usage(&context.command, error.to_string()))
}
