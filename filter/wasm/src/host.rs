//! Envoy's callbacks, carried to the pipeline and back. No decision is made here.
//!
//! Every body and trailers callback answers `Pause` unless the pipeline said `Forward`: with
//! `allow_on_headers_stop_iteration`, which this filter needs, a `Continue` from any of them would
//! release a request whose head is still held.

use crate::{
    imports::{self, HostFailed, LogLevel},
    pairs,
};
use filter::{
    denial::{Denial, Refusal},
    identity::Peer,
    pipeline::{self, Forward, Held, LogFacts, Request, Secrets, Step},
    policy::{Policy, SecretSource},
    upstream::HeaderChange,
};
use proxy_wasm::{
    traits::{Context, HttpContext, RootContext},
    types::{Action, ContextType},
};
use std::sync::Arc;
use zeroize::Zeroizing;

/// Filter state objects that the listener fills from the verified client certificate.
const PEER_URI_NAMES: &str = "edge.peer_uri_names";
const PEER_DNS_NAMES: &str = "edge.peer_dns_names";

/// What one plugin configuration set up, shared by its requests.
#[derive(Debug, Default)]
pub(crate) struct Root {
    policy: Option<Arc<Policy>>,
}

impl Context for Root {}

impl RootContext for Root {
    /// A policy that does not load is refused: Envoy keeps the one before it, or does not start.
    fn on_configure(&mut self, _size: usize) -> bool {
        let parsed = imports::plugin_configuration().map(|json| Policy::parse(&json));
        match parsed {
            Ok(Ok(policy)) => {
                let version = &policy.version;
                let listener = policy.listener;
                imports::log(
                    LogLevel::Info,
                    &format!("policy {version:?} loaded for the {listener:?} listener"),
                );
                self.policy = Some(Arc::new(policy));
                true
            }
            Ok(Err(unusable)) => {
                imports::log(LogLevel::Error, &unusable.to_string());
                false
            }
            Err(HostFailed) => {
                imports::log(LogLevel::Error, "the plugin configuration cannot be read");
                false
            }
        }
    }

    fn create_http_context(&self, _context_id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Exchange { policy: self.policy.clone(), state: State::Undecided }))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

/// One request.
#[derive(Debug)]
struct Exchange {
    policy: Option<Arc<Policy>>,
    state: State,
}

#[derive(Debug)]
enum State {
    Undecided,
    /// Its body was pushed up to `seen` bytes.
    Held {
        held: Box<Held>,
        seen: usize,
    },
    Forwarded,
    /// Its body is awaited and thrown away.
    Refusing(Refusal),
    Refused,
}

impl Context for Exchange {}

impl HttpContext for Exchange {
    fn on_http_request_headers(&mut self, _count: usize, end_of_stream: bool) -> Action {
        match self.begin(!end_of_stream) {
            Ok(Step::Forward(forward)) => self.forward(forward),
            Ok(Step::Hold(held)) => {
                self.state = State::Held { held, seen: 0 };
                Action::Pause
            }
            Ok(Step::Refuse(refusal)) => self.refuse(&refusal),
            Ok(Step::RefuseAfterBody(refusal)) => {
                self.state = State::Refusing(refusal);
                Action::Pause
            }
            Err(HostFailed) => self.refuse(&host_failed()),
        }
    }

    fn on_http_request_body(&mut self, size: usize, end_of_stream: bool) -> Action {
        self.push_body(size, end_of_stream)
    }

    /// Trailers end the body too, and no body callback said so.
    fn on_http_request_trailers(&mut self, _count: usize) -> Action {
        self.push_body(usize::MAX, true)
    }
}

