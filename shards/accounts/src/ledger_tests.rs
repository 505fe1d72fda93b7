//! Accounts from tokens whose signatures are taken for granted: proving is done elsewhere.

use base::base64::encode_url;
use serde_json::{Value, json};

use super::*;

const NOW_S: i64 = 1_000_000;

/// A token about somebody, by somebody.
fn token(by: &str, about: &str, nats: &Value, expires: i64) -> String {
    let claims = json!({ "iss": by, "sub": about, "iat": 5, "exp": expires, "nats": nats });
    let parts = [
        r#"{"typ":"JWT","alg":"ed25519-nkey"}"#.to_owned(),
        claims.to_string(),
        "signature".to_owned(),
    ];
    parts.map(|part| encode_url(part.as_bytes())).join(".")
}

fn statement(about: &str, extra: &Value) -> Statement {
    let mut nats = json!({
        "type": "account", "version": 2,
        "limits": { "subs": -1, "conn": -1, "leaf": -1, "payload": -1, "imports": -1,
                    "exports": -1, "wildcards": true },
    });
    for (name, value) in extra.as_object().expect("an object") {
        nats[name] = value.clone();
    }
    Statement::read(&token("O", about, &nats, 0)).expect("an account's token")
}

fn ledger() -> Ledger {
    let operator = Operator { keys: ["O".to_owned()].into(), ..Operator::default() };
    Ledger::new(operator, "S")
}

fn take(ledger: &mut Ledger, statements: Vec<Statement>) -> Vec<String> {
    assert!(statements.iter().all(|one| ledger.check(one, NOW_S).is_ok()));
    let amendment = ledger.take(statements, NOW_S);
    let mut mirror = ledger.directory.clone();
    mirror.amend(&amendment);
    assert_eq!(mirror, ledger.directory);
    amendment.accounts.into_iter().map(|one| one.account.name).collect()
}

#[test]
fn accounts_come_change_and_go() {
    let mut ledger = ledger();
    assert_eq!(take(&mut ledger, vec![statement("A", &json!({}))]), ["A"]);
    assert_eq!(take(&mut ledger, vec![statement("A", &json!({}))]), [""; 0]);
    let place = ledger.directory.find("A").expect("it is there");
    let limited = json!({ "limits": { "conn": 3, "subs": -1, "payload": -1 } });
    assert_eq!(take(&mut ledger, vec![statement("A", &limited)]), ["A"]);
    let account = ledger.directory.get(place);
    assert_eq!((account.limits.connections, account.limits.subscriptions), (Some(3), None));
    assert_eq!(account.limits.leaf_nodes, Some(0), "what is not said is zero");
    assert_eq!(account.jetstream, None);
    let gone = ledger.withdraw(&["A".to_owned(), "X".to_owned()], NOW_S);
    assert_eq!(gone.accounts.len(), 1);
    assert!(gone.accounts[0].account.removed);
    assert_eq!(
        (ledger.directory.find("A"), ledger.knows("A"), ledger.knows("X")),
        (None, true, false)
    );
    take(&mut ledger, vec![statement("A", &json!({}))]);
    assert_eq!(ledger.directory.find("A"), Some(place), "the number stays");
}

#[test]
fn imports_follow_exports() {
    let mut ledger = ledger();
    let imports = json!({ "imports": [
        { "name": "s", "subject": "s.>", "account": "E", "type": "stream", "to": "from" },
        { "name": "r", "subject": "ask", "account": "E", "type": "service", "to": "help.me" },
    ]});
    assert_eq!(take(&mut ledger, vec![statement("I", &imports)]), ["I"]);
    let importer = ledger.directory.find("I").expect("it is there");
    assert_eq!(ledger.directory.get(importer).stream_imports.len(), 0);
    let exports = json!({ "exports": [
        { "subject": "s.>", "type": "stream" }, { "subject": "help.*", "type": "service" },
    ]});
    assert_eq!(take(&mut ledger, vec![statement("E", &exports)]), ["I", "E"]);
    let account = ledger.directory.get(importer);
    assert_eq!(account.stream_imports[0].to, "from.s.>");
    let service = &account.service_imports[0];
    assert_eq!((service.subject.as_str(), service.to.as_str()), ("help.me", "ask"));
    // Taken back by the exporter, it is gone from the importer as well.
    assert_eq!(take(&mut ledger, vec![statement("E", &json!({}))]), ["I", "E"]);
    assert_eq!(ledger.directory.get(importer).service_imports.len(), 0);
}

