//! Operators: whose tokens say which accounts and users there are (spec 3.4).
//!
//! Tokens are read and their signatures checked here, when the file is, so that what comes out is
//! true as far as the file goes. Users' tokens come with their connections.

use accounts::{Ledger, Operator, Outcome, Proof, Statement, Token};

use super::accounts as accounts_block;
use super::auth::string_list;
use super::resolver::{self, Resolver};
use super::schema::{Reader, text};
use super::settings::Settings;
use super::tree::{Node, Value};
use crate::auth::{Prover, read_statement};
use crate::notation::{error_text, quote};

/// What all tokens begin with.
const TOKEN: &str = "eyJ";

/// `operator`: tokens, or files that hold one.
pub(super) fn set_operators(reader: &mut Reader, key: &str, node: &Node) -> Result<(), String> {
    accounts_block::check_operators(reader, key, node)?;
    let named = match &node.value {
        Value::Array(nodes) => nodes.iter().map(text).collect::<Result<_, _>>()?,
        _ => vec![text(node)?],
    };
    reader.settings.operators = Some(named);
    Ok(())
}

/// `trusted_keys`.
pub(super) fn set_trusted_keys(reader: &mut Reader, key: &str, node: &Node) -> Result<(), String> {
    accounts_block::check_trusted_keys(reader, key, node)?;
    reader.settings.trusted_keys = Some(string_list(reader, "trusted", node)?);
    Ok(())
}

/// `resolver_preload`.
pub(super) fn set_preload(reader: &mut Reader, key: &str, node: &Node) -> Result<(), String> {
    accounts_block::check_preload(reader, key, node)?;
    let Value::Map(tokens) = &node.value else { return Ok(()) };
    let read = |(key, node): (&str, &Node)| Some((key.to_owned(), text(node).ok()?));
    reader.settings.preload = Some(tokens.iter().filter_map(read).collect());
    Ok(())
}

/// `resolver_pinned_accounts`.
pub(super) fn set_pinned(reader: &mut Reader, _: &str, node: &Node) -> Result<(), String> {
    let keys = string_list(reader, "resolver_pinned_accounts", node)?;
    reader.settings.pinned_accounts = Some(keys);
    Ok(())
}

/// Who vouches for accounts, and where their tokens come from.
#[derive(Debug, Clone, PartialEq)]
pub struct Vouching {
    /// The operator, and what is known of the accounts at the start.
    pub ledger: Ledger,
    /// Where others are looked for.
    pub resolver: Resolver,
    /// Tokens that the file names, for a resolver that keeps them.
    pub preload: Vec<Statement>,
}

/// The operator of the settings and the accounts that it vouches for, if there is one. The system
/// account is the one that the file names, or else the operator.
pub(super) fn resolve(settings: &Settings) -> Result<Option<Vouching>, String> {
    let named = settings.operators.clone().unwrap_or_default();
    let keys = settings.trusted_keys.clone().unwrap_or_default();
    let sentinel = settings.sentinel.clone().unwrap_or_default();
    if named.is_empty() && keys.is_empty() {
        let alone = !sentinel.is_empty();
        let reason = "default sentinel requires operators and accounts";
        return if alone { Err(reason.to_owned()) } else { Ok(None) };
    }
    let mut operator = Operator { keys: keys.iter().cloned().collect(), ..Operator::default() };
    let mut prover = Prover::default();
    let mut system = settings.system_account.clone().unwrap_or_default();
    let mut server = None;
    for name in &named {
        let token = read_operator(name, &mut prover)?;
        let its = operator.add_operator(&token);
        if system.is_empty() {
            system = its;
        } else if !its.is_empty() && its != system {
            return Err("system_account in config and operator JWT must be identical".to_owned());
        }
        server = Some(token.nats().text("account_server_url").to_owned());
    }
    let server = server.filter(|url| named.len() == 1 && !url.is_empty());
    let resolver = chosen_resolver(settings, server);
    check_conflicts(settings, resolver.is_some(), (&named, &keys))?;
    check_sentinel(&sentinel, &mut prover)?;
    let resolver = resolver.unwrap_or_default();
    if matches!(resolver, Resolver::Directory(_)) && system.is_empty() {
        return Err(
            "using nats based account resolver - the system account needs to be specified \
                    in configuration or the operator jwt"
                .to_owned(),
        );
    }
    operator.sentinel = sentinel;
    operator.seeks = resolver != Resolver::Memory;
    operator.pinned = settings.pinned_accounts.iter().flatten().cloned().collect();
    if !operator.pinned.is_empty() {
        operator.pinned.insert(system.clone());
    }
    let mut ledger = Ledger::new(operator, &system);
    ledger.directory.has_system = !settings.no_system_account.unwrap_or(false);
    let preload = read_preload(settings)?;
    match &resolver {
        Resolver::Url { .. } if !preload.is_empty() => {
            Err("resolver preloads only available for writeable resolver types MEM/DIR/CACHE_DIR"
                .to_owned())
        }
        Resolver::Memory => {
            let now_s = now_s();
            let good = preload.into_iter().filter(|one| ledger.check(one, now_s).is_ok());
            let good = good.collect();
            ledger.take(good, now_s);
            Ok(Some(Vouching { ledger, resolver, preload: Vec::new() }))
        }
        _ => Ok(Some(Vouching { ledger, resolver, preload })),
    }
}

