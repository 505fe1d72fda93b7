//! Start and stop: checks, listener, mesh, one pinned executor per core, signals.

mod machine;
mod settings;
mod switch;

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::ExitCode;
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use accounts::Directory;
use base::CoreId;
use base::limits::{CORES_MAX, LANE_BYTES};
use glommio::{LocalExecutorBuilder, Placement};
use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::signal::{SigSet, Signal};
use shard::{Config, way_in};

use crate::auth::{Keys, Pool};
use crate::config::{Options, Port, reload};
use crate::jetstream;
use crate::listen;
use crate::log::{self, Logger};
use crate::memory;
use crate::monitor::{self, Notice, Notices, Reach};
use crate::process::{self, PortsFile};
use crate::reactor::gate::upgrade::Terms;
use crate::reactor::lanes::{End, Lanes, Waker};
use crate::reactor::{self, Command, Parts, Report};
use crate::staple::{self, Renewal};
use crate::tls::Files;
use machine::{check_machine, chosen_cpus, raise_descriptor_limit};
use settings::{advertised, random_seed, shard_config_after};
use switch::Switching;

pub(crate) use machine::{MEMLOCK_LEAST, check_ring};
pub use settings::shard_config;

/// Memory that each executor registers for disk I/O of its own. Nothing uses it, since disks have
/// rings of their own (`docs/decisions/disk-ring.md`): the least that the library accepts keeps
/// within the usual limit on locked memory.
const IO_MEMORY_BYTES: usize = 64 * 1024;

/// How long a stop waits until the system account has been told of it.
const GOODBYE_WAIT: Duration = Duration::from_millis(500);

/// Starts the broker and runs it until it is told to stop.
pub fn run(options: Options) -> ExitCode {
    memory::keep_buffers();
    // Threads inherit this, so it comes before the first of them.
    signals().thread_block().expect("the set is made of signals that there are");
    let logger = match log::start((&options).into()) {
        Ok(logger) => logger,
        Err(problem) => {
            eprintln!("{}: {problem}", crate::cli::EXECUTABLE);
            return ExitCode::FAILURE;
        }
    };
    abort_on_panic(&logger);
    let code = match Server::start(options, &logger) {
        Ok(server) => server.run(),
        Err(problem) => {
            logger.fatal(problem);
            ExitCode::FAILURE
        }
    };
    logger.flush();
    code
}

/// A broken invariant on one core stops the whole server: the others would wait for it for ever.
fn abort_on_panic(logger: &Logger) {
    let logger = logger.clone();
    let logger = std::sync::Mutex::new(logger);
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        print(panic);
        if let Ok(logger) = logger.try_lock() {
            logger.fatal(panic);
        }
        std::process::abort();
    }));
}

/// The boot thread's view of the running server.
struct Server {
    options: Options,
    config: Config,
    keys: Keys,
    logger: Logger,
    secrets: Files,
    /// Who keeps staples fresh ends with this.
    upkeep: mpsc::Sender<()>,
    reports_in: mpsc::Sender<Report>,
    cores: Vec<Core>,
    reports: mpsc::Receiver<Report>,
    address: SocketAddr,
    /// Where monitoring listens, if it does.
    monitor: Option<SocketAddr>,
    /// Where WebSocket listens, if it does.
    websocket: Option<SocketAddr>,
    ports_file: Option<PortsFile>,
    notices: Notices,
    lame_duck: bool,
    switching: Switching,
}

struct Core {
    reach: Reach,
    thread: glommio::ExecutorJoinHandle<()>,
}

