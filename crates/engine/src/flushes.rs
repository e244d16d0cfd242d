//! Flushes of device caches, shared by all who need one (C8).
//!
//! What must hold:
//! - A flush covers whoever asked before it was handed out, and nobody who asked later: those get the next one.
//! - Of each cache at most one flush is under way.
//! - A cache whose flush failed is poisoned: nobody is told any more that something on it is durable.

use crate::api::{Fault, FlushDomain, Io};
use crate::ledger::{Lane, Ledger, Owner};
use crate::slab::{Key, Slab};
use crate::wake::{Waiter, Wakes};
use std::collections::{BTreeMap, BTreeSet};

/// Whose cache a flush is of.
pub(crate) type FlushIo = FlushDomain;

#[derive(Debug, Default)]
struct Cache {
    poisoned: bool,
    /// Waits to be handed out.
    queued: bool,
    /// Is under way for these.
    running: Option<Vec<Key>>,
    /// The next one is for these.
    next: Vec<Key>,
}

/// Somebody who needs several caches flushed.
#[derive(Debug)]
struct Need {
    left: usize,
    fault: Option<Fault>,
    waiter: Waiter,
}

/// The caches below a group.
#[derive(Debug)]
pub(crate) struct Flushes {
    caches: BTreeMap<FlushDomain, Cache>,
    needs: Slab<Need>,
}

impl Flushes {
    pub(crate) const fn new() -> Self {
        Self { caches: BTreeMap::new(), needs: Slab::new() }
    }

    pub(crate) fn is_poisoned(&self, domains: &[FlushDomain]) -> bool {
        domains.iter().any(|domain| self.caches.get(domain).is_some_and(|cache| cache.poisoned))
    }

    /// Wakes `waiter`, once, when everything that is complete by now on these caches is durable.
    pub(crate) fn ask(
        &mut self,
        domains: &BTreeSet<FlushDomain>,
        waiter: Waiter,
        ledger: &mut Ledger,
        wakes: &mut Wakes,
    ) {
        let poisoned = domains.iter().any(|domain| self.is_poisoned(&[*domain]));
        if poisoned || domains.is_empty() {
            wakes.wake(waiter, if poisoned { Err(Fault::Device) } else { Ok(()) });
            return;
        }
        let need = self.needs.insert(Need { left: domains.len(), fault: None, waiter });
        for &domain in domains {
            let cache = self.caches.entry(domain).or_default();
            cache.next.push(need);
            cache.queue(domain, ledger);
        }
    }

    /// The flush is being handed out: from here on it covers nobody else.
    pub(crate) fn handed_out(&mut self, domain: FlushDomain) {
        let cache = self.caches.entry(domain).or_default();
        cache.queued = false;
        cache.running = Some(std::mem::take(&mut cache.next));
    }

    pub(crate) fn complete(
        &mut self,
        domain: FlushDomain,
        result: Result<(), Fault>,
        ledger: &mut Ledger,
        wakes: &mut Wakes,
    ) {
        let Some(cache) = self.caches.get_mut(&domain) else { return };
        let mut served = cache.running.take().unwrap_or_default();
        if result.is_err() {
            cache.poisoned = true;
            served.append(&mut cache.next);
        } else if !cache.next.is_empty() {
            cache.queue(domain, ledger);
        }
        for key in served {
            self.serve(key, result, wakes);
        }
    }

    fn serve(&mut self, key: Key, result: Result<(), Fault>, wakes: &mut Wakes) {
        let Some(need) = self.needs.get_mut(key) else { return };
        need.left = need.left.saturating_sub(1);
        if let Err(fault) = result {
            need.fault.get_or_insert(fault);
        }
        if need.left == 0
            && let Some(need) = self.needs.remove(key)
        {
            wakes.wake(need.waiter, need.fault.map_or(Ok(()), Err));
        }
    }
}

impl Cache {
    fn queue(&mut self, domain: FlushDomain, ledger: &mut Ledger) {
        if !self.queued && self.running.is_none() {
            self.queued = true;
            ledger.push(Lane::Foreground, Owner::Flush { flush: domain }, Io::Flush { domain });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Flushes;
    use crate::api::{Fault, FlushDomain};
    use crate::ledger::{Ledger, Owner};
    use crate::wake::{Waiter, Wakes};
    use std::collections::BTreeSet;

    struct Rig {
        flushes: Flushes,
        ledger: Ledger,
        wakes: Wakes,
    }

    impl Rig {
        fn new() -> Self {
            Self { flushes: Flushes::new(), ledger: Ledger::new(1), wakes: Wakes::default() }
        }

        fn ask(&mut self, domains: &[u32], op: usize) {
            let domains: BTreeSet<_> = domains.iter().map(|&domain| FlushDomain(domain)).collect();
            self.flushes.ask(&domains, Waiter::Op(op), &mut self.ledger, &mut self.wakes);
        }

        fn hand_out(&mut self) -> Option<FlushDomain> {
            let (id, owner, _) = self.ledger.pop()?;
            self.ledger.complete(id);
            let Owner::Flush { flush } = owner else { panic!("only flushes here") };
            self.flushes.handed_out(flush);
            Some(flush)
        }

        fn complete(&mut self, domain: u32, result: Result<(), Fault>) -> Vec<(usize, bool)> {
            self.flushes.complete(FlushDomain(domain), result, &mut self.ledger, &mut self.wakes);
            self.woken()
        }

        fn woken(&mut self) -> Vec<(usize, bool)> {
            std::iter::from_fn(|| self.wakes.next())
                .map(|(waiter, result)| match waiter {
                    Waiter::Op(op) => (op, result.is_ok()),
                    other => panic!("{other:?}"),
                })
                .collect()
        }
    }

    #[test]
    fn c8_one_flush_serves_all_who_asked_before_it_was_handed_out() {
        let mut rig = Rig::new();
        rig.ask(&[1], 10);
        rig.ask(&[1], 11);
        assert_eq!(rig.hand_out(), Some(FlushDomain(1)));
        rig.ask(&[1], 12);
        assert_eq!(rig.hand_out(), None, "one at a time");
        assert_eq!(rig.complete(1, Ok(())), [(10, true), (11, true)]);
        assert_eq!(rig.hand_out(), Some(FlushDomain(1)));
        assert_eq!(rig.complete(1, Ok(())), [(12, true)]);
    }

    #[test]
    fn several_caches_are_all_waited_for() {
        let mut rig = Rig::new();
        rig.ask(&[1, 2], 10);
        rig.hand_out();
        rig.hand_out();
        assert_eq!(rig.complete(2, Ok(())), []);
        assert_eq!(rig.complete(1, Err(Fault::Device)), [(10, false)]);
    }

    #[test]
    fn i10_a_failed_flush_poisons_its_cache() {
        let mut rig = Rig::new();
        rig.ask(&[1], 10);
        rig.hand_out();
        rig.ask(&[1], 11);
        assert_eq!(rig.complete(1, Err(Fault::Device)), [(10, false), (11, false)]);
        rig.ask(&[1, 2], 12);
        assert_eq!((rig.woken(), rig.hand_out()), (vec![(12, false)], None));
    }
}
