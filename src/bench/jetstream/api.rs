//! Requests to the `JetStream` API in lock-step, to set a load up.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

use super::super::conn::Login;
use super::super::failure::Failure;
use super::complaint;

/// Longest wait for an answer.
const ANSWER_MAX: Duration = Duration::from_secs(30);
const INBOX: &str = "_INBOX.bench-api";

#[derive(Debug)]
pub(crate) struct Api {
    stream: BufReader<TcpStream>,
    /// Requests made so far.
    number: u64,
    /// Streams made so far.
    streams: Vec<String>,
}

impl Api {
    pub(crate) fn open(server: SocketAddr, login: &Login) -> Result<Self, Failure> {
        let stream = TcpStream::connect(server).map_err(Failure::io("connecting"))?;
        stream.set_nodelay(true).map_err(Failure::io("TCP_NODELAY"))?;
        stream.set_read_timeout(Some(ANSWER_MAX)).map_err(Failure::io("read timeout"))?;
        let mut api = Self { stream: BufReader::new(stream), number: 0, streams: Vec::new() };
        api.write(format!("{}SUB {INBOX}.* 1\r\nPING\r\n", login.connect_line()).as_bytes())?;
        while api.line()? != "PONG" {}
        Ok(api)
    }

    /// Makes a stream, in place of an earlier one of that name.
    pub(crate) fn make_stream(&mut self, config: &Value) -> Result<(), Failure> {
        let name = config["name"].as_str().expect("a stream has a name").to_owned();
        // There mostly is none.
        self.ask(&format!("$JS.API.STREAM.DELETE.{name}"), &Value::Null)?;
        self.request(&format!("$JS.API.STREAM.CREATE.{name}"), config)?;
        self.streams.push(name);
        Ok(())
    }

    /// Leaves the streams that were made so far behind.
    pub(crate) fn keep_streams(&mut self) {
        self.streams.clear();
    }

    /// Deletes all streams that were made.
    pub(crate) fn delete_streams(&mut self) -> Result<(), Failure> {
        for name in std::mem::take(&mut self.streams) {
            self.request(&format!("$JS.API.STREAM.DELETE.{name}"), &Value::Null)?;
        }
        Ok(())
    }

    /// Asks, and takes an error for a failure.
    pub(crate) fn request(&mut self, subject: &str, body: &Value) -> Result<Value, Failure> {
        let answer = self.ask(subject, body)?;
        match complaint(&answer) {
            Some(text) => Err(Failure::Refused(format!("{subject}: {text}"))),
            None => Ok(answer),
        }
    }

    fn ask(&mut self, subject: &str, body: &Value) -> Result<Value, Failure> {
        self.number += 1;
        let inbox = format!("{INBOX}.{}", self.number);
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.write(format!("PUB {subject} {inbox} {}\r\n{body}\r\n", body.len()).as_bytes())?;
        loop {
            let line = self.line()?;
            let mut words = line.split(' ');
            let verb = words.next().unwrap_or_default();
            if verb == "PING" {
                self.write(b"PONG\r\n")?;
            }
            if verb != "MSG" && verb != "HMSG" {
                continue;
            }
            let is_answer = words.next() == Some(&inbox);
            let size = words.next_back().and_then(|word| word.parse::<usize>().ok());
            let size = size.ok_or_else(|| Failure::Protocol(line.clone()))?;
            let mut payload = vec![0; size + 2];
            self.stream.read_exact(&mut payload).map_err(Failure::io("reading an answer"))?;
            if verb == "HMSG" {
                let status = String::from_utf8_lossy(&payload);
                let status = status.lines().next().unwrap_or_default();
                return Err(Failure::Refused(format!("{subject}: {status}")));
            }
            if is_answer {
                return serde_json::from_slice(&payload)
                    .map_err(|error| Failure::Protocol(format!("{subject}: {error}")));
            }
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.stream.get_mut().write_all(bytes).map_err(Failure::io("writing a request"))
    }

    /// The next line without its end.
    fn line(&mut self) -> Result<String, Failure> {
        let mut line = String::new();
        let count = self.stream.read_line(&mut line).map_err(Failure::io("reading an answer"))?;
        if count == 0 || line.starts_with("-ERR") {
            return Err(Failure::Refused(format!("the server says {:?}", line.trim_end())));
        }
        Ok(line.trim_end().to_owned())
    }
}
