//! One client connection: connected in lock-step, then never waiting.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use super::failure::Failure;
use super::scan::{Event, Scanner};

/// One read's room, shared by all connections of the load.
pub(crate) const READ_MAX: usize = 256 * 1024;
/// A handshake that takes longer than this is not worth measuring against.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// What the load presents itself as.
#[derive(Debug, Clone, Default)]
pub(crate) struct Login {
    pub(crate) user: Option<String>,
    pub(crate) password: Option<String>,
    pub(crate) token: Option<String>,
}

impl Login {
    /// The CONNECT that presents the load.
    pub(crate) fn connect_line(&self) -> String {
        let mut options = serde_json::json!({
            "verbose": false, "pedantic": false, "echo": true, "headers": true, "protocol": 1,
            "lang": "rust", "version": env!("CARGO_PKG_VERSION"), "name": "pinion-bench",
        });
        for (key, value) in
            [("user", &self.user), ("pass", &self.password), ("auth_token", &self.token)]
        {
            if let Some(value) = value {
                options[key] = value.as_str().into();
            }
        }
        format!("CONNECT {options}\r\n")
    }
}

/// Calls that moved bytes, and the bytes, of one direction.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Calls {
    pub(crate) calls: u64,
    pub(crate) bytes: u64,
}

impl Calls {
    pub(crate) fn since(self, then: Self) -> Self {
        Self { calls: self.calls - then.calls, bytes: self.bytes - then.bytes }
    }

    /// Reads and writes of all these connections.
    pub(crate) fn of(conns: &[Conn]) -> (Self, Self) {
        let sum = |of: fn(&Conn) -> Self| Self {
            calls: conns.iter().map(|conn| of(conn).calls).sum(),
            bytes: conns.iter().map(|conn| of(conn).bytes).sum(),
        };
        (sum(|conn| conn.reads), sum(|conn| conn.writes))
    }
}

#[derive(Debug)]
pub(crate) struct Conn {
    stream: TcpStream,
    pub(crate) scanner: Scanner,
    /// Control lines and messages made during the run, and how much of them is written.
    outbox: Vec<u8>,
    written: usize,
    pub(crate) pongs: u64,
    pub(crate) reads: Calls,
    pub(crate) writes: Calls,
}

/// Finds the address once, so that no name is looked up while connections are made.
pub(crate) fn resolve(server: &str) -> Result<SocketAddr, Failure> {
    let server = server.strip_prefix("nats://").unwrap_or(server);
    let mut found = server.to_socket_addrs().map_err(Failure::io("finding the server"))?;
    found.next().ok_or_else(|| Failure::Usage(format!("{server} has no address")))
}

impl Conn {
    /// Connects and completes the handshake; after that no call blocks.
    pub(crate) fn open(server: SocketAddr, login: &Login) -> Result<Self, Failure> {
        let stream = TcpStream::connect(server).map_err(Failure::io("connecting"))?;
        stream.set_nodelay(true).map_err(Failure::io("TCP_NODELAY"))?;
        stream.set_read_timeout(Some(HANDSHAKE_MAX)).map_err(Failure::io("read timeout"))?;
        let mut conn = Self {
            stream,
            scanner: Scanner::default(),
            outbox: Vec::new(),
            written: 0,
            pongs: 0,
            reads: Calls::default(),
            writes: Calls::default(),
        };
        conn.handshake(login)?;
        conn.stream.set_nonblocking(true).map_err(Failure::io("non-blocking mode"))?;
        Ok(conn)
    }

    fn handshake(&mut self, login: &Login) -> Result<(), Failure> {
        let hello = format!("{}PING\r\n", login.connect_line());
        self.stream.write_all(hello.as_bytes()).map_err(Failure::io("writing CONNECT"))?;
        let mut buffer = [0; 4096];
        while self.pongs == 0 {
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(Failure::Refused("closed during the handshake".into())),
                Ok(count) => self.scan(&buffer[..count], |_| {})?,
                Err(error) => return Err(Failure::Io("waiting for the handshake", error)),
            }
        }
        Ok(())
    }

    /// Reads what is there into the shared buffer; answers the bytes read, zero for none yet.
    pub(crate) fn receive(
        &mut self,
        buffer: &mut [u8],
        on: impl FnMut(Event<'_>),
    ) -> Result<usize, Failure> {
        let count = match self.stream.read(buffer) {
            Ok(0) => return Err(Failure::Refused("the server closed a connection".into())),
            Ok(count) => count,
            Err(error) if would_wait(&error) => return Ok(0),
            Err(error) => return Err(Failure::Io("reading", error)),
        };
        self.reads.calls += 1;
        self.reads.bytes += count as u64;
        self.scan(&buffer[..count], on)?;
        Ok(count)
    }

    fn scan(&mut self, bytes: &[u8], mut on: impl FnMut(Event<'_>)) -> Result<(), Failure> {
        let Self { scanner, outbox, pongs, .. } = self;
        scanner.feed(bytes, |event| {
            match event {
                Event::Ping => outbox.extend_from_slice(b"PONG\r\n"),
                Event::Pong => *pongs += 1,
                Event::Info | Event::Message(_) => {}
            }
            on(event);
        })
    }

    /// Bytes to be sent before anything else.
    pub(crate) fn queue(&mut self) -> &mut Vec<u8> {
        &mut self.outbox
    }

    pub(crate) fn has_queued(&self) -> bool {
        !self.outbox.is_empty()
    }

    /// Writes what is queued; answers whether all of it is gone.
    pub(crate) fn flush(&mut self) -> Result<bool, Failure> {
        while self.written < self.outbox.len() {
            match self.stream.write(&self.outbox[self.written..]) {
                Ok(count) => {
                    self.written += count;
                    self.writes.calls += 1;
                    self.writes.bytes += count as u64;
                }
                Err(error) if would_wait(&error) => return Ok(false),
                Err(error) => return Err(Failure::Io("writing", error)),
            }
        }
        self.outbox.clear();
        self.written = 0;
        Ok(true)
    }

    /// Writes from a block, once, unless control lines are still waiting; a frame that is cut is
    /// continued by the next call, so nothing may be queued in between: see [`Conn::flush`].
    pub(crate) fn send(&mut self, bytes: &[u8]) -> Result<usize, Failure> {
        match self.stream.write(bytes) {
            Ok(count) => {
                self.writes.calls += 1;
                self.writes.bytes += count as u64;
                Ok(count)
            }
            Err(error) if would_wait(&error) => Ok(0),
            Err(error) => Err(Failure::Io("writing", error)),
        }
    }
}

impl AsFd for Conn {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

fn would_wait(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