/// What time it is, in seconds since 1970.
pub(crate) fn now_s() -> i64 {
    crate::monitor::wall().0.div_euclid(1_000_000_000)
}

/// The resolver of the file, or else the server that the operator names.
fn chosen_resolver(settings: &Settings, server: Option<String>) -> Option<Resolver> {
    let named = || {
        let url = resolver::with_slash(&format!("{}/accounts", server?.trim_end_matches('/')));
        Some(Resolver::Url { url, tls: None })
    };
    let mut resolver = settings.resolver.clone().or_else(named)?;
    if let Resolver::Url { tls, .. } = &mut resolver {
        *tls = settings.resolver_tls.clone().map(Box::new);
    }
    Some(resolver)
}

/// The token of those who show none has to be enough by itself.
fn check_sentinel(sentinel: &str, prover: &mut Prover) -> Result<(), String> {
    if sentinel.is_empty() {
        return Ok(());
    }
    let token = Token::read(sentinel)
        .filter(|token| token.kind() == "user" && is_proven(token, prover))
        .ok_or("default sentinel JWT not valid")?;
    let nats = token.nats();
    // One that looks as if its signer was kept for a role is judged when it is used.
    let by_role = !nats.text("issuer_account").is_empty()
        && ["pub", "sub", "resp"].iter().all(|part| !nats.part(part).is_some());
    if nats.flag("bearer_token") || by_role {
        Ok(())
    } else {
        Err("default sentinel must be a bearer token".to_owned())
    }
}

fn read_preload(settings: &Settings) -> Result<Vec<Statement>, String> {
    let read = |(key, text): &(String, String)| {
        let wrong = |reason: &str| format!("preloaded account {}: {reason}", quote(key));
        let statement = read_statement(text);
        let statement = statement.map_err(|_| wrong("its JWT cannot be verified"))?;
        let own = statement.key() == key;
        if own { Ok(statement) } else { Err(wrong("its JWT is about another")) }
    };
    settings.preload.iter().flatten().map(read).collect()
}

fn check_conflicts(
    settings: &Settings,
    has_resolver: bool,
    (named, keys): (&[String], &[String]),
) -> Result<(), String> {
    let has_users = settings.users.as_ref().is_some_and(|users| !users.is_empty());
    let conflicts = [
        (!has_resolver, "operators require an account resolver to be configured"),
        (has_users, "operators do not allow users to be configured directly"),
        (
            !named.is_empty() && !keys.is_empty(),
            "conflicting options for 'TrustedKeys' and 'TrustedOperators'",
        ),
        (
            settings.no_auth_user.as_ref().is_some_and(|name| !name.is_empty()),
            "no_auth_user not compatible with Trusted Operator",
        ),
    ];
    match conflicts.iter().find(|(conflict, _)| *conflict) {
        Some((_, reason)) => Err((*reason).to_owned()),
        None => Ok(()),
    }
}

/// A token that stands in the file itself or in one of its own, there maybe between two lines that
/// say what it is.
fn read_operator(name: &str, prover: &mut Prover) -> Result<Token, String> {
    let contents = match std::fs::read_to_string(name) {
        Ok(contents) => contents,
        Err(_) if name.starts_with(TOKEN) => name.to_owned(),
        Err(error) => return Err(format!("open {name}: {}", error_text(&error))),
    };
    let line = contents.lines().map(str::trim).find(|line| line.starts_with(TOKEN));
    line.and_then(Token::read)
        .filter(|token| token.kind() == "operator" && is_proven(token, prover))
        .ok_or_else(|| format!("error parsing operator JWT {}", quote(name)))
}

