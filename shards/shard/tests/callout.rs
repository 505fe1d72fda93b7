//! Somebody else decides who comes in, on shards without a reactor: what is asked and where, what
//! answers come to, and what happens without one.

use accounts::{Callout, Directory, Referral, Secret, User};
use base::base64::encode_url;
use base::{AccountId, CoreId, Duration, Moment, Slot, Time};
use serde_json::{Value, json};
use shard::{Composed, Config, Dispatch, Effects, Errand, Outcome, Peer, Reason, Shard, Socket};

const ISSUER: &str = "ACALLOUT";
const SERVER: &str = "NSERVER";
const KEY: &str = "UNEW";
const APP: AccountId = AccountId(2);

/// A server of one core; who decides has come in.
struct Server {
    shard: Shard,
    effects: Effects,
    now: Time,
    service: Slot,
}

impl Server {
    fn new(xkey: &str) -> Self {
        let mut accounts = Directory::default();
        accounts.accounts.push(accounts::Account::new("APP"));
        let mut config = Config { accounts, server_id: SERVER.into(), ..Config::default() };
        let decider = User {
            name: "auth".into(),
            secret: Secret::new("pw".into()),
            account: AccountId::GLOBAL,
            permissions: None,
            kinds: accounts::ConnectionKinds::default(),
            proxy_required: false,
        };
        config.auth.users.insert("auth".into(), decider);
        config.auth.callout = Some(Box::new(Callout {
            referral: Referral {
                account: AccountId::GLOBAL,
                issuer: ISSUER.into(),
                xkey: xkey.into(),
            },
            deciders: vec!["auth".into()],
            accounts: Vec::new(),
        }));
        let now = Time(1_000_000_000);
        let shard = Shard::new(CoreId(0), 1, 7, config, now);
        let effects = Effects::default();
        let mut server = Self { shard, effects, now, service: Slot(0) };
        server.service = server.connect(3, "auth", "pw");
        server.say(server.service, "SUB $SYS.REQ.USER.AUTH 1\r\nPING\r\n");
        assert!(server.heard(server.service).contains("PONG\r\n"));
        server
    }

    fn turn(&mut self) {
        self.shard.serve();
        self.shard.end_turn(&mut self.effects);
        self.shard.begin_turn(Moment::simulated(self.now));
    }

    fn connect(&mut self, socket: i32, user: &str, password: &str) -> Slot {
        self.shard.accepted(Socket(socket), Peer { host: "10.1.1.1".into(), port: 7 });
        self.turn();
        let slot = self.effects.opened.first().expect("it is accepted").0;
        self.heard(slot);
        let user = json!({ "verbose": false, "user": user, "pass": password, "protocol": 1 });
        self.say(slot, &format!("CONNECT {user}\r\n"));
        self.turn();
        slot
    }

    fn say(&mut self, slot: Slot, text: &str) {
        let taken = self.shard.receive(slot, text.as_bytes());
        assert_eq!(taken, text.len());
    }

    fn heard(&mut self, slot: Slot) -> String {
        let bytes = self.shard.unsent(slot).to_vec();
        self.shard.sent(slot, bytes.len());
        String::from_utf8(bytes).expect("all is text")
    }

    /// The question about the connection that was just made.
    fn question(&mut self) -> (Errand, Value) {
        match self.effects.dispatches.pop() {
            Some(Dispatch::Compose(errand, inquiry)) => {
                let claims = inquiry.claims(KEY, "");
                (errand, serde_json::from_str(&claims).expect("claims are JSON"))
            }
            other => panic!("a question is to be composed, not {other:?}"),
        }
    }

    /// Asks it, and returns where the service is to answer.
    fn ask(&mut self, errand: Errand) -> String {
        let payload = b"question".to_vec();
        let composed = Composed { user_key: KEY.into(), header: Vec::new(), payload };
        self.shard.composed(errand, composed);
        self.turn();
        let heard = self.heard(self.service);
        let mut words = heard.split(' ');
        assert_eq!(words.nth(1), Some("$SYS.REQ.USER.AUTH"), "{heard}");
        words.nth(1).expect("there is a reply subject").to_owned()
    }

