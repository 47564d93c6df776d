//! One request from head to decision; the only caller of every other module.

use crate::{
    denial::{Denial, Refusal, Reply},
    head::{self, Head, RawHeader},
    identity::{self, Peer},
    policy::{Listener, Policy},
    route::{self, Body, Found, Granted, Permit, Requirement, Route},
    upstream::{HeaderChange, Vouching},
    verify::Verification,
};
use contract::{
    id::TenantId,
    keys::{KeyId, KeyRing},
    principal::Principal,
};

/// A refused body larger than this is not worth its transfer.
const AWAITED_BODY_BYTES_MAX: u64 = 16 * 1024;

/// What the host knows about a request when its head has arrived.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    pub headers: &'a [RawHeader<'a>],
    pub peer: Peer<'a>,
    pub secrets: Secrets<'a>,
    /// Whether a body may follow.
    pub has_body: bool,
}

/// The texts found at the places that the policy names, where there are any.
#[derive(Clone, Copy, Default)]
pub struct Secrets<'a> {
    pub assertion_keys: Option<&'a [u8]>,
    pub webhook_keys: Option<&'a [u8]>,
}

impl std::fmt::Debug for Secrets<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Secrets(..)")
    }
}

/// What the host does next.
#[derive(Debug)]
pub enum Step {
    /// Let the request go, changed so.
    Forward(Forward),
    /// Answer it here.
    Answer(Reply),
    /// Hold head and body, and push the body's bytes.
    Hold(Box<Held>),
    /// Answer instead, now.
    Refuse(Refusal),
    /// Answer instead, once the body has arrived.
    RefuseAfterBody(Refusal),
}

/// A request that may go on.
#[derive(Debug, PartialEq, Eq)]
pub struct Forward {
    pub changes: Vec<HeaderChange>,
}

/// Facts for the access log and the counters. The tenant is told only once its grant passed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct LogFacts {
    pub route: Option<&'static str>,
    pub principal: Option<String>,
    pub tenant: Option<String>,
    /// What the policy's dry run would have done, where it differs.
    pub dry_run: Option<&'static str>,
}

/// A request that waits for its body to be verified.
#[derive(Debug)]
pub struct Held {
    verification: Verification,
    vouching: Vouching,
    request_id: Option<String>,
}

/// Decides on a request's head.
pub fn begin(policy: &Policy, request: Request<'_>, now_ms: u64) -> (Step, LogFacts) {
    let request_id = head::request_id(request.headers);
    let mut facts = LogFacts::default();
    let step = decide(policy, request, request_id.clone(), now_ms, &mut facts)
        .unwrap_or_else(|denial| refuse(policy, request, Refusal { denial, request_id }));
    (step, facts)
}

/// A small body is waited for: over HTTP/2 an answer before its end comes with a reset, at which some
/// clients throw the answer away, and over HTTP/1.1 it costs the connection. Where nothing can be held, that is
/// still better than no answer.
fn refuse(policy: &Policy, request: Request<'_>, refusal: Refusal) -> Step {
    let declared = head::declared_body_bytes(request.headers);
    let may_wait = policy.holds_head && request.has_body;
    if may_wait && declared.is_some_and(|bytes| bytes <= AWAITED_BODY_BYTES_MAX) {
        Step::RefuseAfterBody(refusal)
    } else {
        Step::Refuse(refusal)
    }
}

