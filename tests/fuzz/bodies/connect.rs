//! CONNECT and INFO: any JSON is read or refused, and nobody comes in without the secret.

use accounts::Auth;
use session::Options;
use session::admission::{Verdict, Way, judge};
use session::handshake::{self, Identity, Refusal};

const SECRET: &str = "s3cr3t";

/// Runs one input.
pub(crate) fn run(data: &[u8]) {
    let (mut options, mut identity) = (Options::default(), Identity::default());
    let read = handshake::read(data, &mut options, &mut identity);
    assert!(matches!(read, Ok(()) | Err(Refusal::Malformed)));
    let is_info = handshake::is_info(data);
    if is_info {
        assert!(serde_json_accepts(data), "an INFO is JSON");
    }
    let _ = identity.label();
    if read.is_err() {
        return;
    }
    // The secret may be written with escapes, so this looks at what was read.
    let verdict = judge(&identity, &Auth::with_token(SECRET), &Way::default());
    if matches!(verdict, Verdict::Granted(_, proof) if proof.is_empty()) {
        let text = String::from_utf8_lossy(data).to_lowercase();
        assert!(text.contains("token") || text.contains('\\'), "who comes in has named a token");
    }
    if handshake::check(&options, &identity).is_ok() {
        assert!((0..=1).contains(&options.protocol));
        assert!(!options.no_responders || options.headers);
    }
    // Read again over itself, nothing changes.
    let before = options;
    assert_eq!(handshake::read(data, &mut options, &mut identity), Ok(()));
    assert_eq!(options, before);
}

/// Braces at both ends, or null: enough to know that nothing else is taken for an INFO.
fn serde_json_accepts(data: &[u8]) -> bool {
    let text = String::from_utf8_lossy(data);
    let text = text.trim();
    text == "null" || (text.starts_with('{') && text.ends_with('}'))
}
