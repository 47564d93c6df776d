//! Deliveries by the hundred, and a worker whose sends are told by hand.

use crate::support::TestApp;
use control::{
    domain::{delivery::Schedule, outcome::Outcome, places::Places},
    store::{ClaimedDelivery, Finished, Round, Try},
};
use std::time::Duration;

/// How long a claim of these tests holds, in seconds.
pub const LEASE: i64 = 25;

pub const REFUSED: Outcome = Outcome::Refused { status: 500, retry_after: None };
pub const DELIVERED: Outcome = Outcome::Delivered { status: 204 };

/// Gives a tenant so many connections, each with one event whose delivery is due now.
pub async fn seed(app: &TestApp, tenant: &str, connections: i32) {
    let now = app.clock.now();
    for query in [
        "INSERT INTO connections (tenant_id, connection_id, sub, provider, integration_id, status, since, version,
             sequence, requested_scopes, client_metadata, created_at)
         SELECT $1, ('00000000-0000-7000-8000-' || lpad(n::text, 12, '0'))::uuid, 'u', 'github', 'github-dev',
             'active', $3, 1, 1, '{}', '{}', $3 FROM generate_series(1, $2) AS n",
        "INSERT INTO events (tenant_id, event_id, connection_id, sequence, type, occurred_at, body)
         SELECT tenant_id, connection_id, connection_id, 1, 'connection.activated', $3,
             json_build_object('type', 'connection.activated', 'tenantId', $1, 'id', connection_id)::text
         FROM connections WHERE tenant_id = $1 AND $2 > 0",
        "INSERT INTO deliveries (tenant_id, delivery_id, event_id, connection_id, sequence, status, created_at, due_at)
         SELECT tenant_id, event_id, event_id, connection_id, 1, 'ready', $3, $3 FROM events
         WHERE tenant_id = $1 AND $2 > 0",
        "INSERT INTO audit_events (tenant_id, audit_id, at, actor, action, connection_id, detail)
         SELECT tenant_id, connection_id, $3, 'vault', 'connection.activated', connection_id, '{}'
         FROM connections WHERE tenant_id = $1 AND $2 > 0",
    ] {
        let query = sqlx::query(query).bind(tenant).bind(connections).bind(now);
        query.execute(&app.pool).await.unwrap();
    }
}

/// Claims what a worker whose places are `places` would.
pub async fn claim_into(app: &TestApp, places: &mut Places) -> Vec<ClaimedDelivery> {
    let after = places.goes_on_after().unwrap().cloned();
    let lease_for = Duration::from_secs(LEASE.unsigned_abs());
    let round = Round { at: app.clock.now(), lease_for, after: after.as_ref() };
    let share = |walk| places.share(walk, round.at);
    let claimed = app.store.claim_deliveries(round, share).await.unwrap().0;
    for delivery in &claimed {
        // As if each had a destination of its own: no test of this needs the other cap.
        places.take(&delivery.tenant, false);
    }
    claimed
}

/// Claims what a worker without anything under way would.
pub async fn claim(app: &TestApp) -> Vec<ClaimedDelivery> {
    claim_into(app, &mut Places::default()).await
}

/// A claimed delivery whose try ended now, in this way.
pub fn finished(app: &TestApp, delivery: &ClaimedDelivery, outcome: Outcome) -> Finished {
    let ended_at = app.clock.now();
    let next = Schedule::default().after_try(delivery.progress, outcome, ended_at, 0.0);
    let attempt =
        Try { started_at: ended_at, duration: Duration::ZERO, outcome, detail: None, answer: None };
    Finished { delivery: delivery.clone(), destination: 0, attempt, ended_at, next }
}

/// Claims everything that is due and records that each try ended in this way; how many those were.
pub async fn send_all(app: &TestApp, outcome: Outcome) -> usize {
    let mut sent = 0;
    loop {
        let claimed = claim(app).await;
        if claimed.is_empty() {
            return sent;
        }
        let finished: Vec<_> = claimed.iter().map(|it| finished(app, it, outcome)).collect();
        sent += app.store.record_tries(&finished, 0.0).await.unwrap().deliveries.len();
    }
}
