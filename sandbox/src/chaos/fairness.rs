//! How much the receivers of two tenants that are ill slow down the other eighteen: the same load twice in
//! one run, once with every receiver well.

use super::{
    client::Callers,
    receiver::{Fate, Judge},
    report,
    world::World,
};
use crate::{process::wait_for, say, tools::Tools};
use anyhow::{Context as _, ensure};
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{collections::HashMap, path::Path, sync::Arc, time::Duration};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until},
};

const PREFIX: &str = "fair-";
const TENANTS: usize = 20;
/// The receiver of this one refuses everything at once.
const DEAD: usize = 18;
/// And that of this one never answers.
const HANGING: usize = 19;

/// What each of the two ill ones has to be told when the load begins: more than control has places, so
/// that they would fill all of them if they were let.
const BACKLOG: usize = 200;

/// Events of each tenant, and the time between two events of any.
const EACH: usize = 30;
const PACE: Duration = Duration::from_millis(50);

/// Within which the last of the others' events must have arrived.
const ARRIVED_WITHIN: Duration = Duration::from_mins(2);

/// What the issue promises: the others' 99th percentile at most doubles.
const RATIO_MAX: f64 = 2.0;

/// From event to arrival, of the eighteen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Latencies(Vec<Duration>);

impl Latencies {
    /// The latency that this share of all does not exceed: the nearest rank.
    fn percentile(&self, percent: usize) -> Duration {
        let rank = self.0.len().saturating_mul(percent).div_ceil(100);
        self.0.get(rank.saturating_sub(1)).copied().unwrap_or_default()
    }
}

impl FromIterator<Duration> for Latencies {
    fn from_iter<I: IntoIterator<Item = Duration>>(latencies: I) -> Self {
        let mut latencies: Vec<Duration> = latencies.into_iter().collect();
        latencies.sort();
        Self(latencies)
    }
}

/// Both phases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Figures {
    pub well: Latencies,
    pub ill: Latencies,
}

impl Figures {
    fn ratio(&self, percent: usize) -> f64 {
        let [ill, well] = [&self.ill, &self.well].map(|phase| phase.percentile(percent));
        ill.as_secs_f64() / well.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    /// A table in Markdown.
    pub fn table(&self) -> String {
        let line = |percent| {
            let [well, ill] = [&self.well, &self.ill]
                .map(|phase| phase.percentile(percent).as_secs_f64() * 1000.0);
            let ratio = self.ratio(percent);
            format!("{well:.1} ms; with a dead and a hanging one {ill:.1} ms; ratio {ratio:.2}")
        };
        report::table(&[
            ("tenants", format!("{TENANTS}, one receiver dead, one hanging")),
            ("events of the other eighteen", format!("{} a phase", self.well.0.len())),
            ("event to arrival, p50", line(50)),
            ("event to arrival, p99", line(99)),
        ])
    }

    pub fn json(&self) -> Value {
        let phase = |phase: &Latencies| {
            let ms = |percent| phase.percentile(percent).as_secs_f64() * 1000.0;
            json!({"events": phase.0.len(), "p50Ms": ms(50), "p99Ms": ms(99)})
        };
        json!({"well": phase(&self.well), "ill": phase(&self.ill), "p99Ratio": self.ratio(99)})
    }

    pub fn check(&self) -> anyhow::Result<()> {
        let ratio = self.ratio(99);
        ensure!(ratio <= RATIO_MAX, "the p99 of the others is {ratio:.2} times what it was");
        Ok(())
    }
}

/// Measures both phases, with files and logs below `folder`.
pub async fn measure(tools: &Tools, folder: &Path) -> anyhow::Result<Figures> {
    let granted = format!("{PREFIX}*");
    let starting =
        Box::pin(World::start(tools, folder, Some(&granted), Box::new(|_body| Fate::Takes)));
    let world = say::timed("starting everything, with two replicas of control", starting).await?;
    let measured = async {
        let well = phase(&world, "well", Box::new(|_body| Fate::Takes)).await?;
        let ill = phase(&world, "ill", Box::new(ill)).await?;
        Ok(Figures { well, ill })
    }
    .await;
    world.stop().await?;
    measured
}

fn tenant(index: usize) -> String {
    format!("{PREFIX}{index:02}")
}

/// What is read of a notification.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    tenant_id: String,
    occurred_at: DateTime<Utc>,
}