fn decide(
    policy: &Policy,
    request: Request<'_>,
    request_id: Option<String>,
    now_ms: u64,
    facts: &mut LogFacts,
) -> Result<Step, Denial> {
    let head = Head::read(request.headers)?;
    // Identity before route, so that a caller without one learns no routes.
    let principal = match &policy.listener {
        Listener::Clients { identity, .. } => {
            Some(identity::identify(identity, request.peer, &head, now_ms)?)
        }
        Listener::Public { .. } => None,
    };
    facts.principal = principal.as_ref().map(ToString::to_string);
    let (route, tenant) = match route::find(policy.listener.kind(), head.method, head.path)? {
        Found::Route { route, tenant } => (route, tenant),
        Found::Options { allow } => return Ok(Step::Answer(Reply::options(allow))),
    };
    facts.route = Some(route.name);
    let permit = permit(&policy.listener, principal, (route, tenant), facts)?;
    facts.tenant = permit.tenant.as_ref().map(ToString::to_string);
    require_type(&head, route.body, request.has_body)?;
    if route.requirement != Requirement::Signature {
        head.require_text()?;
    }
    let keys = read_keys(request.secrets.assertion_keys).ok_or(Denial::NoAssertionKey)?;
    let vouching = Vouching::new(keys, &head, permit, request_id.clone());
    if route.requirement != Requirement::Signature {
        return Ok(Step::Forward(forward(vouching, None, now_ms)));
    }
    let Listener::Public { webhook } = &policy.listener else { return Err(Denial::NoRoute) };
    let keys = read_keys(request.secrets.webhook_keys).ok_or(Denial::NoWebhookKey)?;
    let verification = Verification::begin(&head, &keys, webhook.max_body_bytes)?;
    let held = Held { verification, vouching, request_id };
    if request.has_body {
        Ok(Step::Hold(Box::new(held)))
    } else {
        // No body callback will come; waiting for one would hang the request.
        Ok(held.finish(now_ms).map_or_else(Step::Refuse, Step::Forward))
    }
}

fn permit(
    listener: &Listener,
    principal: Option<Principal>,
    (route, tenant): (&'static Route, Option<TenantId>),
    facts: &mut LogFacts,
) -> Result<Permit, Denial> {
    match (listener, principal) {
        (Listener::Clients { grants, dry_run, .. }, Some(principal)) => {
            let by = |grants| route::granted(grants, &principal, route, tenant.as_ref());
            let granted = by(grants);
            facts.dry_run = dry_run.as_ref().and_then(|dry_run| differs(granted, by(dry_run)));
            Permit::with_grant(granted, principal, route, tenant)
        }
        (Listener::Clients { .. } | Listener::Public { .. }, _) => Permit::without_grant(route),
    }
}

fn require_type(head: &Head<'_>, body: Body, has_body: bool) -> Result<(), Denial> {
    let (media_type, denial) = match body {
        Body::OptionalJson if !has_body => return Ok(()),
        Body::Unread => return Ok(()),
        Body::Json | Body::OptionalJson => ("application/json", Denial::NotJson),
        Body::Form => ("application/x-www-form-urlencoded", Denial::NotForm),
    };
    if is_of_type(head.one("content-type")?, media_type) { Ok(()) } else { Err(denial) }
}

/// What a dry run would have done, if it is not what was done.
fn differs(granted: Granted, would: Granted) -> Option<&'static str> {
    match (granted == Granted::No, would == Granted::No) {
        (false, true) => Some("refuse"),
        (true, false) => Some("forward"),
        (true, true) | (false, false) => None,
    }
}

impl Held {
    /// Takes the next bytes of the body.
    pub fn update(&mut self, chunk: &[u8]) -> Result<(), Refusal> {
        self.verification
            .update(chunk)
            .map_err(|denial| Refusal { denial, request_id: self.request_id.clone() })
    }

    /// Ends the body. The assertion is made now: a body that trickles in for a minute would make an
    /// older one stale.
    pub fn finish(self, now_ms: u64) -> Result<Forward, Refusal> {
        let Self { verification, vouching, request_id } = self;
        match verification.finish() {
            Ok(body) => Ok(forward(vouching, Some(body.key().clone()), now_ms)),
            Err(denial) => Err(Refusal { denial, request_id }),
        }
    }
}

fn forward(vouching: Vouching, webhook_key: Option<KeyId>, now_ms: u64) -> Forward {
    Forward { changes: vouching.vouch(webhook_key, now_ms) }
}

fn read_keys(text: Option<&[u8]>) -> Option<KeyRing> {
    KeyRing::parse(text?).ok()
}

fn is_of_type(content_type: Option<&str>, wanted: &str) -> bool {
    content_type
        .and_then(|value| value.split(';').next())
        .is_some_and(|media_type| media_type.trim().eq_ignore_ascii_case(wanted))
}
