//! Watches alerts begin and end.

use super::{
    super::{alerts, server::Server},
    Stack, in_seconds, rules_in_seconds,
};
use crate::support::World;
use sandbox::{process::wait_for, say};
use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};
use tokio::time::interval;

/// The longest fault that an alert waits for is a minute old; the longest range is a minute here, too.
const SOON: Duration = Duration::from_secs(150);

/// Between two looks, and between two causes of a fault: slower than any limit of the edge.
const PACE: Duration = Duration::from_millis(100);

/// A Prometheus, and what was seen of the alerts.
pub(super) struct Watch {
    server: Server,
    expressions: BTreeMap<String, String>,
    stack: Stack,
    began: Instant,
    raised: RefCell<BTreeSet<String>>,
    ended: RefCell<BTreeSet<String>>,
}

impl Watch {
    /// Watches a world in which nothing is wrong yet.
    pub(super) async fn start(world: &World, stack: Stack) -> Self {
        let server = Server::with_rules(world, &rules_in_seconds()).await;
        let expressions =
            alerts().into_iter().map(|alert| (alert.name, in_seconds(&alert.expression)));
        let watch = Self {
            server,
            expressions: expressions.collect(),
            stack,
            began: Instant::now(),
            raised: RefCell::default(),
            ended: RefCell::default(),
        };
        for alert in stack.alerts() {
            watch.is_quiet(alert, async || ()).await;
        }
        watch
    }

    /// Whether Prometheus has what an alert is made of. Else silence would mean nothing.
    async fn sees(&self) -> bool {
        self.server.series("up == 1").await == 2
    }

    async fn is_raised(&self, alert: &str) -> bool {
        self.server.series(&self.expressions[alert]).await > 0
    }

    /// Waits until each of these was raised, while the fault goes on.
    pub(super) async fn raises(&self, alerts: &[&str], fault: impl AsyncFn()) {
        let mut missing: BTreeSet<&str> = alerts.iter().copied().collect();
        let deadline = Instant::now() + SOON;
        let mut pace = interval(PACE);
        while !missing.is_empty() {
            let is_late = Instant::now() > deadline;
            assert!(!is_late, "not raised: {}", self.told(&missing).await);
            pace.tick().await;
            fault().await;
            for alert in alerts {
                if missing.contains(alert) && self.is_raised(alert).await {
                    say::line(&format!("{:>5.1} s {alert} is raised", self.seconds()));
                    self.raised.borrow_mut().insert((*alert).to_owned());
                    missing.remove(alert);
                }
            }
        }
    }

    /// Waits until a Prometheus that has seen nothing from before the fault raises this one, too.
    pub(super) async fn raises_at_first_sight(&self, world: &World, alert: &str) {
        let late = Server::with_rules(world, &rules_in_seconds()).await;
        let raised = wait_for("an alert needs to have seen its metric before", SOON, || async {
            Ok((late.series(&self.expressions[alert]).await > 0).then_some(()))
        });
        raised.await.unwrap();
    }

    /// Checks that this one goes on for so long, while its fault is there and nothing new happens.
    pub(super) async fn stays(&self, alert: &str, time: Duration) {
        let end = Instant::now() + time;
        let mut pace = interval(PACE);
        while Instant::now() < end {
            pace.tick().await;
            let is_raised = self.is_raised(alert).await;
            assert!(is_raised, "ended by itself: {}", self.told(&[alert].into()).await);
        }
        say::line(&format!("{:>5.1} s {alert} is still raised", self.seconds()));
    }

    /// Waits until each of these is quiet, while life goes on.
    pub(super) async fn ends(&self, alerts: &[&str], life: impl AsyncFn()) {
        for alert in alerts {
            assert!(self.raised.borrow().contains(*alert), "{alert} was not raised before");
            self.is_quiet(alert, &life).await;
            say::line(&format!("{:>5.1} s {alert} has ended", self.seconds()));
            self.ended.borrow_mut().insert((*alert).to_owned());
        }
    }

    async fn is_quiet(&self, alert: &str, life: impl AsyncFn()) {
        let quiet = wait_for("an alert does not end", SOON, || async {
            life().await;
            Ok((self.sees().await && !self.is_raised(alert).await).then_some(()))
        });
        let is_quiet = quiet.await.is_ok();
        assert!(is_quiet, "{alert} does not end: {}", self.told(&[alert].into()).await);
    }

    /// What an alert that is wrong stands on.
    async fn told(&self, alerts: &BTreeSet<&str>) -> String {
        let mut told = Vec::new();
        for alert in alerts {
            let expression = &self.expressions[*alert];
            let result = self.server.result(expression).await;
            told.push(format!("{alert}: {expression}\nis {result:?}"));
        }
        told.join("\n")
    }

    fn seconds(&self) -> f64 {
        self.began.elapsed().as_secs_f64()
    }

    /// Checks that every alert of this stack has begun and ended, and that none came back.
    pub(super) async fn finish(self) {
        let expected = self.stack.alerts();
        for (what, seen) in [("raised", self.raised.take()), ("ended", self.ended.take())] {
            let seen: BTreeSet<&str> = seen.iter().map(String::as_str).collect();
            assert!(seen.is_superset(&expected), "{what}: {seen:?} of {expected:?}");
        }
        for alert in expected {
            self.is_quiet(alert, async || ()).await;
        }
    }
}
