//! What an account's token says of the account (spec 3.4).

use std::collections::HashMap;
use std::fmt;

use base::Duration;

use crate::model::{Account, Export, ExportKind, Latency, Limits, ResponseType, StorageLimits};
use crate::secret::Signature;
use crate::token::{Claims, Token};
use crate::{Mapping, MappingTarget};

/// The token of an account, as read. Nothing of it is to be believed before its signature and
/// those of the activation tokens within are proven.
#[derive(Clone, Debug, PartialEq)]
pub struct Statement {
    text: String,
    token: Token,
    /// The activation tokens of its imports, by their places.
    activations: HashMap<usize, Token>,
}

/// Why a text is no account's token. `Display` has the reference's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatementFault {
    /// It has not three parts.
    Form,
    /// A part of it is not what it should be.
    Content,
    /// It is about something else.
    Kind,
    /// Whoever signed it, it was not the one whom it names.
    Signature,
}

impl fmt::Display for StatementFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Form => "expected 3 chunks",
            Self::Content => "illegal base64 data at input byte 0",
            Self::Kind => "not account claim",
            Self::Signature => "claim failed V2 signature verification",
        })
    }
}

impl Statement {
    /// Takes an account's token apart.
    ///
    /// # Errors
    /// If it is none.
    pub fn read(text: &str) -> Result<Self, StatementFault> {
        if text.split('.').count() != 3 {
            return Err(StatementFault::Form);
        }
        let token = Token::read(text).ok_or(StatementFault::Content)?;
        if token.kind() != "account" {
            return Err(StatementFault::Kind);
        }
        let imports = token.nats().items("imports").enumerate();
        let activations = imports
            .filter_map(|(place, import)| Some((place, Token::read(import.text("token"))?)))
            .filter(|(_, token)| token.kind() == "activation")
            .collect();
        Ok(Self { text: text.to_owned(), token, activations })
    }

    /// The token as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The public key of the account.
    pub fn key(&self) -> &str {
        self.token.subject()
    }

    /// The token.
    pub const fn token(&self) -> &Token {
        &self.token
    }

    /// The signature under it.
    pub const fn signature(&self) -> &Signature {
        &self.token.signature
    }

    /// The signatures under the activation tokens, by the places of their imports.
    pub fn activation_signatures(&self) -> impl Iterator<Item = (usize, &Signature)> {
        self.activations.iter().map(|(place, token)| (*place, &token.signature))
    }

    /// The activation token of an import is not signed by whom it names: it counts for nothing.
    pub fn void_activation(&mut self, place: usize) {
        self.activations.remove(&place);
    }

    /// The activation token of an import.
    pub(crate) fn activation(&self, place: usize) -> Option<&Token> {
        self.activations.get(&place)
    }

    /// Accounts that it imports from.
    pub fn exporters(&self) -> impl Iterator<Item = &str> {
        self.token.nats().items("imports").map(|import| import.text("account"))
    }

    /// The account that it speaks of, but for what that exports and imports.
    pub(crate) fn account(&self) -> Account {
        let nats = self.token.nats();
        let limits = nats.part("limits");
        // What a token does not say is zero, and below zero is no limit.
        let limit = |name: &str| u64::try_from(limits.integer(name).unwrap_or(0)).ok();
        let trace = nats.part("trace");
        let sampled = trace.integer("sampling").filter(|of| (1..=100).contains(of));
        let traced =
            trace.is_some() && subjects::grammar::is_literal(trace.text("dest").as_bytes());
        Account {
            name: self.key().to_owned(),
            nkey: Some(self.key().to_owned()),
            limits: Limits {
                connections: limit("conn"),
                subscriptions: limit("subs"),
                payload: limit("payload"),
                leaf_nodes: limit("leaf"),
            },
            mappings: self.mappings(),
            trace: traced.then(|| (trace.text("dest").to_owned(), sampled.unwrap_or(100) as u8)),
            jetstream: storage_limits(limits),
            ..Account::default()
        }
    }

    /// Its mappings, as far as they can be.
    fn mappings(&self) -> Vec<Mapping> {
        let wished = self.wished_mappings();
        wished.filter_map(|(source, targets)| Mapping::new(source, targets).ok()).collect()
    }

    /// Its mappings as written.
    pub(crate) fn wished_mappings(&self) -> impl Iterator<Item = (&str, Vec<MappingTarget>)> {
        self.token.nats().entries("mappings").map(|(source, targets)| {
            let target = |claims: Claims<'_>| MappingTarget {
                destination: claims.text("subject").to_owned(),
                weight: match claims.integer("weight").unwrap_or(0) {
                    0 => 100,
                    weight => u8::try_from(weight).unwrap_or(u8::MAX),
                },
                cluster: claims.text("cluster").to_owned(),
            };
            (source, targets.list().map(target).collect())
        })
    }

    /// What it exports.
    pub(crate) fn exports(&self) -> impl Iterator<Item = Export> {
        self.token.nats().items("exports").map(export_of)
    }
}

/// How much an account may store. With limits by tiers, those count that hold where there is one
/// copy of a stream.
fn storage_limits(limits: Claims<'_>) -> Option<StorageLimits> {
    let stores = |part: Claims<'_>| {
        [part.integer("mem_storage"), part.integer("disk_storage")]
            .iter()
            .any(|bytes| bytes.is_some_and(|bytes| bytes != 0))
    };
    let mut tiers = limits.entries("tiered_limits").peekable();
    let part = if tiers.peek().is_some() {
        if !tiers.any(|(_, tier)| stores(tier)) {
            return None;
        }
        limits.part("tiered_limits").part("R1")
    } else if stores(limits) {
        limits
    } else {
        return None;
    };
    let number = |name: &str| part.integer(name).unwrap_or(0);
    let above_zero = |name: &str| if number(name) > 0 { number(name) } else { -1 };
    Some(StorageLimits {
        memory: number("mem_storage"),
        file: number("disk_storage"),
        streams: number("streams"),
        consumers: number("consumer"),
        memory_stream: above_zero("mem_max_stream_bytes"),
        file_stream: above_zero("disk_max_stream_bytes"),
        ack_pending: above_zero("max_ack_pending"),
        max_bytes_required: part.flag("max_bytes_required"),
    })
}

fn export_of(claims: Claims<'_>) -> Export {
    let nanoseconds = claims.integer("response_threshold").unwrap_or(0);
    let latency = claims.part("service_latency");
    let sampling = latency.integer("sampling").unwrap_or(0);
    let latency = latency.is_some().then(|| Latency {
        sampling: u8::try_from(sampling).unwrap_or(0),
        subject: latency.text("results").to_owned(),
    });
    let kind = if claims.text("type") == "service" {
        ExportKind::Service {
            response: match claims.text("response_type") {
                "Stream" => ResponseType::Stream,
                "Chunked" => ResponseType::Chunked,
                _ => ResponseType::Singleton,
            },
            threshold: Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(0)),
            latency,
            allow_trace: claims.flag("allow_trace"),
        }
    } else {
        ExportKind::Stream
    };
    let position = claims.integer("account_token_position").unwrap_or(0);
    Export {
        subject: claims.text("subject").to_owned(),
        kind,
        accounts: None,
        token_required: claims.flag("token_req"),
        account_token_position: usize::try_from(position).unwrap_or(0),
    }
}
