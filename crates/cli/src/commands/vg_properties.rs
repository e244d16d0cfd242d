//! `vgchange` of what a VG is: limits, whether it may grow, tags, extents, UUID, policy, owner.
//!
//! What must hold: everything that is asked for is in one write of the metadata, or none of it is.

use super::Context;
use super::lvcreate::AllocOption;
use super::properties::{TagOptions, Touches, change};
use crate::changing::one_vg;
use crate::error::CliError;
use crate::exit::Exit;
use crate::options::YesNo;
use crate::session::{Session, config};
use crate::sizes::{Number, PlainSize};
use clap::Args;
use foldback_device::Access;
use foldback_manager::config::clean_system_id;
use foldback_manager::ops::Notice;
use foldback_manager::ops::vg_change::{VgWish, plan};
use foldback_units::VgName;

/// What of a VG itself can be changed.
#[derive(Args, Debug)]
pub(super) struct VgProperties {
    #[command(flatten)]
    tags: TagOptions,
    /// Whether events may bring its volumes up, as -aay does
    #[arg(long, value_name = "y|n")]
    setautoactivation: Option<YesNo>,
    /// Most volumes it may have; 0: any number
    #[arg(short = 'l', long, value_name = "NUMBER", allow_hyphen_values = true)]
    logicalvolume: Option<Number>,
    /// Most PVs it may have; 0: any number
    #[arg(short = 'p', long, value_name = "NUMBER", allow_hyphen_values = true)]
    maxphysicalvolumes: Option<Number>,
    /// Size of an extent: what is there has to begin and end where such extents do
    #[arg(short = 's', long, value_name = "SIZE", allow_hyphen_values = true)]
    physicalextentsize: Option<PlainSize>,
    /// Whether PVs may be added and taken away
    #[arg(short = 'x', long, alias = "resizable", value_name = "y|n")]
    resizeable: Option<YesNo>,
    /// Give it another UUID; only while none of its volumes is active
    #[arg(short = 'u', long)]
    uuid: bool,
    /// How extents are chosen for volumes without a policy of their own
    #[command(flatten)]
    alloc: AllocOption,
}

impl VgProperties {
    /// Whether they ask for anything.
    pub(super) fn wants(&self) -> bool {
        let limits = self.logicalvolume.is_some() || self.maxphysicalvolumes.is_some();
        let extents = self.physicalextentsize.is_some() || self.alloc.is_given();
        let marks = self.setautoactivation.is_some() || self.resizeable.is_some() || self.uuid;
        self.tags.wants() || limits || extents || marks
    }

    /// Changes a VG.
    pub(super) fn carry_out(&self, context: &Context, vg: &VgName) -> Result<Exit, CliError> {
        let number = |number: Option<Number>| number.map(|Number(number)| number);
        let is = |asked: Option<YesNo>| asked.map(|asked| asked == YesNo::Yes);
        let mut wish = VgWish {
            max_lv: number(self.logicalvolume),
            max_pv: number(self.maxphysicalvolumes),
            resizeable: is(self.resizeable),
            tags: self.tags.wish(context)?,
            extent_size: self.physicalextentsize.map(|PlainSize(size)| size),
            new_uuid: self.uuid,
            policy: None,
            autoactivation: is(self.setautoactivation),
        };
        // That a VG inherits from nothing is the last thing that LVM2 looks at.
        let inherits = self.alloc.of_vg().map(|policy| wish.policy = policy);
        change(context, vg, Touches::Text, |found, active, machine| {
            let planned = plan(&found.vg, &wish, active, machine)?;
            inherits.map(|()| planned)
        })
    }
}

/// Gives a VG to another host, or to none.
pub(super) fn set_system_id(context: &Context, vg: &VgName, text: &str) -> Result<Exit, CliError> {
    let id = clean_system_id(text);
    let local = config(&context.options, &[])?.system_id;
    let found = Session::open(&context.options, Access::Read)?.discover();
    let known = one_vg(&found, vg)?.vg.system_id.clone().unwrap_or_default();
    let console = context.console;
    if id.is_empty() {
        console.warn("Empty system ID supplied.");
    }
    if known == id {
        return Err(CliError::failed(format!("Volume Group system ID is already \"{id}\".")));
    }
    let question = if id.is_empty() {
        console.warn("Removing the system ID allows unsafe access from other hosts.");
        Some(format!("Remove system ID {known} from volume group {vg}?"))
    } else if local.as_ref() == Some(&id) {
        None
    } else {
        let local = local.map_or_else(String::new, |local| format!(" {local}"));
        console.warn(&format!("Requested system ID {id} does not match local system ID{local}."));
        console.warn(&format!("Volume group {vg} might become inaccessible from this machine."));
        Some(format!("Set foreign system ID {id} on volume group {vg}?"))
    };
    if let Some(question) = question
        && !context.options.yes
        && !console.ask(&question)
    {
        return Err(CliError::failed(format!("Volume group {vg} system ID not changed.")));
    }
    change(context, vg, Touches::Text, |found, _, _| {
        let mut after = found.vg.clone();
        after.system_id = Some(id).filter(|id| !id.is_empty());
        Ok((after, vec![Notice::print(format!("Volume group \"{vg}\" successfully changed"))]))
    })
}
