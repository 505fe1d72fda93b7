//! Secrets: what is configured, what is offered, and what has to be proven elsewhere.

/// A password or token as configured.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// As plain text.
    Plain(String),
    /// As a bcrypt hash.
    Hash(String),
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Secret([REDACTED])")
    }
}

impl Secret {
    /// A secret as it stands in the configuration; one that looks like a hash is one.
    pub fn new(text: String) -> Self {
        if is_hash(&text) { Self::Hash(text) } else { Self::Plain(text) }
    }

    /// Was it written as plain text?
    pub const fn is_plain(&self) -> bool {
        matches!(self, Self::Plain(_))
    }

    /// The text as configured.
    pub fn text(&self) -> &str {
        match self {
            Self::Plain(text) | Self::Hash(text) => text,
        }
    }

    /// Is this the secret?
    pub fn check(&self, offered: &str) -> Check {
        match self {
            Self::Plain(secret) if is_same(secret, offered) => Check::Right,
            Self::Plain(_) => Check::Wrong,
            Self::Hash(hash) => {
                Check::Prove(Password { hash: hash.clone(), offered: offered.to_owned() })
            }
        }
    }
}

/// What a look at an offered secret comes to.
#[derive(Debug, PartialEq, Eq)]
pub enum Check {
    /// It is the one.
    Right,
    /// It is not.
    Wrong,
    /// That takes more time than a core has.
    Prove(Password),
}

/// What has to be computed, off the cores, to know whether somebody is who they say: all of it must
/// be right.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proof {
    /// The password of a bcrypt hash.
    pub password: Option<Password>,
    /// Signatures.
    pub signatures: Vec<Signature>,
    /// The signature of the proxy through which the connection came.
    pub proxy: Option<Signature>,
}

impl Proof {
    /// Is there nothing to prove?
    pub const fn is_empty(&self) -> bool {
        self.password.is_none() && self.signatures.is_empty() && self.proxy.is_none()
    }
}

/// What a proof came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All of it is right. The public key of the proxy is named, if there is one.
    Right(Option<String>),
    /// A password or signature is wrong.
    Wrong,
    /// No trusted proxy has signed.
    UntrustedProxy,
}

/// A bcrypt hash and a password that is said to be its.
#[derive(Clone, PartialEq, Eq)]
pub struct Password {
    /// The hash.
    pub hash: String,
    /// The password that was offered.
    pub offered: String,
}

impl std::fmt::Debug for Password {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Password([REDACTED])")
    }
}

/// A signature under some bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// The public keys in their NATS form, one of which has to be the signer's.
    pub keys: Vec<String>,
    /// What was signed.
    pub text: Vec<u8>,
    /// The 64 bytes of the signature, or whatever else was sent.
    pub bytes: Vec<u8>,
}

/// Whether a configured text is a bcrypt hash: `$2a$`, `$2b$`, `$2x$` or `$2y$`, two digits, `$`.
fn is_hash(text: &str) -> bool {
    let bytes = text.as_bytes();
    matches!(bytes, [b'$', b'2', b'a' | b'b' | b'x' | b'y', b'$', tens, ones, b'$', ..]
        if tens.is_ascii_digit() && ones.is_ascii_digit())
}

/// Compares in a time that depends on the offered text alone.
fn is_same(secret: &str, offered: &str) -> bool {
    let (secret, offered) = (secret.as_bytes(), offered.as_bytes());
    let mut difference = u8::from(secret.len() != offered.len());
    for (at, byte) in offered.iter().enumerate() {
        difference |= byte ^ secret.get(at % secret.len().max(1)).copied().unwrap_or(!*byte);
    }
    std::hint::black_box(difference) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_told_from_plain_text() {
        for hash in ["$2a$11$x", "$2b$04$", "$2y$10$abc", "$2x$99$"] {
            assert!(!Secret::new(hash.into()).is_plain(), "{hash}");
        }
        for plain in ["", "$", "$2c$11$x", "$2a$1$x", "2a$11$x", "$2a$11x", "$1$", "$2a$1é$x"] {
            assert!(Secret::new(plain.into()).is_plain(), "{plain}");
        }
    }

    #[test]
    fn plain_text_is_compared_whole() {
        let secret = Secret::new("s3cr3t".into());
        assert_eq!(secret.check("s3cr3t"), Check::Right);
        for wrong in ["", "s3cr3", "s3cr3T", "s3cr3ts3cr3t", "t"] {
            assert_eq!(secret.check(wrong), Check::Wrong, "{wrong}");
        }
        assert_eq!(Secret::new(String::new()).check(""), Check::Right);
        assert_eq!(Secret::new(String::new()).check("x"), Check::Wrong);
    }

    #[test]
    fn secrets_are_not_shown() {
        let secret = Secret::new("s3cr3t".into());
        let password = Password { hash: "$2a$04$h".into(), offered: "s3cr3t".into() };
        let proof = Proof { password: Some(password), ..Proof::default() };
        assert!(!format!("{secret:?} {proof:?}").contains("s3cr3t"));
    }
}
