//! What may not stand in an account's token, in the words of the reference (spec 3.4).

use std::collections::HashMap;

use subjects::grammar;

use crate::token::Claims;
use crate::{Mapping, Statement};

/// What is wrong with an account's token: it is not taken for it.
#[derive(Debug, Default)]
struct Faults(Vec<String>);

impl Statement {
    /// What is wrong with it, whatever the time; nothing if it is good.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Faults::default();
        let nats = self.token().nats();
        self.check_imports(&mut faults);
        check_exports(nats, &mut faults);
        check_limits(nats, &mut faults);
        check_defaults(nats.part("default_permissions"), &mut faults);
        check_authorization(nats.part("authorization"), &mut faults);
        let traffic = nats.text("cluster_traffic");
        if !["", "system", "owner"].contains(&traffic) {
            faults.add(format!("unknown cluster traffic option: {traffic:?}"));
        }
        faults.0
    }

    /// The mapping that cannot be, if there is one.
    pub fn mapping_fault(&self) -> Option<String> {
        self.wished_mappings().find_map(|(source, targets)| {
            let fault = Mapping::new(source, targets).err()?;
            Some(format!("mapping {source:?}: {fault}"))
        })
    }

    fn check_imports(&self, faults: &mut Faults) {
        let mut asked: HashMap<&str, Vec<&str>> = HashMap::new();
        for (place, import) in self.token().nats().items("imports").enumerate() {
            let (subject, account) = (import.text("subject"), import.text("account"));
            let service = import.text("type") == "service";
            if service {
                let names = ["to", "local_subject", "subject"].map(|name| import.text(name));
                let name = names.into_iter().find(|name| !name.is_empty()).unwrap_or_default();
                let others = asked.entry(account).or_default();
                faults.extend(others.iter().filter(|other| overlap(name, other)).map(|other| {
                    format!(
                        "overlapping subject namespace for {name:?} and {other:?} in same account \
                         {account:?}"
                    )
                }));
                others.push(name);
            } else if import.text("type") != "stream" {
                faults.add(format!("invalid import type: {:?}", import.text("type")));
            }
            if service && import.flag("allow_trace") {
                faults.add("AllowTrace only valid for stream import".into());
            }
            if account.is_empty() {
                faults.add("account to import from is not specified".into());
            }
            check_subject(subject, faults);
            if !import.text("local_subject").is_empty() && !import.text("to").is_empty() {
                faults.add("Local Subject replaces To".into());
            }
            if import.flag("share") && !service {
                faults.add(format!(
                    "sharing information (for latency tracking) is only valid for services: \
                     {subject:?}"
                ));
            }
            if !import.text("token").is_empty() {
                faults.extend(self.activation_faults(place, import));
            }
        }
    }

    /// What is wrong with the activation token of an import, but for its time.
    pub(crate) fn activation_faults(&self, place: usize, import: Claims<'_>) -> Vec<String> {
        let (subject, account) = (import.text("subject"), import.text("account"));
        let Some(token) = self.activation(place) else {
            return vec![format!("import {subject:?} contains an invalid activation token")];
        };
        let mut faults = Faults::default();
        let nats = token.nats();
        if token.issuer() != account && nats.text("issuer_account") != account {
            faults.add(format!("activation token doesn't match account for import {subject:?}"));
        }
        if token.subject() != self.key() {
            faults.add(format!(
                "activation token doesn't match account it is being included in, {subject:?}"
            ));
        }
        let (kind, own) = (nats.text("kind"), import.text("type"));
        if kind != own {
            faults
                .add(format!("mismatch between token import type {kind} and type of import {own}"));
        }
        let activated = nats.text("subject");
        check_subject(activated, &mut faults);
        let to = import.text("to");
        let asked = if own == "service" && !to.is_empty() { to } else { subject };
        if !is_contained(asked, activated) {
            faults.add(format!(
                "activation token import subject {activated:?} doesn't match import {subject:?}"
            ));
        }
        faults.0
    }
}

impl Faults {
    fn add(&mut self, fault: String) {
        self.0.push(fault);
    }

    fn extend(&mut self, faults: impl IntoIterator<Item = String>) {
        self.0.extend(faults);
    }
}

fn check_subject(subject: &str, faults: &mut Faults) {
    if subject.is_empty() {
        return faults.add("subject cannot be empty".into());
    }
    if subject.contains(' ') {
        faults.add(format!("subject {subject:?} cannot have spaces"));
    }
    if subject.starts_with('.') || subject.ends_with('.') {
        faults.add(format!("subject {subject:?} cannot start or end with a `.`"));
    }
    if subject.contains("..") {
        faults.add(format!("subject {subject:?} cannot contain consecutive `.`"));
    }
}

