//! Operator mode from outside, on one and two cores: accounts that are found when somebody asks for
//! them, and that become others while their users are connected.
//!
//! `PINION_BROKER` replaces the pinion under test, by the reference say: texts are its own.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base::base64::encode_url;
use nkeys::KeyPair;
use serde_json::{Value, json};

use process::{Broker, Launch, Process};

#[path = "support/process.rs"]
mod process;

/// A line that takes longer is lost.
const PATIENCE: Duration = Duration::from_secs(20);

/// Makes each scenario a test on one and two cores.
macro_rules! scenarios {
    ($($name:ident),* $(,)?) => {
        mod one_core { $(#[test] fn $name() { super::$name(1); })* }
        mod two_cores { $(#[test] fn $name() { super::$name(2); })* }
    };
}

scenarios! {
    a_directory_holds_what_is_pushed,
    users_lose_what_their_account_takes_back,
    accounts_share_by_activation,
    accounts_are_fetched_when_asked_for,
    what_is_stored_follows_the_account,
    storage_follows_the_file,
}

fn now_s() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time after 1970");
    i64::try_from(since.as_secs()).expect("a time before the end")
}

/// A token about somebody, signed by another.
fn token(by: &KeyPair, about: &str, nats: &Value, more: &Value) -> String {
    static SERIAL: AtomicU64 = AtomicU64::new(0);
    let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
    let mut claims = json!({
        "jti": format!("N{serial}"), "iat": now_s(), "iss": by.public_key(), "sub": about,
        "name": "n", "nats": nats,
    });
    for (name, value) in more.as_object().expect("an object") {
        claims[name] = value.clone();
    }
    let header = encode_url(br#"{"typ":"JWT","alg":"ed25519-nkey"}"#);
    let text = format!("{header}.{}", encode_url(claims.to_string().as_bytes()));
    let signature = by.sign(text.as_bytes()).expect("a key has a seed");
    format!("{text}.{}", encode_url(&signature))
}

fn with(mut object: Value, more: &Value) -> Value {
    for (name, value) in more.as_object().expect("an object") {
        object[name] = value.clone();
    }
    object
}

/// An operator with a system account.
struct World {
    operator: KeyPair,
    system: KeyPair,
    directory: PathBuf,
}

impl World {
    fn new() -> Self {
        static SERIAL: AtomicU64 = AtomicU64::new(0);
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let name = format!("operator-{}-{serial}", std::process::id());
        let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&directory).expect("a directory can be made");
        Self { operator: KeyPair::new_operator(), system: KeyPair::new_account(), directory }
    }

    fn operator_token(&self) -> String {
        let nats = json!({
            "type": "operator", "version": 2, "system_account": self.system.public_key(),
        });
        token(&self.operator, &self.operator.public_key(), &nats, &json!({}))
    }

    /// The token of an account without limits, but for what is given.
    fn account(&self, account: &KeyPair, extra: &Value) -> String {
        let unlimited = json!({
            "type": "account", "version": 2,
            "limits": { "subs": -1, "data": -1, "payload": -1, "conn": -1, "leaf": -1,
                        "imports": -1, "exports": -1, "wildcards": true },
        });
        token(&self.operator, &account.public_key(), &with(unlimited, extra), &json!({}))
    }

    fn start(&self, cores: u32, resolver: &str, more: &str) -> Process {
        let (operator, system) = (self.operator_token(), self.system.public_key());
        let preload = if resolver.contains("URL") {
            String::new()
        } else {
            format!(
                "resolver_preload: {{ {system}: {} }}\n",
                self.account(&self.system, &json!({}))
            )
        };
        let config = format!("operator: {operator}\nresolver: {resolver}\n{preload}{more}");
        let broker = Broker::under_test(cores);
        let launch = Launch { broker, port: None, config, flags: Vec::new() };
        Process::start(&launch).expect("the broker starts")
    }

    fn start_full(&self, cores: u32, more: &str) -> Process {
        let path = self.directory.join("tokens");
        let resolver = format!("{{ type: full, dir: \"{}\", allow_delete: true }}", path.display());
        self.start(cores, &resolver, more)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _kept_for_a_look = fs::remove_dir_all(&self.directory);
    }
}

/// A block about where streams are kept.
fn storing_in(directory: &Path) -> String {
    format!("jetstream {{ store_dir: \"{}\" }}", directory.display())
}

/// A user of an account, signed by it or a key of its.
struct User {
    key: KeyPair,
    token: String,
}

impl User {
    fn new(account: &KeyPair, by: &KeyPair, extra: &Value) -> Self {
        let key = KeyPair::new_user();
        let nats = json!({
            "type": "user", "version": 2, "issuer_account": account.public_key(),
            "subs": -1, "data": -1, "payload": -1,
        });
        let token = token(by, &key.public_key(), &with(nats, extra), &json!({}));
        Self { key, token }
    }

    fn of(account: &KeyPair) -> Self {
        Self::new(account, account, &json!({}))
    }

    /// Connects and waits for what the broker says to that: a PONG or an error.
    fn try_in(&self, broker: &Process) -> Result<Client, String> {
        let stream = TcpStream::connect(broker.address()).expect("the broker listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket has a timeout");
        let mut client = Client { reader: BufReader::new(stream), greeted: false };
        let info = client.line();
        let info: Value = serde_json::from_str(&info["INFO ".len()..]).expect("INFO is JSON");
        let nonce = info["nonce"].as_str().expect("INFO has a nonce");
        let signature = self.key.sign(nonce.as_bytes()).expect("a key has a seed");
        let connect = json!({
            "jwt": self.token, "sig": encode_url(&signature), "verbose": false, "pedantic": false,
            "headers": true, "no_responders": true, "protocol": 1, "lang": "x", "version": "1",
        });
        client.say(&format!("CONNECT {connect}\r\nPING\r\n"));
        match client.line().as_str() {
            "PONG" => Ok(client),
            other => Err(other.to_owned()),
        }
    }

    fn come_in(&self, broker: &Process) -> Client {
        self.try_in(broker).expect("the broker lets the user in")
    }
}

/// A connection of a user.
struct Client {
    reader: BufReader<TcpStream>,
    greeted: bool,
}

impl Client {
    fn say(&mut self, text: &str) {
        self.reader.get_mut().write_all(text.as_bytes()).expect("the broker reads");
    }

    /// The next line, but for PINGs and for an INFO after the first. Empty at the end.
    fn line(&mut self) -> String {
        loop {
            let mut line = String::new();
            self.reader.read_line(&mut line).expect("the broker says something");
            let line = line.trim_end().to_owned();
            if line == "PING" {
                self.say("PONG\r\n");
            } else if !line.starts_with("INFO {") || !std::mem::replace(&mut self.greeted, true) {
                return line;
            }
        }
    }

    /// Everything that was sent before has been done.
    fn flush(&mut self) {
        self.say("PING\r\n");
        assert_eq!(self.line(), "PONG");
    }

    /// Asks and waits for the answer: its payload, or its status.
    fn ask(&mut self, subject: &str, payload: &str) -> String {
        self.say(&format!(
            "SUB in.box 9\r\nPUB {subject} in.box {}\r\n{payload}\r\n",
            payload.len()
        ));
        let answer = self.message();
        self.say("UNSUB 9\r\n");
        answer
    }

    /// The payload of the next message, or what else comes.
    fn message(&mut self) -> String {
        let line = self.line();
        let words: Vec<&str> = line.split_whitespace().collect();
        if !["MSG", "HMSG"].contains(words.first().unwrap_or(&"")) {
            return line;
        }
        let size: usize = words[words.len() - 1].parse().expect("a size");
        let mut bytes = vec![0; size + 2];
        std::io::Read::read_exact(&mut self.reader, &mut bytes).expect("a payload");
        String::from_utf8_lossy(&bytes[..size]).into_owned()
    }

    /// What is said before the end.
    fn last_words(&mut self) -> Vec<String> {
        let mut words = Vec::new();
        loop {
            match self.line().as_str() {
                "" => return words,
                line => words.push(line.to_owned()),
            }
        }
    }

    /// Sends a token of an account, and returns what became of it.
    fn push(&mut self, token: &str) -> String {
        let answer = self.ask("$SYS.REQ.CLAIMS.UPDATE", token);
        let answer: Value = serde_json::from_str(&answer).expect("an answer in JSON");
        let text = |part: &str, name: &str| answer[part][name].as_str().map(str::to_owned);
        text("data", "message").or(text("error", "description")).expect("data or an error")
    }
}

fn a_directory_holds_what_is_pushed(cores: u32) {
    let world = World::new();
    let broker = world.start_full(cores, "");
    let mut system = User::of(&world.system).come_in(&broker);
    let account = KeyPair::new_account();
    let user = User::of(&account);
    let denied = "-ERR 'Authorization Violation'";
    assert_eq!(user.try_in(&broker).err().as_deref(), Some(denied));
    let first = world.account(&account, &json!({}));
    assert_eq!(system.push(&first), "jwt updated");
    let mut client = user.come_in(&broker);
    client.flush();
    let key = account.public_key();
    let held = system.ask(&format!("$SYS.REQ.ACCOUNT.{key}.CLAIMS.LOOKUP"), "");
    assert_eq!(held, first);
    let nobody = KeyPair::new_account().public_key();
    assert_eq!(system.ask(&format!("$SYS.REQ.ACCOUNT.{nobody}.CLAIMS.LOOKUP"), ""), "");
    let list: Value = serde_json::from_str(&system.ask("$SYS.REQ.CLAIMS.LIST", "")).expect("JSON");
    let mut expected = [key.clone(), world.system.public_key()];
    expected.sort_unstable();
    assert_eq!(list["data"], json!(expected));
    refuses_bad_tokens(&world, &mut system, &account);
    let old = format!("$SYS.ACCOUNT.{key}.CLAIMS.UPDATE");
    assert!(system.ask(&old, &first).contains("\"message\":\"jwt updated\""));
    // All that was refused changed nothing.
    client.flush();
    let wish = json!({ "accounts": [key] });
    let wish = token(&world.operator, &world.operator.public_key(), &wish, &json!({}));
    assert!(system.ask("$SYS.REQ.CLAIMS.DELETE", &wish).contains("deleted 1 accounts"));
    assert_eq!(client.last_words(), ["-ERR 'Account Authentication Expired'"]);
    assert_eq!(user.try_in(&broker).err().as_deref(), Some(denied));
    assert!(world.directory.join("tokens").join(format!("{key}.jwt.deleted")).exists());
    assert_eq!(system.push(&first), "jwt updated");
    user.come_in(&broker);
}

fn refuses_bad_tokens(world: &World, system: &mut Client, account: &KeyPair) {
    let key = account.public_key();
    for (subject, token, expected) in [
        ("$SYS.REQ.CLAIMS.UPDATE".to_owned(), "x".to_owned(), "error - expected 3 chunks"),
        (
            format!("$SYS.REQ.ACCOUNT.{}.CLAIMS.UPDATE", world.system.public_key()),
            world.account(account, &json!({})),
            "jwt update resulted in error - subject does not match jwt content",
        ),
        (
            format!("$SYS.REQ.ACCOUNT.{key}.CLAIMS.UPDATE"),
            world.account(account, &json!({ "exports": [{ "subject": "a b", "type": "stream" }] })),
            "jwt validation failed - validation errors: [subject \\\"a b\\\" cannot have spaces]",
        ),
        (
            "$SYS.REQ.CLAIMS.UPDATE".to_owned(),
            world.operator_token(),
            "jwt update resulted in error - not account claim",
        ),
        (
            "$SYS.REQ.CLAIMS.DELETE".to_owned(),
            token(account, &key, &json!({ "accounts": [key] }), &json!({})),
            "failed - not trusted",
        ),
        (
            "$SYS.REQ.CLAIMS.DELETE".to_owned(),
            token(
                &world.operator,
                &world.operator.public_key(),
                &json!({ "accounts": [world.system.public_key()] }),
                &json!({}),
            ),
            "failed - not allowed to delete system account",
        ),
        (
            "$SYS.REQ.CLAIMS.DELETE".to_owned(),
            token(
                &world.operator,
                &world.operator.public_key(),
                &json!({ "accounts": ["x"] }),
                &json!({}),
            ),
            "failed - malformed request",
        ),
    ] {
        let answer = system.ask(&subject, &token);
        assert!(answer.contains(expected), "{expected}: {answer}");
    }
}

fn users_lose_what_their_account_takes_back(cores: u32) {
    let world = World::new();
    let broker = world.start_full(cores, "");
    let mut system = User::of(&world.system).come_in(&broker);
    let (account, signer, role) =
        (KeyPair::new_account(), KeyPair::new_account(), KeyPair::new_account());
    let scope = |allow: &str| {
        let template = json!({ "pub": { "allow": [allow] }, "sub": {}, "subs": -1, "data": -1,
                               "payload": -1 });
        json!({ "kind": "user_scope", "key": role.public_key(), "role": "r",
                "template": template })
    };
    let own = json!({ "signing_keys": [signer.public_key(), scope("a")] });
    assert_eq!(system.push(&world.account(&account, &own)), "jwt updated");
    let users = [User::of(&account), User::new(&account, &signer, &json!({})), User::of(&account)];
    let mut clients: Vec<Client> = users.iter().map(|user| user.come_in(&broker)).collect();
    let scoped = User::new(&account, &role, &json!({ "subs": 0, "data": 0, "payload": 0 }));
    let mut scoped = scoped.come_in(&broker);
    // One user is revoked, and notices; the others do not.
    let revoked = json!({ "revocations": { users[0].key.public_key(): now_s() + 10 } });
    let next = with(own.clone(), &revoked);
    assert_eq!(system.push(&world.account(&account, &next)), "jwt updated");
    assert_eq!(clients[0].last_words(), ["-ERR 'User Authentication Revoked'"]);
    assert_eq!(users[0].try_in(&broker).err().as_deref(), Some("-ERR 'Authorization Violation'"));
    for client in &mut clients[1..] {
        client.flush();
    }
    // A key may not sign any more, and another's role has changed.
    let next = json!({ "signing_keys": [scope("b")] });
    assert_eq!(system.push(&world.account(&account, &next)), "jwt updated");
    assert_eq!(clients[1].last_words(), [""; 0]);
    assert_eq!(scoped.last_words(), [""; 0]);
    clients[2].flush();
    // Users without permissions have those of the account.
    clients[2].say("SUB x 1\r\nSUB y 2\r\n");
    clients[2].flush();
    let next = json!({ "default_permissions": { "sub": { "deny": ["x"] }, "pub": {} } });
    assert_eq!(system.push(&world.account(&account, &next)), "jwt updated");
    let lost = clients[2].line();
    assert!(lost.starts_with("-ERR 'Permissions Violation for Subscription to \"x\""), "{lost}");
    clients[2].flush();
    // Less may be sent at once.
    let limits = json!({ "limits": { "subs": -1, "data": -1, "payload": 4, "conn": -1, "leaf": -1,
                                     "imports": -1, "exports": -1, "wildcards": true } });
    assert_eq!(system.push(&world.account(&account, &limits)), "jwt updated");
    clients[2].say("PUB z 5\r\nhello\r\n");
    let words = clients[2].last_words();
    assert_eq!(words, ["-ERR 'Maximum Payload Violation'"]);
}

fn accounts_share_by_activation(cores: u32) {
    let world = World::new();
    let broker = world.start_full(cores, "");
    let mut system = User::of(&world.system).come_in(&broker);
    let (exporter, importer) = (KeyPair::new_account(), KeyPair::new_account());
    let export = |more: Value| {
        let export = json!({ "name": "e", "subject": "news.>", "type": "stream",
                             "token_req": true });
        json!({ "exports": [with(export, &more)] })
    };
    let activation = json!({ "type": "activation", "version": 2, "subject": "news.>",
                             "kind": "stream" });
    let activation = token(&exporter, &importer.public_key(), &activation, &json!({}));
    let import = json!({ "imports": [{
        "name": "i", "subject": "news.>", "account": exporter.public_key(), "token": activation,
        "local_subject": "from.e.>", "type": "stream",
    }], "mappings": { "old": [{ "subject": "new" }] } });
    // The importer comes first, and finds the exporter's token when it is itself looked for.
    assert_eq!(system.push(&world.account(&importer, &import)), "jwt updated");
    assert_eq!(system.push(&world.account(&exporter, &export(json!({})))), "jwt updated");
    let mut listener = User::of(&importer).come_in(&broker);
    listener.say("SUB from.e.> 1\r\nSUB new 2\r\n");
    listener.flush();
    let mut speaker = User::of(&exporter).come_in(&broker);
    speaker.say("PUB news.x 5\r\nhello\r\n");
    speaker.flush();
    assert_eq!(listener.message(), "hello");
    listener.say("PUB old 3\r\nmap\r\n");
    assert_eq!(listener.message(), "map");
    // Taken back, nothing comes any more; the next message is one of its own.
    let revoked = export(json!({ "revocations": { importer.public_key(): now_s() + 10 } }));
    assert_eq!(system.push(&world.account(&exporter, &revoked)), "jwt updated");
    speaker.say("PUB news.x 4\r\nlost\r\n");
    speaker.flush();
    listener.say("PUB new 3\r\nown\r\n");
    assert_eq!(listener.message(), "own");
}

/// Serves tokens by HTTP, and counts how often each was asked for.
struct Library {
    url: String,
    tokens: Arc<Mutex<HashMap<String, (String, u32)>>>,
}

impl Library {
    fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}/jwt/v1/accounts/", listener.local_addr().expect("an address"));
        let tokens: Arc<Mutex<HashMap<String, (String, u32)>>> = Arc::default();
        let shelf = tokens.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let mut reader = BufReader::new(stream);
                let mut lines = Vec::new();
                let mut line = String::new();
                while reader.read_line(&mut line).is_ok_and(|count| count > 2) {
                    lines.push(std::mem::take(&mut line));
                }
                let path = lines.first().and_then(|line| line.split(' ').nth(1));
                let name = path.and_then(|path| path.rsplit('/').next()).unwrap_or_default();
                let mut shelf = shelf.lock().expect("nobody panicked");
                let answer = match shelf.get_mut(name) {
                    _ if name.is_empty() => "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".into(),
                    None => "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_owned(),
                    Some((token, count)) => {
                        *count += 1;
                        let size = token.len();
                        format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n{token}")
                    }
                };
                let _gone = reader.get_mut().write_all(answer.as_bytes());
            }
        });
        Self { url, tokens }
    }

    fn put(&self, account: &KeyPair, token: String) {
        let mut tokens = self.tokens.lock().expect("nobody panicked");
        tokens.insert(account.public_key(), (token, 0));
    }

    fn count(&self, account: &KeyPair) -> u32 {
        self.tokens.lock().expect("nobody panicked")[&account.public_key()].1
    }
}

