//! Those who speak to the daemon, each on a connection of its own.
//!
//! What must hold:
//! - No client waits for another one: a connection is a task, and what it asks for is done on a thread of its own.
//! - Only the daemon's own user and root are answered.
//! - There are only so many connections, and one process has only some of them: a program that leaks them shuts out itself.
//!   Who is refused is told so before he is hung up on, since a daemon that hangs up is taken for one that has ended.
//! - A connection whose client has gone does not count for long, whatever it waits for.

use super::guard::{Bounds, Guarded};
use super::service::{Refused, Service};
use crate::served::Daemon;
use rustix::process::geteuid;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};
use zlink::tokio::unix;
use zlink::{Connection, Listener, ReadyListener, Server};

/// Connections at one time. As many calls are carried out at most, each on a thread.
pub(super) const MAX_CONNECTIONS: usize = 64;
/// Those of one process.
pub(super) const MAX_OF_A_PROCESS: usize = 16;
/// How long who is refused may take to be told: his socket is empty.
const REFUSAL: Duration = Duration::from_millis(100);
/// After an error of the system's, which often is a lack that others end.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long it is still looked for calls of a client that has hung up. One that is under way is carried out to its end.
const FAREWELL: Duration = Duration::from_secs(2);

/// Who has how many connections, by process.
#[derive(Clone, Default, Debug)]
struct Seats(Rc<RefCell<BTreeMap<i32, usize>>>);

/// A connection that counts until this is dropped.
#[derive(Debug)]
struct Seat {
    all: Seats,
    process: i32,
}

impl Seats {
    fn take(&self, process: i32) -> Result<Seat, Refused> {
        let mut all = self.0.borrow_mut();
        let of_it = all.get(&process).copied().unwrap_or_default();
        if of_it >= MAX_OF_A_PROCESS {
            let message = format!(
                "process {process} has {of_it} connections already, the most that one may have; let it close some"
            );
            return Err(Refused::Busy { message });
        }
        if all.values().sum::<usize>() >= MAX_CONNECTIONS {
            let most = all.iter().max_by_key(|(_, number)| **number);
            let (most, number) = most.map(|(process, number)| (*process, *number)).unwrap_or_default();
            let message = format!(
                "{MAX_CONNECTIONS} connections are open, the most that there may be; process {most} has {number} of them"
            );
            return Err(Refused::Busy { message });
        }
        all.insert(process, of_it.saturating_add(1));
        Ok(Seat { all: self.clone(), process })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut all = self.all.0.borrow_mut();
        if let Some(number) = all.get_mut(&self.process) {
            *number = number.saturating_sub(1);
        }
        all.retain(|_, number| *number > 0);
    }
}

/// Answers everybody, for ever; inside a local runtime.
pub(super) async fn answer(mut listener: unix::Listener, daemon: Arc<Daemon>) {
    let seats = Seats::default();
    let mut told = false;
    loop {
        match listener.accept().await {
            Ok(Some(connection)) => {
                told = false;
                meet(connection, &seats, &daemon).await;
            }
            // A listener at a socket does not end.
            Ok(None) => {}
            Err(error) => {
                if !std::mem::replace(&mut told, true) {
                    say!("foldback: accepting a client: {error}");
                }
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn meet(mut connection: Connection<unix::Stream>, seats: &Seats, daemon: &Arc<Daemon>) {
    let peer = connection.peer_credentials().await;
    let Ok((user, process)) = peer.map(|peer| (peer.unix_user_id(), peer.process_id())) else { return };
    if !user.is_root() && user != geteuid() {
        return;
    }
    match seats.take(process.as_raw_nonzero().get()) {
        Ok(seat) => drop(spawn_local(attend(connection, seat, Arc::clone(daemon)))),
        Err(refused) => {
            // Who does not take it has hung up himself.
            timeout(REFUSAL, connection.send_error(&refused, Vec::new())).await.ok();
        }
    }
}

/// Answers one client until one of the two hangs up.
async fn attend(connection: Connection<unix::Stream>, seat: Seat, daemon: Arc<Daemon>) {
    let Ok(line) = connection.read().read_half().as_fd().try_clone_to_owned() else { return };
    let (read, write) = connection.split();
    let guarded = Guarded::new(read.into_read_half(), write.into_write_half(), Bounds::USUAL);
    let server = Server::new(ReadyListener::new(guarded), Service(daemon));
    // An events' stream is only written to, and would not notice before the next event. What was asked for before the
    // client went is done all the same.
    let gone = async {
        if hung_up(line.into()).await.is_err() {
            std::future::pending::<()>().await;
        }
        sleep(FAREWELL).await;
    };
    tokio::select! {
        ended = server.run() => ended.unwrap_or_else(|error| say!("foldback: answering a client: {error}")),
        () = gone => {}
    }
    drop(seat);
}

/// Waits until the other end is closed in both directions.
async fn hung_up(line: StdUnixStream) -> io::Result<()> {
    let line = UnixStream::from_std(line)?;
    while !line.ready(Interest::WRITABLE).await?.is_write_closed() {
        // That it can be written to is no news: the next change is waited for.
        let nothing = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
        line.try_io(Interest::WRITABLE, nothing).or_else(|error| match error.kind() {
            io::ErrorKind::WouldBlock => Ok(()),
            _ => Err(error),
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{MAX_CONNECTIONS, MAX_OF_A_PROCESS, Seats, hung_up};
    use crate::api::service::Refused;
    use std::io::{Read, Write};
    use std::net::Shutdown;
    use std::os::unix::net::UnixStream;
    use std::time::Duration;
    use tokio::time::timeout;

    fn message(refused: Refused) -> String {
        match refused {
            Refused::Busy { message } => message,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_process_shuts_out_itself_and_no_other() {
        let seats = Seats::default();
        let mut its: Vec<_> = (0..MAX_OF_A_PROCESS).map(|_| seats.take(7).unwrap()).collect();
        assert!(message(seats.take(7).unwrap_err()).contains("process 7 has 16 connections"));
        drop(seats.take(8).unwrap());
        its.pop();
        its.push(seats.take(7).unwrap());
        drop(its);
        assert!(seats.0.borrow().is_empty(), "who is gone is forgotten");
    }

    #[test]
    fn there_are_only_so_many() {
        let seats = Seats::default();
        let processes = 1..=i32::try_from(MAX_CONNECTIONS).unwrap();
        let _all: Vec<_> = processes.map(|process| seats.take(process).unwrap()).collect();
        assert!(message(seats.take(-1).unwrap_err()).contains("64 connections are open"));
    }

    /// Also while something comes and is read, and not where the client has only said all that it had to say.
    #[tokio::test]
    async fn a_client_that_is_gone_is_noticed() {
        let (near, mut far) = UnixStream::pair().unwrap();
        let wait = |line: &UnixStream, for_it| timeout(for_it, hung_up(line.try_clone().unwrap()));
        let (short, long) = (Duration::from_millis(100), Duration::from_secs(20));
        near.set_nonblocking(true).unwrap();
        far.write_all(b"x").unwrap();
        assert!(wait(&near, short).await.is_err());
        (&near).write_all(b"y").unwrap();
        far.read_exact(&mut [0]).unwrap();
        far.shutdown(Shutdown::Write).unwrap();
        assert!(wait(&near, short).await.is_err());
        drop(far);
        wait(&near, long).await.expect("it is noticed").unwrap();
    }
}
