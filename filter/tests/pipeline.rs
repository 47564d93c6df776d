//! The whole edge, natively: a request's facts in, and what goes upstream or back to the sender.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop at the first surprise"
)]

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

const NOW: u64 = 1_795_340_000_000;
const ASSERTION_KEYS: &[u8] = b"a:0123456789abcdef0123456789abcdef";
const WEBHOOK_KEYS: &[u8] = b"w:fedcba9876543210";
const APP: &str = "spiffe://acme.example/app";
const BODY: &[u8] = br#"{"type":"auth"}"#;

const CLIENTS: &str = r#"{"version":"1","listener":"clients","assertionKeys":{"filterState":"a"},"identity":["uri"],
    "grants":[{"principal":"spiffe://acme.example/app","tenants":["acme"],"actions":["connect","read"]}]}"#;
const PUBLIC: &str = r#"{"version":"1","listener":"public","assertionKeys":{"filterState":"a"},
    "webhook":{"keys":{"filterState":"w"},"maxBodyBytes":64}}"#;

/// How a request ended: what control would see, or what the sender was told.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Forwarded(BTreeMap<String, String>),
    Refused(u16, &'static str),
}

/// A request that is made field by field.
#[derive(Clone)]
struct Try {
    policy: &'static str,
    headers: Vec<(&'static str, Vec<u8>)>,
    uri_names: &'static str,
    chunks: Vec<&'static [u8]>,
    assertion_keys: Option<&'static [u8]>,
    webhook_keys: Option<&'static [u8]>,
}

impl Try {
    fn client(method: &'static str, path: &'static str) -> Self {
        let headers = vec![
            (":method", method.into()),
            (":path", path.into()),
            ("x-request-id", b"r-1".to_vec()),
        ];
        Self {
            policy: CLIENTS,
            headers,
            uri_names: APP,
            chunks: Vec::new(),
            assertion_keys: Some(ASSERTION_KEYS),
            webhook_keys: Some(WEBHOOK_KEYS),
        }
    }

    fn public(method: &'static str, path: &'static str) -> Self {
        Self { policy: PUBLIC, uri_names: "-", ..Self::client(method, path) }
    }

    fn webhook() -> Self {
        let signature = sign(&KeyRing::parse(WEBHOOK_KEYS).unwrap(), BODY);
        Self { chunks: vec![BODY], ..Self::public("POST", "/webhooks/nango") }
            .with("content-type", "application/json")
            .with("x-nango-hmac-sha256", &signature)
    }

    fn with(self, name: &'static str, value: &str) -> Self {
        self.with_bytes(name, value.as_bytes())
    }

    fn with_bytes(mut self, name: &'static str, value: &[u8]) -> Self {
        self.headers.push((name, value.to_vec()));
        self
    }

    fn without(mut self, name: &str) -> Self {
        self.headers.retain(|header| header.0 != name);
        self
    }

