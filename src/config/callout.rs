//! `auth_callout`: who decides about all others (spec 3.5).

use accounts::{Callout as Rule, Directory, Referral};

use super::auth::shown;
use super::nkey::{self, Kind};
use super::schema::{Reader, at, text};
use super::tree::{Node, Value};
use crate::notation::quote;

/// Who decides about all others, as the file says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Callout {
    /// The public key of an account, with which answers are signed.
    pub issuer: String,
    /// The account of those who decide; empty for the global one.
    pub account: String,
    /// Users who are judged by the file alone.
    pub deciders: Vec<String>,
    /// Their public curve key; empty if nothing is sealed.
    pub xkey: String,
    /// The accounts whose users are asked about; all if empty.
    pub accounts: Vec<String>,
}

impl Callout {
    /// Are all accounts there? The error is what the user reads.
    pub(super) fn check(&self, directory: &Directory) -> Result<(), String> {
        let unknown = |name: &&String| directory.find(name).is_none();
        if let Some(name) = self.accounts.iter().find(unknown) {
            let name = quote(name);
            return Err(format!(
                "auth_callout allowed account {name} not found in configured accounts"
            ));
        }
        if !self.account.is_empty() && unknown(&&self.account) {
            let name = quote(&self.account);
            return Err(format!("auth_callout account {name} not found in configured accounts"));
        }
        Ok(())
    }

    /// The same with accounts where a directory has them.
    pub(super) fn placed(&self, directory: &Directory) -> Rule {
        let place = |name: &String| {
            directory.find(name).expect("accounts were looked up when the file was read")
        };
        let account = Some(&self.account).filter(|name| !name.is_empty());
        Rule {
            referral: Referral {
                account: account.map_or(base::AccountId::GLOBAL, place),
                issuer: self.issuer.clone(),
                xkey: self.xkey.clone(),
            },
            deciders: self.deciders.clone(),
            accounts: self.accounts.iter().map(place).collect(),
        }
    }
}

/// Reads the block.
pub(super) fn read(reader: &mut Reader, node: &Node) -> Result<Callout, String> {
    let Value::Map(block) = &node.value else {
        let shown = shown(&node.value);
        let reason = format!("Expected authorization callout to be a map/struct, got {shown}");
        return Err(at(node, &reason));
    };
    let mut callout = Callout::default();
    let mut last = node;
    for (key, node) in block.iter() {
        last = node;
        match key.to_lowercase().as_str() {
            "issuer" => callout.issuer = public_key(node, Kind::Account)?,
            "account" | "acc" => callout.account = text(node)?,
            "auth_users" | "users" => callout.deciders = text_array("auth_users", node)?,
            "allowed_accounts" => callout.accounts = text_array("allowed accounts", node)?,
            "xkey" | "key" => callout.xkey = public_key(node, Kind::Curve)?,
            _ if node.referenced => {}
            _ => {
                let reason = format!("Unknown field {} parsing authorization callout", quote(key));
                reader.errors.push(at(node, &reason));
            }
        }
    }
    if callout.issuer.is_empty() {
        return Err(at(last, "Authorization callouts require an issuer to be specified"));
    }
    if callout.deciders.is_empty() {
        return Err(at(last, "Authorization callouts require authorized users to be specified"));
    }
    Ok(callout)
}

fn public_key(node: &Node, kind: Kind) -> Result<String, String> {
    let key = text(node)?;
    if nkey::is_public(&key, kind) {
        return Ok(key);
    }
    let wanted = match kind {
        Kind::Curve => "xkey to be a valid public xkey",
        _ => "user to be a valid public account nkey",
    };
    Err(at(node, &format!("Expected callout {wanted}, got {}", quote(&key))))
}

fn text_array(field: &str, node: &Node) -> Result<Vec<String>, String> {
    match &node.value {
        Value::Array(nodes) => nodes.iter().map(text).collect(),
        _ => Err(at(node, &format!("Expected {field} field to be an array, got *conf.token"))),
    }
}
