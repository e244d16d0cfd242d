//! What a change of a VG needs from outside: the time, randomness, and who and what made it.
//!
//! What must hold:
//! - Nothing else in this crate asks a clock or a source of randomness, so that the simulator repeats a run exactly.
//! - Time is in whole seconds since 1970, as LVM2 writes it into `creation_time`.

use foldback_units::LvmUuid;

/// The world outside, as far as metadata shows it.
pub trait Environment {
    /// Seconds since 1970, UTC.
    fn now(&mut self) -> u64;

    /// 32 fresh random bytes.
    fn random(&mut self) -> [u8; 32];

    /// The host's name (`creation_host`).
    fn host(&self) -> String;

    /// System, host, release, version and machine as `uname -a` orders them: a comment in backup files.
    fn system(&self) -> String;

    /// The command line, for the description of what is written.
    fn command(&self) -> String;

    /// Who writes, such as `Foldback version 0.1.0`: the comment at the head of a text.
    fn writer(&self) -> String;
}

/// A fresh UUID.
pub fn fresh_uuid(environment: &mut dyn Environment) -> LvmUuid {
    LvmUuid::from_random(environment.random())
}

/// The machine this runs on.
#[derive(Clone, Debug)]
pub struct Machine {
    command: String,
}

impl Machine {
    /// For the command line `command`, which ends up in the metadata's description.
    pub fn new(command: &str) -> Self {
        Self { command: command.to_owned() }
    }
}

fn lossy(text: &std::ffi::CStr) -> String {
    text.to_string_lossy().into_owned()
}

impl Environment for Machine {
    fn now(&mut self) -> u64 {
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
    }

    fn random(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        let mut filled = 0;
        while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match rustix::rand::getrandom(rest, rustix::rand::GetRandomFlags::empty()) {
                Ok(count) => filled = filled.saturating_add(count),
                // Interrupted before the pool was ready, early in boot: ask again.
                Err(rustix::io::Errno::INTR) => {}
                // A kernel without the call is older than anything this program runs on.
                Err(_) => break,
            }
        }
        bytes
    }

    fn host(&self) -> String {
        lossy(rustix::system::uname().nodename())
    }

    fn system(&self) -> String {
        let uname = rustix::system::uname();
        [uname.sysname(), uname.nodename(), uname.release(), uname.version(), uname.machine()]
            .map(lossy)
            .join(" ")
    }

    fn command(&self) -> String {
        self.command.clone()
    }

    fn writer(&self) -> String {
        format!("Foldback version {}", env!("CARGO_PKG_VERSION"))
    }
}

#[cfg(test)]
mod tests {
    use super::{Environment, Machine, fresh_uuid};

    #[test]
    fn two_uuids_of_one_machine_differ() {
        let mut machine = Machine::new("pvcreate /dev/sdb");
        assert_ne!(fresh_uuid(&mut machine), fresh_uuid(&mut machine));
        assert_eq!(machine.command(), "pvcreate /dev/sdb");
        assert!(machine.now() > 1_600_000_000);
    }
}
