//! The message of every call: `struct dm_ioctl`, 312 bytes, and what lies behind it (pure).
//!
//! ```text
//! 0 version[3]  12 data_size  16 data_start  20 target_count  24 open_count  28 flags  32 event_nr  36 padding
//! 40 dev  48 name[128]  176 uuid[129]  305 data[7]  312 ...
//! ```
//!
//! What must hold:
//! - Sizes and offsets are the kernel's (linux/dm-ioctl.h); the compiler checks them.
//! - A name or UUID that does not fit is refused here, never cut.
//! - What the kernel answers is bounded before it is read: no length in it is trusted.
//!
//! Numbers are the machine's own: this is an interface to a running kernel, not a format on disk.

use linux_raw_sys::ioctl;
use zerocopy::native_endian::{I32, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The version of the interface that we speak: that of kernel 2.6; a newer kernel takes it.
const INTERFACE: [u32; 3] = [4, 0, 0];
/// The bytes before the data.
pub(crate) const HEAD: usize = 312;
const NAME_MAX: usize = 127;
const UUID_MAX: usize = 128;

/// The device is read-only.
pub(crate) const READ_ONLY: u32 = 1 << 0;
/// Into a call: suspend. Out of one: it is suspended.
pub(crate) const SUSPEND: u32 = 1 << 1;
/// Into TABLE_STATUS: the table, not the status.
pub(crate) const STATUS_TABLE: u32 = 1 << 4;
/// A table is live.
pub(crate) const ACTIVE: u32 = 1 << 5;
/// A table is in the inactive slot.
pub(crate) const INACTIVE: u32 = 1 << 6;
/// The answer did not fit.
pub(crate) const BUFFER_FULL: u32 = 1 << 8;
/// Into SUSPEND: freeze no file system.
pub(crate) const SKIP_LOCKFS: u32 = 1 << 10;
/// Into TABLE_STATUS: of the inactive table.
pub(crate) const QUERY_INACTIVE: u32 = 1 << 12;
/// The device gets the minor number in `dev`.
pub(crate) const FIXED_NUMBER: u32 = 1 << 3;
/// The call made an event for udev.
pub(crate) const UEVENT_GENERATED: u32 = 1 << 13;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
struct RawHead {
    version: [U32; 3],
    data_size: U32,
    data_start: U32,
    target_count: U32,
    open_count: I32,
    flags: U32,
    event_nr: U32,
    padding: U32,
    dev: U64,
    name: [u8; 128],
    uuid: [u8; 129],
    data: [u8; 7],
}
const _: () = assert!(size_of::<RawHead>() == HEAD);
const _: () = assert!(std::mem::offset_of!(RawHead, flags) == 28);
const _: () = assert!(std::mem::offset_of!(RawHead, dev) == 40);
const _: () = assert!(std::mem::offset_of!(RawHead, uuid) == 176);
const _: () = assert!(std::mem::offset_of!(RawHead, data) == 305);

/// A call of the kernel's device-mapper.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Command {
    /// Which version the kernel speaks.
    Version,
    /// Every device.
    List,
    /// Make a device.
    Create,
    /// Remove one.
    Remove,
    /// Give one another name.
    Rename,
    /// Suspend, or without the flag: resume.
    Suspend,
    /// What is known of one.
    Status,
    /// Fill the inactive slot.
    Load,
    /// Empty it.
    Clear,
    /// The table, or the status of its targets.
    TableStatus,
    /// Which targets there are.
    Versions,
}

impl Command {
    /// The number of the request.
    pub(crate) const fn request(self) -> u32 {
        match self {
            Self::Version => ioctl::DM_VERSION,
            Self::List => ioctl::DM_LIST_DEVICES,
            Self::Create => ioctl::DM_DEV_CREATE,
            Self::Remove => ioctl::DM_DEV_REMOVE,
            Self::Rename => ioctl::DM_DEV_RENAME,
            Self::Suspend => ioctl::DM_DEV_SUSPEND,
            Self::Status => ioctl::DM_DEV_STATUS,
            Self::Load => ioctl::DM_TABLE_LOAD,
            Self::Clear => ioctl::DM_TABLE_CLEAR,
            Self::TableStatus => ioctl::DM_TABLE_STATUS,
            Self::Versions => ioctl::DM_LIST_VERSIONS,
        }
    }
}

