//! A broker as a process: started on a port of its own choosing, waited for, and ended by its pid.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// How long a broker may take to say that it is ready, on a machine busy with other tests.
const START_PATIENCE: Duration = Duration::from_secs(20);

/// Makes the directory of each process distinct within one test binary.
static SERIAL: AtomicU64 = AtomicU64::new(0);

/// The binary under test, and how many cores it may have.
#[derive(Clone)]
pub(crate) struct Broker {
    /// The executable.
    pub(crate) binary: PathBuf,
    /// `--cores`, for a broker which has that flag: the reference has not.
    pub(crate) cores: Option<u32>,
}

impl Broker {
    /// Pinion as just built, or what `PINION_BROKER` names in its place.
    pub(crate) fn under_test(cores: u32) -> Self {
        let own = PathBuf::from(env!("CARGO_BIN_EXE_pinion"));
        let Some(binary) = env::var_os("PINION_BROKER").map(PathBuf::from) else {
            return Self { binary: own, cores: Some(cores) };
        };
        let cores = takes_cores(&binary).then_some(cores);
        Self { binary, cores }
    }
}

/// What to start, and with what configuration.
#[derive(Clone)]
pub(crate) struct Launch {
    pub(crate) broker: Broker,
    /// The port to listen on; `None` takes a free one.
    pub(crate) port: Option<u16>,
    /// Configuration text; empty means no file.
    pub(crate) config: String,
    /// Further flags.
    pub(crate) flags: Vec<String>,
}

/// A running broker; dropping it kills exactly this process.
pub(crate) struct Process {
    child: Child,
    address: SocketAddr,
    lines: Receiver<String>,
    directory: PathBuf,
}

impl Process {
    /// Starts a broker and returns once it accepts clients.
    pub(crate) fn start(launch: &Launch) -> Result<Self, String> {
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("broker-{}-{serial}", std::process::id()));
        fs::create_dir_all(&directory).map_err(|e| format!("{}: {e}", directory.display()))?;
        let mut command = command(launch, &directory)?;
        let mut child = command
            .spawn()
            .map_err(|e| format!("cannot start {}: {e}", launch.broker.binary.display()))?;
        let log = child.stderr.take().expect("stderr was asked to be a pipe");
        let (sender, lines) = channel();
        // Reads to the end even when nobody listens, so that the broker never blocks on its log.
        std::thread::spawn(move || {
            for line in BufReader::new(log).lines().map_while(Result::ok) {
                let _unheard = sender.send(line);
            }
        });
        let unknown = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut process = Self { child, address: unknown, lines, directory };
        process.address = process.wait_until_ready()?;
        Ok(process)
    }

    /// Where clients connect.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sends the signal of that name (`USR2`, `HUP`, `TERM`) to this process alone.
    pub(crate) fn signal(&self, name: &str) -> bool {
        Command::new("kill")
            .arg(format!("-{name}"))
            .arg(self.child.id().to_string())
            .status()
            .is_ok_and(|status| status.success())
    }

    /// Waits for a log line which contains `text`.
    pub(crate) fn wait_for_log(&self, text: &str, patience: Duration) -> Result<String, String> {
        let deadline = Instant::now() + patience;
        let mut seen = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) if line.contains(text) => return Ok(line),
                Ok(line) => seen.push(line),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    let seen = seen.join("\n    ");
                    return Err(format!("no log line with {text:?}; the log says:\n    {seen}"));
                }
            }
        }
    }

    fn wait_until_ready(&self) -> Result<SocketAddr, String> {
        let line = self.wait_for_log("Listening for client connections on ", START_PATIENCE)?;
        let port = line.rsplit(':').next().and_then(|port| port.trim().parse().ok());
        let port: u16 = port.ok_or_else(|| format!("no port in the log line {line:?}"))?;
        self.wait_for_log("Server is ready", START_PATIENCE)?;
        Ok(SocketAddr::from(([127, 0, 0, 1], port)))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _already_gone = self.child.kill();
        let _reaped = self.child.wait();
        let _kept_for_a_look = fs::remove_dir_all(&self.directory);
    }
}

fn command(launch: &Launch, directory: &Path) -> Result<Command, String> {
    let mut command = Command::new(&launch.broker.binary);
    let port = launch.port.map_or(String::from("-1"), |port| port.to_string());
    command.args(["-a", "127.0.0.1", "-p", &port]);
    if let Some(cores) = launch.broker.cores {
        command.arg("--cores").arg(cores.to_string());
    }
    if !launch.config.is_empty() {
        let path = directory.join("broker.conf");
        fs::write(&path, &launch.config).map_err(|e| format!("{}: {e}", path.display()))?;
        command.arg("-c").arg(path);
    }
    command.args(&launch.flags);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    Ok(command)
}

fn takes_cores(binary: &Path) -> bool {
    const FLAG: &[u8] = b"--cores";
    let help = Command::new(binary).arg("--help").output();
    help.is_ok_and(|help| {
        let says = |text: &[u8]| text.windows(FLAG.len()).any(|word| word == FLAG);
        says(&help.stdout) || says(&help.stderr)
    })
}
