//! Who may come in: what CONNECT says against who is known (spec 3.1).
//!
//! Nothing here is slow. What takes longer than a core has, a bcrypt hash or a signature, comes out
//! as a [`Proof`] that somebody else looks at while the connection waits.

use accounts::{
    Auth, Bearer, Callout, Check, ConnectionKind, Grant, Operator, Proof, Referral, Secret,
    Signature, Simple, TokenFault, User,
};
use base::{AccountId, Wall, base64};

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
    /// The address of the peer.
    pub host: &'a str,
    /// What time it is.
    pub now: Wall,
}

/// What a look at credentials comes to.
#[derive(Debug)]
pub enum Verdict {
    /// Come in, once this is proven, which may be nothing. Without a grant it is nobody in
    /// particular.
    Granted(Option<Box<Grant>>, Proof),
    /// Once this is proven, which may be nothing, somebody else is to be asked.
    Referred(Box<Referral>, Proof),
    /// Stay out.
    Refused(Denial),
    /// It depends on an account that has to be looked for first.
    Unknown(String),
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
    /// The credentials were revoked.
    Revoked,
    /// Whoever signed the credentials may not, or not any more.
    Signer,
}

/// Looks at what a connection says of itself.
pub fn judge(identity: &Identity, auth: &Auth, way: &Way<'_>) -> Verdict {
    let mut proof = Proof::default();
    if !identity.proxy_signature.is_empty() && !auth.proxies.is_empty() {
        let Some(bytes) = base64::decode_url(&identity.proxy_signature) else {
            return Verdict::Refused(Denial::UntrustedProxy);
        };
        let text = way.nonce.as_bytes().to_vec();
        proof.proxy = Some(Signature { keys: auth.proxies.clone(), text, bytes });
    }
    let own = auth.websocket.as_ref().filter(|_| way.kind == ConnectionKind::WebSocket);
    if auth.is_open() && own.is_none() {
        return Verdict::Granted(None, proof);
    }
    if let Some(operator) = &auth.operator {
        return judge_token(identity, operator, way, proof);
    }
    let simple = own.unwrap_or(&auth.simple);
    let found = find_user(identity, auth, simple, way);
    if let Some(callout) = referring(identity, auth, simple, found.as_ref()) {
        return refer(found, callout, identity, way, proof);
    }
    let judged = match found {
        Err(denial) => Err(denial),
        Ok(Some(found)) => judge_user(&found, identity, way, &mut proof),
        Ok(None) => judge_simple(identity, auth, simple, &mut proof),
    };
    match judged {
        Ok(grant) => Verdict::Granted(grant, proof),
        Err(denial) => Verdict::Refused(denial),
    }
}

/// Whom to ask although somebody was judged here, when what they said proves to be wrong: then they
/// may still be somebody else's.
pub fn second_opinion(identity: &Identity, auth: &Auth, way: &Way<'_>) -> Option<Referral> {
    let own = auth.websocket.as_ref().filter(|_| way.kind == ConnectionKind::WebSocket);
    let simple = own.unwrap_or(&auth.simple);
    let found = find_user(identity, auth, simple, way);
    let callout = referring(identity, auth, simple, found.as_ref())?;
    Some(callout.referral.clone())
}

/// Who decides about somebody, unless that is for the file alone.
fn referring<'a>(
    identity: &Identity,
    auth: &'a Auth,
    simple: &Simple,
    found: Result<&Option<Found<'_>>, &Denial>,
) -> Option<&'a Callout> {
    let callout = auth.callout.as_deref()?;
    let known = |list: &std::collections::HashMap<String, User>, name: &str| {
        list.contains_key(name) && callout.is_decider(name)
    };
    let decider = match found {
        Ok(Some(found)) => callout.is_decider(&found.user.name),
        Ok(None) if simple.token.is_some() => false,
        Ok(None) => simple
            .user
            .as_ref()
            .is_some_and(|(name, _)| *name == identity.user && callout.is_decider(name)),
        // One who comes in by the wrong way is known all the same.
        Err(_) => known(&auth.keys, &identity.nkey) || known(&auth.users, &identity.user),
    };
    (!decider).then_some(callout)
}

/// Refers somebody, unless they are right and belong to an account that is not asked about.
fn refer(
    found: Result<Option<Found<'_>>, Denial>,
    callout: &Callout,
    identity: &Identity,
    way: &Way<'_>,
    proof: Proof,
) -> Verdict {
    if let Ok(Some(found)) = found {
        let mut own = proof.clone();
        match judge_user(&found, identity, way, &mut own) {
            Ok(Some(grant)) if !callout.covers(grant.account) => {
                return Verdict::Granted(Some(grant), own);
            }
            Err(Denial::ProxyRequired) => return Verdict::Refused(Denial::ProxyRequired),
            _ => {}
        }
    }
    Verdict::Referred(Box::new(callout.referral.clone()), proof)
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

/// Who has an operator asks for tokens, and for nothing else.
fn judge_token(
    identity: &Identity,
    operator: &Operator,
    way: &Way<'_>,
    mut proof: Proof,
) -> Verdict {
    let bearer = Bearer {
        token: &identity.jwt,
        kind: way.kind,
        host: way.host,
        by_proxy: proof.proxy.is_some(),
        now: way.now,
    };
    let denial = match operator.admit(&bearer) {
        Ok(admitted) => {
            if !admitted.bearer {
                let key = &admitted.grant.nkey;
                match signature_of(key, &identity.signature, way.nonce) {
                    Ok(signature) => proof.signatures.push(signature),
                    Err(denial) => return Verdict::Refused(denial),
                }
            }
            proof.signatures.push(admitted.signature);
            return match admitted.referral {
                Some(referral) => Verdict::Referred(Box::new(referral), proof),
                None => Verdict::Granted(Some(Box::new(admitted.grant)), proof),
            };
        }
        Err(TokenFault::Unknown(account)) => return Verdict::Unknown(account),
        Err(TokenFault::Void) => Denial::Credentials,
        Err(TokenFault::ProxyRequired) => Denial::ProxyRequired,
        Err(TokenFault::Revoked) => Denial::Revoked,
        Err(TokenFault::Signer) => Denial::Signer,
    };
    Verdict::Refused(denial)
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
        text => base64::decode_url(text).or_else(|| base64::decode_padded(text)),
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