fn accounts_are_fetched_when_asked_for(cores: u32) {
    let world = World::new();
    let library = Library::open();
    library.put(&world.system, world.account(&world.system, &json!({})));
    let broker = world.start(cores, &format!("URL({})", library.url), "");
    let account = KeyPair::new_account();
    let user = User::of(&account);
    let denied = Some("-ERR 'Authorization Violation'".to_owned());
    assert_eq!(user.try_in(&broker).err(), denied);
    library.put(&account, world.account(&account, &json!({})));
    let mut clients: Vec<Client> = (0..8).map(|_| user.come_in(&broker)).collect();
    assert_eq!(library.count(&account), 1);
    // What another operator has signed is none of this server's.
    let (stranger, foreign) = (KeyPair::new_account(), World::new());
    library.put(&stranger, foreign.account(&stranger, &json!({})));
    assert_eq!(User::of(&stranger).try_in(&broker).err(), denied);
    let mut system = User::of(&world.system).come_in(&broker);
    let subject = format!("$SYS.REQ.ACCOUNT.{}.CLAIMS.UPDATE", account.public_key());
    let revoked = json!({ "revocations": { "*": now_s() + 10 } });
    let answer = system.ask(&subject, &world.account(&account, &revoked));
    assert!(answer.contains("\"message\":\"jwt updated\""), "{answer}");
    for client in &mut clients {
        assert_eq!(client.last_words(), ["-ERR 'User Authentication Revoked'"]);
    }
    let other = KeyPair::new_account();
    let subject = format!("$SYS.REQ.ACCOUNT.{}.CLAIMS.UPDATE", other.public_key());
    let answer = system.ask(&subject, &world.account(&other, &json!({})));
    assert!(answer.contains("\"message\":\"jwt update skipped\""), "{answer}");
}