fn is_proven(token: &Token, prover: &mut Prover) -> bool {
    let proof = Proof { signatures: vec![token.signature.clone()], ..Proof::default() };
    prover.look_at(&proof) == Outcome::Right(None)
}

#[cfg(test)]
mod tests {
    use accounts::{Bearer, ConnectionKind, Permissions, TokenFault};
    use base::{Wall, base64};
    use nkeys::KeyPair;
    use serde_json::{Value, json};

    use super::*;

    const NOW: Wall = Wall(1_000_000_000_000_000_000);
    const NOW_S: i64 = 1_000_000_000;

    /// A token of what the claims say, signed by a key about another.
    fn token(by: &KeyPair, about: &KeyPair, mut claims: Value, nats: Value) -> String {
        claims["iss"] = by.public_key().into();
        claims["sub"] = about.public_key().into();
        claims["nats"] = nats;
        let header = base64::encode_url(br#"{"typ":"JWT","alg":"ed25519-nkey"}"#);
        let text = format!("{header}.{}", base64::encode_url(claims.to_string().as_bytes()));
        let signature = by.sign(text.as_bytes()).expect("it has a seed");
        format!("{text}.{}", base64::encode_url(&signature))
    }

    /// An operator with one account, which has a signing key and another that is kept for a role.
    struct World {
        account: KeyPair,
        signer: KeyPair,
        role: KeyPair,
        user: KeyPair,
        operator: Operator,
    }

    impl World {
        fn new(extra: &Value) -> Self {
            let root = KeyPair::new_operator();
            let [account, signer, role] = std::array::from_fn(|_| KeyPair::new_account());
            let user = KeyPair::new_user();
            let template = json!({
                "pub": { "allow": ["{{name()}}.>"] }, "bearer_token": true, "payload": 100,
            });
            let kept =
                json!({"kind": "user_scope", "key": role.public_key(), "template": template});
            let mut nats = json!({
                "type": "account", "version": 2, "signing_keys": [signer.public_key(), kept],
                "default_permissions": { "sub": { "deny": ["secret"] } },
            });
            for (name, value) in extra.as_object().expect("an object") {
                nats[name] = value.clone();
            }
            if nats["revoke_user"].as_i64().is_some() {
                nats["revocations"] = json!({ user.public_key(): nats["revoke_user"] });
            }
            let vouched = token(&root, &account, json!({}), nats);
            let statement = json!({"type": "operator", "version": 2});
            let settings = Settings {
                operators: Some(vec![token(&root, &root, json!({}), statement)]),
                resolver: Some(Resolver::Memory),
                preload: Some(vec![(account.public_key(), vouched)]),
                ..Settings::default()
            };
            let vouching = resolve(&settings).expect("good tokens").expect("some");
            let Ledger { operator, directory, .. } = vouching.ledger;
            assert!(directory.find(&account.public_key()).is_some());
            Self { account, signer, role, user, operator }
        }

        /// What a token of the user comes to that the account or a key of its has signed.
        fn admit(&self, by: &KeyPair, claims: Value, nats: Value) -> Result<Shown, TokenFault> {
            let mut nats = nats;
            nats["type"] = "user".into();
            nats["version"] = 2.into();
            nats["issuer_account"] = self.account.public_key().into();
            let token = token(by, &self.user, claims, nats);
            let bearer = Bearer {
                token: &token,
                kind: ConnectionKind::Standard,
                host: "10.1.2.3",
                by_proxy: false,
                now: NOW,
            };
            let admitted = self.operator.admit(&bearer)?;
            let proof = Proof { signatures: vec![admitted.signature], ..Proof::default() };
            assert_eq!(Prover::default().look_at(&proof), Outcome::Right(None));
            Ok((admitted.grant.permissions, admitted.grant.payload, admitted.bearer))
        }
    }

    type Shown = (Option<Permissions>, Option<u64>, bool);

    #[test]
    fn who_comes_in() {
        let world = World::new(&json!({}));
        let own = json!({ "pub": { "allow": ["a"] }, "payload": 5 });
        for by in [&world.account, &world.signer] {
            let (permissions, payload, bearer) =
                world.admit(by, json!({}), own.clone()).expect("signed by one who may");
            let allow = permissions.expect("its own").publish.allow;
            assert_eq!((allow, payload, bearer), (Some(vec!["a".to_owned()]), Some(5), false));
        }
        let (permissions, ..) = world.admit(&world.signer, json!({}), json!({})).expect("good");
        assert_eq!(permissions.expect("the account's").subscribe.deny, ["secret"]);
        let (permissions, payload, bearer) =
            world.admit(&world.role, json!({"name": "n"}), json!({})).expect("in its role");
        let allow = permissions.expect("the role's").publish.allow;
        assert_eq!((allow, payload, bearer), (Some(vec!["n.>".to_owned()]), Some(100), true));
    }

    #[test]
    fn who_stays_out() {
        let world = World::new(&json!({}));
        let void = Err(TokenFault::Void);
        let stranger = world.admit(&KeyPair::new_account(), json!({}), json!({}));
        assert_eq!(stranger, Err(TokenFault::Signer));
        assert_eq!(world.admit(&world.account, json!({"exp": NOW_S}), json!({})), void);
        assert_eq!(world.admit(&world.account, json!({"nbf": NOW_S + 1}), json!({})), void);
        assert!(world.admit(&world.account, json!({"exp": NOW_S + 1}), json!({})).is_ok());
        let own = json!({ "pub": { "allow": ["a"] } });
        assert_eq!(world.admit(&world.role, json!({}), own), void);
        for (nats, expected) in [
            (json!({"src": ["10.0.0.0/8"]}), true),
            (json!({"src": ["11.0.0.0/8", "12.0.0.0/8"]}), false),
            (json!({"allowed_connection_types": ["STANDARD"]}), true),
            (json!({"allowed_connection_types": ["MQTT"]}), false),
            (json!({"allowed_connection_types": ["FROB"]}), false),
            (json!({"times": [{"start": "00:00:00", "end": "23:59:59"}]}), false),
        ] {
            let admitted = world.admit(&world.account, json!({}), nats.clone());
            assert_eq!(admitted.is_ok(), expected, "{nats}");
        }
        let proxied = world.admit(&world.account, json!({}), json!({"proxy_required": true}));
        assert_eq!(proxied, Err(TokenFault::ProxyRequired));
    }

    #[test]
    fn what_an_account_takes_back() {
        let void = Err(TokenFault::Void);
        for revocations in [json!({"revoke_user": 5}), json!({"revocations": {"*": 5}})] {
            let world = World::new(&revocations);
            let revoked = world.admit(&world.account, json!({"iat": 5}), json!({}));
            assert_eq!(revoked, Err(TokenFault::Revoked));
            assert!(world.admit(&world.account, json!({"iat": 6}), json!({})).is_ok());
        }
        let world = World::new(&json!({"limits": {"disallow_bearer": true}}));
        assert_eq!(world.admit(&world.role, json!({}), json!({})), void);
    }

    #[test]
    fn an_account_may_have_others_decide() {
        let asks = |auth_users: &[&str]| {
            let world = World::new(&json!({"authorization": {"auth_users": auth_users}}));
            let user = token(
                &world.account,
                &KeyPair::new_user(),
                json!({}),
                json!({"type": "user", "version": 2}),
            );
            let bearer = Bearer {
                token: &user,
                kind: ConnectionKind::Standard,
                host: "127.0.0.1",
                by_proxy: false,
                now: NOW,
            };
            let admitted = world.operator.admit(&bearer).expect("the account has signed");
            admitted.referral.map(|referral| referral.issuer)
        };
        assert_eq!(asks(&[]), None);
        assert!(asks(&["UX"]).is_some_and(|issuer| issuer.starts_with('A')));
    }

    #[test]
    fn a_token_that_was_changed_is_none() {
        let root = KeyPair::new_operator();
        let good = token(&root, &root, json!({}), json!({"type": "operator", "version": 2}));
        let settings = |token: String| Settings {
            operators: Some(vec![token]),
            resolver: Some(Resolver::Memory),
            ..Settings::default()
        };
        assert!(resolve(&settings(good.clone())).is_ok());
        let other = token(&KeyPair::new_operator(), &root, json!({}), json!({"type": "operator"}));
        let (_, signature) = other.rsplit_once('.').expect("three parts");
        let (text, _) = good.rsplit_once('.').expect("three parts");
        assert!(resolve(&settings(format!("{text}.{signature}"))).is_err());
    }
}