/// What cannot be told to the kernel, or was not understood.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MessageError {
    /// A name that no mapped device can have.
    #[error("{0:?} cannot be the name of a mapped device: it needs 1 to 127 bytes, no '/' and no NUL")]
    Name(String),
    /// A UUID that is too long.
    #[error("the UUID {0:?} is longer than 128 bytes, or holds a NUL")]
    Uuid(String),
    /// A target's name that is too long.
    #[error("{0:?} cannot be the name of a target: it needs 1 to 15 bytes and no NUL")]
    Target(String),
    /// Parameters that cannot be handed over.
    #[error("the parameters of target {0} hold a NUL, or there are too many")]
    Params(String),
    /// An answer that makes no sense.
    #[error("the kernel's answer makes no sense: {0}")]
    Answer(&'static str),
}

/// A message that is ready to be sent, and after the call the kernel's answer.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    command: Command,
    bytes: Vec<u8>,
}

impl Message {
    /// To no device.
    pub(crate) fn global(command: Command) -> Self {
        let mut message = Self { command, bytes: vec![0; HEAD] };
        message.edit(|head| head.version = INTERFACE.map(U32::new));
        message.resize(HEAD);
        message
    }

    /// To the device of that name.
    ///
    /// # Errors
    /// No device can have it.
    pub(crate) fn to(command: Command, name: &str) -> Result<Self, MessageError> {
        let bytes = name_bytes(name)?;
        let mut message = Self::global(command);
        message.edit(|head| head.name = bytes);
        Ok(message)
    }

    /// To the device of that number.
    pub(crate) fn to_number(command: Command, dev: u64) -> Self {
        let mut message = Self::global(command);
        message.edit(|head| head.dev = U64::new(dev));
        message
    }

    /// With the UUID of a new device.
    ///
    /// # Errors
    /// It is too long.
    pub(crate) fn with_uuid(mut self, uuid: &str) -> Result<Self, MessageError> {
        let text = uuid.as_bytes();
        let wrong = || MessageError::Uuid(uuid.to_owned());
        if text.len() > UUID_MAX || text.contains(&0) {
            return Err(wrong());
        }
        let mut bytes = [0; 129];
        bytes.get_mut(..text.len()).ok_or_else(wrong)?.copy_from_slice(text);
        self.edit(|head| head.uuid = bytes);
        Ok(self)
    }

    /// To make a device of that minor number; the major number is the kernel's.
    pub(crate) fn with_minor(mut self, minor: u32) -> Self {
        self.edit(|head| head.dev = U64::new(rustix::fs::makedev(0, minor)));
        self.with_flags(FIXED_NUMBER)
    }

    /// With more flags.
    pub(crate) fn with_flags(mut self, flags: u32) -> Self {
        self.edit(|head| head.flags = U32::new(head.flags.get() | flags));
        self
    }

    /// With what udev is told.
    pub(crate) fn with_event(mut self, event: u32) -> Self {
        self.edit(|head| head.event_nr = U32::new(event));
        self
    }

    /// With data behind the head.
    pub(crate) fn with_data(mut self, data: &[u8]) -> Self {
        self.bytes.truncate(HEAD);
        self.bytes.extend_from_slice(data);
        self.resize(self.bytes.len());
        self
    }

    /// With so many target specs in its data.
    pub(crate) fn with_targets(mut self, count: u32, specs: &[u8]) -> Self {
        self = self.with_data(specs);
        self.edit(|head| head.target_count = U32::new(count));
        self
    }

    /// With room for an answer.
    pub(crate) fn with_room(mut self, room: usize) -> Self {
        self.resize(HEAD.saturating_add(room));
        self
    }

    fn resize(&mut self, len: usize) {
        self.bytes.resize(len, 0);
        let size = u32::try_from(len).unwrap_or(u32::MAX);
        let start = u32::try_from(HEAD).unwrap_or(u32::MAX);
        self.edit(|head| {
            head.data_size = U32::new(size);
            head.data_start = U32::new(start);
        });
    }

    fn edit(&mut self, change: impl FnOnce(&mut RawHead)) {
        if let Ok((head, _)) = RawHead::mut_from_prefix(&mut self.bytes) {
            change(head);
        }
    }

    /// What it asks for.
    pub(crate) fn command(&self) -> Command {
        self.command
    }

    /// Its bytes, which the kernel overwrites.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// Whether the call, which went well, made an event for udev. Allocates nothing.
    pub(crate) fn made_event(&self) -> bool {
        RawHead::ref_from_prefix(&self.bytes).is_ok_and(|(head, _)| head.flags.get() & UEVENT_GENERATED != 0)
    }

