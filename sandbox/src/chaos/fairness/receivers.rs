//! Twenty tenants, each with a destination of its own, two of which can be made ill.

use crate::{
    chaos::{
        receiver::{self, Fate, Judge, Receiver},
        relay::{Cut, Relay},
    },
    pki::Pki,
    stack::Stack,
};
use anyhow::{Context as _, ensure};
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::json;
use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

pub(super) const TENANTS: usize = 20;
/// Nobody is there at the address of this one.
pub(super) const DEAD: usize = 18;
/// This one takes every connection and request, and never answers.
pub(super) const HANGING: usize = 19;

const PREFIX: &str = "fair-";

pub(super) fn tenant(index: usize) -> String {
    format!("{PREFIX}{index:02}")
}

/// The tenants, as a grant names them.
pub(super) fn all() -> String {
    format!("{PREFIX}*")
}

/// The settings that let these receivers be told.
pub(super) fn settings(ports: &[u16; TENANTS]) -> Vec<(&'static str, String)> {
    let ports = ports.map(|port| port.to_string()).join(",");
    vec![
        ("DATA_ENCRYPTION_KEY", "0123456789abcdef0123456789abcdef".to_owned()),
        ("NOTIFICATION_ALLOWED_NETWORKS", "127.0.0.0/8".to_owned()),
        ("NOTIFICATION_ALLOWED_PORTS", ports),
    ]
}

/// One tenant's.
struct One {
    wire: Arc<Relay>,
    receiver: Receiver,
    /// How many tries had reached it when the phase began.
    before: usize,
}

/// All of them.
pub(super) struct Receivers(Vec<One>);

fn takes() -> Judge {
    Box::new(|_body| Fate::Takes)
}

impl Receivers {
    /// Starts all of them, behind these ports.
    pub(super) async fn start(
        ports: &[u16; TENANTS],
        pki: &Pki,
        signing_secret: &str,
    ) -> anyhow::Result<Self> {
        let mut all = Vec::new();
        for port in ports {
            let listener = receiver::listen()?;
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, *port));
            let wire = Arc::new(Relay::start_at(address, vec![listener.local_addr()?]).await?);
            let for_resets = Arc::clone(&wire);
            let receiver = Receiver::start(listener, for_resets, pki, signing_secret, takes())?;
            all.push(One { wire, receiver, before: 0 });
        }
        Ok(Self(all))
    }

    /// Has each tenant say where it is told.
    pub(super) async fn put(&self, stack: &Stack, signing_secret: &str) -> anyhow::Result<()> {
        for (index, one) in self.0.iter().enumerate() {
            let url = format!("https://{}/webhooks/connections", one.wire.address());
            let put =
                stack.http.put(stack.edge(&format!("/tenants/{}/destination", tenant(index))));
            let body = json!({"url": url, "secrets": [signing_secret]});
            let answer = put.json(&body).send().await?;
            let (status, said) = (answer.status(), answer.text().await?);
            ensure!(status.is_success(), "no destination is put: {status}: {said}");
        }
        Ok(())
    }

    fn one(&self, index: usize) -> anyhow::Result<&One> {
        self.0.get(index).context("there is no such tenant")
    }

    /// Makes two of them ill, or well again.
    pub(super) fn turn(&self, are_ill: bool) -> anyhow::Result<()> {
        self.one(DEAD)?.wire.cut(are_ill.then_some(Cut::Refuses));
        let hangs: Judge = Box::new(|_body| Fate::Hangs);
        let judge = if are_ill { hangs } else { takes() };
        self.one(HANGING)?.receiver.be_judged_by(judge);
        Ok(())
    }

    /// A phase begins: what came before it is none of its.
    pub(super) fn begin(&mut self) {
        for one in &mut self.0 {
            one.before = one.receiver.arrivals().len();
        }
    }

    /// How many events of a tenant were taken, of all phases.
    pub(super) fn taken(&self, index: usize) -> usize {
        self.0.get(index).map_or(0, |one| one.receiver.taken())
    }

    /// How many tries reached a tenant's receiver in this phase.
    pub(super) fn tries(&self, index: usize) -> usize {
        self.0.get(index).map_or(0, |one| one.receiver.arrivals().len().saturating_sub(one.before))
    }

    /// From event to first arrival, by event, of the eighteen in this phase.
    pub(super) fn latencies(&self) -> anyhow::Result<HashMap<String, Duration>> {
        let mut found = HashMap::new();
        for one in self.0.iter().take(DEAD.min(HANGING)) {
            for (arrived, arrival) in one.receiver.timed_arrivals().into_iter().skip(one.before) {
                let told: Told =
                    serde_json::from_str(&arrival.body).context("a strange notification")?;
                ensure!(arrival.was_taken, "a receiver that is well did not take a notification");
                let occurred = told.occurred_at.timestamp_micros();
                let occurred = Duration::from_micros(u64::try_from(occurred).unwrap_or_default());
                found.entry(arrival.id).or_insert(arrived.saturating_sub(occurred));
            }
        }
        Ok(found)
    }
}

/// What is read of a notification.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    occurred_at: DateTime<Utc>,
}
