//! The API's side of a command.
//!
//! What must hold:
//! - A daemon of another version is not spoken to.
//! - A call waits for its answer; nothing is under way when it has returned.

use super::service::{DeviceList, Info, Left, LeftList, Place, Refused, VgList};
use super::types::{
    ActivationInfo, CountedInfo, DeviceInfo, EventInfo, LeftInfo, MapInfo, MetricsText, TransactionText,
    VerbText, VgInfo,
};
use crate::rundir::RunDir;
use crate::vg::{Setting, Terms};
use foldback_dm_table::{Stage, Transaction, Verb};
use std::fmt;
use std::io;
use std::ops::ControlFlow;
use std::os::unix::net::UnixStream;
use zlink::futures_util::{Stream, StreamExt};
use zlink::proxy;
use zlink::tokio::unix;

#[proxy("org.foldback.Daemon")]
trait Calls {
    async fn get_info(&mut self) -> zlink::Result<Result<Info, Refused>>;
    async fn list(&mut self) -> zlink::Result<Result<VgList, Refused>>;
    async fn take_up(&mut self) -> zlink::Result<Result<LeftList, Refused>>;
    async fn activate(
        &mut self,
        vg: &str,
        lvs: &[String],
        devices: &[String],
        system_dir: Option<&str>,
        config: Option<&str>,
    ) -> zlink::Result<Result<ActivationInfo, Refused>>;
    async fn deactivate(
        &mut self,
        vg: &str,
        lvs: &[String],
        force: bool,
    ) -> zlink::Result<Result<Left, Refused>>;
    async fn transact(
        &mut self,
        vg: &str,
        transaction: &TransactionText,
        closed: &[String],
        merge_rate: Option<u64>,
        counted: Option<&CountedInfo>,
    ) -> zlink::Result<Result<(), Refused>>;
    async fn export_nbd(
        &mut self,
        vg: &str,
        lv: &str,
        address: Option<&str>,
    ) -> zlink::Result<Result<Place, Refused>>;
    async fn unexport_nbd(&mut self, vg: &str, lv: &str) -> zlink::Result<Result<(), Refused>>;
    async fn apply(&mut self, vg: &str, verb: &VerbText) -> zlink::Result<Result<(), Refused>>;
    async fn devices(&mut self, vg: &str) -> zlink::Result<Result<DeviceList, Refused>>;
    async fn pause_merge(
        &mut self,
        vg: &str,
        device: &str,
        pause: bool,
    ) -> zlink::Result<Result<(), Refused>>;
    async fn set_merge_rate(
        &mut self,
        vg: &str,
        device: &str,
        rate: Option<u64>,
    ) -> zlink::Result<Result<(), Refused>>;
    async fn verify(&mut self, vg: &str) -> zlink::Result<Result<(), Refused>>;
    async fn look(&mut self, vg: &str) -> zlink::Result<Result<(), Refused>>;
    #[zlink(more)]
    async fn monitor(
        &mut self,
    ) -> zlink::Result<impl Stream<Item = zlink::Result<Result<EventInfo, Refused>>>>;
    async fn metrics(&mut self) -> zlink::Result<Result<MetricsText, Refused>>;
    async fn map(&mut self, vg: &str, lv: &str) -> zlink::Result<Result<MapInfo, Refused>>;
}

/// Why a call brought nothing.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// Nobody serves the socket.
    #[error("no daemon runs")]
    NoDaemon,
    /// The connection.
    #[error("speaking to the daemon: {0}")]
    Connection(String),
    /// Another version.
    #[error(
        "the daemon that runs is version {daemon}, this program is {program}; deactivate all volumes with the old \
         program, or use it on"
    )]
    Version {
        /// The daemon's.
        daemon: String,
        /// The program's.
        program: String,
    },
    /// It takes no further connection.
    #[error("the daemon takes no further connection: {0}")]
    Busy(String),
    /// The VG has no live volume.
    #[error("{0}")]
    NotActive(String),
    /// Somebody uses the volume.
    #[error("{device} is in use: {by}")]
    InUse {
        /// Which.
        device: String,
        /// Who.
        by: String,
    },
    /// It is done, or taken back, as the message says; what is active could not be written down for the next daemon.
    #[error("{0}")]
    NotRemembered(String),
    /// It was refused, or failed.
    #[error("{message}")]
    Failed {
        /// How far a transaction came.
        stage: Option<Stage>,
        /// Why.
        message: String,
    },
}

/// A connection to the user's daemon.
pub struct Client {
    runtime: tokio::runtime::Runtime,
    connection: unix::Connection,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Client")
    }
}

impl From<Refused> for ApiError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::NotActive { message } => Self::NotActive(message),
            Refused::Busy { message } => Self::Busy(message),
            Refused::InUse { device, by } => Self::InUse { device, by },
            Refused::NotRemembered { message } => Self::NotRemembered(message),
            Refused::BadRequest { message } => Self::Failed { stage: None, message },
            Refused::Failed { message, stage } => Self::Failed { stage: stage_of(&stage), message },
        }
    }
}

