//! What keeps the daemon from waiting for its own volumes (architecture.md, "Waiting for oneself").
//!
//! What must hold:
//! - It is done before the first thread and the first ring: a thread's flag is its own, and those that it starts inherit it.
//! - Nothing that is mapped is read from a disk again: the program itself may lie on a volume that it serves.
//! - Without the privileges the daemon serves all the same, and says once what could not be had.
//!
//! What is mapped when this is called is in memory at once. What is mapped later (stacks, rings, buffers) stays once it was
//! touched: threads of ours reserve far more than they use, and taking all of that would cost a small machine more than it
//! gives. The kernel looks for the page of a first touch without writing to a disk, since the flag forbids it. What requests take
//! is touched beforehand: a reserve that the allocator keeps.

use foldback_device::reserve_memory;
use rustix::io::Errno;
use rustix::mm::{MlockAllFlags, mlockall, munlockall};
use rustix::process::{Resource, Rlimit, configure_io_flusher_behavior, getrlimit, setrlimit};

/// Where the kernel is told whom to kill last.
const OOM_SCORE: &str = "/proc/self/oom_score_adj";
/// Never: the file systems on the volumes would stand until somebody unmounts them.
const NEVER: &str = "-1000";

/// More than the requests under way take at once: the kernel's through FUSE, and one NBD client's.
const RESERVE: usize = 16 << 20;

/// Does what can be done, and says on one line what could not.
pub(crate) fn prevent() {
    let missing: Vec<String> =
        [flush_io(), be_spared(), lock_memory(), reserve()].into_iter().filter_map(Result::err).collect();
    if !missing.is_empty() {
        say!("foldback: under memory pressure volumes may be slow: {}", missing.join("; "));
    }
}

/// Memory that this process allocates is found without writing to a disk, and its own writes are not slowed for the sake of
/// other devices.
fn flush_io() -> Result<(), String> {
    configure_io_flusher_behavior(true).map_err(|error| format!("the I/O flusher's flag: {error}"))
}

fn be_spared() -> Result<(), String> {
    std::fs::write(OOM_SCORE, NEVER).map_err(|error| format!("{OOM_SCORE}: {error}"))
}

/// A limit would be worse than no lock: under `FUTURE` whatever is mapped beyond it fails.
fn lock_memory() -> Result<(), String> {
    let what = |error: Errno| format!("locking memory: {error}");
    let unlimited = Rlimit { current: None, maximum: None };
    let limit = match getrlimit(Resource::Memlock).current {
        Some(limit) => setrlimit(Resource::Memlock, unlimited).err().map(|_| limit),
        None => None,
    };
    mlockall(MlockAllFlags::CURRENT).map_err(what)?;
    mlockall(MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT).map_err(what)?;
    // The limit does not hold for CAP_IPC_LOCK, of which a process in a container may believe that it has it.
    if limit.is_some_and(|limit| !maps(limit)) {
        munlockall().map_err(what)?;
        return Err("locking memory: its limit is too low".to_owned());
    }
    Ok(())
}

/// After the lock, so that it stays.
fn reserve() -> Result<(), String> {
    reserve_memory(RESERVE).then_some(()).ok_or_else(|| "reserving memory: the allocator does not".to_owned())
}

/// Whether memory beyond a limit can be mapped. It is given back untouched.
fn maps(limit: u64) -> bool {
    let beyond = usize::try_from(limit).ok().and_then(|limit| limit.checked_add(1));
    beyond.is_some_and(|beyond| Vec::<u8>::new().try_reserve_exact(beyond).is_ok())
}
