//! The back end behind sockets: a broker process, ours or the reference.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use super::backend::{Backend, ConnectionKey};
use super::queue::ReceiveQueues;
use crate::process::Process;

/// Long enough for a broker that shares two cores with other tests.
const PATIENCE: Duration = Duration::from_secs(10);
/// One look at a socket which has nothing to say.
const LOOK: Duration = Duration::from_millis(5);
/// After this long a broker is taken to have stopped reading on purpose.
const TAKE_PATIENCE: Duration = Duration::from_secs(2);

/// A broker process and the sockets to it.
pub(crate) struct Sockets {
    process: Process,
    connections: Vec<Connection>,
    queues: ReceiveQueues,
}

struct Connection {
    stream: TcpStream,
    closed: bool,
}

impl Sockets {
    /// Wraps a running broker.
    pub(crate) fn new(process: Process) -> Self {
        Self { process, connections: Vec::new(), queues: ReceiveQueues::open() }
    }

    fn at(&mut self, key: ConnectionKey) -> &mut Connection {
        &mut self.connections[key.0 as usize]
    }

    /// Waits until the receive queue of the broker's end is empty, as the kernel counts it.
    fn wait_until_taken(&mut self, key: ConnectionKey) {
        let broker = self.process.address();
        let Ok(client) = self.at(key).stream.local_addr() else { return };
        let deadline = Instant::now() + TAKE_PATIENCE;
        while self.queues.unread(broker, client).is_some_and(|bytes| bytes > 0) {
            if Instant::now() > deadline {
                return;
            }
            std::thread::yield_now();
        }
    }
}

impl Backend for Sockets {
    fn connect(&mut self) -> Result<ConnectionKey, String> {
        let stream = TcpStream::connect(self.process.address()).map_err(|e| e.to_string())?;
        stream.set_nodelay(true).map_err(|e| e.to_string())?;
        stream.set_read_timeout(Some(LOOK)).map_err(|e| e.to_string())?;
        stream.set_write_timeout(Some(PATIENCE)).map_err(|e| e.to_string())?;
        self.connections.push(Connection { stream, closed: false });
        Ok(ConnectionKey(self.connections.len() as u64 - 1))
    }

    fn feed(&mut self, key: ConnectionKey, bytes: &[u8]) {
        // A broker may close before it has read everything; what then cannot be written vanishes.
        if self.at(key).stream.write_all(bytes).is_ok() {
            self.wait_until_taken(key);
        }
    }

    fn disconnect(&mut self, key: ConnectionKey) {
        let _already_closed = self.at(key).stream.shutdown(Shutdown::Both);
        self.at(key).closed = true;
    }

    fn advance(&mut self, _by: Duration) {}

    fn take_output(&mut self, key: ConnectionKey) -> Vec<u8> {
        let connection = self.at(key);
        let mut buffer = vec![0; 64 << 10];
        match connection.stream.read(&mut buffer) {
            Ok(0) => connection.closed = true,
            Ok(length) => {
                buffer.truncate(length);
                return buffer;
            }
            Err(error) if is_idle(error.kind()) => {}
            // A close with unread input resets the connection, after the output has been read.
            Err(_) => connection.closed = true,
        }
        Vec::new()
    }

    fn is_closed(&mut self, key: ConnectionKey) -> bool {
        self.at(key).closed
    }

    fn patience(&self) -> Duration {
        PATIENCE
    }

    fn signal(&mut self, name: &str) -> Result<(), String> {
        if self.process.signal(name) { Ok(()) } else { Err(format!("cannot send {name}")) }
    }

    fn wait_for_log(&mut self, text: &str) -> Result<(), String> {
        self.process.wait_for_log(text, PATIENCE).map(|_line| ())
    }
}

fn is_idle(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}
