//! What of the kernel and of udev a program wants to use, chosen once, at its start.
//!
//! What must hold: who chooses nothing uses all there is.

use std::sync::OnceLock;

/// How nodes and links come, and go.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Udev {
    /// udev makes them, where it runs, and is waited for.
    #[default]
    Waited,
    /// udev makes them, where it runs, some time.
    NotWaited,
    /// This program makes them.
    NotAsked,
}

/// A choice.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Choice {
    /// Whether device-mapper is spoken to; else it is as if there were none.
    pub driver: bool,
    /// Whether udev is asked and waited for.
    pub udev: Udev,
}

impl Default for Choice {
    fn default() -> Self {
        Self { driver: true, udev: Udev::default() }
    }
}

static CHOSEN: OnceLock<Choice> = OnceLock::new();

impl Choice {
    /// Chooses for the whole process; the first choice holds.
    pub fn choose(self) {
        // Who comes second finds the same: a program chooses at its start.
        CHOSEN.set(self).ok();
    }

    pub(crate) fn chosen() -> Self {
        CHOSEN.get().copied().unwrap_or_default()
    }
}
