//! Tokens: any text is one or none, and whatever two accounts and a user claim, what follows from
//! it holds together: a core that puts in what has changed has what the ledger has.

use accounts::{Bearer, ConnectionKind, Directory, Ledger, Operator, Statement, Token};
use base::{Wall, base64};

const NOW_S: i64 = 1_700_000_000;

/// Runs one input: claims, one a line. Those of the first two lines are of the accounts `A` and
/// `B`, all others of users.
pub(crate) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let _ = Token::read(text);
    let _ = Token::read_generic(text);
    let operator = Operator { keys: ["O".to_owned()].into(), ..Operator::default() };
    let mut ledger = Ledger::new(operator, "S");
    let mut core = (ledger.directory.clone(), ledger.operator.clone());
    for (line, key) in text.lines().zip(["A", "B"]) {
        let Ok(statement) = Statement::read(&token(line)) else { continue };
        let faults = statement.faults();
        let _ = statement.mapping_fault();
        let checked = ledger.check(&statement, NOW_S);
        assert!(checked.is_err() || faults.is_empty());
        if checked.is_err() || statement.key() != key {
            continue;
        }
        for _ in 0..2 {
            let amendment = ledger.take(vec![statement.clone()], NOW_S);
            core.0.amend(&amendment);
            core.1.amend(&amendment);
            assert_alike(&core, &ledger);
        }
    }
    for line in text.lines().skip(2) {
        admit(&ledger.operator, &token(line));
    }
    let end = ledger.next_lapse(NOW_S).unwrap_or(NOW_S);
    let lapsed = ledger.lapse(end);
    let gone = ledger.withdraw(&["A".to_owned()], end);
    for amendment in [lapsed, gone] {
        core.0.amend(&amendment);
        core.1.amend(&amendment);
    }
    assert_alike(&core, &ledger);
    assert_eq!(ledger.directory.find("A"), None);
}

fn assert_alike(core: &(Directory, Operator), ledger: &Ledger) {
    assert_eq!(core.0, ledger.directory);
    assert_eq!(core.1, ledger.operator);
    // What is imported is another account's, and there.
    for (_, account) in ledger.directory.present() {
        let streams = account.stream_imports.iter().map(|import| import.account);
        let services = account.service_imports.iter().map(|import| import.account);
        assert!(streams.chain(services).all(|id| !ledger.directory.get(id).removed));
    }
}

fn admit(operator: &Operator, token: &str) {
    let bearer = Bearer {
        token,
        kind: ConnectionKind::Standard,
        host: "10.1.2.3",
        by_proxy: false,
        now: Wall(NOW_S * 1_000_000_000),
    };
    if let Ok(admitted) = operator.admit(&bearer) {
        let (_, issuer) = *admitted.grant.jwt.expect("a user by a token has one");
        assert_eq!(admitted.signature.keys, [issuer]);
    }
}

/// Claims in the form of a token, whose signature is nobody's.
fn token(claims: &str) -> String {
    let header = r#"{"typ":"JWT","alg":"ed25519-nkey"}"#;
    [header, claims, "signature"].map(|part| base64::encode_url(part.as_bytes())).join(".")
}
