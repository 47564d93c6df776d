//! What the edge decides on one request, asked of the pipeline itself.

use crate::{Ended, caller::Caller, file::Loaded};
use clap::Args;
use contract::{action::Action, id::TenantId, principal::Principal};
use filter::{
    denial::Reply,
    head::Head,
    pipeline::{self, LogFacts, Step},
    policy::{GrantIndex, Listener, Policy},
    route::{self, Body, Found, Granted, Requirement, Route},
};
use serde::Serialize;
use serde_json::value::RawValue;
use std::{
    io::{self, Write},
    path::PathBuf,
};

/// Any time will do: only assertions have one, and none of them leaves here.
const NOW_MS: u64 = 0;

/// One request, and the policy that is asked.
#[derive(Debug, Args)]
pub struct Question {
    /// `spiffe://<trust domain>/<path>` or `dns:<name>`. Without it the caller has a certificate that names
    /// nobody; the public listener asks for none.
    #[arg(long, value_name = "P")]
    principal: Option<Principal>,
    /// As it is sent: `get` is no method of any route.
    #[arg(long, value_name = "M")]
    method: String,
    /// The path, and the query if there is one, byte for byte.
    #[arg(long, value_name = "T")]
    path: String,
    /// Answer in one line of JSON.
    #[arg(long)]
    json: bool,
    /// A policy as JSON, or an ECDS file (.yaml) with one inside.
    pub(crate) file: PathBuf,
}

/// The decision, and what led to it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Explanation<'a> {
    pub(crate) listener: &'static str,
    pub(crate) version: &'a str,
    /// Whom the edge takes the caller for.
    pub(crate) principal: Option<String>,
    pub(crate) route: Option<&'static str>,
    pub(crate) action: Option<Action>,
    pub(crate) tenant: Option<String>,
    #[serde(flatten)]
    pub(crate) decision: Decision<'a>,
    /// What the policy's dry run would do: `refuse`, `forward` or the `same`; nothing where there is none.
    pub(crate) dry_run: Option<&'static str>,
}

#[derive(Debug, Serialize)]
#[serde(tag = "decision", rename_all = "camelCase")]
pub(crate) enum Decision<'a> {
    Permitted {
        /// Nothing where the route needs none.
        grant: Option<Grant<'a>>,
        /// What the request must have besides.
        needs: Vec<&'static str>,
    },
    /// By the edge, without asking control.
    Answered { status: u16, allow: Option<String> },
    Refused {
        reason: &'static str,
        because: String,
        status: u16,
        code: &'static str,
        allow: Option<String>,
    },
}

#[derive(Debug, Serialize)]
pub(crate) struct Grant<'a> {
    pub(crate) index: usize,
    pub(crate) text: Option<&'a RawValue>,
}

pub(crate) fn say(question: &Question, loaded: &Loaded, out: &mut dyn Write) -> io::Result<Ended> {
    let explanation = explain(question, loaded);
    if question.json {
        writeln!(out, "{}", serde_json::to_string(&explanation)?)?;
    } else {
        explanation.write(out)?;
    }
    Ok(match explanation.decision {
        Decision::Permitted { .. } | Decision::Answered { .. } => Ended::Well,
        Decision::Refused { .. } => Ended::Refused,
    })
}

fn explain<'a>(question: &Question, loaded: &'a Loaded) -> Explanation<'a> {
    let Loaded { policy, texts, .. } = loaded;
    let target = (question.method.as_str(), question.path.as_str());
    let caller = Caller::new(policy, question.principal.as_ref(), target);
    let headers = caller.headers();
    let (step, facts) = pipeline::begin(policy, caller.request(&headers), NOW_MS);
    // The pipeline tells the log nothing of what it refused; an operator who asks may know.
    let kind = policy.listener.kind();
    let found = Head::read(&headers).and_then(|head| route::find(kind, head.method, head.path));
    let (route, tenant) = match found {
        Ok(Found::Route { route, tenant }) => (Some(route), tenant),
        Ok(Found::Options { .. }) | Err(_) => (None, None),
    };
    let grant = route.and_then(|route| grant_index(policy, &facts, (route, tenant.as_ref())));
    let grant =
        grant.map(|index| Grant { index, text: texts.grants().get(index).map(AsRef::as_ref) });
    let dry_run = texts.dry_run.as_ref().map(|_| facts.dry_run.unwrap_or("same"));
    Explanation {
        listener: kind.as_str(),
        version: &policy.version,
        route: route.map(|route| route.name),
        action: route.and_then(action),
        tenant: tenant.map(String::from),
        decision: decision(step, grant, route),
        dry_run,
        principal: facts.principal,
    }
}

/// The grant that the pipeline found, by the same function.
fn grant_index(
    policy: &Policy,
    facts: &LogFacts,
    (route, tenant): (&Route, Option<&TenantId>),
) -> Option<usize> {
    let principal: Principal = facts.principal.as_deref()?.parse().ok()?;
    let granted = match &policy.listener {
        Listener::Clients { grants, .. } => route::granted(grants, &principal, route, tenant),
        Listener::Public { .. } => Granted::Unneeded,
    };
    match granted {
        Granted::By(GrantIndex(index)) => Some(index),
        Granted::Unneeded | Granted::No => None,
    }
}

fn decision<'a>(
    step: Step,
    grant: Option<Grant<'a>>,
    route: Option<&'static Route>,
) -> Decision<'a> {
    let ended = match step {
        Step::Answer(reply) => {
            return Decision::Answered { status: reply.status, allow: allow(reply) };
        }
        Step::Forward(forward) => Ok(forward),
        Step::Hold(held) => held.finish(NOW_MS),
        Step::Refuse(refusal) | Step::RefuseAfterBody(refusal) => Err(refusal),
    };
    match ended {
        Ok(_forward) => Decision::Permitted { grant, needs: route.map(needs).unwrap_or_default() },
        Err(refusal) => {
            let reply = refusal.reply();
            Decision::Refused {
                reason: reply.details,
                because: refusal.denial.to_string(),
                status: reply.status,
                code: refusal.denial.code(),
                allow: allow(reply),
            }
        }
    }
}

/// The methods of the path, where the answer says them.
fn allow(reply: Reply) -> Option<String> {
    reply.headers.into_iter().find(|(name, _)| *name == "allow").map(|(_, methods)| methods)
}

fn action(route: &Route) -> Option<Action> {
    match route.requirement {
        Requirement::Grant(action) => Some(action),
        Requirement::Nothing | Requirement::AnyGrant | Requirement::Signature => None,
    }
}

/// What the made-up request has and a real one must have.
fn needs(route: &Route) -> Vec<&'static str> {
    let signature = match route.requirement {
        Requirement::Signature => Some("a signature of its body by a webhook key"),
        Requirement::Nothing | Requirement::AnyGrant | Requirement::Grant(_) => None,
    };
    let json = match route.body {
        Body::Json => Some("content-type: application/json"),
        Body::OptionalJson => Some("content-type: application/json, if it has a body"),
        Body::Form => Some("content-type: application/x-www-form-urlencoded"),
        Body::Unread => None,
    };
    signature.into_iter().chain(json).collect()
}
