//! A row of changes of a VG, each cut short again and again until it is made.
//!
//! What must hold (lvm2.md 1.6):
//! - After a power cut the VG reads as before the change or as after it, to the byte, also by a reader of its own.
//! - What was reported as done is durable; what was reported as not done reads as before.
//! - No LV that is not part of the change loses a byte, and a new LV shows nothing of its former owner's.
//! - The same command, run again, comes to the same end.

use super::change::{Change, NotMade};
use super::meddler::{DiskBug, Meddler};
use super::reader::Text;
use super::vg_world::{Repeatable, found_on, lv_content, make_vg, read_text, unexpected, used_disks};
use crate::report::{Failure, Scene, Scenes};
use foldback_lvm2_format::vg::Vg;
use foldback_testkit::cow::{State, load};
use foldback_testkit::{Cut, FaultKind, Image, InjectedFault, Order, Rng, Sector, SimDisks};
use foldback_units::LvName;

/// How often one change is tried before it must succeed.
const MAX_CUTS: u64 = 6;

pub(crate) struct Commits {
    image: Image,
    physical: Vec<u64>,
    bug: Option<DiskBug>,
    seed: u64,
    pub(crate) steps: u64,
    pub(crate) trace: Option<Vec<String>>,
}

/// A change with the texts before and after it.
struct Judged {
    change: Change,
    before: Text,
    after: Text,
    environment: Repeatable,
    operations: u64,
}

impl Commits {
    pub(crate) fn new(seed: u64, rng: &mut Rng, traced: bool, bug: Option<DiskBug>) -> Self {
        let disks = rng.between(1, 2);
        let image = used_disks(disks, rng.between(12, 40));
        let physical = (0..disks).map(|_| *rng.pick(&[1, 8])).collect();
        Self { image, physical, bug, seed, steps: 0, trace: traced.then(Vec::new) }
    }

