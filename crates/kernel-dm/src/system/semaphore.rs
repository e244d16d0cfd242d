//! One System V semaphore: what udev counts down when it has seen an event.
//!
//! What must hold:
//! - The set has one semaphore; every call names number 0 of it.
//! - Nothing here allocates: events are counted while devices are suspended.
#![expect(unsafe_code, reason = "semget, semop and semctl have no other way in")]

use std::io;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Between two looks at whether it is at zero: semtimedop(2) is not to be had everywhere.
const PAUSE: Duration = Duration::from_millis(2);

/// A semaphore that was made here; it is removed when this is dropped.
#[derive(Debug)]
pub(crate) struct Semaphore {
    id: libc::c_int,
}

fn checked(answer: libc::c_int) -> io::Result<libc::c_int> {
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(answer) }
}

impl Semaphore {
    /// Makes the semaphore of that key, with the value 1. EEXIST where there is one already.
    pub(crate) fn make(key: u32) -> io::Result<Self> {
        let key = libc::key_t::try_from(key).map_err(io::Error::other)?;
        // SAFETY: semget takes three numbers and no memory.
        let id = checked(unsafe { libc::semget(key, 1, libc::IPC_CREAT | libc::IPC_EXCL | 0o600) })?;
        let made = Self { id };
        // SAFETY: SETVAL takes its value as an int in the place of `union semun`, and no memory.
        checked(unsafe { libc::semctl(id, 0, libc::SETVAL, 1) })?;
        Ok(made)
    }

    fn change(&self, by: libc::c_short) -> io::Result<()> {
        let flags = libc::c_short::try_from(libc::IPC_NOWAIT).unwrap_or_default();
        let mut operation = libc::sembuf { sem_num: 0, sem_op: by, sem_flg: flags };
        // SAFETY: one operation is handed over, which lives over the call.
        checked(unsafe { libc::semop(self.id, &raw mut operation, 1) }).map(|_| ())
    }

    /// One more event is waited for.
    pub(crate) fn up(&self) -> io::Result<()> {
        self.change(1)
    }

    /// One less.
    pub(crate) fn down(&self) -> io::Result<()> {
        self.change(-1)
    }

    /// Waits until nothing is waited for any more. EAGAIN when the time is over.
    pub(crate) fn wait(&self, limit: Duration) -> io::Result<()> {
        let since = Instant::now();
        loop {
            match self.change(0) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && since.elapsed() < limit => {
                    sleep(PAUSE);
                }
                // Somebody else has ended it, as `dmsetup udevcomplete_all` does.
                Err(error) if error.raw_os_error() == Some(libc::EIDRM) => return Ok(()),
                ended => return ended,
            }
        }
    }
}

impl Drop for Semaphore {
    fn drop(&mut self) {
        // SAFETY: IPC_RMID takes no fourth argument and no memory.
        if unsafe { libc::semctl(self.id, 0, libc::IPC_RMID) } < 0 {
            // Somebody else has removed it: what was wanted.
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Semaphore;
    use std::io::ErrorKind;
    use std::time::Duration;

    const SHORT: Duration = Duration::from_millis(20);

    #[test]
    fn a_semaphore_counts_events_and_ends_with_its_owner() {
        let key = 0x0d4d_0000 | (std::process::id() & 0xffff) | 1;
        let made = Semaphore::make(key).unwrap();
        assert_eq!(Semaphore::make(key).unwrap_err().kind(), ErrorKind::AlreadyExists);
        made.up().unwrap();
        made.down().unwrap();
        assert_eq!(made.wait(SHORT).unwrap_err().kind(), ErrorKind::WouldBlock, "it began at 1");
        made.down().unwrap();
        made.wait(SHORT).unwrap();
        assert_eq!(made.down().unwrap_err().kind(), ErrorKind::WouldBlock, "it is never below 0");
        drop(made);
        drop(Semaphore::make(key).unwrap());
    }
}
