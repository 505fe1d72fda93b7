//! Answers about who may come in: any bytes are read or refused, and nobody comes in by one that
//! does not name the key that was asked for, this server and the right signers.

use accounts::callout::{Asked, is_sealed};
use accounts::{CalloutFault, Directory, Referral};
use base::{AccountId, Wall};

/// Runs one input.
pub(crate) fn run(data: &[u8]) {
    let referral =
        Referral { account: AccountId::GLOBAL, issuer: "AISSUER".to_owned(), xkey: String::new() };
    let directory = Directory::default();
    let asked = Asked {
        referral: &referral,
        user: "UUSER",
        server_id: "NSERVER",
        directory: &directory,
        operator: None,
        kind: accounts::ConnectionKind::Standard,
        by_proxy: false,
        now: Wall(1_700_000_000_000_000_000),
    };
    for was_sealed in [false, true] {
        match asked.read(data, was_sealed) {
            Ok(vouched) => {
                assert!(!is_sealed(data));
                assert!(vouched.grant.vouched);
                assert_eq!(vouched.signatures.len(), 2);
                let [answer, user] = [0, 1].map(|at| &vouched.signatures[at].keys);
                assert!(was_sealed || *answer == ["AISSUER"]);
                assert_eq!(*user, ["AISSUER"]);
            }
            Err(CalloutFault::Refused(text)) => assert!(!text.is_empty()),
            Err(CalloutFault::ProxyRequired) => {}
        }
    }
}
