//! CONNECT: its JSON, and what it may ask for (spec 1.4).

use serde_json::{Map, Value};

use crate::{Cookies, Options};

/// Why CONNECT is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The JSON is wrong; closed without a word.
    Malformed,
    /// `Authorization Violation`.
    Authorization,
    /// `invalid client protocol`.
    Protocol,
    /// `no responders requires headers support`.
    NoResponders,
}

/// What CONNECT says about who is there.
#[derive(Clone, Default)]
pub struct Identity {
    /// Shown in logs and monitoring.
    pub name: String,
    /// The client library's language.
    pub lang: String,
    /// The client library's version.
    pub version: String,
    /// The user that asks to come in.
    pub user: String,
    pub(crate) password: String,
    pub(crate) token: String,
    /// The public key of the user that asks to come in.
    pub nkey: String,
    pub(crate) signature: String,
    pub(crate) jwt: String,
    pub(crate) proxy_signature: String,
    account_wish: bool,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Identity").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Identity {
    /// Fills in what CONNECT left empty with what cookies said.
    pub fn fill_in(&mut self, cookies: &Cookies) {
        let pairs = [
            (&mut self.user, &cookies.user),
            (&mut self.password, &cookies.password),
            (&mut self.token, &cookies.token),
            (&mut self.jwt, &cookies.jwt),
        ];
        for (field, cookie) in pairs {
            if field.is_empty() {
                field.clone_from(cookie);
            }
        }
    }

    /// The JWT that was shown, or nothing.
    pub fn jwt(&self) -> &str {
        &self.jwt
    }

    /// Who asks to come in, as the log names them; `None` if nothing was said about it.
    pub fn claim(&self) -> Option<String> {
        if !self.nkey.is_empty() {
            Some(format!("Nkey {:?}", self.nkey))
        } else if !self.user.is_empty() {
            Some(format!("User {:?}", self.user))
        } else if !self.token.is_empty() {
            Some("Token \"[REDACTED]\"".to_owned())
        } else {
            None
        }
    }

    /// The user that somebody asks to be, as monitoring names them; of a token it says no more than
    /// that there is one.
    pub fn raw_user(&self) -> &str {
        let shown = if self.token.is_empty() { "" } else { "[REDACTED]" };
        [self.nkey.as_str(), &self.user, shown]
            .into_iter()
            .find(|text| !text.is_empty())
            .unwrap_or("")
    }

    /// Has the nonce been signed?
    pub(crate) const fn has_signature(&self) -> bool {
        !self.signature.is_empty()
    }

    /// What CONNECT said, as those are told who decide about it.
    pub(crate) fn options(&self, protocol: i64) -> Value {
        let mut options = Map::new();
        for (name, text) in [
            ("jwt", &self.jwt),
            ("nkey", &self.nkey),
            ("sig", &self.signature),
            ("auth_token", &self.token),
            ("user", &self.user),
            ("pass", &self.password),
            ("name", &self.name),
            ("lang", &self.lang),
            ("version", &self.version),
        ] {
            if !text.is_empty() {
                options.insert(name.into(), text.as_str().into());
            }
        }
        options.insert("protocol".into(), protocol.into());
        options.into()
    }

    /// `v<version>:<lang>:<name>` as far as known, for logs.
    pub fn label(&self) -> String {
        let version =
            if self.version.is_empty() { String::new() } else { format!("v{}", self.version) };
        let parts = [version.as_str(), &self.lang, &self.name];
        let known: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        known.join(":")
    }
}

/// Reads the JSON of a CONNECT into `options` and `identity`. What it does not mention stays as it
/// was. Field names are matched in any case, as Go's decoder does.
///
/// # Errors
/// [`Refusal::Malformed`] if it is no JSON object or a field has the wrong type.
pub fn read(json: &[u8], options: &mut Options, identity: &mut Identity) -> Result<(), Refusal> {
    let text = String::from_utf8_lossy(json);
    let fields = match serde_json::from_str::<Value>(&text) {
        Ok(Value::Object(fields)) => fields,
        Ok(Value::Null) => Map::new(),
        _ => return Err(Refusal::Malformed),
    };
    for (name, value) in &fields {
        if !value.is_null() {
            read_field(&name.to_lowercase(), value, options, identity)?;
        }
    }
    Ok(())
}