    /// What a stand-in for the kernel answers.
    #[cfg(test)]
    pub(crate) fn reply(&mut self, flags: u32, dev: u64, count: u32, data: &[u8]) {
        let room = self.bytes.len() - HEAD;
        let full = data.len() > room;
        let data = if full { &[] } else { data };
        self.bytes[HEAD..HEAD + data.len()].copy_from_slice(data);
        let size = u32::try_from(HEAD + data.len()).unwrap();
        self.edit(|head| {
            head.flags = U32::new(if full { flags | BUFFER_FULL } else { flags });
            head.dev = U64::new(dev);
            head.target_count = U32::new(if full { 0 } else { count });
            head.data_size = U32::new(size);
        });
    }

    /// The name and UUID in an answer.
    #[cfg(test)]
    pub(crate) fn call_it(&mut self, name: &str, uuid: &str) {
        let bytes = name_bytes(name).unwrap();
        let mut of_uuid = [0; 129];
        of_uuid[..uuid.len()].copy_from_slice(uuid.as_bytes());
        self.edit(|head| (head.name, head.uuid) = (bytes, of_uuid));
    }

    /// What the kernel said.
    ///
    /// # Errors
    /// A length in it points outside.
    pub(crate) fn answer(&self) -> Result<Answer<'_>, MessageError> {
        Answer::decode(&self.bytes)
    }
}

/// As the kernel takes a name: no '/', and a NUL behind it.
pub(crate) fn name_bytes(name: &str) -> Result<[u8; 128], MessageError> {
    let text = name.as_bytes();
    let wrong = || MessageError::Name(name.to_owned());
    if text.is_empty() || text.len() > NAME_MAX || text.contains(&0) || text.contains(&b'/') {
        return Err(wrong());
    }
    let mut bytes = [0; 128];
    bytes.get_mut(..text.len()).ok_or_else(wrong)?.copy_from_slice(text);
    Ok(bytes)
}

/// What the kernel answered.
#[derive(Clone, Debug)]
pub(crate) struct Answer<'m> {
    head: RawHead,
    /// What lies behind the head.
    pub(crate) data: &'m [u8],
}

impl std::fmt::Debug for RawHead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RawHead").field("flags", &self.flags.get()).finish_non_exhaustive()
    }
}

impl<'m> Answer<'m> {
    /// From the bytes of a message that came back.
    ///
    /// # Errors
    /// A length in it points outside of it.
    pub(crate) fn decode(bytes: &'m [u8]) -> Result<Self, MessageError> {
        let short = MessageError::Answer("it is shorter than its head");
        let (head, _) = RawHead::ref_from_prefix(bytes).map_err(|_| short)?;
        let (start, size) = (to_usize(head.data_start.get()), to_usize(head.data_size.get()));
        // A call without data answers with a size that ends inside the head.
        let data = if start >= size {
            &[][..]
        } else {
            bytes.get(start..size).ok_or(MessageError::Answer("its data reach beyond it"))?
        };
        Ok(Self { head: *head, data })
    }

    /// The version that the kernel speaks.
    pub(crate) fn version(&self) -> [u32; 3] {
        self.head.version.map(U32::get)
    }

    /// Whether all of these flags are set.
    pub(crate) fn has(&self, flags: u32) -> bool {
        self.head.flags.get() & flags == flags
    }

    /// The device's number, as stat(2) has it.
    pub(crate) fn dev(&self) -> u64 {
        self.head.dev.get()
    }

    /// How many have it open.
    pub(crate) fn open_count(&self) -> u32 {
        u32::try_from(self.head.open_count.get()).unwrap_or(0)
    }

    /// How many events it has raised.
    pub(crate) fn event(&self) -> u32 {
        self.head.event_nr.get()
    }

    /// How many target specs are in the data.
    pub(crate) fn target_count(&self) -> u32 {
        self.head.target_count.get()
    }

    /// The device's name.
    pub(crate) fn name(&self) -> Result<String, MessageError> {
        text_of(&self.head.name)
    }

    /// Its UUID.
    pub(crate) fn uuid(&self) -> Result<String, MessageError> {
        text_of(&self.head.uuid)
    }
}

