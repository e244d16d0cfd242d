//! Signals held back: nobody may end the process while devices are suspended.
//!
//! What must hold:
//! - What the thread held back before is held back afterwards, and nothing else.
//! - SIGKILL and SIGSTOP cannot be held back.
#![expect(unsafe_code, reason = "pthread_sigmask has no other way in")]

use std::io;
use std::mem::MaybeUninit;

/// All signals of this thread wait as long as this lives.
pub(crate) struct Blocked {
    before: libc::sigset_t,
}

impl Blocked {
    /// Holds them back.
    pub(crate) fn all() -> io::Result<Self> {
        let mut all = MaybeUninit::<libc::sigset_t>::uninit();
        let mut before = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: sigfillset writes a whole set into `all`, pthread_sigmask reads that and writes the one before into
        // `before`; both live over the calls, and nothing else refers to them.
        let answer = unsafe {
            libc::sigfillset(all.as_mut_ptr());
            libc::pthread_sigmask(libc::SIG_BLOCK, all.as_ptr(), before.as_mut_ptr())
        };
        if answer != 0 {
            return Err(io::Error::from_raw_os_error(answer));
        }
        // SAFETY: pthread_sigmask has succeeded, so it has written the set.
        Ok(Self { before: unsafe { before.assume_init() } })
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        // SAFETY: the set is one that pthread_sigmask itself has written; it cannot fail with that.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.before, std::ptr::null_mut()) };
    }
}

impl std::fmt::Debug for Blocked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Blocked").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::Blocked;

    fn held_back() -> String {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        status.lines().find(|line| line.starts_with("SigBlk")).unwrap().to_owned()
    }

    #[test]
    fn signals_wait_and_go_on_as_before() {
        let before = held_back();
        let blocked = Blocked::all().unwrap();
        assert_ne!(held_back(), before);
        drop(blocked);
        assert_eq!(held_back(), before);
    }
}
