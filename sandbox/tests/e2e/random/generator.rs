//! Requests from a seed: what somebody could mean, with up to four things wrong.

use crate::{
    scenarios::{signatures::Signature, worlds::Who},
    support::{Http, Sending},
    wire::Message,
};
use rand::{RngExt as _, rngs::StdRng, seq::IndexedRandom as _};

/// Who sends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Caller {
    /// At the public listener.
    Anybody,
    App,
    Auditor,
    /// With a certificate, and without a grant.
    Stranger,
}

impl Caller {
    /// The certificate at the clients listener.
    pub const fn who(self) -> Option<Who> {
        match self {
            Self::Anybody => None,
            Self::App => Some(Who::APP),
            Self::Auditor => Some(Who::AUDITOR),
            Self::Stranger => Some(Who::STRANGER),
        }
    }
}

/// One request, and how it is to be sent.
#[derive(Debug)]
pub struct Request {
    pub caller: Caller,
    pub http: Http,
    pub message: Message,
    pub signature: Signature,
    /// To be sent as bytes with this many of them changed.
    pub damage: Option<u8>,
}

const CALLERS: [Caller; 10] = [
    Caller::Anybody,
    Caller::Anybody,
    Caller::Anybody,
    Caller::Anybody,
    Caller::Anybody,
    Caller::App,
    Caller::App,
    Caller::App,
    Caller::Auditor,
    Caller::Stranger,
];

const METHODS: [&str; 9] =
    ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "get"];

const TENANTS: [&str; 10] =
    ["acme", "acme", "acme", "acme-1", "acme-", "acme2", "rival", "Acme", "-a", "%61cme"];

const CALLS: [(&str, &str); 21] = [
    ("GET", "/health"),
    ("GET", "/errors"),
    ("GET", "/providers"),
    ("POST", "/tenants/{}/connections"),
    ("GET", "/tenants/{}/connections?limit=10"),
    ("GET", "/tenants/{}/connections/1"),
    ("DELETE", "/tenants/{}/connections/1"),
    ("POST", "/tenants/{}/connections/1/reconnect"),
    ("POST", "/tenants/{}/connections/1/complete"),
    ("POST", "/tenants/{}/connections/1/check"),
    ("GET", "/tenants/{}/connections/1/deliveries"),
    ("POST", "/tenants/{}/deliveries/1/redeliver"),
    ("POST", "/tenants/{}/deliveries/redeliver"),
    ("GET", "/tenants/{}/deliveries/redeliveries/1"),
    ("GET", "/tenants/{}/events"),
    ("GET", "/tenants/{}/audit"),
    ("GET", "/tenants/{}/destination"),
    ("PUT", "/tenants/{}/destination"),
    ("DELETE", "/tenants/{}/destination"),
    ("POST", "/tenants/{}/destination/test"),
    ("POST", "/webhooks/nango"),
];

const PUBLIC: [(&str, &str); 7] = [
    ("POST", "/webhooks/nango"),
    ("POST", "/webhooks/nango"),
    ("GET", "/oauth/callback?state=1&code=2"),
    ("POST", "/oauth/callback"),
    ("GET", "/health"),
    ("GET", "/errors"),
    ("GET", "/tenants/acme/connections/1"),
];