    fn run(&self) -> (End, LogFacts) {
        let (step, facts) = self.begin();
        let ended = match step {
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

    fn begin(&self) -> (Step, LogFacts) {
        let policy = Policy::parse(self.policy.as_bytes()).unwrap();
        let headers: Vec<_> =
            self.headers.iter().map(|(name, value)| (name.as_bytes(), value.as_slice())).collect();
        let secrets =
            Secrets { assertion_keys: self.assertion_keys, webhook_keys: self.webhook_keys };
        let request = Request {
            headers: &headers,
            peer: Peer { uri_names: Some(self.uri_names.as_bytes()), dns_names: Some(b"-") },
            secrets,
            has_body: !self.chunks.is_empty(),
        };
        pipeline::begin(&policy, request, NOW)
    }

    /// The headers as control would see them.
    fn upstream(&self, Forward { changes }: Forward) -> BTreeMap<String, String> {
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

fn text(name: &str, value: &[u8]) -> (String, String) {
    (name.to_owned(), String::from_utf8_lossy(value).into_owned())
}

#[track_caller]
fn check_refused(request: Try, status: u16, reason: &'static str) {
    assert_eq!(request.run().0, End::Refused(status, reason));
}

/// Checks that the request goes on and that control would believe exactly `vouched` about it.
#[track_caller]
fn check_forwarded(request: Try, vouched: Vouched) -> BTreeMap<String, String> {
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

fn nobody() -> Vouched {
    Vouched { request_id: Some("r-1".to_owned()), ..Vouched::default() }
}

fn app(action: Action) -> Vouched {
    Vouched {
        principal: Some(APP.parse().unwrap()),
        tenant: Some("acme".parse().unwrap()),
        action: Some(action),
        ..nobody()
    }
}

#[test]
fn a_granted_call_is_vouched_for_with_principal_tenant_and_action() {
    check_forwarded(Try::client("GET", "/tenants/acme/connections/1?wait=3"), app(Action::Read));
    let start =
        Try::client("POST", "/tenants/acme/connections").with("content-type", "application/json");
    check_forwarded(start, app(Action::Connect));
}

#[test]
fn a_call_without_its_grant_is_refused() {
    check_refused(Try::client("GET", "/tenants/rival/connections/1"), 403, "edge_no_grant");
    check_refused(Try::client("DELETE", "/tenants/acme/connections/1"), 403, "edge_no_grant");
    let stranger = Try {
        uri_names: "spiffe://acme.example/other",
        ..Try::client("GET", "/tenants/acme/connections/1")
    };
    check_refused(stranger, 403, "edge_no_grant");
}

#[test]
fn a_caller_without_identity_learns_nothing_about_the_routes() {
    for path in ["/tenants/acme/connections/1", "/nowhere", "/health"] {
        let nameless = Try { uri_names: "-", ..Try::client("GET", path) };
        check_refused(nameless, 403, "edge_no_identity");
    }
    let two = Try {
        uri_names: "spiffe://acme.example/app,spiffe://acme.example/b",
        ..Try::client("GET", "/tenants/acme/connections/1")
    };
    check_refused(two, 403, "edge_identity_ambiguous");
}

#[test]
fn no_identity_is_taken_from_a_header() {
    let spoofed = Try { uri_names: "-", ..Try::client("GET", "/tenants/acme/connections/1") }
        .with("x-connections-principal", APP)
        .with("x-forwarded-client-cert", "URI=spiffe://acme.example/app");
    check_refused(spoofed, 403, "edge_no_identity");
}

#[test]
fn edge_headers_from_outside_never_reach_upstream() {
    let spoofed = Try::public("GET", "/oauth/callback?state=s&code=c%2F")
        .with("x-connections-principal", APP)
        .with("x-connections-tenant", "acme")
        .with("x-connections-action", "delete")
        .with("x-connections-webhook-key", "w")
        .with("x-connections-assertion", "v1,a,1,00")
        .with("x-connections-of-a-later-version", "1");
    let headers = check_forwarded(spoofed, nobody());
    assert!(!headers.contains_key("x-connections-of-a-later-version"));
    assert_eq!(headers[":path"], "/oauth/callback?state=s&code=c%2F");
}

#[test]
fn a_signed_webhook_is_vouched_for_with_the_key_that_verified_it() {
    let vouched = Vouched { webhook_key: Some("w".parse().unwrap()), ..nobody() };
    check_forwarded(Try::webhook(), vouched.clone());
    let (first, second) = BODY.split_at(4);
    check_forwarded(Try { chunks: vec![first, b"", second], ..Try::webhook() }, vouched);
}

#[test]
fn a_webhook_that_nobody_signed_is_refused() {
    let header = "x-nango-hmac-sha256";
    check_refused(Try::webhook().without(header), 401, "edge_signature_missing");
    check_refused(
        Try::webhook().without(header).with("x-nango-signature", &"0".repeat(64)),
        401,
        "edge_signature_missing",
    );
    check_refused(Try::webhook().with(header, &"0".repeat(64)), 401, "edge_signature_duplicated");
    check_refused(
        Try::webhook().without(header).with(header, "junk"),
        401,
        "edge_signature_malformed",
    );
    check_refused(Try { chunks: vec![b"{}"], ..Try::webhook() }, 401, "edge_signature_mismatch");
    // No body at all: no body callback will come, and the answer comes with the head.
    check_refused(Try { chunks: vec![], ..Try::webhook() }, 401, "edge_signature_mismatch");
}

#[test]
fn a_webhook_over_the_limit_is_refused() {
    let large: &'static [u8] = &[b' '; 65];
    check_refused(Try { chunks: vec![large], ..Try::webhook() }, 413, "edge_body_too_large");
    check_refused(Try::webhook().with("content-length", "65"), 413, "edge_body_too_large");
}

#[test]
fn a_body_that_is_not_declared_as_json_is_refused() {
    let plain = Try::webhook().without("content-type");
    check_refused(plain.clone(), 415, "edge_not_json");
    check_refused(plain.clone().with("content-type", "text/plain"), 415, "edge_not_json");
    let vouched = Vouched { webhook_key: Some("w".parse().unwrap()), ..nobody() };
    check_forwarded(plain.with("content-type", "application/JSON; charset=utf-8"), vouched);
}

/// An answer before the end of the body is an answer that some clients never read.
#[test]
fn a_refusal_waits_for_a_small_body_and_for_no_other() {
    let waits = |request: Try| match request.begin().0 {
        Step::Refuse(_) => false,
        Step::RefuseAfterBody(_) => true,
        step @ (Step::Forward(_) | Step::Hold(_)) => panic!("{step:?}"),
    };
    let refused = Try { chunks: vec![BODY], ..Try::client("POST", "/nowhere") };
    assert!(waits(refused.clone().with("content-length", "15")));
    assert!(waits(refused.clone().with("content-length", "16384")));
    assert!(!waits(refused.clone().with("content-length", "16385")));
    assert!(!waits(refused.clone().with("content-length", "-1")));
    assert!(!waits(refused.with("transfer-encoding", "chunked")));
    assert!(!waits(Try::client("GET", "/nowhere").with("content-length", "0")));
}

#[test]
fn a_missing_or_guessable_key_is_our_fault_and_never_a_pass() {
    for key in [None, Some(b"-".as_slice()), Some(b"".as_slice()), Some(b"short".as_slice())] {
        let without_webhook_key = Try { webhook_keys: key, ..Try::webhook() };
        check_refused(without_webhook_key, 503, "edge_no_webhook_key");
        let without_assertion_key = Try { assertion_keys: key, ..Try::client("GET", "/health") };
        check_refused(without_assertion_key, 503, "edge_no_assertion_key");
    }
}

#[test]
fn a_malformed_head_is_refused_before_anything_is_asked_of_it() {
    check_refused(Try::public("GET", "/webhooks/../health"), 400, "edge_path_malformed");
    check_refused(Try::public("GET", "/health%2f"), 400, "edge_path_malformed");
    let upgrade = Try::public("GET", "/health").with("connection", "upgrade");
    check_refused(upgrade.with("upgrade", "websocket"), 400, "edge_upgrade");
    check_refused(Try::public("GET", "/health").with(":path", "/x"), 400, "edge_header_duplicated");
}

#[test]
fn the_log_learns_the_tenant_only_once_its_grant_passed() {
    let (_, facts) = Try::client("GET", "/tenants/acme/connections/1").run();
    assert_eq!(facts.tenant.as_deref(), Some("acme"));
    assert_eq!((facts.route, facts.principal.as_deref()), (Some("get"), Some(APP)));
    let (_, facts) = Try::client("GET", "/tenants/rival/connections/1").run();
    assert_eq!(facts.tenant, None);
    assert_eq!((facts.route, facts.principal.as_deref()), (Some("get"), Some(APP)));
}

#[test]
fn a_value_that_is_not_text_is_refused_but_for_a_signed_webhook_that_nobody_may_lose() {
    let call = Try::client("GET", "/tenants/acme/connections/1");
    check_refused(call.with_bytes("x-bin", b"\xff"), 400, "edge_header_not_text");
    check_refused(
        Try::public("GET", "/oauth/callback").with_bytes("cookie", b"\xff"),
        400,
        "edge_header_not_text",
    );
    let vouched = Vouched { webhook_key: Some("w".parse().unwrap()), ..nobody() };
    check_forwarded(Try::webhook().with_bytes("x-bin", b"\xff").with("upgrade", "h2c"), vouched);
    let unsigned = Try::webhook().without("x-nango-hmac-sha256");
    check_refused(
        unsigned.with_bytes("x-nango-hmac-sha256", b"\xff"),
        401,
        "edge_signature_malformed",
    );
}

#[test]
fn of_a_webhooks_head_only_what_control_needs_goes_on() {
    let vouched = Vouched { webhook_key: Some("w".parse().unwrap()), ..nobody() };
    let strangers = Try::webhook()
        .with("x-github-event", "issues")
        .with("x-forwarded-client-cert", "URI=spiffe://evil")
        .with("x-connections-principal", APP)
        .with("authorization", "Bearer evil")
        .with("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    let headers = check_forwarded(strangers, vouched);
    let names: Vec<&str> = headers.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            ":method",
            ":path",
            "content-type",
            "traceparent",
            "x-connections-assertion",
            "x-connections-webhook-key",
            "x-request-id"
        ]
    );
}