    fn answer(&mut self, inbox: &str, answer: &str) {
        let size = answer.len();
        self.say(self.service, &format!("PUB {inbox} {size}\r\n{answer}\r\n"));
        self.turn();
    }
}

fn token(claims: &Value) -> String {
    let header = json!({ "typ": "JWT", "alg": "ed25519-nkey" }).to_string();
    let [header, claims] = [header, claims.to_string()].map(|part| encode_url(part.as_bytes()));
    format!("{header}.{claims}.c2ln")
}

/// The answer that lets a user in, changed as asked.
fn answer(change: impl FnOnce(&mut Value, &mut Value)) -> String {
    let mut user = json!({
        "iss": ISSUER, "sub": KEY, "aud": "APP", "name": "named",
        "nats": { "type": "user", "version": 2, "pub": { "allow": ["a"] } },
    });
    let mut response = json!({
        "iss": ISSUER, "sub": KEY, "aud": SERVER,
        "nats": { "type": "authorization_response", "version": 2 },
    });
    change(&mut response, &mut user);
    if response["nats"].get("error").is_none() {
        response["nats"]["jwt"] = token(&user).into();
    }
    token(&response)
}

#[test]
fn who_is_let_in_has_what_the_answer_says() {
    let mut server = Server::new("");
    let slot = server.connect(4, "me", "secret");
    let (errand, claims) = server.question();
    assert_eq!(claims["sub"], ISSUER);
    assert_eq!(claims["nats"]["connect_opts"]["pass"], "secret");
    assert_eq!(claims["nats"]["client_info"]["host"], "10.1.1.1");
    assert_eq!(claims["nats"]["user_nkey"], KEY);
    assert!(server.shard.is_paused(slot));
    let inbox = server.ask(errand);
    server.answer(&inbox, &answer(|_, _| {}));
    let claim = server.effects.proofs.pop().expect("signatures are to be proven");
    assert_eq!(claim.proof.signatures.len(), 2);
    assert!(claim.proof.signatures.iter().all(|signature| signature.keys == [ISSUER]));
    assert!(server.shard.is_paused(slot), "nothing is believed yet");
    // Another answer comes too late.
    server.answer(&inbox, &answer(|response, _| response["nats"]["error"] = "no".into()));
    server.shard.proven(slot, claim.id, claim.number, Outcome::Right(None));
    server.turn();
    assert!(!server.shard.is_paused(slot));
    server.say(slot, "PUB b 0\r\n\r\nPING\r\n");
    let heard = server.heard(slot);
    assert!(heard.contains("Permissions Violation for Publish to \"b\""), "{heard}");
    assert!(heard.contains("\"remote_account\":\"APP\""), "{heard}");
    assert_eq!(APP, AccountId(2));
}

#[test]
fn a_wrong_signature_lets_nobody_in() {
    let mut server = Server::new("");
    let slot = server.connect(4, "me", "secret");
    let (errand, _) = server.question();
    let inbox = server.ask(errand);
    server.answer(&inbox, &answer(|_, _| {}));
    let claim = server.effects.proofs.pop().expect("signatures are to be proven");
    server.shard.proven(slot, claim.id, claim.number, Outcome::Wrong);
    server.turn();
    assert_eq!(server.heard(slot), "-ERR 'Authorization Violation'\r\n");
    assert!(server.effects.dispatches.is_empty(), "nobody is asked twice");
}

