//! What one source says, before defaults: the command line and the file each give a [`Settings`].
//!
//! A field is `None` where the source is silent, so laying one over the other is field by field, at
//! start and at every reload alike. Values are as written (`port: -1`); [`Settings::resolve`] turns
//! the result into [`Options`], in which only valid combinations exist.

use std::collections::BTreeMap;
use std::num::{NonZeroU8, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use accounts::{Directory, Mapping};

use super::JetStream;
use super::authorization::Authorization;
use super::native;
use super::operator::Vouching;
use super::options::{LogTime, Monitor, Options, Port, Profile};
use super::resolver::Resolver;
use super::tls::{Ocsp, Tls};
use super::websocket::WebSocket;
use crate::notation::{duration_text, format_duration, join_host_port, split_host_port};

macro_rules! settings {
    ($($(#[$doc:meta])* $name:ident: $type:ty,)*) => {
        /// One source's word on every option; durations in nanoseconds.
        #[derive(Debug, Clone, Default, PartialEq)]
        pub struct Settings {
            $($(#[$doc])* pub(crate) $name: Option<$type>,)*
            /// Features asked for that this version does not have.
            pub(crate) missing_features: Vec<String>,
            /// Does `accounts` speak of `$SYS`?
            pub(crate) has_named_system: bool,
        }

        impl Settings {
            /// `self` where it speaks, `below` elsewhere.
            #[must_use]
            pub(crate) fn over(self, mut below: Self) -> Self {
                below.missing_features.extend(self.missing_features);
                Self {
                    $($name: self.$name.or(below.$name),)*
                    missing_features: below.missing_features,
                    has_named_system: self.has_named_system || below.has_named_system,
                }
            }
        }
    };
}

settings! {
    server_name: String,
    host: String,
    port: i64,
    client_advertise: String,
    debug: bool,
    trace: bool,
    trace_verbose: bool,
    trace_headers: bool,
    logtime: bool,
    logtime_utc: bool,
    log_file: String,
    log_size_limit: i64,
    log_max_num: i64,
    pid_file: String,
    ports_file_dir: String,
    http_host: String,
    http_port: i64,
    https_port: i64,
    http_base_path: String,
    max_closed_clients: i64,
    max_connections: i64,
    max_subscriptions: i64,
    max_subscription_tokens: u8,
    max_control_line: i64,
    max_payload: i64,
    max_pending: i64,
    max_traced_msg_len: i64,
    write_deadline: i64,
    ping_interval: i64,
    ping_max: i64,
    lame_duck_duration: i64,
    lame_duck_grace_period: i64,
    no_header_support: bool,
    no_fast_producer_stall: bool,
    username: String,
    password: String,
    token: String,
    users: Vec<super::auth::User>,
    no_auth_user: String,
    /// Who decides about all others.
    callout: Option<super::callout::Callout>,
    /// Tokens of operators, or files that hold one.
    operators: Vec<String>,
    trusted_keys: Vec<String>,
    resolver: Resolver,
    resolver_tls: Tls,
    /// The token of those who show none.
    sentinel: String,
    /// Tokens of accounts by the accounts' keys.
    preload: Vec<(String, String)>,
    pinned_accounts: Vec<String>,
    /// Must the single user, or whoever shows the token, come through a trusted proxy?
    proxy_required: bool,
    /// Public keys of trusted proxies.
    proxies: Vec<String>,
    auth_timeout_s: f64,
    accounts: Directory,
    /// Those of the global account.
    mappings: Vec<Mapping>,
    system_account: String,
    no_system_account: bool,
    jetstream: bool,
    store_dir: String,
    jetstream_block: super::store::Block,
    tls: Tls,
    /// The files that the command line names, which stand in for those of the block.
    tls_files: Tls,
    allow_non_tls: bool,
    ocsp: Ocsp,
    websocket: super::websocket::Block,
    proxy_protocol: bool,
    connect_error_reports: i64,
    reconnect_error_reports: i64,
    tags: Vec<String>,
    metadata: BTreeMap<String, String>,
    /// Our own: what the machine is for.
    profile: Profile,
    /// Our own: how many cores to use.
    cores: NonZeroUsize,
    /// Our own: how long a core looks for work before it sleeps.
    spin: Duration,
}

/// Defaults, each as in the reference.
mod default {
    use std::time::Duration;

    pub(super) const HOST: &str = "0.0.0.0";
    pub(super) const PORT: u16 = 4222;
    pub(super) const MAX_CONNECTIONS: usize = 64 * 1024;
    pub(super) const MAX_CONTROL_LINE: i64 = 4096;
    pub(super) const MAX_PAYLOAD: i64 = 1024 * 1024;
    pub(super) const MAX_PENDING: i64 = 64 * 1024 * 1024;
    pub(super) const PING_INTERVAL: Duration = Duration::from_mins(2);
    pub(super) const PING_MAX: u32 = 2;
    pub(super) const WRITE_DEADLINE: Duration = Duration::from_secs(10);
    pub(super) const AUTH_TIMEOUT: Duration = Duration::from_secs(2);
    pub(super) const LAME_DUCK_DURATION: Duration = Duration::from_mins(2);
    pub(super) const LAME_DUCK_GRACE_PERIOD: Duration = Duration::from_secs(10);
    pub(super) const CONNECT_ERROR_REPORTS: i64 = 3600;
    pub(super) const RECONNECT_ERROR_REPORTS: i64 = 1;
    pub(super) const MAX_CLOSED_CLIENTS: i64 = 10_000;
}

impl Settings {
    /// Fills in the defaults and checks what only the whole can tell; the error is what the user
    /// reads behind `<exe>: `.
    pub(crate) fn resolve(mut self) -> Result<Options, String> {
        native::fill_in(&mut self);
        let (max_control_line, max_payload, max_pending) = self.message_limits()?;
        let (lame_duck_duration, lame_duck_grace_period) = self.lame_duck()?;
        let server_name = self.name()?;
        let client_advertise = text(self.client_advertise.clone());
        client_advertise.as_deref().map_or(Ok(()), check_advertise)?;
        if let Some(feature) = self.missing() {
            return Err(format!("not yet supported: {feature}"));
        }
        let (authorization, accounts) = self.who()?;
        Ok(Options {
            config_file: None,
            config_digest: None,
            server_name,
            host: self.host(),
            port: self.port()?,
            client_advertise,
            debug: self.debug.unwrap_or(false),
            trace: self.trace.unwrap_or(false),
            trace_verbose: self.trace_verbose.unwrap_or(false),
            trace_headers: self.trace_headers.unwrap_or(false),
            log_time: self.log_time(),
            log_file: text(self.log_file.clone()).map(Into::into),
            log_size_limit: positive(self.log_size_limit),
            log_max_files: positive(self.log_max_num),
            pid_file: text(self.pid_file.clone()).map(Into::into),
            ports_file_dir: text(self.ports_file_dir.clone()).map(Into::into),
            monitor: self.monitor(),
            max_connections: max_connections(self.max_connections),
            max_subscriptions: positive(self.max_subscriptions),
            max_subscription_tokens: self.max_subscription_tokens.and_then(NonZeroU8::new),
            max_control_line,
            max_payload,
            max_pending,
            max_traced_msg_len: positive(self.max_traced_msg_len),
            write_deadline: span("write_deadline", self.write_deadline, default::WRITE_DEADLINE)?,
            ping_interval: span("ping_interval", self.ping_interval, default::PING_INTERVAL)?,
            ping_max: count(self.ping_max, default::PING_MAX),
            lame_duck_duration,
            lame_duck_grace_period,
            no_header_support: self.no_header_support.unwrap_or(false),
            no_fast_producer_stall: self.no_fast_producer_stall.unwrap_or(false),
            auth_timeout: self.auth_timeout()?,
            accounts,
            tls: self.tls(),
            allow_non_tls: self.allow_non_tls.unwrap_or(false),
            staples: self.staples(),
            websocket: self.websocket(authorization.vouching.is_some())?,
            authorization,
            proxy_protocol: self.proxy_protocol.unwrap_or(false),
            connect_error_reports: nonzero(
                self.connect_error_reports,
                default::CONNECT_ERROR_REPORTS,
            ),
            reconnect_error_reports: nonzero(
                self.reconnect_error_reports,
                default::RECONNECT_ERROR_REPORTS,
            ),
            tags: self.tags.clone().unwrap_or_default(),
            metadata: self.metadata.clone().unwrap_or_default(),
            jetstream: self.jetstream(),
            profile: self.profile,
            cores: self.cores,
            spin: self.spin,
            command_line: Self::default(),
        })
    }

    /// Is a system account named, and no block about who may connect?
    pub(super) fn names_only_system(&self) -> bool {
        let named = self.has_named_system || text(self.system_account.clone()).is_some();
        named && self.username.is_none()
    }

    /// The accounts, with the system account in its place.
    fn directory(&self, vouching: Option<&Vouching>) -> Result<Directory, String> {
        if let Some(Vouching { ledger, .. }) = vouching {
            if self.accounts.is_some() {
                return Err("operators do not allow Accounts to be configured directly".to_owned());
            }
            return Ok(ledger.directory.clone());
        }
        let mut directory = self.accounts.clone().unwrap_or_default();
        directory.accounts[0].mappings = self.mappings.clone().unwrap_or_default();
        directory.has_system = !self.no_system_account.unwrap_or(false);
        if let Some(name) = text(self.system_account.clone()) {
            let known = directory.name_system(&name, self.has_named_system);
            known.ok_or("error resolving system account: account missing")?;
        }
        Ok(directory)
    }

    fn jetstream(&self) -> Option<JetStream> {
        let block = self.jetstream_block.clone().unwrap_or_default();
        self.jetstream.unwrap_or(false).then(|| block.resolve(text(self.store_dir.clone())))
    }

    /// The command line says which files, and whether clients show a certificate; the block all
    /// else.
    fn tls(&self) -> Option<Tls> {
        match (self.tls.clone(), self.tls_files.clone()) {
            (None, files) => files,
            (block, None) => block,
            (Some(block), Some(files)) => Some(Tls {
                map: block.map,
                first: block.first,
                timeout: block.timeout,
                rate_limit: block.rate_limit,
                pinned: block.pinned,
                ..files
            }),
        }
    }

    fn host(&self) -> String {
        text(self.host.clone()).unwrap_or_else(|| default::HOST.to_owned())
    }

    fn port(&self) -> Result<Port, String> {
        match self.port {
            None | Some(0) => Ok(Port::Fixed(default::PORT)),
            Some(-1) => Ok(Port::Random),
            Some(number) => u16::try_from(number).map(Port::Fixed).map_err(|_| {
                let address = join_host_port(&self.host(), number);
                let reason = format!("listen tcp: address {number}: invalid port");
                format!("Error listening on port: {address}, \"{reason}\"")
            }),
        }
    }

    /// What is asked for and is still to come.
    fn missing(&self) -> Option<String> {
        joined(&self.missing_features)
    }

    fn monitor(&self) -> Monitor {
        let closed = nonzero(self.max_closed_clients, default::MAX_CLOSED_CLIENTS);
        Monitor {
            host: text(self.http_host.clone()).unwrap_or_else(|| self.host()),
            http_port: self.http_port.unwrap_or(0),
            https_port: self.https_port.unwrap_or(0),
            base_path: self.http_base_path.clone().unwrap_or_default(),
            max_closed_clients: usize::try_from(closed).unwrap_or(0),
        }
    }

    fn log_time(&self) -> LogTime {
        match (self.logtime.unwrap_or(true), self.logtime_utc.unwrap_or(false)) {
            (false, _) => LogTime::None,
            (true, false) => LogTime::Local,
            (true, true) => LogTime::Utc,
        }
    }

    fn name(&self) -> Result<Option<String>, String> {
        let name = text(self.server_name.clone());
        if name.as_ref().is_some_and(|name| name.contains(' ')) {
            return Err("server name cannot contain spaces".to_owned());
        }
        Ok(name)
    }

    /// Who may connect, and all accounts.
    fn who(&self) -> Result<(Authorization, Directory), String> {
        let vouching = super::operator::resolve(self)?;
        let accounts = self.directory(vouching.as_ref())?;
        let authorization = Authorization { vouching, ..Authorization::resolve(self)? };
        authorization.callout.as_ref().map_or(Ok(()), |callout| callout.check(&accounts))?;
        Ok((authorization, accounts))
    }

    /// What is stapled to certificates, and the folder to keep staples in.
    fn staples(&self) -> (Option<Ocsp>, Option<PathBuf>) {
        (self.ocsp.clone(), text(self.store_dir.clone()).map(Into::into))
    }

    fn websocket(&self, has_operator: bool) -> Result<Option<WebSocket>, String> {
        self.websocket.clone().unwrap_or_default().resolve(has_operator)
    }

    fn auth_timeout(&self) -> Result<Duration, String> {
        match self.auth_timeout_s {
            None | Some(0.0) => Ok(match self.tls() {
                // A handshake may come first.
                Some(tls) => tls.timeout + Duration::from_secs(1),
                None => default::AUTH_TIMEOUT,
            }),
            Some(seconds) => Duration::try_from_secs_f64(seconds)
                .map_err(|_| format!("invalid authorization timeout of {seconds} seconds")),
        }
    }

    fn message_limits(&self) -> Result<(usize, usize, usize), String> {
        let max_control_line = nonzero(self.max_control_line, default::MAX_CONTROL_LINE);
        let max_payload = nonzero(self.max_payload, default::MAX_PAYLOAD);
        let max_pending = nonzero(self.max_pending, default::MAX_PENDING);
        if max_payload > max_pending {
            return Err(format!(
                "max_payload ({max_payload}) cannot be higher than max_pending ({max_pending})"
            ));
        }
        let max_control_line = usize::try_from(max_control_line)
            .map_err(|_| format!("max_control_line ({max_control_line}) cannot be negative"))?;
        let max_pending = usize::try_from(max_pending)
            .map_err(|_| format!("max_pending ({max_pending}) cannot be negative"))?;
        // Below zero means no limit in the reference; here it is what a connection can buffer.
        let max_payload = usize::try_from(max_payload).unwrap_or(max_pending);
        Ok((max_control_line, max_payload, max_pending))
    }

    fn lame_duck(&self) -> Result<(Duration, Duration), String> {
        let duration =
            span("lame_duck_duration", self.lame_duck_duration, default::LAME_DUCK_DURATION)?;
        let grace = span(
            "lame_duck_grace_period",
            self.lame_duck_grace_period,
            default::LAME_DUCK_GRACE_PERIOD,
        )?;
        if grace >= duration {
            return Err(format!(
                "lame duck grace period ({}) should be strictly lower than lame duck duration ({})",
                duration_text(grace),
                duration_text(duration)
            ));
        }
        Ok((duration, grace))
    }
}

/// Each feature once, in order of appearance.
fn joined(features: &[String]) -> Option<String> {
    let mut unique: Vec<&str> = Vec::new();
    for feature in features {
        if !unique.contains(&feature.as_str()) {
            unique.push(feature);
        }
    }
    (!unique.is_empty()).then(|| unique.join(", "))
}

fn check_advertise(address: &str) -> Result<(), String> {
    let problem = |reason: String| {
        format!("Error setting server INFO with ClientAdvertise value of {address}, err={reason}")
    };
    // A missing port is filled in with the client port.
    let with_port = format!("{address}:0");
    let (_, port) = match split_host_port(address) {
        Err(reason) if reason.contains("missing port") => split_host_port(&with_port),
        split => split,
    }
    .map_err(problem)?;
    let port = port.trim();
    match port.parse::<i64>() {
        Ok(_) => Ok(()),
        Err(_) => Err(problem(format!("strconv.Atoi: parsing \"{port}\": invalid syntax"))),
    }
}

/// An empty text is as good as none.
fn text(value: Option<String>) -> Option<String> {
    value.filter(|text| !text.is_empty())
}

/// Zero stands for the default, as nearly everywhere in the reference.
fn nonzero(value: Option<i64>, default: i64) -> i64 {
    value.filter(|number| *number != 0).unwrap_or(default)
}

fn count(value: Option<i64>, default: u32) -> u32 {
    match value {
        None | Some(0) => default,
        Some(number) => u32::try_from(number.max(0)).unwrap_or(u32::MAX),
    }
}

/// A limit that is off unless it is above zero.
fn positive(value: Option<i64>) -> Option<NonZeroUsize> {
    value.and_then(|number| usize::try_from(number).ok()).and_then(NonZeroUsize::new)
}

/// Written as zero or less, nobody may connect; that is the one limit where zero is not the
/// default.
fn max_connections(value: Option<i64>) -> usize {
    value.map_or(default::MAX_CONNECTIONS, |number| usize::try_from(number).unwrap_or(0))
}

fn span(name: &str, nanoseconds: Option<i64>, default: Duration) -> Result<Duration, String> {
    match nanoseconds {
        None | Some(0) => Ok(default),
        Some(value) => u64::try_from(value)
            .map(Duration::from_nanos)
            .map_err(|_| format!("invalid {name} of {}", format_duration(value))),
    }
}
