//! How long requests took while snapshots were taken, and in each phase of a merge.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::probe::{Sample, Way};

/// In the order in which they come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    Snapshot,
    Before,
    Start,
    During,
    End,
    After,
}

impl Phase {
    fn name(self) -> &'static str {
        match self {
            Self::Snapshot => "a snapshot: those that met the command",
            Self::Before => "no merge yet",
            Self::Start => "start: the command, and 1 s",
            Self::During => "while it merges",
            Self::End => "end: 1 s before, and 1 s after",
            Self::After => "no merge any more",
        }
    }
}

/// All samples.
#[derive(Debug, Default)]
pub(super) struct Phases(BTreeMap<(Phase, Way), Vec<Duration>>);

impl Phases {
    pub(super) fn add(&mut self, phase: Phase, sample: &Sample) {
        self.0.entry((phase, sample.way)).or_default().push(sample.took);
    }

    /// The longest p99.9 of a phase that has to do with a merge.
    pub(super) fn worst(&self) -> Duration {
        let merging = self.0.iter().filter(|((phase, _), _)| (Phase::Start..=Phase::End).contains(phase));
        merging.map(|(_, times)| share(&sorted(times), 999)).max().unwrap_or_default()
    }

    /// The longest write that a snapshot's command may have held.
    pub(super) fn longest_at_a_snapshot(&self) -> Duration {
        let times = self.0.get(&(Phase::Snapshot, Way::Write));
        times.into_iter().flatten().max().copied().unwrap_or_default()
    }
}

fn sorted(times: &[Duration]) -> Vec<Duration> {
    let mut times = times.to_vec();
    times.sort_unstable();
    times
}

/// What so many of a thousand do not exceed.
fn share(sorted: &[Duration], thousandths: usize) -> Duration {
    let at = (sorted.len() * thousandths).div_ceil(1000).saturating_sub(1);
    sorted.get(at).copied().unwrap_or_default()
}

impl fmt::Display for Phases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| phase | | requests | p50 | p99 | p99.9 | longest |\n|---|---|---|---|---|---|---|")?;
        for ((phase, way), times) in &self.0 {
            let times = sorted(times);
            let way = if *way == Way::Read { "reads" } else { "writes" };
            let ms = |thousandths| format!("{:.2} ms", share(&times, thousandths).as_secs_f64() * 1000.0);
            let [half, most, nearly_all, all] = [500, 990, 999, 1000].map(ms);
            let (name, count) = (phase.name(), times.len());
            writeln!(f, "| {name} | {way} | {count} | {half} | {most} | {nearly_all} | {all} |")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Phase, Phases, share};
    use crate::bench::stall::probe::{Sample, Way};

    #[test]
    fn shares_are_of_all_and_the_last_is_the_longest() {
        let times: Vec<Duration> = (1..=1000).map(Duration::from_millis).collect();
        let ms = |thousandths| share(&times, thousandths).as_millis();
        assert_eq!([ms(500), ms(990), ms(999), ms(1000)], [500, 990, 999, 1000]);
        assert_eq!(share(&times[..3], 999), Duration::from_millis(3));
        assert_eq!(share(&[], 999), Duration::ZERO);
    }

    #[test]
    fn what_has_nothing_to_do_with_a_merge_is_not_the_worst() {
        let mut phases = Phases::default();
        for (phase, took) in [(Phase::Before, 9), (Phase::Start, 2), (Phase::End, 3), (Phase::After, 8)] {
            let (at, took) = (Duration::ZERO, Duration::from_millis(took));
            phases.add(phase, &Sample { way: Way::Read, at, took });
        }
        assert_eq!(phases.worst(), Duration::from_millis(3));
        for (way, took) in [(Way::Read, 70), (Way::Write, 6), (Way::Write, 5)] {
            phases
                .add(Phase::Snapshot, &Sample { way, at: Duration::ZERO, took: Duration::from_millis(took) });
        }
        assert_eq!(phases.longest_at_a_snapshot(), Duration::from_millis(6));
        assert_eq!(phases.worst(), Duration::from_millis(3));
    }
}
