//! Connections to vetted addresses, and what can go wrong before and after.

use std::io;
use std::net::SocketAddr;

use tokio::net::TcpStream;

use crate::probe::vantage::Address;
use crate::probe::vet::{Forbidden, vet};

/// Addresses of one name that are tried.
const MAX_ADDRESSES: usize = 4;

/// Why no connection came about. What it means for the service depends on the vantage.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ConnectFault {
    /// A reset answered: somebody is there and doesn't listen.
    #[error("the connection is refused")]
    Refused,
    /// No way leads there, or a firewall of this machine forbids it.
    #[error("no route leads to it")]
    Unroutable,
    /// Nothing answered in time.
    #[error("nothing answers")]
    Timeout,
    /// The name has no address.
    #[error("its name has no address")]
    NoAddress,
    /// An address that no probe connects to.
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    /// This process can't: out of descriptors, say.
    #[error("this process can't open a connection: {0}")]
    Local(io::ErrorKind),
}

/// Why a connection brought no answer that makes sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ExchangeFault {
    /// Closed or reset before the answer was complete.
    Closed,
    /// Not the protocol.
    Garbage,
    /// More bytes than the limit.
    TooLarge(usize),
}

/// Connects. A name's answers are all vetted first: one that is forbidden spoils the name.
///
/// # Errors
/// [`ConnectFault`], never `Timeout`: the caller keeps the time.
pub(super) async fn connect(address: &Address) -> Result<TcpStream, ConnectFault> {
    let addresses = match address {
        Address::Socket(socket) => vec![*socket],
        Address::Name(host, port) => {
            let found = tokio::net::lookup_host((host.as_str(), *port))
                .await
                .map_err(|_| ConnectFault::NoAddress)?;
            found.take(MAX_ADDRESSES).collect()
        }
    };
    for socket in &addresses {
        vet(socket.ip())?;
    }
    let mut last = ConnectFault::NoAddress;
    for socket in addresses {
        match connect_to(socket).await {
            Ok(stream) => return Ok(stream),
            Err(fault) => last = fault,
        }
    }
    Err(last)
}

async fn connect_to(address: SocketAddr) -> Result<TcpStream, ConnectFault> {
    let stream = TcpStream::connect(address).await.map_err(|e| fault_of(e.kind()))?;
    // A request is one small write; a failure here only costs time.
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

const fn fault_of(kind: io::ErrorKind) -> ConnectFault {
    use io::ErrorKind as K;
    match kind {
        K::ConnectionRefused | K::ConnectionReset | K::ConnectionAborted => ConnectFault::Refused,
        K::HostUnreachable
        | K::NetworkUnreachable
        | K::NetworkDown
        | K::PermissionDenied
        | K::AddrNotAvailable => ConnectFault::Unroutable,
        K::TimedOut => ConnectFault::Timeout,
        kind => ConnectFault::Local(kind),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_forbidden_address_is_never_connected_to() {
        for address in
            ["169.254.169.254:80", "[::ffff:169.254.169.254]:80", "[64:ff9b::a9fe:a9fe]:80"]
        {
            let address = Address::Socket(address.parse().expect("an address"));
            assert!(matches!(connect(&address).await, Err(ConnectFault::Forbidden(_))));
        }
        // The resolver reads numbers in forms that no parser of addresses takes.
        let address = Address::Name("0xa9fea9fe".into(), 80);
        assert!(matches!(connect(&address).await, Err(ConnectFault::Forbidden(_))));
    }

    #[test]
    fn errors_say_whether_somebody_is_there() {
        assert_eq!(fault_of(io::ErrorKind::ConnectionRefused), ConnectFault::Refused);
        assert_eq!(fault_of(io::ErrorKind::HostUnreachable), ConnectFault::Unroutable);
        assert_eq!(fault_of(io::ErrorKind::NetworkUnreachable), ConnectFault::Unroutable);
        assert!(matches!(fault_of(io::ErrorKind::OutOfMemory), ConnectFault::Local(_)));
    }
}
