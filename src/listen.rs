//! Listening sockets of the ports for clients.

use std::net::{SocketAddr, TcpListener, ToSocketAddrs as _};
use std::os::fd::AsRawFd as _;

use nix::sys::socket::{
    self, AddressFamily, Backlog, SockFlag, SockProtocol, SockType, SockaddrStorage, sockopt,
};

use crate::config::Port;

/// Opens a listening socket. An address that names no interface takes IPv4 and IPv6 alike. The
/// error is the reason.
pub(crate) fn listen(host: &str, port: Port) -> Result<TcpListener, String> {
    let port = match port {
        Port::Fixed(port) => port,
        Port::Random => 0,
    };
    let shown = format!("{host}:{port}");
    let host = match host {
        "0.0.0.0" | "" => "::",
        host => host,
    };
    let resolve = |host: &str| (host, port).to_socket_addrs().map_err(|error| error.to_string());
    let first = |host: &str| resolve(host)?.next().ok_or_else(|| "no such host".to_owned());
    match open(first(host)?) {
        // A machine without IPv6.
        Err(nix::errno::Errno::EAFNOSUPPORT) if host == "::" => {
            open(first("0.0.0.0")?).map_err(|error| error.desc().to_owned())
        }
        Err(error) => Err(format!("listen tcp {shown}: bind: {}", error.desc().to_lowercase())),
        Ok(listener) => Ok(listener),
    }
}

fn open(address: SocketAddr) -> nix::Result<TcpListener> {
    let family = if address.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet };
    let flags = SockFlag::SOCK_CLOEXEC;
    let socket = socket::socket(family, SockType::Stream, flags, SockProtocol::Tcp)?;
    socket::setsockopt(&socket, sockopt::ReuseAddr, &true)?;
    // Accepted sockets inherit it.
    socket::setsockopt(&socket, sockopt::TcpNoDelay, &true)?;
    if address.is_ipv6() {
        socket::setsockopt(&socket, sockopt::Ipv6V6Only, &!address.ip().is_unspecified())?;
    }
    socket::bind(socket.as_raw_fd(), &SockaddrStorage::from(address))?;
    socket::listen(&socket, Backlog::MAXALLOWABLE)?;
    Ok(socket.into())
}
