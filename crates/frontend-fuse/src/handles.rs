//! Who has served files open.
//!
//! What must hold:
//! - Every opening is counted until it is released, by whom it was made with it.
//! - While a file is held, nobody else opens it; this process still may (its loop device).
//! - A handle remembers that it wrote something that no flush covered yet, so that closing it flushes then and only then.

use crate::volumes::FileId;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Who opened a file.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Opener {
    /// This process itself: it attached a loop device, and that keeps the file open.
    Own,
    /// A program that uses the volume.
    Foreign,
}

impl Opener {
    /// Judges by the thread that the kernel names with a request. Asks procfs, which waits for nothing.
    pub(crate) fn of(thread: u32) -> Self {
        let task: PathBuf = ["/proc/self/task", &thread.to_string()].iter().collect();
        if task.exists() { Self::Own } else { Self::Foreign }
    }
}

/// One opening of a file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Handle {
    pub(crate) file: FileId,
    pub(crate) by: Opener,
    /// Opened with O_SYNC or O_DSYNC: what changes the file without flags of its own (fallocate) is durable.
    pub(crate) durable: bool,
    unflushed: bool,
}

#[derive(Debug, Default)]
struct State {
    last: u64,
    open: BTreeMap<u64, Handle>,
    held: BTreeMap<FileId, u32>,
}

/// All openings of the files of a session.
#[derive(Debug, Default)]
pub(crate) struct Handles {
    state: Mutex<State>,
}

impl Handles {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts an opening and numbers it; `None` where the file is held against it.
    pub(crate) fn open(&self, file: FileId, by: Opener, durable: bool) -> Option<u64> {
        let mut state = self.state();
        if by == Opener::Foreign && state.held.contains_key(&file) {
            return None;
        }
        state.last = state.last.wrapping_add(1);
        let number = state.last;
        state.open.insert(number, Handle { file, by, durable, unflushed: false });
        Some(number)
    }

    /// An opening ended.
    pub(crate) fn release(&self, number: u64) -> Option<Handle> {
        self.state().open.remove(&number)
    }

    pub(crate) fn get(&self, number: u64) -> Option<Handle> {
        self.state().open.get(&number).copied()
    }

    /// A write through the handle was answered that is not durable by itself; or a flush failed.
    pub(crate) fn wrote(&self, number: u64) {
        if let Some(handle) = self.state().open.get_mut(&number) {
            handle.unflushed = true;
        }
    }

    /// A flush begins. Whether there was something to flush.
    pub(crate) fn flushes(&self, number: u64) -> bool {
        self.state().open.get_mut(&number).is_some_and(|handle| std::mem::take(&mut handle.unflushed))
    }

    /// How many programs have the file open, each opening counted.
    pub(crate) fn foreign(&self, file: FileId) -> usize {
        foreign(&self.state(), file)
    }

    /// Whether this process has a file open.
    pub(crate) fn own(&self) -> bool {
        self.state().open.values().any(|handle| handle.by == Opener::Own)
    }

    /// Keeps others from opening the file until [`Handles::let_go`]; not where one has it open.
    pub(crate) fn hold(&self, file: FileId) -> bool {
        let mut state = self.state();
        if foreign(&state, file) > 0 {
            return false;
        }
        let holds = state.held.entry(file).or_insert(0);
        *holds = holds.saturating_add(1);
        true
    }

    pub(crate) fn let_go(&self, file: FileId) {
        let mut state = self.state();
        if let Some(holds) = state.held.get_mut(&file) {
            *holds = holds.saturating_sub(1);
            if *holds == 0 {
                state.held.remove(&file);
            }
        }
    }
}

fn foreign(state: &State, file: FileId) -> usize {
    state.open.values().filter(|handle| handle.file == file && handle.by == Opener::Foreign).count()
}

#[cfg(test)]
mod tests {
    use super::{Handles, Opener};
    use crate::volumes::FileId;

    const FILE: FileId = FileId::new(7).unwrap();
    const OTHER: FileId = FileId::new(8).unwrap();

    #[test]
    fn openings_are_counted_per_file_and_our_own_is_no_user() {
        let handles = Handles::default();
        let first = handles.open(FILE, Opener::Foreign, false).unwrap();
        let _own = handles.open(FILE, Opener::Own, false).unwrap();
        let _other = handles.open(OTHER, Opener::Foreign, false).unwrap();
        assert_eq!((handles.foreign(FILE), handles.foreign(OTHER)), (1, 1));
        assert_eq!(handles.release(first).unwrap().file, FILE);
        assert!(handles.foreign(FILE) == 0 && handles.own());
        assert!(handles.release(first).is_none());
    }

    #[test]
    fn a_held_file_is_opened_by_nobody_else() {
        let handles = Handles::default();
        let user = handles.open(FILE, Opener::Foreign, false).unwrap();
        assert!(!handles.hold(FILE), "somebody has it");
        handles.release(user);
        assert!(handles.hold(FILE) && handles.hold(FILE));
        handles.let_go(FILE);
        assert_eq!(handles.open(FILE, Opener::Foreign, false), None, "one of two holds is left");
        assert!(handles.open(FILE, Opener::Own, false).is_some());
        assert!(handles.open(OTHER, Opener::Foreign, false).is_some());
        handles.let_go(FILE);
        assert!(handles.open(FILE, Opener::Foreign, false).is_some());
    }

    #[test]
    fn only_what_was_written_is_flushed_and_once() {
        let handles = Handles::default();
        let number = handles.open(FILE, Opener::Foreign, false).unwrap();
        assert!(!handles.flushes(number));
        handles.wrote(number);
        assert!(handles.flushes(number));
        assert!(!handles.flushes(number));
    }

    #[test]
    fn a_thread_of_this_process_is_our_own() {
        assert_eq!(Opener::of(std::process::id()), Opener::Own);
        let judged = std::thread::spawn(|| {
            let thread = std::fs::read_link("/proc/thread-self").unwrap();
            let number: u32 = thread.file_name().unwrap().to_str().unwrap().parse().unwrap();
            assert_ne!(number, std::process::id());
            Opener::of(number)
        });
        assert_eq!(judged.join().unwrap(), Opener::Own);
        assert_eq!(Opener::of(1), Opener::Foreign);
        assert_eq!(Opener::of(0), Opener::Foreign, "from another PID namespace");
    }
}
