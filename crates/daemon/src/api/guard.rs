//! One client's connection, with bounds to what the client may do to it.
//!
//! What must hold:
//! - Who does not read his answers, or stops in the middle of a message, is hung up on after a while. Between two messages
//!   a client may be silent for ever: a command waits for people, disks and locks.
//! - A message's length is bounded: what a client sends lies in memory that is locked.
//! - A client that sends without a pause does not keep others from their turn: all connections share one thread.
//!
//! A read that is given up loses nothing: what is remembered of a message lies in the half, and not in its future.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;
use tokio::task::yield_now;
use tokio::time::{Instant, timeout, timeout_at};
use zlink::Error;
use zlink::connection::PassedCredentials;
use zlink::connection::socket::{ReadHalf, ReadResult, Socket, WriteHalf};

/// What a client may do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// The longest message, in bytes.
    pub(super) message: usize,
    /// How long a client may take to send one, from its first byte on (the first from the start of the connection), and to
    /// read one.
    pub(super) patience: Duration,
}

impl Bounds {
    /// A transaction on an LV of ten thousand segments has 2 MiB.
    pub(super) const USUAL: Self = Self { message: 8 << 20, patience: Duration::from_secs(30) };
}

/// A connection within bounds.
#[derive(Debug)]
pub(super) struct Guarded<R, W> {
    read: R,
    write: W,
    bounds: Bounds,
}

impl<R, W> Guarded<R, W> {
    /// Bounds a connection that has just begun.
    pub(super) fn new(read: R, write: W, bounds: Bounds) -> Self {
        Self { read, write, bounds }
    }
}

impl<R: ReadHalf, W: WriteHalf> Socket for Guarded<R, W> {
    type ReadHalf = Reading<R>;
    type WriteHalf = Writing<W>;

    fn split(self) -> (Reading<R>, Writing<W>) {
        let Self { read, write, bounds } = self;
        let begun = Some(Instant::now());
        (Reading { half: read, bounds, length: 0, begun }, Writing { half: write, bounds })
    }
}

/// Its half that is read from.
#[derive(Debug)]
pub(super) struct Reading<R> {
    half: R,
    bounds: Bounds,
    /// Of the message that is not complete yet, in bytes.
    length: usize,
    /// Since when a message is waited for; not between two.
    begun: Option<Instant>,
}

impl<R> Reading<R> {
    /// When the message that is waited for must be complete.
    fn end(&self) -> Option<Instant> {
        self.begun?.checked_add(self.bounds.patience)
    }

    /// Notes what has come, each message ending with a NUL byte.
    fn note(&mut self, come: &[u8]) -> zlink::Result<()> {
        if let Some(end) = come.iter().rposition(|byte| *byte == 0) {
            self.length = come.len().saturating_sub(end).saturating_sub(1);
            self.begun = (self.length > 0).then(Instant::now);
        } else {
            self.length = self.length.saturating_add(come.len());
            self.begun = self.begun.or_else(|| Some(Instant::now()));
        }
        if self.length > self.bounds.message { Err(Error::BufferOverflow) } else { Ok(()) }
    }
}

impl<R: ReadHalf> ReadHalf for Reading<R> {
    async fn read(&mut self, buf: &mut [u8]) -> zlink::Result<ReadResult> {
        yield_now().await;
        let come = match self.end() {
            Some(end) => timeout_at(end, self.half.read(buf)).await.map_err(|_| late())??,
            None => self.half.read(buf).await?,
        };
        self.note(buf.get(..come.bytes_read()).unwrap_or_default())?;
        // Something was there each time: that alone would let a message drip for ever.
        if self.end().is_some_and(|end| end < Instant::now()) { Err(late()) } else { Ok(come) }
    }
}

/// Its half that is written to.
#[derive(Debug)]
pub(super) struct Writing<W> {
    half: W,
    bounds: Bounds,
}

impl<W: WriteHalf> WriteHalf for Writing<W> {
    async fn write(
        &mut self,
        buf: &[u8],
        fds: &[impl AsFd],
        credentials: Option<&PassedCredentials>,
    ) -> zlink::Result<()> {
        let sent = self.half.write(buf, fds, credentials);
        timeout(self.bounds.patience, sent).await.map_err(|_| late())?
    }
}