/// One receiver that behaves as the receivers of twenty tenants.
fn ill(body: &str) -> Fate {
    let tenant_id = serde_json::from_str(body).map(|told: Told| told.tenant_id);
    match tenant_id {
        Ok(id) if id == tenant(DEAD) => Fate::Fails(503),
        Ok(id) if id == tenant(HANGING) => Fate::Hangs,
        Ok(_) | Err(_) => Fate::Takes,
    }
}

async fn phase(world: &World, name: &str, judge: Judge) -> anyhow::Result<Latencies> {
    say::doing(&format!("the load while every receiver is {name}"));
    world.receiver.be_judged_by(judge);
    let before = world.receiver.arrivals().len();
    let callers = Arc::new(Callers::new(&world.stack.pki, &world.stack.coordinates.edge_url)?);
    // Keys and users differ from those of the other phase.
    let first = if name == "well" { 0 } else { BACKLOG.saturating_add(EACH) };
    let mut backlog = JoinSet::new();
    for tenant in [tenant(DEAD), tenant(HANGING)] {
        let callers = Arc::clone(&callers);
        backlog.spawn(async move {
            for number in 0..BACKLOG {
                callers.fail_one(&tenant, first.saturating_add(number)).await?;
            }
            anyhow::Ok(())
        });
    }
    backlog.join_all().await.into_iter().collect::<anyhow::Result<()>>()?;
    let from = Instant::now();
    let mut steady = JoinSet::new();
    let mut at = from;
    for number in 0..EACH {
        for index in 0..TENANTS {
            at = at.checked_add(PACE).unwrap_or(at);
            sleep_until(at).await;
            let callers = Arc::clone(&callers);
            let number = first.saturating_add(BACKLOG).saturating_add(number);
            steady.spawn(async move { callers.fail_one(&tenant(index), number).await });
        }
    }
    steady.join_all().await.into_iter().collect::<anyhow::Result<()>>()?;
    let expected = EACH.saturating_mul(DEAD.min(HANGING));
    let arrived = wait_for("events of the others are missing", ARRIVED_WITHIN, || async {
        let others = latencies(world, before)?;
        Ok((others.len() >= expected).then_some(others))
    })
    .await?;
    Ok(arrived.into_values().collect())
}

/// From event to first arrival, by event, of the eighteen, after so many arrivals.
fn latencies(world: &World, after: usize) -> anyhow::Result<HashMap<String, Duration>> {
    let mut found = HashMap::new();
    for (arrived, arrival) in world.receiver.timed_arrivals().into_iter().skip(after) {
        let told: Told = serde_json::from_str(&arrival.body).context("a strange notification")?;
        if [DEAD, HANGING].map(tenant).contains(&told.tenant_id) || !arrival.was_taken {
            continue;
        }
        let occurred = u64::try_from(told.occurred_at.timestamp_micros()).unwrap_or_default();
        let latency = arrived.saturating_sub(Duration::from_micros(occurred));
        found.entry(arrival.id).or_insert(latency);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn latencies(milliseconds: impl IntoIterator<Item = u64>) -> Latencies {
        milliseconds.into_iter().map(Duration::from_millis).collect()
    }

    #[test]
    fn a_percentile_is_the_nearest_rank() {
        let hundred = latencies((1..=100).rev());
        assert_eq!(hundred.percentile(50), Duration::from_millis(50));
        assert_eq!(hundred.percentile(99), Duration::from_millis(99));
        assert_eq!(latencies([7]).percentile(99), Duration::from_millis(7));
    }

    #[test]
    fn twice_as_slow_is_fair_and_more_is_not() {
        let figures = |ill| Figures { well: latencies([10; 100]), ill: latencies([ill; 100]) };
        assert!(figures(20).check().is_ok());
        assert!(figures(21).check().is_err());
        // One of a hundred may be late, two may not.
        let late = |count: usize| Figures {
            well: latencies([10; 100]),
            ill: latencies((0..100).map(|index| if index < count { 15_000 } else { 10 })),
        };
        assert!(late(1).check().is_ok());
        assert!(late(2).check().is_err());
    }

    #[test]
    fn the_receivers_of_two_tenants_are_ill() {
        let fate = |index| {
            ill(&json!({"tenantId": tenant(index), "occurredAt": "2026-01-01T00:00:00Z"})
                .to_string())
        };
        assert_eq!(fate(DEAD), Fate::Fails(503));
        assert_eq!(fate(HANGING), Fate::Hangs);
        assert!((0..DEAD).all(|index| fate(index) == Fate::Takes));
    }
}