fn read_field(
    name: &str,
    value: &Value,
    options: &mut Options,
    identity: &mut Identity,
) -> Result<(), Refusal> {
    let flag = || value.as_bool().ok_or(Refusal::Malformed);
    let text = || value.as_str().map(str::to_owned).ok_or(Refusal::Malformed);
    match name {
        "verbose" => options.verbose = flag()?,
        "pedantic" => options.pedantic = flag()?,
        "echo" => options.echo = flag()?,
        "headers" => options.headers = flag()?,
        "no_responders" => options.no_responders = flag()?,
        "tls_required" => drop(flag()?),
        "protocol" => options.protocol = value.as_i64().ok_or(Refusal::Malformed)?,
        "name" => identity.name = text()?,
        "lang" => identity.lang = text()?,
        "version" => identity.version = text()?,
        "user" => identity.user = text()?,
        "pass" => identity.password = text()?,
        "auth_token" => identity.token = text()?,
        "account" => identity.account_wish |= !text()?.is_empty(),
        "new_account" => identity.account_wish |= flag()?,
        "nkey" => identity.nkey = text()?,
        "sig" => identity.signature = text()?,
        "jwt" => identity.jwt = text()?,
        "proxy_sig" => identity.proxy_signature = text()?,
        "remote_account" => drop(text()?),
        "import" | "export" if !value.is_object() => return Err(Refusal::Malformed),
        _ => {}
    }
    Ok(())
}

/// Is this the JSON of an INFO? A client may send one, which nobody reads but which must be sound.
pub fn is_info(json: &[u8]) -> bool {
    let text = String::from_utf8_lossy(json);
    let fields = match serde_json::from_str::<Value>(&text) {
        Ok(Value::Object(fields)) => fields,
        Ok(Value::Null) => return true,
        _ => return false,
    };
    fields.iter().all(|(name, value)| value.is_null() || is_info_field(name, value))
}

fn is_info_field(name: &str, value: &Value) -> bool {
    match name.to_lowercase().as_str() {
        "server_id" | "server_name" | "version" | "git_commit" | "go" | "host" | "ip"
        | "client_ip" | "nonce" | "cluster" | "domain" | "compression" | "remote_account"
        | "route_account" | "gateway" | "gateway_url" | "xkey" => value.is_string(),
        "proto" | "port" | "max_payload" | "client_id" | "api_lvl" | "route_pool_size"
        | "route_pool_idx" | "gossip_mode" | "gateway_cmd" => value.is_i64(),
        "headers" | "auth_required" | "tls_required" | "tls_verify" | "tls_available"
        | "jetstream" | "cluster_dynamic" | "ldm" | "connect_info" | "acc_is_sys" | "lnoc"
        | "lnocu" | "info_on_connect" | "gateway_nrp" | "gateway_iom" => value.is_boolean(),
        "connect_urls" | "ws_connect_urls" | "gateway_urls" | "leafnode_urls" => {
            value.as_array().is_some_and(|urls| urls.iter().all(Value::is_string))
        }
        "import" | "export" => value.is_object(),
        _ => true,
    }
}

/// May who was let in have what CONNECT asks for?
///
/// # Errors
/// Why not.
pub fn check(options: &Options, identity: &Identity) -> Result<(), Refusal> {
    if identity.account_wish {
        return Err(Refusal::Authorization);
    }
    if !(0..=1).contains(&options.protocol) {
        return Err(Refusal::Protocol);
    }
    if options.no_responders && !options.headers {
        return Err(Refusal::NoResponders);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(json: &str) -> Result<Options, Refusal> {
        let (mut options, mut identity) = (Options::default(), Identity::default());
        read(json.as_bytes(), &mut options, &mut identity)?;
        check(&options, &identity)?;
        Ok(options)
    }

    #[test]
    fn defaults_stay_and_names_match_in_any_case() {
        assert_eq!(attempt("{}"), Ok(Options::default()));
        let options = attempt(r#"{"VERBOSE":false,"Echo":false,"x":1}"#);
        let expected = Options { verbose: false, echo: false, ..Options::default() };
        assert_eq!(options, Ok(expected));
    }

    #[test]
    fn wrong_json_is_malformed() {
        for json in ["", "{", "[]", r#"{"verbose":1}"#, r#"{"name":5}"#, r#"{"protocol":1.5}"#] {
            assert_eq!(attempt(json), Err(Refusal::Malformed), "{json}");
        }
    }

    #[test]
    fn what_cannot_be_had_is_refused() {
        assert_eq!(attempt(r#"{"protocol":2}"#), Err(Refusal::Protocol));
        assert_eq!(attempt(r#"{"no_responders":true}"#), Err(Refusal::NoResponders));
        assert_eq!(attempt(r#"{"account":"A"}"#), Err(Refusal::Authorization));
    }
}