fn late() -> Error {
    Error::Io(io::Error::new(io::ErrorKind::TimedOut, "the client neither sends nor reads"))
}

#[cfg(test)]
mod tests {
    use super::{Bounds, Guarded, Reading, Writing};
    use std::io::Write;
    use std::os::unix::net::UnixStream;
    use std::time::Duration;
    use tokio::time::timeout;
    use zlink::Error;
    use zlink::connection::socket::{ReadHalf, Socket, WriteHalf};
    use zlink::tokio::unix::Stream;

    type ReadEnd = <Stream as Socket>::ReadHalf;
    type WriteEnd = <Stream as Socket>::WriteHalf;

    const BOUNDS: Bounds = Bounds { message: 100, patience: Duration::from_millis(200) };
    /// Longer than the patience.
    const LONG: Duration = Duration::from_secs(1);

    fn halves() -> (Reading<ReadEnd>, Writing<WriteEnd>, UnixStream) {
        let (near, far) = UnixStream::pair().unwrap();
        let (read, write) = Stream::try_from(near).unwrap().split();
        let (read, write) = Guarded::new(read, write, BOUNDS).split();
        (read, write, far)
    }

    async fn come(read: &mut Reading<ReadEnd>) -> zlink::Result<usize> {
        Ok(read.read(&mut [0; 64]).await?.bytes_read())
    }

    fn is_late(error: &Error) -> bool {
        matches!(error, Error::Io(error) if error.kind() == std::io::ErrorKind::TimedOut)
    }

    #[tokio::test]
    async fn who_says_nothing_and_who_stops_within_a_message_is_hung_up_on() {
        let (mut read, _write, _far) = halves();
        assert!(is_late(&come(&mut read).await.unwrap_err()), "it said nothing");
        let (mut read, _write, mut far) = halves();
        far.write_all(b"whole\0half").unwrap();
        assert_eq!(come(&mut read).await.unwrap(), 10);
        assert!(is_late(&come(&mut read).await.unwrap_err()), "it stopped");
    }

    /// One byte now and then is no way to keep a connection either.
    #[tokio::test]
    async fn a_message_that_drips_has_its_time_from_its_first_byte() {
        let (mut read, _write, mut far) = halves();
        let mut dripped = 0;
        let refused = loop {
            far.write_all(b"x").unwrap();
            match come(&mut read).await {
                Ok(len) => dripped += len,
                Err(refused) => break refused,
            }
            tokio::time::sleep(BOUNDS.patience / 20).await;
        };
        assert!(is_late(&refused) && dripped < BOUNDS.message, "{refused}");
    }

    #[tokio::test]
    async fn between_two_messages_silence_has_no_end() {
        let (mut read, _write, mut far) = halves();
        far.write_all(b"whole\0").unwrap();
        assert_eq!(come(&mut read).await.unwrap(), 6);
        assert!(timeout(LONG, come(&mut read)).await.is_err(), "it is still waited for");
        far.write_all(b"another\0").unwrap();
        assert_eq!(come(&mut read).await.unwrap(), 8);
    }

    #[tokio::test]
    async fn a_message_has_its_greatest_length() {
        let (mut read, _write, mut far) = halves();
        far.write_all(&[b'x'; BOUNDS.message]).unwrap();
        far.write_all(&[0; 1]).unwrap();
        for len in [64, 37] {
            assert_eq!(come(&mut read).await.unwrap(), len);
        }
        far.write_all(&[b'x'; BOUNDS.message + 1]).unwrap();
        assert_eq!(come(&mut read).await.unwrap(), 64);
        assert!(matches!(come(&mut read).await, Err(Error::BufferOverflow)));
    }

    #[tokio::test]
    async fn who_does_not_read_is_hung_up_on() {
        let (_read, mut write, _far) = halves();
        let none: [std::os::fd::OwnedFd; 0] = [];
        let much = vec![b'x'; 1 << 20];
        let sent = timeout(LONG, write.write(&much, &none, None)).await;
        assert!(is_late(&sent.expect("the write ends").unwrap_err()));
    }
}
