//! Who may import what: exports and imports as they enter the directory (spec 3.3).

use std::fmt;

use base::AccountId;
use subjects::{TransformFault, grammar, transform};

use crate::{Account, Directory, Export, ExportKind, ResponseType, ServiceImport, StreamImport};

/// Accounts that a search for a cycle visits before it gives up.
const VISITED_MAX: usize = 1024;

/// Why an export or import cannot be. `Display` has the reference's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExchangeFault {
    /// Not a subject, or no `*` where the importer's name is to stand.
    InvalidSubject,
    /// The exporter does not offer this stream to the importer.
    StreamNotAuthorized,
    /// The exporter does not offer this service to the importer.
    ServiceNotAuthorized,
    /// Messages would go in a circle.
    Cycle,
    /// Too many accounts to be sure that there is no circle.
    SearchDepth,
    /// A prefix with wildcards.
    Prefix,
    /// The stream is imported already.
    DuplicateStream,
    /// The service is imported already, by this name.
    DuplicateService {
        /// Its name here.
        to: String,
        /// The exporter's name.
        account: String,
        /// Its name there.
        subject: String,
    },
    /// The name here cannot be made from the one there.
    StreamTransform(String, String, TransformFault),
    /// The name there cannot be made from the one here.
    ServiceTransform(String, String, TransformFault),
    /// Latency cannot be published to this subject.
    LatencySubject,
    /// Latency of a service that sends more than one response.
    LatencyResponses,
}

impl fmt::Display for ExchangeFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::InvalidSubject => "sublist: invalid subject",
            Self::StreamNotAuthorized => "stream import not authorized",
            Self::ServiceNotAuthorized => "service import not authorized",
            Self::Cycle => "import forms a cycle",
            Self::SearchDepth => "search cycle depth exhausted",
            Self::Prefix => "stream import prefix can not contain wildcard tokens",
            Self::DuplicateStream => "stream import already exists",
            Self::LatencySubject => "invalid publish subject",
            Self::LatencyResponses => "bad service response type",
            Self::DuplicateService { to, account, subject } => {
                return write!(
                    formatter,
                    "duplicate service import subject {to:?}, previously used in import for \
                     account {account:?}, subject {subject:?}"
                );
            }
            Self::StreamTransform(from, to, fault) => {
                return write!(
                    formatter,
                    "failed to create mapping transform for stream import subject from {from:?} \
                     to {to:?}: {fault}"
                );
            }
            Self::ServiceTransform(from, to, fault) => {
                return write!(
                    formatter,
                    "failed to create mapping transform for service import subject from {from:?} \
                     to {to:?}: {fault}"
                );
            }
        })
    }
}

impl Account {
    /// Adds an export, or changes the one of the same subject.
    ///
    /// # Errors
    /// If there is no `*` for the importer's name, or its latency cannot be measured.
    pub fn add_export(&mut self, export: Export) -> Result<(), ExchangeFault> {
        let position = export.account_token_position;
        if position > 0 && export.subject.split('.').nth(position - 1) != Some("*") {
            return Err(ExchangeFault::InvalidSubject);
        }
        let service = export.is_service();
        let measured = match &export.kind {
            ExportKind::Service { response, latency: Some(latency), .. } => {
                Some((*response, latency.clone()))
            }
            _ => None,
        };
        let same = |old: &&mut Export| old.subject == export.subject && old.is_service() == service;
        match self.exports.iter_mut().find(same) {
            Some(old) => *old = export,
            None => self.exports.push(export),
        }
        let Some((response, latency)) = measured else { return Ok(()) };
        let subject = latency.subject.as_bytes();
        if !grammar::is_literal(subject) || self.service_export(&latency.subject).is_some() {
            return Err(ExchangeFault::LatencySubject);
        }
        if response != ResponseType::Singleton {
            return Err(ExchangeFault::LatencyResponses);
        }
        Ok(())
    }

    /// The exported service that a subject belongs to, and its place among the exports.
    pub fn service_export(&self, subject: &str) -> Option<(usize, &Export)> {
        self.export(subject, Export::is_service)
    }

    /// The export of a kind that a subject belongs to: one of just that name, or the first that
    /// contains it.
    fn export(&self, subject: &str, is_kind: fn(&Export) -> bool) -> Option<(usize, &Export)> {
        let all = || self.exports.iter().enumerate().filter(|(_, export)| is_kind(export));
        all().find(|(_, export)| export.subject == subject).or_else(|| {
            all().find(|(_, export)| {
                grammar::is_subset(subject.as_bytes(), export.subject.as_bytes())
            })
        })
    }
}

