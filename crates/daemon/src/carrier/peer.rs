//! Who an NBD client is, for whoever is told that it is in the way.

use super::client::Socket;
use foldback_device::socket::peer_process;
use rustix::net::{SocketAddrAny, getpeername};
use std::net::SocketAddr;
use std::os::fd::AsFd;

/// In words; asked anew each time, since a process may pass its socket on and change its name.
pub(super) fn describe(socket: Option<&Socket>) -> String {
    let Some(Socket(socket)) = socket else {
        return "an NBD client that has gone, but its requests are not over".to_owned();
    };
    if let Some(address) = getpeername(socket).ok().flatten().and_then(internet) {
        return format!("an NBD client at {address}");
    }
    let Some(pid) = peer_process(socket.as_fd()).ok().flatten() else { return "an NBD client".to_owned() };
    match std::fs::read_to_string(format!("/proc/{pid}/comm")) {
        Ok(name) => format!("an NBD client, process {pid} ({})", name.trim_end()),
        Err(_) => format!("an NBD client, process {pid}"),
    }
}

fn internet(address: SocketAddrAny) -> Option<SocketAddr> {
    SocketAddr::try_from(address).ok()
}