pub(crate) fn to_usize(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// The text before the first NUL.
pub(crate) fn text_of(bytes: &[u8]) -> Result<String, MessageError> {
    let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    if text.len() == bytes.len() {
        return Err(MessageError::Answer("a text in it does not end"));
    }
    let text = std::str::from_utf8(text).map_err(|_| MessageError::Answer("a text in it is not UTF-8"))?;
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::{Answer, Command, HEAD, Message, MessageError, SUSPEND};
    use proptest::prelude::*;

    fn word(bytes: &[u8], at: usize) -> u32 {
        u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap())
    }

    /// linux/dm-ioctl.h: the numbers of dm-snapshot.md section 6.
    #[test]
    fn requests_have_the_kernels_numbers() {
        let all = [
            (Command::Version, 0),
            (Command::List, 2),
            (Command::Create, 3),
            (Command::Remove, 4),
            (Command::Rename, 5),
            (Command::Suspend, 6),
            (Command::Status, 7),
            (Command::Load, 9),
            (Command::Clear, 10),
            (Command::TableStatus, 12),
            (Command::Versions, 13),
        ];
        for (command, number) in all {
            // _IOWR(0xfd, number, 312 bytes).
            assert_eq!(command.request(), (3 << 30) | (312 << 16) | (0xfd << 8) | number);
        }
    }

    #[test]
    fn a_message_lies_as_the_kernel_reads_it() {
        let message = Message::to(Command::Create, "vg-root").unwrap().with_uuid("LVM-x-real").unwrap();
        let mut message = message.with_flags(SUSPEND).with_event(0x77).with_data(b"abc");
        let bytes = message.bytes_mut();
        assert_eq!(bytes.len(), 315);
        assert_eq!([word(bytes, 0), word(bytes, 4), word(bytes, 8)], [4, 0, 0]);
        assert_eq!([word(bytes, 12), word(bytes, 16), word(bytes, 20)], [315, 312, 0]);
        assert_eq!([word(bytes, 28), word(bytes, 32)], [2, 0x77]);
        assert_eq!(&bytes[48..56], b"vg-root\0");
        assert_eq!(&bytes[176..187], b"LVM-x-real\0");
        assert_eq!(&bytes[HEAD..], b"abc");
    }

    /// In the kernel's wide form: the lowest byte of the minor number, the major number, the rest of the minor one.
    #[test]
    fn a_minor_number_is_asked_for_by_its_flag() {
        let mut message = Message::to(Command::Create, "a").unwrap().with_minor(300);
        let bytes = message.bytes_mut();
        assert_eq!([word(bytes, 28), word(bytes, 40), word(bytes, 44)], [8, 0x2c | 1 << 20, 0]);
    }

    #[test]
    fn a_name_or_uuid_that_does_not_fit_is_refused() {
        for name in ["", "a/b", "a\0b", &"x".repeat(128)] {
            assert_eq!(Message::to(Command::Status, name).unwrap_err(), MessageError::Name(name.to_owned()));
        }
        assert!(Message::to(Command::Status, &"x".repeat(127)).is_ok());
        let message = Message::global(Command::Create);
        assert!(message.clone().with_uuid(&"u".repeat(129)).is_err());
        assert!(message.with_uuid(&"u".repeat(128)).is_ok());
    }

    /// A call without data answers with 305 and leaves `data_start`.
    #[test]
    fn an_answer_without_data_is_one() {
        let mut message = Message::to(Command::Status, "a").unwrap();
        message.bytes_mut()[12..16].copy_from_slice(&305_u32.to_ne_bytes());
        assert!(message.answer().unwrap().data.is_empty());
    }

    #[test]
    fn lengths_that_point_outside_are_refused() {
        let mut message = Message::to(Command::TableStatus, "a").unwrap().with_room(16);
        message.bytes_mut()[12..16].copy_from_slice(&329_u32.to_ne_bytes());
        assert_eq!(message.answer().unwrap_err(), MessageError::Answer("its data reach beyond it"));
        assert!(Answer::decode(&[0; 311]).is_err());
        // A name without its NUL.
        let mut bytes = vec![0_u8; HEAD];
        bytes[48..176].fill(b'x');
        assert!(Answer::decode(&bytes).unwrap().name().is_err());
    }

    proptest! {
        #[test]
        fn no_answer_panics(bytes in prop::collection::vec(any::<u8>(), 0..700)) {
            if let Ok(answer) = Answer::decode(&bytes) {
                prop_assert!(answer.data.len() <= bytes.len());
                drop((answer.name(), answer.uuid()));
            }
        }
    }
}
