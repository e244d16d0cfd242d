//! What the tests of served volumes share: volumes in memory, a place to mount them, and skipping loudly.
//!
//! What must hold:
//! - Requests are answered on a thread of their own, as the daemon's carrier does, and each is written down.
//! - A test that fails leaves no mount and no loop device: the lab's parts clean up when they are dropped, loop devices
//!   first.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "tests: a panic is the verdict"
)]
#![allow(dead_code, reason = "each test program uses a part of it")]

use foldback_engine::{Fault, RequestKind};
use foldback_frontend_fuse::{
    Done, Entry, FileId, LoopClaim, LoopDevice, LoopOptions, MountOptions, Opener, Request, Session, Shape,
    Volumes,
};
use foldback_units::Sectors;
use foldback_user_dm::IoError;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

/// One volume.
#[derive(Clone, Debug)]
pub(crate) struct Volume {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
    pub(crate) read_only: bool,
}

/// What was asked of the volumes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) file: FileId,
    pub(crate) kind: RequestKind,
    pub(crate) start: u64,
    pub(crate) len: u64,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) volumes: BTreeMap<FileId, Volume>,
    pub(crate) asked: Vec<Asked>,
    pub(crate) openings: Vec<(FileId, Opener)>,
    /// Requests to these files are never answered.
    pub(crate) stuck: Vec<FileId>,
    kept: Vec<Done>,
    /// Requests to these files fail.
    pub(crate) broken: Vec<FileId>,
    /// The next questions about shapes that panic.
    pub(crate) panics: u32,
    /// The closures of requests to these files are dropped.
    pub(crate) forgotten: Vec<FileId>,
}

impl State {
    fn carry_out(&mut self, file: FileId, request: &Request) -> Result<Vec<u8>, IoError> {
        if self.broken.contains(&file) {
            return Err(IoError::Fault(Fault::Device));
        }
        let volume = self.volumes.get_mut(&file).ok_or(IoError::NoDevice)?;
        let from = request.range.start().get() as usize * 512;
        let to = request.range.end().get() as usize * 512;
        let part = volume.bytes.get_mut(from..to).ok_or(IoError::Range)?;
        match request.kind {
            RequestKind::Read => return Ok(part.to_vec()),
            RequestKind::Write { .. } => part.copy_from_slice(&request.bytes),
            RequestKind::WriteZeroes { .. } => part.fill(0),
            RequestKind::Flush => {}
            RequestKind::Discard => panic!("a discard must never come"),
        }
        Ok(Vec::new())
    }
}

/// Volumes in memory, carried by a thread.
pub(crate) struct InMemory {
    state: Arc<Mutex<State>>,
    carrier: Mutex<Sender<(FileId, Request, Done)>>,
}

impl InMemory {
    fn new(volumes: BTreeMap<FileId, Volume>) -> Self {
        let state = Arc::new(Mutex::new(State { volumes, ..State::default() }));
        let (sender, inbox) = channel::<(FileId, Request, Done)>();
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for (file, request, done) in inbox {
                let mut state = shared.lock().unwrap();
                let (kind, range) = (request.kind, request.range);
                let (start, len) = (range.start().get(), range.len().get());
                state.asked.push(Asked { file, kind, start, len });
                if state.stuck.contains(&file) {
                    state.kept.push(done);
                } else if !state.forgotten.contains(&file) {
                    let outcome = state.carry_out(file, &request);
                    drop(state);
                    done(outcome);
                }
            }
        });
        Self { state, carrier: Mutex::new(sender) }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl Volumes for InMemory {
    fn list(&self) -> Vec<Entry> {
        let state = self.state();
        let entry = |(id, volume): (&FileId, &Volume)| Entry {
            name: volume.name.clone(),
            id: *id,
            shape: Shape { size: Sectors(volume.bytes.len() as u64 / 512), read_only: volume.read_only },
        };
        state.volumes.iter().map(entry).collect()
    }

    fn find(&self, name: &str) -> Option<Entry> {
        self.list().into_iter().find(|entry| entry.name == name)
    }

    fn shape(&self, file: FileId) -> Option<Shape> {
        let mut state = self.state();
        let panics = state.panics > 0;
        state.panics = state.panics.saturating_sub(1);
        drop(state);
        assert!(!panics, "as the test wants it");
        self.list().into_iter().find(|entry| entry.id == file).map(|entry| entry.shape)
    }

    fn opened(&self, file: FileId, by: Opener) {
        self.state().openings.push((file, by));
    }

    fn released(&self, file: FileId, by: Opener) {
        let mut state = self.state();
        let at = state.openings.iter().position(|it| *it == (file, by)).expect("it was opened");
        state.openings.remove(at);
    }

    fn submit(&self, file: FileId, request: Request, done: Done) {
        self.carrier.lock().unwrap().send((file, request, done)).unwrap();
    }
}

