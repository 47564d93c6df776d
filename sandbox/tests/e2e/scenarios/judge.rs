//! Runs the rows of one world, and judges them by answer, log and what control saw.

use super::{
    FilterBlock,
    table::{End, Row},
    worlds::World,
};
use crate::{
    support::{Answer, Edge, Http},
    wire::Wire,
};
use anyhow::{Context as _, bail, ensure};
use contract::{
    assertion::{self, Target, Vouched},
    keys::KeyRing,
};
use sandbox::recorder::Recorded;
use serde_json::Value;
use std::time::Duration;

/// A row that was sent over one version of HTTP.
struct Exchange<'a> {
    row: &'a Row,
    http: Http,
    /// Names the exchange in the log, and at control.
    traceparent: String,
    answer: anyhow::Result<Answer>,
}

/// The reasons for which a granted call is refused; only its tenant is known to be the caller's.
const AFTER_THE_GRANT: [&str; 3] =
    ["edge_not_json", "edge_header_not_text", "edge_header_duplicated"];

/// What there is to know of an exchange.
struct Evidence<'a> {
    http: Http,
    answer: &'a anyhow::Result<Answer>,
    /// Its line of the access log; a head that Envoy cannot parse leaves none that names it.
    line: Option<&'a Value>,
    recorded: Vec<&'a Recorded>,
}

/// Sends every row over each of its versions of HTTP, and says which broke their rule.
pub async fn run(filter: FilterBlock, world: World, rows: &[&Row]) -> Vec<String> {
    let edge = world.prepare(filter).await.start().await;
    let mut exchanges = Vec::new();
    for (row, number) in rows.iter().zip(1_u32..) {
        for http in row.over {
            let traceparent = format!("00-{number:032x}-{:016x}-01", http.number());
            let answer = exchange(&edge, row, *http, &traceparent).await;
            exchanges.push(Exchange { row, http: *http, traceparent, answer });
        }
    }
    let logged = exchanges.iter().filter(|exchange| exchange.row.end.is_of_filter());
    let logged: Vec<&str> = logged.map(|exchange| exchange.traceparent.as_str()).collect();
    let log = edge.access_log_of(&logged).await;
    let seen = edge.recorder.records();
    let mut broken = Vec::new();
    for Exchange { row, http, traceparent, answer } in &exchanges {
        let line = log.iter().find(|line| line["traceparent"] == traceparent.as_str());
        let recorded = seen.iter().filter(|seen| seen.all("traceparent") == [traceparent]);
        let evidence = Evidence { http: *http, answer, line, recorded: recorded.collect() };
        if let Err(error) = judge(&edge, row, &evidence) {
            broken.push(format!("{world:?} over {http:?}: {}: {error:#}", row.rule));
        }
    }
    let forwarded = |row: &Row| matches!(row.end, End::Forwarded { .. });
    let forwarded = exchanges.iter().filter(|exchange| forwarded(exchange.row)).count();
    if seen.len() != forwarded {
        broken.push(format!("{world:?}: control saw {} of {forwarded}", seen.len()));
    }
    broken
}

async fn exchange(edge: &Edge, row: &Row, http: Http, traceparent: &str) -> anyhow::Result<Answer> {
    let addresses = edge.envoy.addresses;
    let (address, identity) = match row.who {
        Some(who) => (addresses.clients, who.identity(&edge.pki)),
        None => (addresses.public, None),
    };
    let mut message = row.message.clone().header("traceparent", traceparent);
    let body = message.body.clone().map(|(_, body)| body).unwrap_or_default();
    for (name, value) in row.signature.headers(edge, &body) {
        message = message.header(name, value);
    }
    let send = async {
        let wire = Wire::connect(&edge.pki, address, http, identity.as_ref());
        wire.await?.send(&message).await
    };
    let answer = tokio::time::timeout(Duration::from_secs(20), send).await;
    answer.unwrap_or_else(|_| panic!("no end within 20 s: {}", row.rule))
}

