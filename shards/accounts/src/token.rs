//! JWTs in the form of NATS: three parts of base64, signed with ed25519 (spec 3.4).

use base::base64::decode_url;
use serde_json::{Map, Value};

use crate::secret::Signature;

/// Longest token that is read, in bytes.
const BYTES_MAX: usize = 1024 * 1024;

/// The newest version of claims that is understood.
const VERSION_MAX: i64 = 2;

/// A token that was taken apart. Nothing of it is to be believed before its signature is proven.
#[derive(Clone, Debug, PartialEq)]
pub struct Token {
    /// What is signed, by whom, and the signature.
    pub signature: Signature,
    claims: Map<String, Value>,
}

impl Token {
    /// Takes a token apart. `None` if it is none.
    pub fn read(text: &str) -> Option<Self> {
        Self::read_signed(text, |_, version| version > 1)
    }

    /// Takes a token apart that is about nothing in particular: what it signs is told by its
    /// algorithm, and not by the version of what it says.
    pub fn read_generic(text: &str) -> Option<Self> {
        Self::read_signed(text, |algorithm, _| algorithm != "ed25519")
    }

    /// `signs_all` says from the algorithm and the version whether the header is signed as well.
    fn read_signed(text: &str, signs_all: fn(&str, i64) -> bool) -> Option<Self> {
        if text.len() > BYTES_MAX {
            return None;
        }
        let mut parts = text.split('.');
        let (header, body, signature) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() {
            return None;
        }
        let algorithm = algorithm_of(&decode_url(header)?)?;
        let Ok(Value::Object(claims)) = serde_json::from_slice(&decode_url(body)?) else {
            return None;
        };
        let bytes = decode_url(signature)?;
        let nats = claims.get("nats").and_then(Value::as_object);
        let version = nats.and_then(|nats| nats.get("version")).and_then(Value::as_i64);
        let version = version.unwrap_or(1);
        if version > VERSION_MAX {
            return None;
        }
        // The first version signed the body alone.
        let all = signs_all(&algorithm, version);
        let signed = if all { &text[..header.len() + 1 + body.len()] } else { body };
        let issuer = claims.get("iss").and_then(Value::as_str)?.to_owned();
        let signature = Signature { keys: vec![issuer], text: signed.as_bytes().to_vec(), bytes };
        Some(Self { signature, claims })
    }

    /// What it is about: `operator`, `account`, `user`.
    pub fn kind(&self) -> &str {
        let inner = self.nats().text("type");
        if inner.is_empty() { self.top().text("type") } else { inner }
    }

    /// The key that signed it.
    pub fn issuer(&self) -> &str {
        self.top().text("iss")
    }

    /// The key that it is about.
    pub fn subject(&self) -> &str {
        self.top().text("sub")
    }

    /// Whom it is meant for.
    pub fn audience(&self) -> &str {
        self.top().text("aud")
    }

    /// The name of what it is about.
    pub fn name(&self) -> &str {
        self.top().text("name")
    }

    /// When it was signed, in seconds since 1970.
    pub fn issued_s(&self) -> i64 {
        self.top().integer("iat").unwrap_or(0)
    }

    /// When it ends, in seconds since 1970; zero for never.
    pub fn expires_s(&self) -> i64 {
        self.top().integer("exp").unwrap_or(0)
    }

    /// Does it hold at a time, in seconds since 1970?
    pub fn is_in_force(&self, now_s: i64) -> bool {
        self.begins_s() <= now_s && (self.expires_s() == 0 || now_s < self.expires_s())
    }

    /// From when on it holds, in seconds since 1970; zero for always.
    pub fn begins_s(&self) -> i64 {
        self.top().integer("nbf").unwrap_or(0)
    }

    /// Its own number: a hash of what it says.
    pub fn id(&self) -> &str {
        self.top().text("jti")
    }

    /// What is particular to NATS.
    pub fn nats(&self) -> Claims<'_> {
        Claims(self.claims.get("nats"))
    }

    fn top(&self) -> TopLevel<'_> {
        TopLevel(&self.claims)
    }
}

/// The algorithm that a header names, if it is one of NATS.
fn algorithm_of(json: &[u8]) -> Option<String> {
    let Ok(Value::Object(header)) = serde_json::from_slice(json) else { return None };
    let field = |name| header.get(name).and_then(Value::as_str).unwrap_or_default().to_lowercase();
    let algorithm = field("alg");
    let known = ["ed25519", "ed25519-nkey"].contains(&algorithm.as_str());
    (field("typ") == "jwt" && known).then_some(algorithm)
}

#[derive(Clone, Copy)]
struct TopLevel<'a>(&'a Map<String, Value>);

impl<'a> TopLevel<'a> {
    fn text(self, name: &str) -> &'a str {
        self.0.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    fn integer(self, name: &str) -> Option<i64> {
        self.0.get(name).and_then(Value::as_i64)
    }
}

/// An object within a token, or nothing in its place.
#[derive(Clone, Copy, Debug, Default)]
pub struct Claims<'a>(Option<&'a Value>);

impl<'a> Claims<'a> {
    /// A part of it.
    #[must_use]
    pub fn part(self, name: &str) -> Self {
        Self(self.0.and_then(|value| value.get(name)))
    }

    /// Is there anything?
    pub fn is_some(self) -> bool {
        self.0.is_some_and(|value| !value.is_null())
    }

    /// A text; empty if it is missing.
    pub fn text(self, name: &str) -> &'a str {
        self.part(name).0.and_then(Value::as_str).unwrap_or_default()
    }

    /// A number.
    pub fn integer(self, name: &str) -> Option<i64> {
        self.part(name).0.and_then(Value::as_i64)
    }

    /// A flag; false if it is missing.
    pub fn flag(self, name: &str) -> bool {
        self.part(name).0.and_then(Value::as_bool).unwrap_or(false)
    }

    /// A list of texts; empty if it is missing.
    pub fn texts(self, name: &str) -> Vec<String> {
        let texts = self.items(name);
        texts.filter_map(|item| item.0.and_then(Value::as_str).map(str::to_owned)).collect()
    }

    /// A list.
    pub fn items(self, name: &str) -> impl Iterator<Item = Self> + use<'a> {
        self.part(name).list()
    }

    /// This itself, if it is a text.
    pub fn as_text(self) -> Option<&'a str> {
        self.0.and_then(Value::as_str)
    }

    /// The names of an object with their numbers.
    pub fn numbers(self, name: &str) -> impl Iterator<Item = (&'a str, i64)> + use<'a> {
        self.entries(name).filter_map(|(name, value)| Some((name, value.0?.as_i64()?)))
    }

    /// The names of an object with what stands under them.
    pub fn entries(self, name: &str) -> impl Iterator<Item = (&'a str, Self)> + use<'a> {
        let object = self.part(name).0.and_then(Value::as_object);
        object.into_iter().flatten().map(|(name, value)| (name.as_str(), Self(Some(value))))
    }

    /// This itself, if it is a list.
    pub fn list(self) -> impl Iterator<Item = Self> + use<'a> {
        self.0.and_then(Value::as_array).into_iter().flatten().map(|item| Self(Some(item)))
    }
}
