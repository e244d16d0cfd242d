//! What a connection needs of whoever carries the volumes.
//!
//! What must hold:
//! - A volume that was opened is closed once, by the connection that opened it.
//! - A ticket is answered once, through [`super::Connection::answer`], refusals included, and never before `submit` has
//!   returned it.

use crate::wire::{Allocation, Export, Refusal};
use foldback_units::{SectorRange, Sectors};
use foldback_user_dm::{Ticket, VolumeRequest};

/// A volume that a connection has open: the owner's number of this use of it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct VolumeId(pub u64);

/// A volume that was opened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Opened {
    /// To name it by.
    pub volume: VolumeId,
    /// What it is. It keeps its size while it is open.
    pub export: Export,
}

/// The volumes, as the process that carries them shows them to connections.
pub trait Volumes {
    /// What a client may list.
    fn exports(&mut self) -> Vec<Export>;

    /// What is known of a volume, without opening it. An empty name asks for the default one.
    ///
    /// # Errors
    /// There is none of this name, or it would not be opened.
    fn describe(&mut self, name: &str) -> Result<Export, Refusal>;

    /// Opens a volume: from now on it has one more user.
    ///
    /// # Errors
    /// There is none of this name, or it is not given away.
    fn open(&mut self, name: &str) -> Result<Opened, Refusal>;

    /// Its user is gone.
    fn close(&mut self, volume: VolumeId);

    /// Begins a request. Its range lies in the volume; its buffer is at least as long, and the connection's again with the
    /// answer.
    fn submit(&mut self, volume: VolumeId, request: VolumeRequest) -> Ticket;

    /// What is known of sectors without reading them, from the range's first on; it may end early, and an empty list says
    /// that nothing is known.
    fn allocation(&mut self, volume: VolumeId, range: SectorRange) -> Vec<(Sectors, Allocation)>;
}
