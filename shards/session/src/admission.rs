//! Who may come in: what CONNECT says against who is known (spec 3.1).
//!
//! Nothing here is slow. What takes longer than a core has, a bcrypt hash or a signature, comes out
//! as a [`Proof`] that somebody else looks at while the connection waits.

use accounts::{Auth, Check, ConnectionKind, Grant, Proof, Secret, Signature, Simple, User};
use base::AccountId;

use crate::PeerCertificate;
use crate::handshake::Identity;

/// How a connection comes in, as far as that decides who it may be.
#[derive(Clone, Copy, Debug, Default)]
pub struct Way<'a> {
    /// The kind of connection.
    pub kind: ConnectionKind,
    /// What INFO asked to be signed.
    pub nonce: &'a str,
    /// Does the certificate say who it is?
    pub by_certificate: bool,
    /// The certificate that was shown.
    pub certificate: Option<&'a PeerCertificate>,
    /// Could a certificate be enough for a user on some listener?
    pub certificates_count: bool,
}

/// What a look at credentials comes to.
#[derive(Debug)]
pub enum Verdict {
    /// Come in, once this is proven, which may be nothing. Without a grant it is nobody in
    /// particular.
    Granted(Option<Box<Grant>>, Proof),
    /// Stay out.
    Refused(Denial),
}

/// Why somebody has to stay out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    /// The credentials are wrong.
    Credentials,
    /// The proxy's signature is wrong.
    UntrustedProxy,
    /// The user has to come through a proxy.
    ProxyRequired,
}

/// Looks at what a connection says of itself.
pub fn judge(identity: &Identity, auth: &Auth, way: &Way<'_>) -> Verdict {
    let mut proof = Proof::default();
    if !identity.proxy_signature.is_empty() && !auth.proxies.is_empty() {
        let Some(bytes) = decode_url_base64(&identity.proxy_signature) else {
            return Verdict::Refused(Denial::UntrustedProxy);
        };
        let text = way.nonce.as_bytes().to_vec();
        proof.proxy = Some(Signature { keys: auth.proxies.clone(), text, bytes });
    }
    let own = auth.websocket.as_ref().filter(|_| way.kind == ConnectionKind::WebSocket);
    if auth.is_open() && own.is_none() {
        return Verdict::Granted(None, proof);
    }
    let simple = own.unwrap_or(&auth.simple);
    let judged = match find_user(identity, auth, simple, way) {
        Err(denial) => Err(denial),
        Ok(Some(found)) => judge_user(&found, identity, way, &mut proof),
        Ok(None) => judge_simple(identity, auth, simple, &mut proof),
    };
    match judged {
        Ok(grant) => Verdict::Granted(grant, proof),
        Err(denial) => Verdict::Refused(denial),
    }
}

/// A user who is asked for, and the password that is offered.
struct Found<'a> {
    user: &'a User,
    has_key: bool,
    /// Is it the user for those who say nothing?
    anonymous: bool,
    offered: &'a str,
}

/// The user that is asked for, if any is.
fn find_user<'a>(
    identity: &'a Identity,
    auth: &'a Auth,
    simple: &'a Simple,
    way: &Way<'_>,
) -> Result<Option<Found<'a>>, Denial> {
    let no_auth_user = simple.no_auth_user.as_str();
    let says_nothing =
        identity.user.is_empty() && identity.password.is_empty() && identity.token.is_empty();
    let allowed = |user: &&User| user.kinds.allow(way.kind);
    if !auth.keys.is_empty() {
        let unsigned = says_nothing && identity.nkey.is_empty();
        let anonymous = unsigned.then(|| auth.keys.get(no_auth_user)).flatten();
        let key = anonymous.map_or(identity.nkey.as_str(), |user| user.name.as_str());
        if !key.is_empty() {
            let user = auth.keys.get(key).filter(allowed).ok_or(Denial::Credentials)?;
            let anonymous = user.name == no_auth_user;
            return Ok(Some(Found { user, has_key: true, anonymous, offered: "" }));
        }
    }
    if auth.users.is_empty() {
        return Ok(None);
    }
    if way.by_certificate {
        let user = find_by_certificate(auth, way).ok_or(Denial::Credentials)?;
        let anonymous = user.name == no_auth_user;
        let offered = &identity.password;
        return Ok(Some(Found { user, has_key: false, anonymous, offered }));
    }
    let anonymous = says_nothing.then(|| auth.users.get(no_auth_user)).flatten();
    let (name, offered) = match anonymous {
        // As in the reference, which offers the password as it is written: a hash is not its own
        // password.
        Some(user) => (user.name.as_str(), user.secret.text()),
        None => (identity.user.as_str(), identity.password.as_str()),
    };
    if name.is_empty() {
        return Ok(None);
    }
    let user = auth.users.get(name).filter(allowed).ok_or(Denial::Credentials)?;
    Ok(Some(Found { user, has_key: false, anonymous: name == no_auth_user, offered }))
}