impl Server {
    fn start(options: Options, logger: &Logger) -> Result<Self, String> {
        let (cpus, count) = prepare_machine(&options)?;
        let keys = Keys::new();
        let mut config = shard_config_after(&options, &Directory::default(), &keys);
        let mut secrets = Files::read(&options)?;
        for (level, line) in process::banner(&options, &config.server_id, None) {
            logger.line(level, line);
        }
        if let Some(path) = &options.pid_file {
            process::write_pid_file(path)
                .map_err(|reason| format!("Could not write pidfile: {reason}"))?;
        }
        secrets.warn(logger);
        let (websocket, websocket_address) = listen_for_websocket(&options, logger)?;
        if let (Some(door), Some(address)) = (&mut config.websocket, websocket_address) {
            door.port = address.port();
        }
        let listener = listen(&options)?;
        let address = listener.local_addr().map_err(|error| error.to_string())?;
        config.port = advertised(&options).1.unwrap_or(address.port());
        let watched = monitor::listen(&options)?;
        let monitor = watched.as_ref().and_then(|listener| listener.local_addr().ok());
        if let Some(address) = monitor {
            logger.info(monitor::announcement(&options, address));
        }
        let (reports_in, reports) = mpsc::channel();
        let upkeep = staple(&mut secrets, &options, &reports_in, logger)?;
        let (notices, inbox) = monitor::notices();
        watch_signals(reports_in.clone())?;
        let mut server = Self {
            options,
            config,
            keys,
            logger: logger.clone(),
            secrets,
            upkeep,
            reports_in: reports_in.clone(),
            cores: Vec::new(),
            reports,
            address,
            monitor,
            websocket: websocket_address,
            ports_file: None,
            notices,
            lame_duck: false,
            switching: Switching::default(),
        };
        server.resolve_accounts(&reports_in)?;
        let seed = random_seed();
        let prepare = |options| jetstream::prepare(options, &server.config, seed, logger);
        let mut jetstream = server.options.jetstream.as_ref().map(prepare).transpose()?;
        let started = (Instant::now(), monitor::wall());
        let parts = ([Some(listener), websocket], seed, started.0);
        server.start_cores(count, &cpus, parts, &reports_in, &mut jetstream)?;
        monitor::start(monitor::Parts {
            inbox,
            cores: server.cores.iter().map(|core| core.reach.clone()).collect(),
            settled: server.settled(),
            started,
            listener: watched,
            outward: (reports_in, logger.clone()),
            resolver: server.resolver(),
        })?;
        server.announce()?;
        Ok(server)
    }

    fn start_cores(
        &mut self,
        count: usize,
        cpus: &[usize],
        (mut listeners, seed, started): ([Option<TcpListener>; 2], u64, Instant),
        reports: &mpsc::Sender<Report>,
        jetstream: &mut Option<jetstream::Parts>,
    ) -> Result<(), String> {
        let pool = Pool::start(count, &self.keys)?;
        for (number, lanes) in (0_u8..).zip(mesh(count)?) {
            let (commands, commands_out) = mpsc::channel();
            let waker = lanes.own.clone();
            let provers = pool.way(commands.clone(), waker.clone());
            let parts = Parts {
                core: CoreId(number),
                cores: count,
                seed,
                config: self.config.clone(),
                spin: self.options.spin.unwrap_or_default(),
                listeners: std::mem::take(&mut listeners),
                // The first core stores for all.
                jetstream: jetstream.take(),
                secrets: self.secrets.secrets(),
                terms: self.options.websocket.as_ref().map(Terms::new),
                lanes,
                provers,
                resolver: self.resolver(),
                commands: commands_out,
                reports: reports.clone(),
                notices: self.notices.clone(),
                logger: self.logger.clone(),
                started,
            };
            let cpu = cpus[usize::from(number) % cpus.len()];
            let thread = LocalExecutorBuilder::new(Placement::Fixed(cpu))
                .name(&format!("shard-{number}"))
                .io_memory(IO_MEMORY_BYTES)
                .spawn(move || async move { reactor::run(parts) })
                .map_err(|error| format!("cannot start core {number}: {error}"))?;
            self.cores.push(Core { reach: Reach { commands, waker }, thread });
        }
        for _ in 0..count {
            match self.reports.recv() {
                Ok(Report::Ready) => {}
                Ok(Report::Failed(core, problem)) => {
                    return Err(format!("core {} cannot start: {problem}", core.0));
                }
                other => return Err(format!("stopped while starting: {other:?}")),
            }
        }
        Ok(())
    }

    fn announce(&mut self) -> Result<(), String> {
        let host = &self.options.host;
        let shown = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        let port = self.address.port();
        self.logger.info(format_args!("Listening for client connections on {shown}:{port}"));
        if let Some(tls) = &self.options.tls {
            let only_first = tls.first == way_in::First::Always;
            let optional = self.options.allow_non_tls && !only_first;
            let state = if optional { "available" } else { "required" };
            self.logger.info(format_args!("TLS {state} for client connections"));
            if only_first {
                let text = "Clients that are not using \"TLS Handshake First\" option will fail to \
                            connect";
                self.logger.line(log::Level::Warn, text);
            }
        }
        if self.options.proxy_protocol {
            self.logger.info("PROXY protocol enabled for client connections");
        }
        if let Some(directory) = &self.options.ports_file_dir {
            self.ports_file = Some(self.write_ports_file(directory)?);
        }
        self.logger.info("Server is ready");
        Ok(())
    }