fn check_exports(nats: Claims<'_>, faults: &mut Faults) {
    for export in nats.items("exports") {
        let (subject, kind) = (export.text("subject"), export.text("type"));
        let response = export.text("response_type");
        match kind {
            "service" if !["", "Singleton", "Stream", "Chunked"].contains(&response) => {
                faults.add(format!("invalid response type for service: {response:?}"));
            }
            "stream" if !response.is_empty() => {
                faults.add(format!("invalid response type for stream: {response:?}"));
            }
            "service" | "stream" => {}
            _ => faults.add(format!("invalid export type: {kind:?}")),
        }
        if kind == "stream" && export.flag("allow_trace") {
            faults.add("AllowTrace only valid for service export".into());
        }
        let latency = export.part("service_latency");
        if latency.is_some() && kind != "service" {
            faults.add("latency tracking only permitted for services".into());
        }
        if latency.is_some() && grammar::has_wildcard(latency.text("results").as_bytes()) {
            faults.add("results subject can not contain wildcards".into());
        }
        if export.integer("response_threshold").unwrap_or(0) < 0 {
            faults.add("negative response threshold is invalid".into());
        }
        check_subject(subject, faults);
        check_token_position(subject, export.integer("account_token_position"), faults);
    }
    for kind in ["service", "stream"] {
        let alike = || nats.items("exports").filter(|export| export.text("type") == kind);
        let subjects: Vec<&str> = alike().map(|export| export.text("subject")).collect();
        for (place, subject) in subjects.iter().enumerate() {
            let others = subjects.iter().enumerate().filter(|(other, _)| *other != place);
            let mut inner = others.filter(|(_, other)| is_contained(other, subject));
            if let Some((_, inner)) = inner.next() {
                faults.add(format!("{kind} export subject {subject:?} already exports {inner:?}"));
            }
        }
    }
}

fn check_token_position(subject: &str, position: Option<i64>, faults: &mut Faults) {
    let Some(position) = position.filter(|position| *position > 0) else { return };
    if !grammar::has_wildcard(subject.as_bytes()) {
        return faults.add(format!(
            "Account Token Position can only be used with wildcard subjects: {subject}"
        ));
    }
    match subject.split('.').nth(usize::try_from(position - 1).unwrap_or(usize::MAX)) {
        Some("*") => {}
        Some(token) => faults.add(format!(
            "Account Token Position {position} matches '{token}' but must match a * in: {subject}"
        )),
        None => faults.add(format!(
            "Account Token Position {position} exceeds length of subject '{subject}'"
        )),
    }
}

fn check_limits(nats: Claims<'_>, faults: &mut Faults) {
    let limits = nats.part("limits");
    if limits.entries("tiered_limits").any(|(name, _)| name.is_empty()) {
        faults.add("Tiered JetStream Limits can not contain a blank \"\" tier name".into());
    }
    let limit = |name: &str| limits.integer(name).unwrap_or(0);
    for (name, most) in [("imports", limit("imports")), ("exports", limit("exports"))] {
        let count = nats.items(name).count();
        if most != -1 && i64::try_from(count).unwrap_or(i64::MAX) > most {
            faults.add(format!("the account contains more {name} than allowed by the operator"));
        }
    }
    if limit("exports") != -1 && !limits.flag("wildcards") {
        let wild = |export: &Claims<'_>| grammar::has_wildcard(export.text("subject").as_bytes());
        faults.extend(nats.items("exports").filter(wild).map(|_| {
            "the account contains wildcard exports that are not allowed by the operator".into()
        }));
    }
}

fn check_defaults(permissions: Claims<'_>, faults: &mut Faults) {
    for (way, list) in [("pub", "allow"), ("pub", "deny"), ("sub", "allow"), ("sub", "deny")] {
        for subject in permissions.part(way).texts(list) {
            let subject = subject.split(' ').next().unwrap_or_default();
            check_subject(subject, faults);
        }
    }
}

fn check_authorization(authorization: Claims<'_>, faults: &mut Faults) {
    let has_users = !authorization.texts("auth_users").is_empty();
    if !has_users && !authorization.texts("allowed_accounts").is_empty() {
        faults.add("External authorization cannot have accounts without users specified".into());
    }
}

fn overlap(one: &str, other: &str) -> bool {
    is_contained(one, other) || is_contained(other, one)
}

/// Is a subject one of a pattern's, or the pattern itself?
fn is_contained(subject: &str, pattern: &str) -> bool {
    let bytes = [subject, pattern].map(str::as_bytes);
    bytes.iter().all(|text| grammar::is_pattern(text)) && grammar::is_subset(bytes[0], bytes[1])
}
