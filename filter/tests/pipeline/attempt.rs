//! A request made field by field, and how it ended.

use contract::{
    action::Action,
    assertion::{self, Target, Vouched},
    keys::KeyRing,
    signature::sign,
};
use filter::{
    identity::Peer,
    pipeline::{self, Forward, LogFacts, Request, Secrets, Step},
    policy::Policy,
    upstream::HeaderChange,
};
use std::collections::BTreeMap;

pub(crate) const NOW: u64 = 1_795_340_000_000;
pub(crate) const ASSERTION_KEYS: &[u8] = b"a:0123456789abcdef0123456789abcdef";
pub(crate) const WEBHOOK_KEYS: &[u8] = b"w:fedcba9876543210";
pub(crate) const APP: &str = "spiffe://acme.example/app";
pub(crate) const BODY: &[u8] = br#"{"type":"auth"}"#;

pub(crate) const CLIENTS: &str = r#"{"version":"1","listener":"clients","assertionKeys":{"filterState":"a"},"identity":{"certificate":{"names":["uri"]}},
    "grants":[{"principal":"spiffe://acme.example/app","tenants":["acme"],"actions":["connect","read"]}]}"#;
pub(crate) const PUBLIC: &str = r#"{"version":"1","listener":"public","assertionKeys":{"filterState":"a"},
    "webhook":{"keys":{"filterState":"w"},"maxBodyBytes":64}}"#;

/// How a request ended: what control would see, or what the sender was told.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    Forwarded(BTreeMap<String, String>),
    Refused(u16, &'static str),
    Answered(u16, Vec<(&'static str, String)>),
}

/// A request that is made field by field.
#[derive(Clone)]
pub(crate) struct Try {
    pub(crate) policy: &'static str,
    pub(crate) headers: Vec<(&'static str, Vec<u8>)>,
    pub(crate) uri_names: &'static str,
    pub(crate) certificate_end: Option<&'static [u8]>,
    pub(crate) chunks: Vec<&'static [u8]>,
    pub(crate) assertion_keys: Option<&'static [u8]>,
    pub(crate) webhook_keys: Option<&'static [u8]>,
}

impl Try {
    pub(crate) fn client(method: &'static str, path: &'static str) -> Self {
        let headers = vec![
            (":method", method.into()),
            (":path", path.into()),
            ("x-request-id", b"r-1".to_vec()),
        ];
        Self {
            policy: CLIENTS,
            headers,
            uri_names: APP,
            certificate_end: Some(b"1795340000"),
            chunks: Vec::new(),
            assertion_keys: Some(ASSERTION_KEYS),
            webhook_keys: Some(WEBHOOK_KEYS),
        }
    }

    pub(crate) fn public(method: &'static str, path: &'static str) -> Self {
        Self { policy: PUBLIC, uri_names: "-", ..Self::client(method, path) }
    }

    pub(crate) fn webhook() -> Self {
        let signature = sign(&KeyRing::parse(WEBHOOK_KEYS).unwrap(), BODY);
        Self { chunks: vec![BODY], ..Self::public("POST", "/webhooks/nango") }
            .with("content-type", "application/json")
            .with("x-nango-hmac-sha256", &signature)
    }

    pub(crate) fn with(self, name: &'static str, value: &str) -> Self {
        self.with_bytes(name, value.as_bytes())
    }

    pub(crate) fn with_bytes(mut self, name: &'static str, value: &[u8]) -> Self {
        self.headers.push((name, value.to_vec()));
        self
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.headers.retain(|header| header.0 != name);
        self
    }

    pub(crate) fn run(&self) -> (End, LogFacts) {
        let (step, facts) = self.begin();
        let ended = match step {
            Step::Answer(reply) => return (End::Answered(reply.status, reply.headers), facts),
            Step::Forward(forward) => Ok(forward),
            Step::Refuse(refusal) | Step::RefuseAfterBody(refusal) => Err(refusal),
            Step::Hold(mut held) => self
                .chunks
                .iter()
                .try_for_each(|chunk| held.update(chunk))
                .and_then(|()| held.finish(NOW)),
        };
        let end = match ended {
            Ok(forward) => End::Forwarded(self.upstream(forward)),
            Err(refusal) => {
                let reply = refusal.reply();
                End::Refused(reply.status, reply.details)
            }
        };
        (end, facts)
    }

    pub(crate) fn begin(&self) -> (Step, LogFacts) {
        let policy = Policy::parse(self.policy.as_bytes()).unwrap();
        let headers: Vec<_> =
            self.headers.iter().map(|(name, value)| (name.as_bytes(), value.as_slice())).collect();
        let secrets =
            Secrets { assertion_keys: self.assertion_keys, webhook_keys: self.webhook_keys };
        let request = Request {
            headers: &headers,
            peer: Peer {
                uri_names: Some(self.uri_names.as_bytes()),
                certificate_end: self.certificate_end,
                ..Peer::default()
            },
            secrets,
            has_body: !self.chunks.is_empty(),
        };
        pipeline::begin(&policy, request, NOW)
    }

    /// The headers as control would see them.
    pub(crate) fn upstream(&self, Forward { changes }: Forward) -> BTreeMap<String, String> {
        let mut headers: BTreeMap<String, String> =
            self.headers.iter().map(|(name, value)| text(name, value)).collect();
        for change in changes {
            match change {
                HeaderChange::Remove(name) => drop(headers.remove(&name)),
                HeaderChange::Set(name, value) => drop(headers.insert(name.to_owned(), value)),
            }
        }
        headers
    }
}

pub(crate) fn text(name: &str, value: &[u8]) -> (String, String) {
    (name.to_owned(), String::from_utf8_lossy(value).into_owned())
}

#[track_caller]
pub(crate) fn check_refused(request: Try, status: u16, reason: &'static str) {
    assert_eq!(request.run().0, End::Refused(status, reason));
}

/// Checks that the request goes on and that control would believe exactly `vouched` about it.
#[track_caller]
pub(crate) fn check_forwarded(request: Try, vouched: Vouched) -> BTreeMap<String, String> {
    let End::Forwarded(headers) = request.run().0 else { panic!("{:?}", request.run().0) };
    let target = Target { method: &headers[":method"], path: &headers[":path"] };
    let keys = KeyRing::parse(ASSERTION_KEYS).unwrap();
    let assertion = &headers["x-connections-assertion"];
    assert_eq!(assertion::verify(&keys, assertion, target, &vouched, NOW), Ok(()));
    let told = |name: &str| headers.get(name).cloned();
    assert_eq!(told("x-connections-principal"), vouched.principal.map(|it| it.to_string()));
    assert_eq!(told("x-connections-tenant"), vouched.tenant.map(|it| it.to_string()));
    assert_eq!(told("x-connections-action"), vouched.action.map(|it| it.to_string()));
    assert_eq!(told("x-connections-webhook-key"), vouched.webhook_key.map(|it| it.to_string()));
    headers
}

pub(crate) fn nobody() -> Vouched {
    Vouched { request_id: Some("r-1".to_owned()), ..Vouched::default() }
}

pub(crate) fn app(action: Action) -> Vouched {
    Vouched {
        principal: Some(APP.parse().unwrap()),
        tenant: Some("acme".parse().unwrap()),
        action: Some(action),
        ..nobody()
    }
}