/// `root` of 8 MiB, `home` of 1 MiB, and `old`, which is read-only and full of sevens.
pub(crate) fn volumes() -> Arc<InMemory> {
    let volume = |name: &str, len: usize, fill: u8, read_only| Volume {
        name: name.to_owned(),
        bytes: vec![fill; len],
        read_only,
    };
    Arc::new(InMemory::new(BTreeMap::from([
        (id(10), volume("root", 8 << 20, 0, false)),
        (id(11), volume("home", 1 << 20, 0, false)),
        (id(12), volume("old", 1 << 20, 7, true)),
    ])))
}

/// A VG that is served.
pub(crate) struct Lab {
    pub(crate) loops: Vec<LoopDevice>,
    pub(crate) session: Option<Session>,
    pub(crate) volumes: Arc<InMemory>,
    pub(crate) dir: tempfile::TempDir,
}

pub(crate) fn id(inode: u64) -> FileId {
    FileId::new(inode).unwrap()
}

impl Lab {
    /// None where it cannot run here; then that was said.
    pub(crate) fn new(test: &str) -> Option<Self> {
        if let Some(reason) = missing() {
            skip(test, &reason);
            return None;
        }
        let volumes = volumes();
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("vg")).unwrap();
        let served = Arc::clone(&volumes);
        let session = Session::mount(&dir.path().join("vg"), served, MountOptions::default()).unwrap();
        Some(Self { loops: Vec::new(), session: Some(session), volumes, dir })
    }

    pub(crate) fn session(&self) -> &Session {
        self.session.as_ref().unwrap()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.session().path(name)
    }

    /// Attaches a loop device, to be detached at the end.
    pub(crate) fn attach(&mut self, name: &str, options: LoopOptions) -> LoopDevice {
        let device = LoopDevice::attach(&self.path(name), options).unwrap();
        self.loops.push(device.clone());
        device
    }

    /// Forgets what was asked so far and hands it out.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.volumes.state().asked)
    }

    /// The bytes of a volume.
    pub(crate) fn bytes(&self, file: u64) -> Vec<u8> {
        self.volumes.state().volumes[&id(file)].bytes.clone()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for device in self.loops.drain(..) {
            // It may be detached already, or somebody else's by now: then this is refused.
            drop(device.claim().and_then(LoopClaim::detach));
        }
        drop(self.session.take());
    }
}

/// What keeps these tests from running here.
pub(crate) fn missing() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("mounting FUSE here needs root".to_owned());
    }
    if !std::path::Path::new("/dev/fuse").exists() {
        return Some("/dev/fuse is missing (modprobe fuse)".to_owned());
    }
    None
}

/// Says that a test does not run here: past the capture of a passing test's output, and in the file that
/// `FOLDBACK_SKIPS` names, where it is counted. In continuous integration (`CI`, neither empty nor `false`) it fails.
pub(crate) fn skip(test: &str, reason: &str) {
    let strict = std::env::var_os("CI").is_some_and(|ci| !ci.is_empty() && ci != "false");
    assert!(!strict, "{test} must not be skipped in CI: {reason}");
    let line = format!("SKIP {test}: {}\n", reason.trim().replace('\n', " "));
    std::io::stderr().write_all(line.as_bytes()).unwrap();
    if let Some(path) = std::env::var_os("FOLDBACK_SKIPS") {
        let mut file = std::fs::File::options().create(true).append(true).open(path).unwrap();
        file.write_all(line.as_bytes()).unwrap();
    }
}

/// Runs a command and says what it printed if it fails.
pub(crate) fn run(program: &str, words: &[&str]) -> String {
    let output = std::process::Command::new(program).args(words).output().unwrap();
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{program} {words:?}: {said}");
    said
}