fn stage_of(text: &str) -> Option<Stage> {
    Some(match text {
        "preload" => Stage::Preload,
        "suspend" => Stage::Suspend,
        "commit" => Stage::Commit,
        "resume" => Stage::Resume,
        "clean" => Stage::Clean,
        _ => return None,
    })
}

fn broken(error: &dyn fmt::Display) -> ApiError {
    ApiError::Connection(error.to_string())
}

/// Waits for an answer, and takes the refusal out of it.
macro_rules! ask {
    ($client:expr, $connection:ident => $call:expr) => {{
        let Client { runtime, connection: $connection } = $client;
        runtime.block_on($call).map_err(|error| broken(&error))?.map_err(ApiError::from)
    }};
}

/// Asks who is there. A daemon that takes no further connection says so at once, and may have hung up when it is asked.
async fn introduce(connection: &mut unix::Connection) -> zlink::Result<Result<Info, Refused>> {
    match connection.get_info().await {
        Err(zlink::Error::Io(_)) => {}
        answer => return answer,
    }
    let (answer, _) = connection.receive_reply::<Info, Refused>().await?;
    match answer {
        Ok(reply) => reply.into_parameters().map(Ok).ok_or(zlink::Error::MissingParameters),
        Err(refused) => Ok(Err(refused)),
    }
}

impl Client {
    /// Connects to the daemon of this directory.
    ///
    /// # Errors
    /// None runs, or one of another version.
    pub fn connect(run: &RunDir) -> Result<Self, ApiError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| broken(&error))?;
        let stream = match UnixStream::connect(run.socket()) {
            Ok(stream) => stream,
            Err(error)
                if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) =>
            {
                return Err(ApiError::NoDaemon);
            }
            Err(error) => return Err(broken(&error)),
        };
        let inside = runtime.enter();
        let connection = unix::Stream::try_from(stream).map_err(|error| broken(&error))?.into();
        drop(inside);
        let mut client = Self { runtime, connection };
        let Client { runtime, connection } = &mut client;
        let info = match runtime.block_on(introduce(connection)) {
            // It was ending: what it serves is taken up by the next.
            Err(zlink::Error::UnexpectedEof) => return Err(ApiError::NoDaemon),
            Err(zlink::Error::Io(error))
                if matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe) =>
            {
                return Err(ApiError::NoDaemon);
            }
            answer => answer.map_err(|error| broken(&error))?.map_err(ApiError::from)?,
        };
        if info.version == super::VERSION {
            Ok(client)
        } else {
            Err(ApiError::Version { daemon: info.version, program: super::VERSION.to_owned() })
        }
    }

    /// The VGs with live volumes.
    ///
    /// # Errors
    /// The connection.
    pub fn list(&mut self) -> Result<Vec<VgInfo>, ApiError> {
        Ok(ask!(self, connection => connection.list())?.vgs)
    }

    /// Has the daemon try again to take up what an earlier one left; what still could not be.
    ///
    /// # Errors
    /// The connection.
    pub fn take_up(&mut self) -> Result<Vec<LeftInfo>, ApiError> {
        Ok(ask!(self, connection => connection.take_up())?.left)
    }

    /// Brings LVs up.
    ///
    /// # Errors
    /// Nothing was activated.
    pub fn activate(
        &mut self,
        vg: &str,
        lvs: &[String],
        setting: &Setting,
    ) -> Result<ActivationInfo, ApiError> {
        let system_dir = setting.system_dir.as_ref().map(|path| path.to_string_lossy().into_owned());
        ask!(self, connection => connection.activate(
            vg,
            lvs,
            &setting.paths,
            system_dir.as_deref(),
            setting.config.as_deref(),
        ))
    }

    /// Takes LVs down; with `force` those whose requests wait since somebody changed the metadata also lose these.
    ///
    /// # Errors
    /// One is in use, or could not be taken down.
    pub fn deactivate(&mut self, vg: &str, lvs: &[String], force: bool) -> Result<u64, ApiError> {
        Ok(ask!(self, connection => connection.deactivate(vg, lvs, force))?.active)
    }

    /// Commits a change of a VG together with its live devices.
    ///
    /// # Errors
    /// The stage says what it leaves.
    pub fn transact(&mut self, vg: &str, transaction: &Transaction) -> Result<(), ApiError> {
        self.transact_on(vg, transaction, &Terms::default())
    }

    /// The same on these terms.
    ///
    /// # Errors
    /// They do not hold, and nothing was done; otherwise the stage says what it leaves.
    pub fn transact_on(
        &mut self,
        vg: &str,
        transaction: &Transaction,
        terms: &Terms,
    ) -> Result<(), ApiError> {
        let text = TransactionText::from(transaction);
        let closed: Vec<String> = terms.closed.iter().map(|name| name.0.clone()).collect();
        let counted = terms
            .counted
            .as_ref()
            .map(|counted| CountedInfo { device: counted.snapshot.0.clone(), sectors: counted.data.get() });
        ask!(self, connection => connection.transact(vg, &text, &closed, terms.merge_rate, counted.as_ref()))
    }

    /// Serves a live volume over NBD, by its name or its device's; where.
    ///
    /// # Errors
    /// It is not active, or nobody can listen there.
    pub fn export_nbd(&mut self, vg: &str, lv: &str, address: Option<&str>) -> Result<String, ApiError> {
        Ok(ask!(self, connection => connection.export_nbd(vg, lv, address))?.address)
    }

    /// Ends that.
    ///
    /// # Errors
    /// It is not active, a client is connected, or nothing else serves it.
    pub fn unexport_nbd(&mut self, vg: &str, lv: &str) -> Result<(), ApiError> {
        ask!(self, connection => connection.unexport_nbd(vg, lv))
    }

    /// Carries out one verb.
    ///
    /// # Errors
    /// What failed.
    pub fn apply(&mut self, vg: &str, verb: &Verb) -> Result<(), ApiError> {
        let text = VerbText::from(verb);
        ask!(self, connection => connection.apply(vg, &text))
    }

    /// All devices of a VG.
    ///
    /// # Errors
    /// The VG is not active.
    pub fn devices(&mut self, vg: &str) -> Result<Vec<DeviceInfo>, ApiError> {
        Ok(ask!(self, connection => connection.devices(vg))?.devices)
    }

    /// Begins no further window of the merge into a device, or goes on with it.
    ///
    /// # Errors
    /// Nothing merges into it.
    pub fn pause_merge(&mut self, vg: &str, device: &str, pause: bool) -> Result<(), ApiError> {
        ask!(self, connection => connection.pause_merge(vg, device, pause))
    }

    /// Lets the merge into a device move so many bytes in a second; without a number as fast as it can.
    ///
    /// # Errors
    /// Nothing merges into it.
    pub fn set_merge_rate(&mut self, vg: &str, device: &str, rate: Option<u64>) -> Result<(), ApiError> {
        ask!(self, connection => connection.set_merge_rate(vg, device, rate))
    }

    /// Looks whether every live volume stands on what the metadata say: to be asked by whoever has locked the VG, before he
    /// writes anything.
    ///
    /// # Errors
    /// One does not, and waits.
    pub fn verify(&mut self, vg: &str) -> Result<(), ApiError> {
        ask!(self, connection => connection.verify(vg))
    }

    /// Asks the VG's job to look now.
    ///
    /// # Errors
    /// The VG is not active.
    pub fn look(&mut self, vg: &str) -> Result<(), ApiError> {
        ask!(self, connection => connection.look(vg))
    }

    /// Tells `each` what happens, until it breaks off or the daemon ends; the first event is `listening`.
    ///
    /// # Errors
    /// The connection.
    pub fn monitor(&mut self, each: &mut dyn FnMut(EventInfo) -> ControlFlow<()>) -> Result<(), ApiError> {
        let Self { runtime, connection } = self;
        runtime.block_on(async {
            let events = connection.monitor().await.map_err(|error| broken(&error))?;
            let mut events = std::pin::pin!(events);
            while let Some(event) = events.next().await {
                let event = match event {
                    // The daemon has ended.
                    Err(zlink::Error::UnexpectedEof) => break,
                    event => event.map_err(|error| broken(&error))?.map_err(ApiError::from)?,
                };
                if each(event).is_break() {
                    break;
                }
            }
            Ok(())
        })
    }

    /// The metrics of all live volumes, in Prometheus's text format.
    ///
    /// # Errors
    /// The connection.
    pub fn metrics(&mut self) -> Result<String, ApiError> {
        Ok(ask!(self, connection => connection.metrics())?.text)
    }

    /// The map of a live volume, by its UUID.
    ///
    /// # Errors
    /// It is not active, or lost.
    pub fn map(&mut self, vg: &str, lv: &str) -> Result<MapInfo, ApiError> {
        ask!(self, connection => connection.map(vg, lv))
    }
}