#[test]
fn answers_that_let_nobody_in() {
    type Change = fn(&mut Value, &mut Value);
    let changes: [Change; 14] = [
        |response, _| response["nats"]["error"] = "no".into(),
        |response, _| response["iss"] = "AOTHER".into(),
        |response, _| response["iss"] = "UOTHER".into(),
        |response, _| response["sub"] = "UOTHER".into(),
        |response, _| response["aud"] = "NOTHER".into(),
        |response, _| response["nats"]["type"] = "user".into(),
        |response, _| response["nats"] = json!({}),
        |_, user| user["iss"] = "AOTHER".into(),
        |_, user| user["sub"] = "UOTHER".into(),
        |_, user| user["aud"] = "NOWHERE".into(),
        |_, user| user["exp"] = 1.into(),
        |_, user| user["nats"]["issuer_account"] = ISSUER.into(),
        |_, user| user["nats"]["proxy_required"] = true.into(),
        |_, user| user["nats"]["allowed_connection_types"] = json!(["WEBSOCKET"]),
    ];
    let mut server = Server::new("");
    let texts = changes.map(answer).into_iter().chain([String::new(), "eyJ".into(), "no".into()]);
    for (text, socket) in texts.zip(4..) {
        let slot = server.connect(socket, "me", "secret");
        let (errand, _) = server.question();
        let inbox = server.ask(errand);
        server.answer(&inbox, &text);
        assert_eq!(server.heard(slot), "-ERR 'Authorization Violation'\r\n", "{text}");
        assert!(server.effects.proofs.is_empty());
    }
}

#[test]
fn who_nobody_decides_about_waits_no_longer_than_for_connect() {
    let mut server = Server::new("");
    let slot = server.connect(4, "me", "secret");
    let (errand, _) = server.question();
    let inbox = server.ask(errand);
    server.now = server.now.after(base::limits::AUTH_TIMEOUT_DEFAULT + Duration::from_millis(1));
    server.turn();
    server.turn();
    assert_eq!(server.heard(slot), "-ERR 'Authorization Violation'\r\n");
    assert_eq!(server.shard.reason(slot), Some(Reason::AuthenticationFailure));
    server.answer(&inbox, &answer(|_, _| {}));
    assert!(server.effects.proofs.is_empty());
}

#[test]
fn anybody_may_write_to_an_inbox() {
    let mut server = Server::new("");
    server.connect(4, "me", "secret");
    let (errand, _) = server.question();
    let inbox = server.ask(errand);
    let (start, _) = inbox.rsplit_once('.').expect("an inbox has tokens");
    for last in ["", "x", "1_", "_1", "999_1", "0_0", "4294967295_1", "1_99999999999999999999"] {
        if !last.is_empty() {
            server.answer(&format!("{start}.{last}"), &answer(|_, _| {}));
        }
    }
    assert!(server.effects.proofs.is_empty());
    server.answer(&inbox, &answer(|_, _| {}));
    assert_eq!(server.effects.proofs.len(), 1);
}

#[test]
fn sealed_answers_are_opened_first() {
    let mut server = Server::new("XSERVICE");
    let slot = server.connect(4, "me", "secret");
    let (errand, claims) = server.question();
    assert_eq!(claims["nats"]["server_id"]["xkey"], "");
    let inbox = server.ask(errand);
    server.answer(&inbox, "sealed");
    let Some(Dispatch::Unseal(errand, sealed, by)) = server.effects.dispatches.pop() else {
        panic!("it is to be opened");
    };
    assert_eq!((&sealed[..], by.as_str()), (&b"sealed"[..], "XSERVICE"));
    // Who can seal needs no other proof of who they are than a signature.
    let opened = answer(|response, _| response["iss"] = "AOTHER".into());
    server.shard.unsealed(errand, Some(opened.as_bytes()));
    server.turn();
    let claim = server.effects.proofs.pop().expect("signatures are to be proven");
    assert_eq!(claim.proof.signatures[0].keys, ["AOTHER"]);
    assert_eq!(claim.slot, slot);

    let slot = server.connect(5, "me", "secret");
    let (errand, _) = server.question();
    server.ask(errand);
    server.shard.unsealed(errand, None);
    assert_eq!(server.heard(slot), "-ERR 'Authorization Violation'\r\n");
}

#[test]
fn nobody_asks_in_the_servers_name() {
    let mut server = Server::new("");
    server.say(server.service, "PUB $SYS.REQ.USER.AUTH 2\r\nme\r\n");
    let heard = server.heard(server.service);
    assert!(heard.contains("Permissions Violation for Publish"), "{heard}");
}