    fn note(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(line());
        }
    }

    fn disks(&mut self, image: Image, order: Order) -> SimDisks {
        self.steps += 1;
        SimDisks::new(image, &self.physical, order, self.seed ^ self.steps << 32)
    }

    pub(crate) fn run(&mut self, rng: &mut Rng, scenes: &mut Scenes) -> Result<(), Failure> {
        let disks = self.disks(self.image.clone(), Order::Any);
        make_vg(&mut Meddler::new(disks.clone(), None), &mut Repeatable::new(self.seed))?;
        self.image = disks.power_off(Some(Cut::LoseAll));
        for step in 0..rng.between(2, 8) {
            let Some(judged) = self.prepare(step, rng)? else { continue };
            self.carry_out(&judged, rng, scenes)?;
        }
        Ok(())
    }

    /// Draws a change, and makes it once without any trouble, to know what comes of it.
    fn prepare(&mut self, step: u64, rng: &mut Rng) -> Result<Option<Judged>, Failure> {
        let Some(change) = Change::any(&found_on(&self.image)?.vg, rng) else { return Ok(None) };
        let before = read_text(&self.image)?;
        let environment = Repeatable::new(self.seed ^ (step + 1) << 40);
        let disks = self.disks(self.image.clone(), Order::Any);
        match change.make(&mut Meddler::new(disks.clone(), None), &mut environment.clone()) {
            Ok(()) => {}
            Err(NotMade::Refused(why)) => {
                self.note(|| format!("{change:?} is refused: {why}"));
                return Ok(None);
            }
            Err(error) => return Err(unexpected("a change without trouble", format!("{error:?}"))),
        }
        let after = read_text(&disks.power_off(Some(Cut::LoseAll)))?;
        if after.seqno != before.seqno + 1 {
            let what = format!("{change:?}: seqno {} follows {}", after.seqno, before.seqno);
            return Err(Failure::new("commit", what));
        }
        self.note(|| format!("{change:?}: seqno {} to {}", before.seqno, after.seqno));
        Ok(Some(Judged { change, before, after, environment, operations: disks.taken() }))
    }

    /// Makes the change with power cuts and errors until it is made.
    fn carry_out(&mut self, judged: &Judged, rng: &mut Rng, scenes: &mut Scenes) -> Result<(), Failure> {
        for attempt in 0..=MAX_CUTS {
            let order = *rng.pick(&[Order::Any, Order::Newest, Order::LateFlushes]);
            let disks = self.disks(self.image.clone(), order);
            let last = attempt == MAX_CUTS;
            let trouble = if last { 0 } else { rng.below(10) };
            if trouble >= 4 {
                disks.power_off_after(rng.below(judged.operations + 2));
            } else if trouble >= 1 {
                disks.inject(InjectedFault {
                    kind: *rng.pick(&[FaultKind::Any, FaultKind::Write, FaultKind::Flush, FaultKind::Read]),
                    disk: None,
                    after: rng.below(judged.operations),
                    times: rng.between(1, 2),
                });
            }
            let mut meddler = Meddler::new(disks.clone(), self.bug);
            let made = judged.change.make(&mut meddler, &mut judged.environment.clone());
            self.note(|| format!("attempt {attempt}: {made:?}, power off: {}", disks.is_off()));
            let was_off = disks.is_off();
            scenes.saw_if(was_off, Scene::VgCut);
            let image = disks.power_off(None);
            let text = read_text(&image)?;
            Self::judge(judged, &text, made, was_off, disks.faults_hit() > 0)?;
            let advanced = text == judged.after;
            scenes.saw(if advanced { Scene::VgAdvanced } else { Scene::VgReverted });
            self.judge_data(judged, &image, advanced)?;
            self.image = image;
            if advanced {
                scenes.saw(Scene::VgCommit);
                return Ok(());
            }
        }
        Err(Failure::new("commit", format!("{:?} is not made after {MAX_CUTS} attempts", judged.change)))
    }

    fn judge(
        judged: &Judged,
        text: &Text,
        made: Result<(), NotMade>,
        was_off: bool,
        faulty: bool,
    ) -> Result<(), Failure> {
        let change = &judged.change;
        if *text != judged.before && *text != judged.after {
            let what = format!("{change:?} leaves seqno {} with a text that is neither", text.seqno);
            return Err(Failure::new("commit", what));
        }
        match made {
            Ok(()) if *text != judged.after => {
                Err(Failure::new("commit", format!("{change:?} was reported as made and is lost")))
            }
            Err(NotMade::Broken(failure)) if !was_off && !faulty => Err(failure),
            Err(NotMade::Unchanged(why)) if !was_off && *text != judged.before => Err(Failure::new(
                "commit",
                format!("{change:?} was reported as not made ({why}) and is made"),
            )),
            Err(why) if !was_off && !faulty => {
                Err(Failure::new("commit", format!("{change:?} failed without a reason: {why:?}")))
            }
            _ => Ok(()),
        }
    }

    /// LVs that hold data: stores and plain ones, not the fictional.
    fn data_lvs(vg: &Vg) -> Vec<LvName> {
        vg.lvs.iter().filter(|lv| lv.snapshot().is_none()).map(|lv| lv.name.clone()).collect()
    }

    fn judge_data(&self, judged: &Judged, image: &Image, advanced: bool) -> Result<(), Failure> {
        let old = found_on(&self.image)?;
        let new = found_on(image)?;
        for name in Self::data_lvs(&old.vg) {
            if new.vg.lv(&name).is_none() {
                continue;
            }
            if lv_content(&old, &name, &self.image)? != lv_content(&new, &name, image)? {
                return Err(Failure::new(
                    "commit",
                    format!("{:?} changed the content of {name}", judged.change),
                ));
            }
        }
        match &judged.change {
            Change::Create { name, .. } if advanced => {
                let content = lv_content(&new, name, image)?;
                match content.iter().take(8).position(|sector| *sector != Sector::Zero) {
                    None => Ok(()),
                    Some(at) => {
                        Err(Failure::new("commit", format!("sector {at} of the new {name} is not zero")))
                    }
                }
            }
            Change::Snapshot { name, chunk, .. } if advanced => {
                let loaded = load(&lv_content(&new, name, image)?);
                let loaded =
                    loaded.map_err(|refusal| Failure::new("I8", format!("the new {name}: {refusal:?}")))?;
                let is_right = loaded.state == State::Valid
                    && loaded.chunk == u64::from(*chunk)
                    && loaded.records.is_empty()
                    && loaded.stale.is_empty();
                if is_right { Ok(()) } else { Err(Failure::new("I8", format!("the new {name}: {loaded:?}"))) }
            }
            _ => Ok(()),
        }
    }
}