impl Export {
    /// Is it a service, and not a stream?
    pub const fn is_service(&self) -> bool {
        matches!(self.kind, ExportKind::Service { .. })
    }

    const fn is_stream(&self) -> bool {
        !self.is_service()
    }

    /// May an account import a subject of it?
    fn admits(&self, importer: &str, subject: &str, activated: bool) -> bool {
        if self.account_token_position > 0 {
            // The export's own name stands for nobody.
            let token = subject.split('.').nth(self.account_token_position - 1);
            return subject != self.subject && token == Some(importer);
        }
        if self.token_required {
            return activated;
        }
        self.accounts.as_ref().is_none_or(|names| names.iter().any(|name| name == importer))
    }
}

impl Directory {
    /// Adds an export, or changes the one of the same subject.
    ///
    /// # Errors
    /// As [`Account::add_export`].
    pub fn add_export(&mut self, exporter: AccountId, export: Export) -> Result<(), ExchangeFault> {
        self.accounts[exporter.index()].add_export(export)
    }

    /// Adds a stream import under a prefix. `activated` says that the importer has a valid
    /// activation token.
    ///
    /// # Errors
    /// As [`Directory::add_stream_import`], and if the prefix has wildcards.
    pub fn add_prefixed_stream_import(
        &mut self,
        importer: AccountId,
        (exporter, subject): (AccountId, &str),
        prefix: &str,
        activated: bool,
    ) -> Result<&mut StreamImport, ExchangeFault> {
        self.authorize_stream(importer, exporter, subject, activated)?;
        let name = prefix.strip_suffix('.').unwrap_or(prefix);
        if grammar::has_wildcard(name.as_bytes()) {
            return Err(ExchangeFault::Prefix);
        }
        let to = format!("{name}.{subject}");
        self.add_stream_import(importer, (exporter, subject), &to, activated)
    }

    /// Adds a stream import as `to`, or as it is called there if that is empty. `activated` says
    /// that the importer has a valid activation token.
    ///
    /// # Errors
    /// If it is not offered, is there already, or makes a circle.
    pub fn add_stream_import(
        &mut self,
        importer: AccountId,
        (exporter, subject): (AccountId, &str),
        to: &str,
        activated: bool,
    ) -> Result<&mut StreamImport, ExchangeFault> {
        self.authorize_stream(importer, exporter, subject, activated)?;
        let called = if to.is_empty() { subject } else { to };
        for name in [called, subject] {
            self.check_streams(exporter, name, &mut vec![importer])?;
        }
        let import = StreamImport::new(exporter, subject, to)?;
        let known = &mut self.accounts[importer.index()].stream_imports;
        if known.iter().any(|other| other.account == exporter && other.subject == subject) {
            return Err(ExchangeFault::DuplicateStream);
        }
        known.push(import);
        Ok(known.last_mut().expect("it was just put there"))
    }

    /// Adds a service import of `subject`, asked under the name `to` or as it is called there if
    /// that is empty. `activated` says that the importer has a valid activation token.
    ///
    /// # Errors
    /// If it is not offered, is there already, or makes a circle.
    pub fn add_service_import(
        &mut self,
        importer: AccountId,
        (exporter, subject): (AccountId, &str),
        to: &str,
        activated: bool,
    ) -> Result<&mut ServiceImport, ExchangeFault> {
        let to = if to.is_empty() { subject } else { to };
        if [to, subject].iter().any(|name| !grammar::is_pattern(name.as_bytes())) {
            return Err(ExchangeFault::InvalidSubject);
        }
        let name = &self.get(importer).name;
        let export = self.get(exporter).service_export(subject);
        if !export.is_some_and(|(_, export)| export.admits(name, subject, activated)) {
            return Err(ExchangeFault::ServiceNotAuthorized);
        }
        let has_wildcard = grammar::has_wildcard(subject.as_bytes());
        let pattern = if has_wildcard { transform::untokenized(to).0 } else { to.into() };
        self.check_services(exporter, &pattern, &mut vec![importer])?;
        let exporter_name = self.get(exporter).name.clone();
        let known = &self.get(importer).service_imports;
        let twin = known.iter().find(|old| old.account == exporter && old.to == to);
        if let Some(twin) = twin {
            return Err(ExchangeFault::DuplicateService {
                to: to.into(),
                account: exporter_name,
                subject: twin.subject.clone(),
            });
        }
        let import = ServiceImport::new(exporter, subject, to)?;
        let known = &mut self.accounts[importer.index()].service_imports;
        known.push(import);
        Ok(known.last_mut().expect("it was just put there"))
    }

