//! Why a connection ended, in the reference's words.

/// Why a connection ended. The text is what logs and monitoring show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The peer closed it.
    ClientClosed,
    /// No CONNECT in time.
    AuthenticationTimeout,
    /// CONNECT was refused.
    AuthenticationFailure,
    /// The time of its credentials is over.
    AuthenticationExpired,
    /// Its credentials were revoked.
    CredentialsRevoked,
    /// The proxy that it came through is none that is trusted.
    ProxyNotTrusted,
    /// It did not come through a proxy, and must.
    ProxyRequired,
    /// The TLS handshake failed or took too long.
    TlsHandshakeError,
    /// Too much waited for the peer.
    SlowConsumerPendingBytes,
    /// The peer took too long to take it.
    SlowConsumerWriteDeadline,
    /// The socket failed on write.
    WriteError,
    /// The socket failed on read.
    ReadError,
    /// An unknown operation.
    ParseError,
    /// PINGs went unanswered.
    StaleConnection,
    /// Wrong arguments.
    ProtocolViolation,
    /// CONNECT asked for a protocol that does not exist.
    BadClientProtocolVersion,
    /// The server is full.
    MaxConnectionsExceeded,
    /// The account has as many connections as it may.
    MaxAccountConnectionsExceeded,
    /// A message was larger than allowed.
    MaxPayloadExceeded,
    /// A control line was longer than allowed.
    MaxControlLineExceeded,
    /// It has as many subscriptions as it may.
    MaxSubscriptionsExceeded,
    /// No-responders was asked for without headers.
    NoRespondersRequiresHeaders,
    /// The server stops.
    ServerShutdown,
    /// Whoever looks after the server wants it gone.
    Kicked,
}

impl Reason {
    /// The reference's words.
    pub const fn text(self) -> &'static str {
        match self {
            Self::ClientClosed => "Client Closed",
            Self::AuthenticationTimeout => "Authentication Timeout",
            Self::AuthenticationFailure => "Authentication Failure",
            Self::AuthenticationExpired => "Authentication Expired",
            Self::CredentialsRevoked => "Credentials Revoked",
            Self::ProxyNotTrusted => "Proxy Not Trusted",
            Self::ProxyRequired => "Proxy Required",
            Self::TlsHandshakeError => "TLS Handshake Failure",
            Self::SlowConsumerPendingBytes => "Slow Consumer (Pending Bytes)",
            Self::SlowConsumerWriteDeadline => "Slow Consumer (Write Deadline)",
            Self::WriteError => "Write Error",
            Self::ReadError => "Read Error",
            Self::ParseError => "Parse Error",
            Self::StaleConnection => "Stale Connection",
            Self::ProtocolViolation => "Protocol Violation",
            Self::BadClientProtocolVersion => "Bad Client Protocol Version",
            Self::MaxConnectionsExceeded => "Maximum Connections Exceeded",
            Self::MaxAccountConnectionsExceeded => "Maximum Account Connections Exceeded",
            Self::MaxPayloadExceeded => "Maximum Message Payload Exceeded",
            Self::MaxControlLineExceeded => "Maximum Control Line Exceeded",
            Self::MaxSubscriptionsExceeded => "Maximum Subscriptions Exceeded",
            Self::NoRespondersRequiresHeaders => "No Responders Requires Headers",
            Self::ServerShutdown => "Server Shutdown",
            Self::Kicked => "Kicked",
        }
    }

    /// Is it of use to write what still waits before the socket is closed?
    pub const fn flushes(self) -> bool {
        !matches!(
            self,
            Self::SlowConsumerPendingBytes
                | Self::SlowConsumerWriteDeadline
                | Self::WriteError
                | Self::ReadError
                | Self::TlsHandshakeError
                | Self::ClientClosed
        )
    }

    /// Was the peer too slow?
    pub const fn is_slow_consumer(self) -> bool {
        matches!(self, Self::SlowConsumerPendingBytes | Self::SlowConsumerWriteDeadline)
    }
}