#[cfg(test)]
mod tests {
    use super::{ApiError, Client};
    use crate::rundir::RunDir;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixListener;

    /// CLI and daemon agree on versions: another one is asked who it is, and nothing else.
    #[test]
    fn a_daemon_of_another_version_is_not_spoken_to() {
        let dir = tempfile::tempdir().unwrap();
        let run = RunDir::at(dir.path());
        let listener = UnixListener::bind(run.socket()).unwrap();
        let daemon = std::thread::spawn(move || {
            let (mut client, _) = listener.accept().unwrap();
            let mut asked = [0; 256];
            let len = client.read(&mut asked).unwrap();
            client.write_all(b"{\"parameters\":{\"version\":\"0.0.0-other\",\"pid\":1}}\0").unwrap();
            let said = client.read(&mut [0; 256]).unwrap();
            (String::from_utf8_lossy(&asked[..len]).into_owned(), said)
        });
        let refused = Client::connect(&run).unwrap_err();
        assert!(matches!(&refused, ApiError::Version { daemon, .. } if daemon == "0.0.0-other"), "{refused}");
        let (asked, said) = daemon.join().unwrap();
        assert!(asked.contains("org.foldback.Daemon.GetInfo"), "{asked}");
        assert_eq!(said, 0, "nothing more was asked");
    }
}
