//! How much a socket of this machine has received and its owner not yet read: the kernel's answer
//! to an exact question by `sock_diag(7)`, some microseconds where the tables under `/proc` take a
//! millisecond.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsRawFd as _, OwnedFd};

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket,
};

/// `struct nlmsghdr`.
const HEADER_BYTES: usize = 16;
/// `struct inet_diag_req_v2`.
const REQUEST_BYTES: usize = 56;
/// `SOCK_DIAG_BY_FAMILY`: the type of the question and of its answer.
const BY_FAMILY: u16 = 20;
/// `NLM_F_REQUEST`, and no dump: one socket.
const REQUEST: u16 = 1;
/// `idiag_rqueue` in the answer's `struct inet_diag_msg`.
const UNREAD: usize = HEADER_BYTES + 56;

/// A way to ask the kernel.
pub(crate) struct ReceiveQueues {
    netlink: OwnedFd,
}

impl ReceiveQueues {
    pub(crate) fn open() -> Self {
        let (family, kind) = (AddressFamily::Netlink, SockType::Raw);
        let netlink = socket(family, kind, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkSockDiag);
        Self { netlink: netlink.expect("the kernel answers about sockets") }
    }

    /// The bytes that wait in the socket at `own`, which is connected with `peer`; nothing if there
    /// is no such socket any more. An IPv6 socket that took an IPv4 connection counts as IPv4.
    pub(crate) fn unread(&self, own: SocketAddr, peer: SocketAddr) -> Option<u32> {
        let question = question(own, peer)?;
        let netlink = self.netlink.as_raw_fd();
        send(netlink, &question, MsgFlags::empty()).expect("the kernel takes a question");
        let mut answer = [0; 512];
        let length =
            recv(netlink, &mut answer, MsgFlags::empty()).expect("the kernel answers at once");
        let kind = u16::from_ne_bytes([answer[4], answer[5]]);
        if length < UNREAD + 4 || kind != BY_FAMILY {
            return None;
        }
        let unread = answer[UNREAD..].first_chunk()?;
        Some(u32::from_ne_bytes(*unread))
    }
}

fn question(own: SocketAddr, peer: SocketAddr) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES + REQUEST_BYTES);
    bytes.extend(((HEADER_BYTES + REQUEST_BYTES) as u32).to_ne_bytes());
    bytes.extend(BY_FAMILY.to_ne_bytes());
    bytes.extend(REQUEST.to_ne_bytes());
    // Sequence and sender: nothing else is asked before the answer is there.
    bytes.extend([0; 8]);
    bytes.extend([libc::AF_INET as u8, libc::IPPROTO_TCP as u8, 0, 0]);
    // In whatever state.
    bytes.extend(u32::MAX.to_ne_bytes());
    bytes.extend(own.port().to_be_bytes());
    bytes.extend(peer.port().to_be_bytes());
    for address in [ipv4(own)?, ipv4(peer)?] {
        bytes.extend(address.octets());
        bytes.extend([0; 12]);
    }
    // On any interface, with whatever cookie (`INET_DIAG_NOCOOKIE`).
    bytes.extend(0_u32.to_ne_bytes());
    bytes.extend([0xff; 8]);
    Some(bytes)
}

fn ipv4(address: SocketAddr) -> Option<Ipv4Addr> {
    match address {
        SocketAddr::V4(address) => Some(*address.ip()),
        SocketAddr::V6(address) => address.ip().to_ipv4_mapped(),
    }
}