/// What is asked for before it is damaged: whether at the clients listener, the method, and the target.
pub fn requests() -> Vec<(bool, &'static str, String)> {
    let of = |is_client, list: &[(&'static str, &str)]| -> Vec<(bool, &'static str, String)> {
        list.iter().map(|(method, path)| (is_client, *method, path.replace("{}", "acme"))).collect()
    };
    [of(true, &CALLS), of(false, &PUBLIC)].concat()
}

/// What a path or a query is damaged with.
const PIECES: [&str; 24] = [
    "/", "//", ".", "..", "/../", "/./", "%2f", "%2F", "%5c", "%00", "%", ";", "?", "#", "&", "=",
    "@", "~", "\\", "*", "a", "acme", "rival", "tenants/",
];

const HEADERS: [&str; 24] = [
    "x-connections-principal",
    "x-connections-tenant",
    "x-connections-action",
    "x-connections-assertion",
    "x-connections-webhook-key",
    "x-forwarded-client-cert",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-nango-hmac-sha256",
    "x-nango-signature",
    "x-request-id",
    "x-envoy-original-path",
    "x-envoy-retry-on",
    "x-http-method-override",
    "x_connections_tenant",
    "content-type",
    "content-encoding",
    "origin",
    "access-control-request-method",
    "expect",
    "cookie",
    "traceparent",
    "authorization",
    "te",
];

const VALUES: [&[u8]; 14] = [
    b"",
    b"1",
    b"acme",
    b"spiffe://sandbox.example/app",
    b"URI=spiffe://sandbox.example/app",
    b"v1,1,1,00",
    b"application/json",
    b"text/plain, application/json",
    b"100-continue",
    b"https://app.example",
    b"\xff\xfe",
    b"caf\xe9",
    b"0000000000000000000000000000000000000000000000000000000000000000",
    b"a,b;c=\"d",
];

const BODIES: [&[u8]; 5] =
    [b"{}", br#"{"type":"auth","from":"nango"}"#, b"[", b"\x00\x01\x02\xff", b"a=b&c=d"];

const SIGNATURES: [Signature; 10] = [
    Signature::None,
    Signature::OfAnotherBody,
    Signature::ByAnotherKey,
    Signature::ByDash,
    Signature::UpperCase,
    Signature::Twice,
    Signature::GoodAndBad,
    Signature::JoinedToItself,
    Signature::LegacyOnly,
    Signature::LegacyInItsPlace,
];

fn pick<T: Copy>(random: &mut StdRng, among: &[T]) -> T {
    *among.choose(random).unwrap()
}

pub fn request(random: &mut StdRng) -> Request {
    let caller = pick(random, &CALLERS);
    let (method, path) =
        pick(random, if caller == Caller::Anybody { &PUBLIC[..] } else { &CALLS[..] });
    let mut target = path.replace("{}", pick(random, &TENANTS));
    let is_webhook = target == "/webhooks/nango";
    let mut message = Message::new(method, "");
    let has_body = matches!(method, "POST" | "PUT");
    let mut body = has_body.then(|| body(random));
    if has_body {
        message = message.header("content-type", "application/json");
    }
    // Half of the requests have nothing wrong.
    let faults = if random.random() { 0 } else { random.random_range(1..=4_u8) };
    for _ in 0..faults {
        match random.random_range(0..6_u8) {
            0 => message.method = pick(random, &METHODS),
            1 | 2 => insert(&mut target, pick(random, &PIECES), random),
            3 | 4 => message = message.header(pick(random, &HEADERS), pick(random, &VALUES)),
            _ => body = random.random::<bool>().then(|| self::body(random)),
        }
    }
    message.target = target;
    message.body = body.map(|body| (sending(random), body));
    let signature = match (is_webhook, random.random()) {
        (false, _) => Signature::None,
        (true, true) if message.body.as_ref().is_some_and(|body| !body.1.is_empty()) => {
            Signature::Good
        }
        (true, _) => pick(random, &SIGNATURES),
    };
    let damage = random.random_ratio(1, 20).then(|| random.random_range(0..=4));
    Request { caller, http: pick(random, &Http::BOTH), message, signature, damage }
}

/// A body that no other request has, so that who sees it knows whose it is. Only an empty one is like
/// another, and none of those is signed.
fn body(random: &mut StdRng) -> Vec<u8> {
    if random.random_ratio(1, 20) {
        return Vec::new();
    }
    let mut body = some_bytes(random);
    body.extend(random.random::<[u8; 12]>());
    body
}

fn some_bytes(random: &mut StdRng) -> Vec<u8> {
    match random.random_range(0..1000_u16) {
        // Over the limit of `envoy/ecds/edge-public.yaml`.
        0 => vec![b'a'; 262_145],
        1..400 => (0..random.random_range(0..4096)).map(|_| random.random()).collect(),
        _ => pick(random, &BODIES).to_vec(),
    }
}

fn sending(random: &mut StdRng) -> Sending {
    pick(random, &[Sending::Whole, Sending::Pieces, Sending::Trailers])
}

fn insert(target: &mut String, piece: &str, random: &mut StdRng) {
    // The first slash stays, so that more of them are paths.
    let place = random.random_range(1..=target.len());
    target.insert_str(place, piece);
}

/// Changes bytes of a request: some in its head, as the rest of it is of any bytes anyway.
pub fn damage(bytes: &mut Vec<u8>, times: u8, random: &mut StdRng) {
    for _ in 0..times {
        let place = random.random_range(0..bytes.len().clamp(1, 400));
        match random.random_range(0..4_u8) {
            0 => bytes.insert(place.min(bytes.len()), random.random()),
            1 => bytes.insert(place.min(bytes.len()), pick(random, b"\r\n\t :/%\0")),
            2 if place < bytes.len() => drop(bytes.remove(place)),
            _ => {
                if let Some(byte) = bytes.get_mut(place) {
                    *byte = random.random();
                }
            }
        }
    }
}
