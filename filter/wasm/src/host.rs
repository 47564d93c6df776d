//! Envoy's callbacks, carried to the pipeline and back. No decision is made here.
//!
//! Every body and trailers callback answers `Pause` unless the pipeline said `Forward`: with
//! `allow_on_headers_stop_iteration`, which this filter needs, a `Continue` from any of them would
//! release a request whose head is still held.

use crate::{
    gather,
    imports::{self, HostFailed, LogLevel},
    metrics::{self, Metrics},
};
use filter::{
    denial::{Denial, Refusal, Reply},
    observe::{Counter, Decision},
    pipeline::{Forward, Held, Step},
    policy::{Policy, UnusablePolicy},
    upstream::HeaderChange,
};
use proxy_wasm::{
    traits::{Context, HttpContext, RootContext},
    types::{Action, ContextType},
};
use std::{rc::Rc, sync::Arc};

/// What one plugin configuration set up, shared by its requests.
#[derive(Debug, Default)]
pub(crate) struct Root {
    policy: Option<Arc<Policy>>,
    metrics: Rc<Metrics>,
}

impl Context for Root {}

impl RootContext for Root {
    /// A policy that does not load is refused: Envoy keeps the one before it, or does not start.
    fn on_configure(&mut self, _size: usize) -> bool {
        let parsed = imports::plugin_configuration().map(|json| {
            let policy = Policy::parse(&json)?;
            policy.check_environment(gather::environment)?;
            Ok::<Policy, UnusablePolicy>(policy)
        });
        match parsed {
            Ok(Ok(policy)) => {
                let version = &policy.version;
                let listener = policy.listener.kind();
                let listener_name = listener.as_str();
                imports::log(
                    LogLevel::Info,
                    &format!("policy {version} loaded for the {listener_name} listener"),
                );
                metrics::policy_loaded(listener, version);
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
        Some(Box::new(Exchange {
            policy: self.policy.clone(),
            metrics: Rc::clone(&self.metrics),
            route: None,
            state: State::Undecided,
        }))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

/// One request.
#[derive(Debug)]
struct Exchange {
    policy: Option<Arc<Policy>>,
    metrics: Rc<Metrics>,
    route: Option<&'static str>,
    state: State,
}

#[derive(Debug)]
enum State {
    Undecided,
    Held(Holding),
    Forwarded,
    /// Its body is awaited and thrown away.
    Refusing(Refusal),
    Answered,
}

/// A request whose body is being verified.
#[derive(Debug)]
struct Holding {
    held: Box<Held>,
    /// The bytes that were pushed so far.
    seen: usize,
    /// What pushing them cost.
    spent_ns: u64,
}

impl Context for Exchange {}

impl HttpContext for Exchange {
    fn on_http_request_headers(&mut self, _count: usize, end_of_stream: bool) -> Action {
        let Some(policy) = self.policy.clone() else { return self.refuse(&host_failed()) };
        let Ok((step, facts)) = gather::begin(&policy, !end_of_stream) else {
            return self.refuse(&host_failed());
        };
        self.route = facts.route;
        if let Some(would) = facts.dry_run {
            self.metrics.count(Counter::DryRun { route: self.route, would });
        }
        match step {
            Step::Forward(forward) => self.forward(forward),
            Step::Answer(reply) => self.answer(&reply, Decision::Answered),
            Step::Hold(held) => {
                self.state = State::Held(Holding { held, seen: 0, spent_ns: 0 });
                Action::Pause
            }
            Step::Refuse(refusal) => self.refuse(&refusal),
            Step::RefuseAfterBody(refusal) => {
                self.state = State::Refusing(refusal);
                Action::Pause
            }
        }
    }

    fn on_http_request_body(&mut self, size: usize, end_of_stream: bool) -> Action {
        self.take_body(size, end_of_stream)
    }

    /// Trailers end the body too, and no body callback said so.
    fn on_http_request_trailers(&mut self, _count: usize) -> Action {
        self.take_body(usize::MAX, true)
    }

    /// The end of every request, of those too that never had a head.
    fn on_log(&mut self) {
        match &self.state {
            State::Held(_) => self.count(Decision::Abandoned, None),
            State::Refusing(refusal) => {
                self.count(Decision::Abandoned, Some(refusal.denial.reason()));
            }
            State::Undecided | State::Forwarded | State::Answered => {}
        }
    }
}

impl Exchange {
    /// Takes what came of the body since the last call; Envoy keeps all of it and counts from the start.
    fn take_body(&mut self, size: usize, end_of_stream: bool) -> Action {
        match std::mem::replace(&mut self.state, State::Undecided) {
            State::Held(mut holding) => match holding.push(size) {
                Ok(()) if end_of_stream => self.finish(holding),
                Ok(()) => {
                    self.state = State::Held(holding);
                    Action::Pause
                }
                Err(refusal) => self.refuse(&refusal),
            },
            State::Forwarded => {
                self.state = State::Forwarded;
                Action::Continue
            }
            State::Refusing(refusal) if end_of_stream => self.refuse(&refusal),
            waits @ (State::Undecided | State::Refusing(_) | State::Answered) => {
                self.state = waits;
                Action::Pause
            }
        }
    }

    fn finish(&mut self, holding: Holding) -> Action {
        self.metrics.verified(holding.spent_ns);
        let finished = match gather::now_ms() {
            Ok(now_ms) => holding.held.finish(now_ms),
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
                self.count(Decision::Forwarded, None);
                self.state = State::Forwarded;
                Action::Continue
            }
            Err(HostFailed) => self.refuse(&host_failed()),
        }
    }

    fn refuse(&mut self, refusal: &Refusal) -> Action {
        self.answer(&refusal.reply(), Decision::Refused)
    }

    /// Answers instead. If the host refuses even that, the request waits until Envoy's timeout ends it.
    fn answer(&mut self, reply: &Reply, decision: Decision) -> Action {
        self.count(decision, Some(reply.details));
        self.state = State::Answered;
        if let Err(HostFailed) = imports::send_reply(reply) {
            imports::log(LogLevel::Error, "an answer cannot be sent; its request will time out");
        }
        Action::Pause
    }

    fn count(&self, decision: Decision, reason: Option<&'static str>) {
        if let Some(policy) = &self.policy {
            let listener = policy.listener.kind();
            self.metrics.count(Counter::Requests { listener, route: self.route, decision, reason });
        }
    }
}

impl Holding {
    fn push(&mut self, size: usize) -> Result<(), Refusal> {
        if size <= self.seen {
            return Ok(());
        }
        let clock = || imports::now_ns().map_err(|HostFailed| host_failed());
        let began_ns = clock()?;
        let chunk = imports::request_body(self.seen).map_err(|HostFailed| host_failed())?;
        self.held.update(&chunk)?;
        self.seen = self.seen.saturating_add(chunk.len());
        self.spent_ns = self.spent_ns.saturating_add(clock()?.saturating_sub(began_ns));
        Ok(())
    }
}

fn host_failed() -> Refusal {
    Refusal { denial: Denial::HostFailed, request_id: None }
}