    fn authorize_stream(
        &self,
        importer: AccountId,
        exporter: AccountId,
        subject: &str,
        activated: bool,
    ) -> Result<(), ExchangeFault> {
        let name = &self.get(importer).name;
        let export = self.get(exporter).export(subject, Export::is_stream);
        let admitted = export.is_some_and(|(_, export)| export.admits(name, subject, activated));
        let sound = grammar::is_pattern(subject.as_bytes());
        if admitted && sound { Ok(()) } else { Err(ExchangeFault::StreamNotAuthorized) }
    }

    /// Would streams of an account that are called `name` come round to one that was visited?
    fn check_streams(
        &self,
        at: AccountId,
        name: &str,
        visited: &mut Vec<AccountId>,
    ) -> Result<(), ExchangeFault> {
        if visited.len() >= VISITED_MAX {
            return Err(ExchangeFault::SearchDepth);
        }
        let account = self.get(at);
        let contains =
            |export: &Export| grammar::is_subset(name.as_bytes(), export.subject.as_bytes());
        if !account.exports.iter().any(|export| export.is_stream() && contains(export)) {
            return Ok(());
        }
        for import in &account.stream_imports {
            let to = import.to.as_bytes();
            if grammar::collide(name.as_bytes(), to) {
                visit(visited, at, import.account)?;
                let narrower = grammar::is_subset(to, name.as_bytes());
                let next = if narrower { &import.to } else { name };
                self.check_streams(import.account, next, visited)?;
            }
        }
        Ok(())
    }

    /// Would requests to an account that are called `name` come round to one that was visited?
    fn check_services(
        &self,
        at: AccountId,
        name: &str,
        visited: &mut Vec<AccountId>,
    ) -> Result<(), ExchangeFault> {
        if visited.len() >= VISITED_MAX {
            return Err(ExchangeFault::SearchDepth);
        }
        for import in &self.get(at).service_imports {
            if grammar::collide(name.as_bytes(), import.subject.as_bytes()) {
                visit(visited, at, import.account)?;
                let narrower = grammar::is_subset(import.to.as_bytes(), name.as_bytes());
                let next = if narrower { &import.to } else { name };
                self.check_services(import.account, next, visited)?;
            }
        }
        Ok(())
    }
}

