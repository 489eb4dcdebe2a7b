//! The public TCP listener: bound before any executor starts, so that a taken port is a start-up fault.
//!
//! glommio binds with SO_REUSEPORT, which would let two servers share a port in silence; this one does not.

use std::io;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{FromRawFd, IntoRawFd};

use glommio::net::TcpListener;
use socket2::{Domain, Protocol, Socket, Type};

/// Connections the kernel keeps until they are accepted.
const BACKLOG: i32 = 1024;

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Another socket has the port.
    #[error(
        "{address} is taken by another process; cure: another port, or end that process (`ss -ltnp`)"
    )]
    Taken {
        /// The address wished for.
        address: SocketAddr,
    },
    /// A port below 1024 without the right to it.
    #[error(
        "{address} needs a right this process does not have; cure: a port from 1024, or CAP_NET_BIND_SERVICE"
    )]
    Forbidden {
        /// The address wished for.
        address: SocketAddr,
    },
    /// The host has no such address.
    #[error(
        "{address} is no address of this host; cure: one of `ip address`, or 0.0.0.0 or [::] for all"
    )]
    NoSuchAddress {
        /// The address wished for.
        address: SocketAddr,
    },
    /// Anything else.
    #[error("{address} cannot be listened on: {cause}")]
    Other {
        /// The address wished for.
        address: SocketAddr,
        /// What the kernel said.
        cause: io::Error,
    },
}

impl ListenError {
    /// What `cause` means for somebody who wants to listen on `address`.
    pub fn new(address: SocketAddr, cause: io::Error) -> Self {
        match cause.kind() {
            io::ErrorKind::AddrInUse => ListenError::Taken { address },
            io::ErrorKind::PermissionDenied => ListenError::Forbidden { address },
            io::ErrorKind::AddrNotAvailable => ListenError::NoSuchAddress { address },
            _ => ListenError::Other { address, cause },
        }
    }
}

/// A bound and listening socket on its way to the signalling core.
#[derive(Debug)]
pub struct PublicListener {
    socket: Socket,
    address: SocketAddr,
}

impl PublicListener {
    /// Binds and listens. Port 0 chooses a free one, see [`PublicListener::address`].
    pub fn bind(address: SocketAddr) -> Result<Self, ListenError> {
        Self::try_bind(address).map_err(|cause| ListenError::new(address, cause))
    }

    fn try_bind(address: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::STREAM,
            Some(Protocol::TCP),
        )?;
        // A restart must not wait for the connections of the last run to time out.
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        let address = socket.local_addr()?.as_socket().unwrap_or(address);
        Ok(Self { socket, address })
    }

    /// The address with its real port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A handle that can end the listening later: dropping the listener would not, while io_uring still waits for
    /// connections on it.
    pub(super) fn stopper(&self) -> io::Result<Stopper> {
        self.socket.try_clone().map(Stopper)
    }

    /// Ties the listener to the glommio executor it is called on.
    #[allow(unsafe_code)]
    pub(super) fn on_executor(self) -> TcpListener {
        let fd = self.socket.into_raw_fd();
        // SAFETY: `fd` is an open, listening TCP socket, and `into_raw_fd` has just given up its ownership.
        unsafe { TcpListener::from_raw_fd(fd) }
    }
}

/// See [`PublicListener::stopper`].
#[derive(Debug)]
pub(super) struct Stopper(Socket);

impl Stopper {
    /// New connections are refused from now on, and a waiting accept fails.
    pub(super) fn stop(&self) {
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taken_port_is_refused_with_a_cure() {
        let first = PublicListener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        assert_ne!(first.address().port(), 0);
        let error = PublicListener::bind(first.address()).unwrap_err();
        assert!(matches!(error, ListenError::Taken { .. }), "{error}");
        // 192.0.2.0/24 is for documentation (RFC 5737): no host has it.
        let error = PublicListener::bind("192.0.2.1:0".parse().unwrap()).unwrap_err();
        assert!(
            matches!(error, ListenError::NoSuchAddress { .. }),
            "{error}"
        );
    }
}
