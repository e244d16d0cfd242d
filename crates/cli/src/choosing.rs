//! Which VGs, LVs and PVs a command means that takes names, tags and a selection.
//!
//! What must hold:
//! - A name that means nothing is an error that says so; without names everything is meant, hidden LVs only with `-a` or by name.
//! - A selection is one of the reports': who selects to change something selects what the report would show.

use crate::commands::Context;
use crate::error::CliError;
use crate::live::is_same;
use crate::names::{Target, plain};
use crate::reporting::{Looks, gather, no_lv, no_vg};
use foldback_manager::report::{
    Asked, Choice, Facts, Format, LvFacts, PvFacts, Report, VgFacts, needs, report,
};

/// What a report shows.
#[derive(Default)]
pub(crate) struct Chosen {
    everything: bool,
    hidden: bool,
    targets: Vec<Target>,
    pvs: Vec<String>,
}

impl Chosen {
    /// Everything, or what is added; of what is covered, hidden volumes too.
    pub(crate) fn new(everything: bool, hidden: bool) -> Self {
        Self { everything, hidden, ..Self::default() }
    }

    /// Whether nothing is meant: all that was named is not there.
    pub(crate) fn is_empty(&self) -> bool {
        !self.everything && self.targets.is_empty() && self.pvs.is_empty()
    }

    /// Adds what a name means.
    pub(crate) fn add(&mut self, name: &str, kind: Report, facts: &Facts) -> Result<(), CliError> {
        if matches!(kind, Report::Pvs | Report::PvSegments) && !name.starts_with('@') {
            let all = facts.vgs.iter().flat_map(|vg| &vg.pvs).chain(&facts.orphans);
            let Some(pv) = all.into_iter().find(|pv| is_same(&pv.name, name)) else {
                let is_there = std::path::Path::new(name).exists();
                return Err(CliError::failed(if is_there {
                    format!("Failed to find physical volume \"{name}\".")
                } else {
                    format!("Cannot use {name}: device not found")
                }));
            };
            self.pvs.push(pv.name.clone());
            return Ok(());
        }
        let target = Target::parse(name)?;
        match &target {
            Target::Tag(_) => {}
            Target::Vg(vg) => {
                vg_named(facts, vg.as_str())?;
            }
            Target::Lv(vg, lv) => {
                if kind == Report::Vgs {
                    return Err(CliError::usage("vgs", format!("Invalid volume group name {name}.")));
                }
                let facts = vg_named(facts, vg.as_str())?;
                if !facts.lvs.iter().any(|known| known.name == lv.as_str()) {
                    return Err(no_lv(vg, lv));
                }
            }
        }
        self.targets.push(target);
        Ok(())
    }
}

fn vg_named<'a>(facts: &'a Facts, name: &str) -> Result<&'a VgFacts, CliError> {
    facts.vgs.iter().find(|vg| vg.name == name).ok_or_else(|| no_vg(name))
}

fn has(tags: &[String], tag: &str) -> bool {
    tags.iter().any(|known| known == tag)
}

impl Choice for Chosen {
    fn vg(&self, vg: &VgFacts) -> bool {
        self.everything
            || !self.pvs.is_empty()
            || self.targets.iter().any(|target| match target {
                Target::Vg(name) | Target::Lv(name, _) => name.as_str() == vg.name,
                Target::Tag(tag) => {
                    has(&vg.tags, tag.as_str())
                        || vg.lvs.iter().any(|lv| has(&lv.tags, tag.as_str()))
                        || vg.pvs.iter().any(|pv| has(&pv.tags, tag.as_str()))
                }
            })
    }

    fn lv(&self, vg: &VgFacts, lv: &LvFacts) -> bool {
        let named = self.targets.iter().any(|target| match target {
            Target::Lv(in_vg, name) => in_vg.as_str() == vg.name && name.as_str() == lv.name,
            _ => false,
        });
        let covered = self.everything
            || self.targets.iter().any(|target| match target {
                Target::Vg(name) => name.as_str() == vg.name,
                Target::Tag(tag) => has(&vg.tags, tag.as_str()) || has(&lv.tags, tag.as_str()),
                Target::Lv(..) => false,
            });
        named || (covered && (self.hidden || !lv.hidden))
    }

    fn pv(&self, pv: &PvFacts) -> bool {
        self.everything
            || self.pvs.contains(&pv.name)
            || self.targets.iter().any(|target| match target {
                Target::Tag(tag) => has(&pv.tags, tag.as_str()),
                Target::Vg(_) | Target::Lv(..) => true,
            })
    }
}

/// The VGs or LVs among `names`, or among all, for which a selection holds.
pub(crate) fn selected(
    context: &Context,
    kind: Report,
    select: &str,
    names: &[String],
) -> Result<Vec<String>, CliError> {
    let name = if kind == Report::Vgs { "vg_name" } else { "lv_full_name" };
    let asked =
        Asked { report: kind, options: vec![name.to_owned()], sort: None, verbose: false, unbuffered: false };
    let looks = Looks { needs: needs(&asked, Some(select))?, ..Looks::default() };
    let (facts, chosen, _) = gather(context, kind, names, looks)?;
    let format = Format { headings: false, ..Format::default() };
    let text = report(&facts, &asked, Some(select), &chosen, &format)?;
    let found = text.lines().map(|line| line.trim().to_owned());
    if kind != Report::Vgs || names.is_empty() {
        return Ok(found.collect());
    }
    // A report shows a VG also for the tag of something in it; a command means those that have the tag themselves.
    let tagged = |vg: &str, tag: &str| {
        facts.vgs.iter().any(|facts| facts.name == vg && facts.tags.iter().any(|known| known == tag))
    };
    let meant = |vg: &String| {
        names.iter().any(|name| match name.strip_prefix('@') {
            Some(tag) => tagged(vg, tag),
            None => plain(name) == vg,
        })
    };
    Ok(found.filter(meant).collect())
}