/// Goes on from one account to the next, unless that was visited already.
fn visit(
    visited: &mut Vec<AccountId>,
    at: AccountId,
    next: AccountId,
) -> Result<(), ExchangeFault> {
    if visited.contains(&next) {
        return Err(ExchangeFault::Cycle);
    }
    if !visited.contains(&at) {
        visited.push(at);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use base::Duration;

    use super::*;
    use crate::Latency;

    const A: AccountId = AccountId(2);
    const B: AccountId = AccountId(3);
    const C: AccountId = AccountId(4);

    fn directory() -> Directory {
        let mut directory = Directory::default();
        directory.accounts.extend(["A", "B", "C"].map(Account::new));
        directory
    }

    fn stream(subject: &str) -> Export {
        Export {
            subject: subject.into(),
            kind: ExportKind::Stream,
            accounts: None,
            token_required: false,
            account_token_position: 0,
        }
    }

    fn service(subject: &str) -> Export {
        let kind = ExportKind::Service {
            response: ResponseType::Singleton,
            threshold: Duration::ZERO,
            latency: None,
            allow_trace: false,
        };
        Export { kind, ..stream(subject) }
    }

    #[test]
    fn only_what_is_offered_can_be_imported() {
        let mut d = directory();
        d.add_export(A, stream("open.>")).expect("an export");
        let for_b = Some(vec!["B".into()]);
        d.add_export(A, Export { accounts: for_b, ..stream("b.only") }).expect("an export");
        d.add_export(A, Export { account_token_position: 2, ..stream("to.*.>") }).expect("one");
        d.add_export(A, Export { token_required: true, ..stream("token") }).expect("an export");
        for (importer, subject, activated, allowed) in [
            (B, "open.x", false, true),
            (C, "open.>", false, true),
            (B, "closed", false, false),
            (B, "b.only", false, true),
            (C, "b.only", false, false),
            (B, "to.B.x", false, true),
            (C, "to.B.x", false, false),
            (B, "to.*.>", false, false),
            (B, "token", false, false),
            (B, "token", true, true),
            (B, ">", false, false),
        ] {
            let found = d.clone().add_stream_import(importer, (A, subject), "", activated).is_ok();
            assert_eq!(found, allowed, "{subject} {activated}");
            // A stream is no service.
            let found = d.add_service_import(importer, (A, subject), "", activated).map(|_| ());
            assert_eq!(found, Err(ExchangeFault::ServiceNotAuthorized));
        }
        let bad = Export { account_token_position: 1, ..stream("to.*") };
        assert_eq!(d.add_export(A, bad), Err(ExchangeFault::InvalidSubject));
    }

    #[test]
    fn circles_are_refused() {
        let mut d = directory();
        for account in [A, B, C] {
            d.add_export(account, stream(">")).expect("an export");
            d.add_export(account, service("help.>")).expect("an export");
        }
        d.add_stream_import(B, (A, "foo.>"), "", false).expect("the first");
        d.add_stream_import(C, (B, "foo.x"), "", false).expect("the second");
        let circle = d.add_stream_import(A, (C, "foo.x"), "", false).map(|_| ());
        assert_eq!(circle, Err(ExchangeFault::Cycle));
        d.add_stream_import(A, (C, "bar"), "", false).expect("something else");
        d.add_service_import(B, (A, "help.a"), "", false).expect("the first");
        d.add_service_import(C, (B, "help.a"), "", false).expect("the second");
        let circle = d.add_service_import(A, (C, "help.a"), "", false).map(|_| ());
        assert_eq!(circle, Err(ExchangeFault::Cycle));
        d.add_service_import(A, (C, "help.b"), "", false).expect("something else");
    }

    #[test]
    fn nothing_is_imported_twice() {
        let mut d = directory();
        d.add_export(A, stream("s")).expect("an export");
        d.add_export(A, service("r")).expect("an export");
        d.add_stream_import(B, (A, "s"), "", false).expect("the first");
        let twice = d.add_stream_import(B, (A, "s"), "other", false).map(|_| ());
        assert_eq!(twice, Err(ExchangeFault::DuplicateStream));
        d.add_service_import(B, (A, "r"), "x", false).expect("the first");
        let twice = d.add_service_import(B, (A, "r"), "x", false).expect_err("the second");
        let expected = "duplicate service import subject \"x\", previously used in import for \
                        account \"A\", subject \"r\"";
        assert_eq!(twice.to_string(), expected);
        let prefixed = d.add_prefixed_stream_import(C, (A, "s"), "pre.", false);
        assert_eq!(prefixed.expect("a prefix").to, "pre.s");
        let prefixed = d.add_prefixed_stream_import(C, (A, "s"), "pre.*", false).map(|_| ());
        assert_eq!(prefixed, Err(ExchangeFault::Prefix));
    }

    #[test]
    fn latency_is_measured_of_single_responses() {
        let mut d = directory();
        let timed = |subject: &str, to: &str, response| Export {
            kind: ExportKind::Service {
                response,
                threshold: Duration::ZERO,
                latency: Some(Latency { sampling: 100, subject: to.into() }),
                allow_trace: false,
            },
            ..stream(subject)
        };
        let one = ResponseType::Singleton;
        assert_eq!(d.add_export(A, timed("r", "lat", one)), Ok(()));
        for subject in ["lat.*", "r"] {
            let fault = d.add_export(A, timed("r", subject, one));
            assert_eq!(fault, Err(ExchangeFault::LatencySubject));
        }
        let many = timed("r", "lat", ResponseType::Stream);
        assert_eq!(d.add_export(A, many), Err(ExchangeFault::LatencyResponses));
    }

    #[test]
    fn who_stays_keeps_the_place() {
        let mut d = directory();
        d.add_export(A, stream("s")).expect("an export");
        d.add_stream_import(C, (A, "s"), "", false).expect("an import");
        let mut next = Directory::default();
        next.accounts.extend(["C", "D", "A"].map(Account::new));
        next.add_export(C, stream("s")).expect("an export");
        next.add_stream_import(A, (C, "s"), "", false).expect("an import");
        let next = next.after(&d);
        let names: Vec<(&str, bool)> =
            next.accounts.iter().map(|a| (a.name.as_str(), a.removed)).collect();
        let expected =
            [("$G", false), ("$SYS", false), ("A", false), ("B", true), ("C", false), ("D", false)];
        assert_eq!(names, expected);
        assert_eq!(next.get(C).stream_imports[0].account, A);
        assert_eq!(next.find("B"), None);
        assert_eq!(next.clone().after(&next), next);
    }
}