fn what_is_stored_follows_the_account(cores: u32) {
    let world = World::new();
    let store = world.directory.join("store");
    let broker = world.start_full(cores, &storing_in(&store));
    let mut system = User::of(&world.system).come_in(&broker);
    let (with_storage, without) = (KeyPair::new_account(), KeyPair::new_account());
    let storing = json!({ "limits": {
        "subs": -1, "data": -1, "payload": -1, "conn": -1, "leaf": -1, "imports": -1,
        "exports": -1, "wildcards": true, "mem_storage": -1, "disk_storage": 1024 * 1024,
        "streams": 1, "consumer": -1,
    }});
    let stored = world.account(&with_storage, &storing);
    assert_eq!(system.push(&stored), "jwt updated");
    assert_eq!(system.push(&world.account(&without, &json!({}))), "jwt updated");
    let mut client = User::of(&with_storage).come_in(&broker);
    let made = client.ask("$JS.API.STREAM.CREATE.S", "{\"name\":\"S\",\"subjects\":[\"s\"]}");
    assert!(made.contains("\"did_create\":true"), "{made}");
    assert!(client.ask("s", "hello").contains("\"seq\":1"));
    let more = client.ask("$JS.API.STREAM.CREATE.T", "{\"name\":\"T\",\"subjects\":[\"t\"]}");
    assert!(more.contains("10027"), "{more}");
    let mut stranger = User::of(&without).come_in(&broker);
    let refused = stranger.ask("$JS.API.STREAM.NAMES", "");
    assert!(refused.contains("10039"), "{refused}");
    // Without storage nothing is served, and nothing is lost.
    assert_eq!(system.push(&world.account(&with_storage, &json!({}))), "jwt updated");
    let refused = client.ask("$JS.API.STREAM.INFO.S", "");
    assert!(refused.contains("10039"), "{refused}");
    assert_eq!(system.push(&stored), "jwt updated");
    let info = client.ask("$JS.API.STREAM.INFO.S", "");
    assert!(info.contains("\"messages\":1"), "{info}");
    drop(broker);
    // What is stored brings its account back, before any of its users comes.
    let broker = world.start_full(cores, &storing_in(&store));
    let mut client = User::of(&with_storage).come_in(&broker);
    let info = client.ask("$JS.API.STREAM.INFO.S", "");
    assert!(info.contains("\"messages\":1"), "{info}");
}

