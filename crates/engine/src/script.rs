//! Groups of I/Os, one group after the other.
//!
//! What must hold:
//! - An I/O of a group is handed out only once every I/O of the groups before it is done.
//! - After the first failure nothing more is handed out.

use crate::api::{Fault, Io};
use std::collections::VecDeque;

/// What is to be done, and how far it is.
#[derive(Debug, Default)]
pub(crate) struct Script {
    groups: VecDeque<Vec<Io>>,
    running: usize,
    fault: Option<Fault>,
}

/// What to do after an I/O of a script is done.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Others of the group are still running.
    Wait,
    /// These come next.
    Run(Vec<Io>),
    /// All is done.
    Over(Result<(), Fault>),
}

impl Script {
    pub(crate) fn new(groups: impl IntoIterator<Item = Vec<Io>>) -> Self {
        Self {
            groups: groups.into_iter().filter(|group| !group.is_empty()).collect(),
            running: 0,
            fault: None,
        }
    }

    /// What to begin with.
    pub(crate) fn start(&mut self) -> Next {
        match self.groups.pop_front() {
            Some(group) => {
                self.running = group.len();
                Next::Run(group)
            }
            None => Next::Over(Ok(())),
        }
    }

    /// One of those that were handed out is done.
    pub(crate) fn complete(&mut self, result: Result<(), Fault>) -> Next {
        self.running = self.running.saturating_sub(1);
        if let Err(fault) = result {
            self.fault.get_or_insert(fault);
        }
        match (self.running, self.fault) {
            (0, None) => self.start(),
            (0, Some(fault)) => Next::Over(Err(fault)),
            _ => Next::Wait,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Next, Script};
    use crate::api::{Fault, FlushDomain, Io};

    fn io(domain: u32) -> Io {
        Io::Flush { domain: FlushDomain(domain) }
    }

    #[test]
    fn a_group_starts_when_the_one_before_is_done() {
        let mut script = Script::new([vec![io(1), io(2)], vec![], vec![io(3)]]);
        assert_eq!(script.start(), Next::Run(vec![io(1), io(2)]));
        assert_eq!(script.complete(Ok(())), Next::Wait);
        assert_eq!(script.complete(Ok(())), Next::Run(vec![io(3)]));
        assert_eq!(script.complete(Ok(())), Next::Over(Ok(())));
    }

    #[test]
    fn after_a_failure_nothing_is_started() {
        let mut script = Script::new([vec![io(1), io(2)], vec![io(3)]]);
        script.start();
        assert_eq!(script.complete(Err(Fault::Device)), Next::Wait);
        assert_eq!(script.complete(Ok(())), Next::Over(Err(Fault::Device)));
    }
}