    fn run(mut self) -> ExitCode {
        loop {
            match self.next_report() {
                Ok(Report::Signal(signal)) => {
                    if self.on_signal(signal) {
                        return self.stop(ExitCode::SUCCESS);
                    }
                }
                Ok(Report::Drained | Report::Renewed(Renewal::Revoked)) => {
                    return self.stop(ExitCode::SUCCESS);
                }
                Ok(Report::Failed(core, problem)) => {
                    self.logger.fatal(format_args!("core {} failed: {problem}", core.0));
                    return ExitCode::FAILURE;
                }
                Ok(Report::Reconfigured(count)) => self.note_reconfigured(count),
                Ok(Report::Reload(asker)) => self.reload(vec![asker]),
                Ok(Report::Learned(learned)) => self.learn(*learned),
                Ok(Report::Renewed(Renewal::Staple(door, staple))) => {
                    self.secrets.restaple(door, staple.as_ref());
                    self.tell(|| Command::Secure(self.secrets.secrets()));
                }
                Ok(Report::Ready | Report::Stopped) => {}
                Err(RecvTimeoutError::Timeout) => self.lapse(),
                Err(RecvTimeoutError::Disconnected) => {
                    unreachable!("the signal thread holds the other end")
                }
            }
        }
    }

    /// Does what a signal asks for. True if that is to stop.
    fn on_signal(&mut self, signal: Signal) -> bool {
        self.logger.info(format_args!("Trapped {:?} signal", process::signal_name(signal)));
        match signal {
            // Whoever sends clients away wants that finished.
            Signal::SIGTERM => return !self.lame_duck,
            Signal::SIGINT => return true,
            Signal::SIGUSR1 => self.logger.reopen(),
            Signal::SIGUSR2 if !self.lame_duck => {
                self.lame_duck = true;
                self.notices.send(Notice::LameDuck);
                self.tell(|| Command::LameDuck);
            }
            Signal::SIGHUP => self.reload(Vec::new()),
            _ => {}
        }
        false
    }

    /// Applies what is not the cores' business, and logs the change.
    fn apply(&mut self, change: &reload::Change) {
        match change.kind {
            reload::Kind::Log => {
                let settings: log::Settings = (&self.options).into();
                let levels = settings.levels;
                self.logger.configure(settings);
                self.logger.set_levels(levels);
                self.tell(|| Command::SetLevels(levels));
            }
            reload::Kind::PidFile => {
                if let Some(path) = &self.options.pid_file
                    && let Err(reason) = process::write_pid_file(path)
                {
                    self.logger.error(format_args!("Failed to write pidfile: {reason}"));
                }
            }
            reload::Kind::PortsFile => self.move_ports_file(),
            _ => {}
        }
        if let Some(line) = &change.line {
            self.logger.info(line);
        }
    }

    fn move_ports_file(&mut self) {
        if let Some(Err(problem)) = self.ports_file.take().map(PortsFile::remove) {
            self.logger.error(problem);
        }
        if let Some(directory) = &self.options.ports_file_dir {
            match self.write_ports_file(directory) {
                Ok(file) => self.ports_file = Some(file),
                Err(problem) => self.logger.error(problem),
            }
        }
    }

    fn write_ports_file(&self, directory: &Path) -> Result<PortsFile, String> {
        let door = self.options.websocket.as_ref();
        let scheme = websocket_scheme(door.is_some_and(|door| door.tls.is_some()));
        let websocket = self.websocket.map(|address| (scheme, address));
        let monitor = self.monitor.map(|address| (monitor::scheme(&self.options), address));
        PortsFile::write(directory, self.address, monitor, websocket)
    }

    fn tell(&self, command: impl Fn() -> Command) {
        for core in &self.cores {
            // A core that has ended needs no telling.
            core.reach.tell(command());
        }
    }

    fn stop(mut self, code: ExitCode) -> ExitCode {
        self.logger.info("Initiating Shutdown...");
        let (told, heard) = mpsc::channel();
        self.notices.send(Notice::Stopping(told));
        // Those who listen should know, but a stop waits for nobody.
        let _ = heard.recv_timeout(GOODBYE_WAIT);
        self.tell(|| Command::Stop);
        for core in self.cores.drain(..) {
            if let Err(error) = core.thread.join() {
                self.logger.error(error);
            }
        }
        if let Some(Err(problem)) = self.ports_file.take().map(PortsFile::remove) {
            self.logger.error(problem);
        }
        self.logger.info("Server Exiting..");
        code
    }
}