/// A client by name and password.
fn known(broker: &Process, name: &str) -> Client {
    let stream = TcpStream::connect(broker.address()).expect("the broker listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket has a timeout");
    let mut client = Client { reader: BufReader::new(stream), greeted: false };
    client.line();
    let connect = json!({ "user": name, "pass": "p", "verbose": false, "headers": true,
                          "no_responders": true, "protocol": 1 });
    client.say(&format!("CONNECT {connect}\r\n"));
    client.flush();
    client
}

fn storage_follows_the_file(cores: u32) {
    let world = World::new();
    let store = world.directory.join("store");
    let file = world.directory.join("accounts.conf");
    let config = |a: &str| {
        let user = |name: &str| format!("users: [{{ user: {name}, password: p }}]");
        format!(
            "jetstream {{ store_dir: \"{}\" }}\n\
             accounts {{ A: {{ jetstream: {a}, {} }}, B: {{ jetstream: enabled, {} }} }}\n",
            store.display(),
            user("a"),
            user("b")
        )
    };
    fs::write(&file, config("enabled")).expect("a file can be written");
    let broker = Broker::under_test(cores);
    let flags = vec!["-c".to_owned(), file.display().to_string()];
    let launch = Launch { broker, port: None, config: String::new(), flags };
    let broker = Process::start(&launch).expect("the broker starts");
    let (mut a, mut b) = (known(&broker, "a"), known(&broker, "b"));
    let stream = "{\"name\":\"S\",\"subjects\":[\"s\"]}";
    // Two tenants have the same names, and nothing of each other.
    for client in [&mut a, &mut b] {
        assert!(client.ask("$JS.API.STREAM.CREATE.S", stream).contains("\"did_create\":true"));
    }
    assert!(a.ask("s", "of a").contains("\"seq\":1"));
    for seq in 1..=3 {
        assert!(b.ask("s", "of b").contains(&format!("\"seq\":{seq}")));
    }
    let first = |client: &mut Client| client.ask("$JS.API.DIRECT.GET.S", "{\"seq\":1}");
    assert!(a.ask("$JS.API.STREAM.INFO.S", "").contains("\"messages\":1"));
    assert!(b.ask("$JS.API.STREAM.INFO.S", "").contains("\"messages\":3"));
    assert!(!first(&mut a).contains("of b"));
    let usage = a.ask("$JS.API.INFO", "");
    assert!(usage.contains("\"streams\":1"), "{usage}");
    let reload = |a: &str| {
        fs::write(&file, config(a)).expect("a file can be written");
        assert!(broker.signal("HUP"));
        broker.wait_for_log("Reloaded server configuration", PATIENCE).expect("it is read again");
    };
    reload("disabled");
    let refused = a.ask("$JS.API.STREAM.INFO.S", "");
    assert!(refused.contains("10039"), "{refused}");
    assert!(b.ask("s", "of b").contains("\"seq\":4"));
    reload("enabled");
    assert!(a.ask("$JS.API.STREAM.INFO.S", "").contains("\"messages\":1"));
    assert!(a.ask("s", "of a").contains("\"seq\":2"));
    assert!(b.ask("$JS.API.STREAM.INFO.S", "").contains("\"messages\":4"));
}