impl Exchange {
    fn begin(&self, has_body: bool) -> Result<Step, HostFailed> {
        let Some(policy) = &self.policy else { return Ok(Step::Refuse(host_failed())) };
        let map = imports::request_headers()?;
        let headers = pairs::read(&map).ok_or(HostFailed)?;
        let uri_names = imports::filter_state(PEER_URI_NAMES)?;
        let dns_names = imports::filter_state(PEER_DNS_NAMES)?;
        let assertion_keys = read_secret(&policy.assertion_keys)?;
        let webhook_keys = match &policy.webhook {
            Some(webhook) => read_secret(&webhook.keys)?,
            None => None,
        };
        let request = Request {
            headers: &headers,
            peer: Peer { uri_names: uri_names.as_deref(), dns_names: dns_names.as_deref() },
            secrets: Secrets {
                assertion_keys: assertion_keys.as_deref().map(Vec::as_slice),
                webhook_keys: webhook_keys.as_deref().map(Vec::as_slice),
            },
            has_body,
        };
        let (step, facts) = pipeline::begin(policy, request, imports::now_ms()?);
        tell_log(&facts);
        Ok(step)
    }

    /// Pushes what came of the body since the last call; Envoy keeps all of it and counts from the start.
    fn push_body(&mut self, size: usize, end_of_stream: bool) -> Action {
        match std::mem::replace(&mut self.state, State::Undecided) {
            State::Held { mut held, seen } => {
                let pushed = push(&mut held, seen, size);
                match pushed {
                    Ok(seen) if !end_of_stream => {
                        self.state = State::Held { held, seen };
                        Action::Pause
                    }
                    Ok(_all) => self.finish(*held),
                    Err(refusal) => self.refuse(&refusal),
                }
            }
            State::Forwarded => {
                self.state = State::Forwarded;
                Action::Continue
            }
            State::Refusing(refusal) if end_of_stream => self.refuse(&refusal),
            waits @ (State::Undecided | State::Refusing(_) | State::Refused) => {
                self.state = waits;
                Action::Pause
            }
        }
    }

    fn finish(&mut self, held: Held) -> Action {
        let finished = match imports::now_ms() {
            Ok(now_ms) => held.finish(now_ms),
            Err(HostFailed) => Err(host_failed()),
        };
        match finished {
            Ok(forward) => self.forward(forward),
            Err(refusal) => self.refuse(&refusal),
        }
    }

    /// The only place that lets a request go.
    fn forward(&mut self, forward: Forward) -> Action {
        let changed = forward.changes.iter().try_for_each(|change| match change {
            HeaderChange::Remove(name) => imports::remove_request_header(name),
            HeaderChange::Set(name, value) => imports::set_request_header(name, value),
        });
        match changed {
            Ok(()) => {
                self.state = State::Forwarded;
                Action::Continue
            }
            Err(HostFailed) => self.refuse(&host_failed()),
        }
    }

    /// Answers instead. If the host refuses even that, the request waits until Envoy's timeout ends it.
    fn refuse(&mut self, refusal: &Refusal) -> Action {
        self.state = State::Refused;
        if let Err(HostFailed) = imports::send_reply(&refusal.reply()) {
            imports::log(LogLevel::Error, "a refusal cannot be sent; its request will time out");
        }
        Action::Pause
    }
}

fn push(held: &mut Held, seen: usize, size: usize) -> Result<usize, Refusal> {
    if size <= seen {
        return Ok(seen);
    }
    let chunk = imports::request_body(seen).map_err(|HostFailed| host_failed())?;
    held.update(&chunk)?;
    Ok(seen.saturating_add(chunk.len()))
}

/// Wiped when dropped: this memory is used again for what strangers send.
fn read_secret(source: &SecretSource) -> Result<Option<Zeroizing<Vec<u8>>>, HostFailed> {
    let secret = match source {
        SecretSource::FilterState(name) => imports::filter_state(name)?,
        SecretSource::Environment(name) => {
            std::env::var_os(name).map(std::ffi::OsString::into_encoded_bytes)
        }
    };
    Ok(secret.map(Zeroizing::new))
}

/// The log is told what it can be told; a request is not refused because its log line is poorer.
fn tell_log(facts: &LogFacts) {
    let facts = [
        ("edge.route", facts.route),
        ("edge.principal", facts.principal.as_deref()),
        ("edge.tenant", facts.tenant.as_deref()),
    ];
    for (name, value) in facts {
        if let Some(value) = value
            && imports::set_filter_state(name, value).is_err()
        {
            imports::log(LogLevel::Error, &format!("the access log cannot be told {name}"));
        }
    }
}

fn host_failed() -> Refusal {
    Refusal { denial: Denial::HostFailed, request_id: None }
}