fn judge(edge: &Edge, row: &Row, evidence: &Evidence<'_>) -> anyhow::Result<()> {
    let Evidence { http, answer, line, recorded } = evidence;
    ensure!(row.end != End::Unsaid, "the row does not say what becomes of it");
    if row.end == End::Cut {
        ensure!(recorded.is_empty(), "control saw it");
        // A client library that refuses to send it would prove nothing.
        ensure!(row.message.is_sendable(*http), "it was never sent");
        return match answer {
            Err(_) => Ok(()),
            Ok(answer) => bail!("not cut: {answer:?}"),
        };
    }
    let answer = answer.as_ref().map_err(|error| anyhow::anyhow!("no answer: {error:#}"))?;
    check_headers(row, answer)?;
    let reason = line.and_then(|line| line["reason"].as_str()).unwrap_or_default();
    let tenant = line.and_then(|line| line["tenant"].as_str());
    let told = (answer.status, reason);
    if let End::Forwarded { principal, tenant: granted } = row.end {
        ensure!(told == (200, "via_upstream"), "{told:?}: {answer:?}");
        ensure!(tenant == granted, "the log names the tenant {tenant:?}");
        let [recorded] = recorded.as_slice() else { bail!("control saw {recorded:?}") };
        ensure!(recorded.target == row.message.target, "control saw {:?}", recorded.target);
        let sent = row.message.body.as_ref().map(|(_, body)| body.as_slice()).unwrap_or_default();
        ensure!(recorded.body.as_deref() == Some(sent), "control saw another body");
        for (name, value) in &row.arrives {
            ensure!(recorded.all(name) == Vec::from_iter(*value), "control saw {recorded:?}");
        }
        return check_vouched(&edge.assertion_keys, recorded, (principal, granted));
    }
    ensure!(recorded.is_empty(), "control saw it");
    let is_granted = AFTER_THE_GRANT.contains(&reason);
    ensure!(tenant.is_none() || is_granted, "the log names the tenant {tenant:?}");
    match row.end {
        End::Answered(status, of_filter) => ensure!(told == (status, of_filter), "{told:?}"),
        End::Refused(status, code, of_filter) => {
            ensure!(told == (status, of_filter), "{told:?}: {answer:?}");
            ensure!(answer.problem_code() == code, "{answer:?}");
            let request_id = line.map(|line| &line["requestId"]);
            ensure!(request_id == Some(&answer.json()["requestId"]), "not {request_id:?}");
        }
        End::ByEnvoy(status, code) => {
            ensure!(answer.status == status && answer.problem_code() == code, "{answer:?}");
            ensure!(!reason.starts_with("edge_"), "{reason}");
        }
        End::AnsweredByEnvoy(status) => ensure!(answer.status == status, "{answer:?}"),
        End::Forwarded { .. } | End::Cut | End::Unsaid => {}
    }
    Ok(())
}

fn check_headers(row: &Row, answer: &Answer) -> anyhow::Result<()> {
    for (name, value) in &row.answers {
        let told = answer.headers.get(*name).map(|told| told.to_str()).transpose()?;
        ensure!(told.unwrap_or("nothing") == *value, "{name} is {told:?}");
    }
    for inside in ["server", "x-envoy-upstream-service-time"] {
        ensure!(!answer.headers.contains_key(inside), "the answer tells {inside}");
    }
    Ok(())
}

/// Checks that control would believe exactly this, and finds nothing else to believe.
pub fn check_vouched(
    assertion_keys: &str,
    recorded: &Recorded,
    (principal, tenant): (Option<&str>, Option<&str>),
) -> anyhow::Result<()> {
    let only = |name: &str| match recorded.all(name).as_slice() {
        [] => Ok(None),
        [value] => Ok(Some((*value).to_owned())),
        values => bail!("{name} is {values:?}"),
    };
    ensure!(only("x-connections-principal")?.as_deref() == principal, "{recorded:?}");
    ensure!(only("x-connections-tenant")?.as_deref() == tenant, "{recorded:?}");
    for (name, _) in &recorded.headers {
        let is_told = ["principal", "tenant", "action", "webhook-key", "assertion"];
        let is_spoofed =
            name.strip_prefix("x-connections-").is_some_and(|it| !is_told.contains(&it));
        ensure!(!is_spoofed && name != "x-forwarded-client-cert", "{name} reached control");
    }
    let vouched = Vouched {
        principal: principal.map(str::parse).transpose()?,
        tenant: tenant.map(str::parse).transpose()?,
        action: only("x-connections-action")?.map(|it| it.parse()).transpose()?,
        webhook_key: only("x-connections-webhook-key")?.map(|it| it.parse()).transpose()?,
        request_id: only("x-request-id")?,
    };
    let assertion = only("x-connections-assertion")?.context("no assertion")?;
    let keys = KeyRing::parse(assertion_keys.as_bytes())?;
    let target = Target { method: &recorded.method, path: &recorded.target };
    let verified = assertion::verify(&keys, &assertion, target, &vouched, recorded.arrived_ms);
    ensure!(verified == Ok(()), "{verified:?}");
    Ok(())
}