/// The CPUs to run on, and how many cores there are to be, on a machine that is fit for it.
fn prepare_machine(options: &Options) -> Result<(Vec<usize>, usize), String> {
    check_machine()?;
    raise_descriptor_limit();
    let cpus = chosen_cpus(options.profile)?;
    let count = options.cores.map_or(cpus.len(), Into::into);
    if count > CORES_MAX {
        return Err(format!("at most {CORES_MAX} cores are supported, {count} were asked for"));
    }
    Ok((cpus, count))
}

/// Staples what is to be stapled, and keeps it fresh until the other end of the channel is gone.
fn staple(
    secrets: &mut Files,
    options: &Options,
    reports: &mpsc::Sender<Report>,
    logger: &Logger,
) -> Result<mpsc::Sender<()>, String> {
    let stapled = secrets.staple(options, logger)?;
    let (upkeep, stop) = mpsc::channel();
    staple::watch(stapled, reports.clone(), logger.clone(), stop)?;
    Ok(upkeep)
}

const fn websocket_scheme(secure: bool) -> &'static str {
    if secure { "wss" } else { "ws" }
}

fn listen(options: &Options) -> Result<TcpListener, String> {
    let port = match options.port {
        Port::Fixed(port) => port,
        Port::Random => 0,
    };
    listen::listen(&options.host, options.port)
        .map_err(|reason| format!("Error listening on port: {}:{port}, \"{reason}\"", options.host))
}

/// The port for WebSocket, and its address.
fn listen_for_websocket(
    options: &Options,
    logger: &Logger,
) -> Result<(Option<TcpListener>, Option<SocketAddr>), String> {
    let Some(door) = &options.websocket else { return Ok((None, None)) };
    let problem = |reason| format!("Unable to listen for websocket connections: {reason}");
    let listener = listen::listen(&door.host, door.port).map_err(problem)?;
    let address = listener.local_addr().map_err(|error| problem(error.to_string()))?;
    let (scheme, host, port) = (websocket_scheme(door.tls.is_some()), &door.host, address.port());
    logger.info(format_args!("Listening for websocket clients on {scheme}://{host}:{port}"));
    if door.tls.is_none() {
        let text = "Websocket not configured with TLS. DO NOT USE IN PRODUCTION!";
        logger.line(log::Level::Warn, text);
    }
    Ok((Some(listener), Some(address)))
}

/// The signals that mean something to a server.
fn signals() -> SigSet {
    use Signal::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
    [SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2].into_iter().collect()
}

/// Waits for signals, which all threads block. Supervisors send a lame duck `TERM` right behind
/// `USR2`: handlers would run in the opposite order where both are pending, and so stop it at once.
/// Whoever waits is given the lower number first.
fn watch_signals(reports: mpsc::Sender<Report>) -> Result<(), String> {
    let watch = move || {
        loop {
            match signals().wait() {
                Ok(signal) if reports.send(Report::Signal(signal)).is_err() => return,
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => unreachable!("signals that there are can be waited for: {error}"),
            }
        }
    };
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(watch)
        .map_err(|error| format!("cannot watch signals: {error}"))?;
    Ok(())
}

/// A lane each way between any two cores.
fn mesh(count: usize) -> Result<Vec<Lanes>, String> {
    let wakers = (0..count)
        .map(|_| {
            let descriptor = EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)
                .map_err(|error| format!("cannot make an eventfd: {error}"))?;
            Ok(Waker { bell: mesh::bell(), descriptor: Arc::new(descriptor) })
        })
        .collect::<Result<Vec<_>, String>>()?;
    let mut ends: Vec<Vec<End>> = (0..count).map(|_| Vec::new()).collect();
    for a in 0..count {
        for b in a + 1..count {
            let (to_b, from_a) = mesh::lane(LANE_BYTES);
            let (to_a, from_b) = mesh::lane(LANE_BYTES);
            let core = |number: usize| CoreId(number as u8);
            let waker = |number: usize| wakers[number].clone();
            ends[a].push(End { core: core(b), to: to_b, from: from_b, waker: waker(b) });
            ends[b].push(End { core: core(a), to: to_a, from: from_a, waker: waker(a) });
        }
    }
    Ok(wakers.into_iter().zip(ends).map(|(own, ends)| Lanes::new(own, ends)).collect())
}