fn judge_user(
    found: &Found<'_>,
    identity: &Identity,
    way: &Way<'_>,
    proof: &mut Proof,
) -> Result<Option<Box<Grant>>, Denial> {
    let user = found.user;
    if user.proxy_required && proof.proxy.is_none() {
        return Err(Denial::ProxyRequired);
    }
    if found.has_key {
        if !found.anonymous {
            proof.signatures.push(signature_of(&user.name, &identity.signature, way.nonce)?);
        }
    } else {
        // Where certificates say who somebody is, no password is not an empty one.
        let needs_certificate = way.certificates_count && !way.by_certificate;
        if needs_certificate && user.secret.text().is_empty() && !found.anonymous {
            return Err(Denial::Credentials);
        }
        check(&user.secret, found.offered, proof)?;
    }
    let nkey = if found.has_key { user.name.clone() } else { String::new() };
    Ok(Some(Box::new(Grant {
        account: user.account,
        permissions: user.permissions.clone(),
        user: user.name.clone(),
        nkey,
        ..Grant::default()
    })))
}

fn judge_simple(
    identity: &Identity,
    auth: &Auth,
    simple: &Simple,
    proof: &mut Proof,
) -> Result<Option<Box<Grant>>, Denial> {
    if auth.proxy_required && proof.proxy.is_none() {
        return Err(Denial::ProxyRequired);
    }
    if let Some(token) = &simple.token {
        check(token, &identity.token, proof)?;
        return Ok(None);
    }
    match &simple.user {
        Some((name, secret)) if *name == identity.user => {
            check(secret, &identity.password, proof)?;
            let account = AccountId::GLOBAL;
            Ok(Some(Box::new(Grant { account, user: name.clone(), ..Grant::default() })))
        }
        _ => Err(Denial::Credentials),
    }
}

fn check(secret: &Secret, offered: &str, proof: &mut Proof) -> Result<(), Denial> {
    match secret.check(offered) {
        Check::Right => Ok(()),
        Check::Wrong => Err(Denial::Credentials),
        Check::Prove(password) => {
            proof.password = Some(password);
            Ok(())
        }
    }
}

/// The signature of a nonce, in either of the forms that clients use.
pub fn signature_of(key: &str, signature: &str, nonce: &str) -> Result<Signature, Denial> {
    let bytes = match signature {
        "" => None,
        text => decode_url_base64(text).or_else(|| decode_base64(text)),
    };
    let bytes = bytes.ok_or(Denial::Credentials)?;
    Ok(Signature { keys: vec![key.to_owned()], text: nonce.as_bytes().to_vec(), bytes })
}

/// The user that a certificate names: by e-mail address, DNS name, URI, or the subject (spec 3.6).
fn find_by_certificate<'a>(auth: &'a Auth, way: &Way<'_>) -> Option<&'a User> {
    let certificate = way.certificate?;
    let allowed = |user: &&User| user.kinds.allow(way.kind);
    let named = |name: &String| auth.users.get(name).filter(allowed);
    let alternatives =
        certificate.emails.iter().chain(&certificate.dns_names).chain(&certificate.uris);
    if let Some(user) = alternatives.into_iter().find_map(named) {
        return Some(user);
    }
    let subject = crate::distinguished_name::Name::parse(&certificate.subject);
    let candidates = || {
        auth.users.values().filter(allowed).filter_map(|user| {
            crate::distinguished_name::Name::parse(&user.name).map(|name| (user, name))
        })
    };
    let same = subject.as_ref().and_then(|subject| {
        let equal = candidates().find(|(_, name)| name == subject);
        equal.or_else(|| candidates().find(|(_, name)| name.has_same_parts(subject)))
    });
    match same {
        Some((user, _)) => Some(user),
        None => named(&certificate.subject),
    }
}

/// Base64 with the alphabet for URLs, without padding.
pub fn decode_url_base64(text: &str) -> Option<Vec<u8>> {
    decode(text.as_bytes(), [b'-', b'_'])
}

/// Base64 with padding.
fn decode_base64(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let bare = text.trim_end_matches('=');
    if text.len() - bare.len() > 2 {
        return None;
    }
    decode(bare.as_bytes(), [b'+', b'/'])
}

fn decode(text: &[u8], last: [u8; 2]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 2);
    let (mut bits, mut count) = (0_u32, 0);
    for letter in text {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            other if *other == last[0] => 62,
            other if *other == last[1] => 63,
            // Go's decoder passes over line ends.
            b'\r' | b'\n' => continue,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    // One letter too many says less than a byte.
    (count < 6).then_some(bytes)
}