#[test]
fn activations() {
    let activation = |by: &str, subject: &str, expires: i64, extra: Value| {
        let mut nats =
            json!({ "type": "activation", "version": 2, "subject": subject, "kind": "stream" });
        for (name, value) in extra.as_object().expect("an object") {
            nats[name] = value.clone();
        }
        let token = token(by, "I", &nats, expires);
        json!({ "imports": [
            { "subject": "s", "account": "E", "type": "stream", "token": token },
        ]})
    };
    let export = |extra: Value| {
        let mut export = json!({ "subject": "s", "type": "stream", "token_req": true });
        for (name, value) in extra.as_object().expect("an object") {
            export[name] = value.clone();
        }
        statement("E", &json!({ "exports": [export], "signing_keys": ["K"] }))
    };
    let by_key = json!({ "issuer_account": "E" });
    for (import, revoked, expected) in [
        (activation("E", "s", 0, json!({})), json!({}), true),
        (activation("K", "s", 0, by_key.clone()), json!({}), true),
        (activation("E", "s", 0, json!({})), json!({ "revocations": { "I": 4 } }), true),
        (activation("E", "s", 0, json!({})), json!({ "revocations": { "I": 5 } }), false),
        (activation("E", "s", 0, json!({})), json!({ "revocations": { "*": 9 } }), false),
        (activation("E", "s", NOW_S, json!({})), json!({}), false),
        (
            json!({ "imports": [{ "subject": "s", "account": "E", "type": "stream" }] }),
            json!({}),
            false,
        ),
    ] {
        let mut ledger = ledger();
        take(&mut ledger, vec![export(revoked.clone()), statement("I", &import)]);
        let importer = ledger.directory.find("I").expect("it is there");
        let found = ledger.directory.get(importer).stream_imports.len() == 1;
        assert_eq!(found, expected, "{import} {revoked}");
    }
    // By another, or for something else, it makes the whole token void.
    for import in [activation("X", "s", 0, json!({})), activation("E", "t", 0, json!({}))] {
        assert_eq!(ledger().check(&statement("I", &import), NOW_S), Err(NotVouched));
    }
    let mut ledger = ledger();
    let import = activation("E", "s", NOW_S + 10, json!({}));
    take(&mut ledger, vec![export(json!({})), statement("I", &import)]);
    assert_eq!(ledger.next_lapse(NOW_S), Some(NOW_S + 10));
    assert_eq!(ledger.lapse(NOW_S + 10).accounts.len(), 1);
    assert_eq!(ledger.next_lapse(NOW_S + 10), None);
}

#[test]
fn what_a_token_may_not_say() {
    let rows = [
        (json!({}), ""),
        (json!({ "exports": [{ "subject": "a", "type": "x" }] }), "invalid export type: \"x\""),
        (json!({ "exports": [{ "type": "stream" }] }), "subject cannot be empty"),
        (
            json!({ "exports": [{ "subject": "a.*", "type": "stream" },
                                { "subject": "a.b", "type": "stream" }] }),
            "stream export subject \"a.*\" already exports \"a.b\"",
        ),
        (
            json!({ "exports": [{ "subject": "a.b", "type": "stream",
                                  "account_token_position": 1 }] }),
            "Account Token Position can only be used with wildcard subjects: a.b",
        ),
        (
            json!({ "limits": { "exports": 0, "imports": -1 },
                    "exports": [{ "subject": "a", "type": "stream" }] }),
            "the account contains more exports than allowed by the operator",
        ),
        (
            json!({ "limits": { "exports": 1, "imports": -1 },
                    "exports": [{ "subject": "a.>", "type": "stream" }] }),
            "the account contains wildcard exports that are not allowed by the operator",
        ),
        (
            json!({ "imports": [{ "subject": "a", "type": "stream" }] }),
            "account to import from is not specified",
        ),
        (
            json!({ "imports": [{ "subject": "a", "type": "stream", "account": "E",
                                  "token": "nothing" }] }),
            "import \"a\" contains an invalid activation token",
        ),
        (json!({ "cluster_traffic": "x" }), "unknown cluster traffic option: \"x\""),
    ];
    for (nats, expected) in rows {
        let faults = statement("A", &nats).faults();
        assert_eq!(faults.join("; "), expected, "{nats}");
    }
    let weights = json!({ "mappings": { "a": [{ "subject": "b", "weight": 60 },
                                              { "subject": "c", "weight": 60 }] } });
    let fault = statement("A", &weights).mapping_fault().expect("too much");
    assert_eq!(fault, "mapping \"a\": total weight needs to be <= 100");
}

#[test]
fn storage_comes_from_flat_limits_or_the_tier_of_one_copy() {
    let stored = |limits: Value| {
        let mut all = json!({ "imports": -1, "exports": -1 });
        for (name, value) in limits.as_object().expect("an object") {
            all[name] = value.clone();
        }
        statement("A", &json!({ "limits": all })).account().jetstream.map(|it| (it.memory, it.file))
    };
    assert_eq!(stored(json!({})), None);
    assert_eq!(stored(json!({ "disk_storage": 5 })), Some((0, 5)));
    assert_eq!(stored(json!({ "mem_storage": -1, "disk_storage": -1 })), Some((-1, -1)));
    let tiers =
        json!({ "tiered_limits": { "R1": { "disk_storage": 7 }, "R3": { "mem_storage": 8 } } });
    assert_eq!(stored(tiers), Some((0, 7)));
    assert_eq!(stored(json!({ "tiered_limits": { "R1": {} } })), None);
}

#[test]
fn who_was_found_stays_over_a_reload() {
    let seeking = || {
        let keys = ["O".to_owned()].into();
        Ledger::new(Operator { keys, seeks: true, ..Operator::default() }, "S")
    };
    let mut earlier = seeking();
    assert!(earlier.is_provisional());
    take(&mut earlier, vec![statement("A", &json!({})), statement("B", &json!({}))]);
    let place = earlier.directory.find("B").expect("it is there");
    let next = seeking().after(&earlier, true, NOW_S);
    assert_eq!(next.directory, earlier.directory);
    assert_eq!(next.operator, earlier.operator);
    let mut only_a = seeking();
    take(&mut only_a, vec![statement("A", &json!({}))]);
    let next = only_a.after(&earlier, false, NOW_S);
    assert_eq!(next.directory.find("B"), None);
    assert!(next.directory.get(place).removed);
}
