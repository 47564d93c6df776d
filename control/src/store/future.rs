//! Rows that a wrong clock dated in the future: they are due now, and whoever waits for them goes on.

use super::{As, Store, StoreError, wake};
use crate::domain::{
    budget::HORIZON,
    future::{ATTEMPT, CALL, DELETION, LEASED, PAST, PROBE, REDELIVERY, TICKET, WAITING},
};
use chrono::{DateTime, TimeDelta, Utc};

/// How many rows of a table are mended in one transaction. The rest have the next turn.
const BATCH: i64 = 500;

/// One table's statement: `$1` is now, `$2` how many rows at most, and each further one a bound.
struct Mend {
    table: &'static str,
    query: &'static str,
    bounds: &'static [TimeDelta],
}

/// `least` passes over what is not there: it is of use only where something is. A lease that is taken from its holder this way is a lease that ran out: he writes nothing any more.
const MENDS: [Mend; 7] = [
    Mend {
        table: "receipts",
        query: "UPDATE receipts SET due_at = $1, asked_at = CASE WHEN asked_at > $1 THEN $1 ELSE asked_at END
             WHERE receipt_id IN (
             SELECT receipt_id FROM receipts WHERE settled_at IS NULL
                 AND due_at > $1 + CASE WHEN lease IS NULL THEN $4 ELSE $3 END
             LIMIT $2 FOR UPDATE SKIP LOCKED)",
        bounds: &[LEASED, WAITING],
    },
    Mend {
        table: "attempts",
        query: "UPDATE attempts SET due_at = least(due_at, $1), deadline_at = least(deadline_at, $1 + $5),
                 callback_started_at = CASE WHEN callback_started_at > $1 THEN $1 ELSE callback_started_at END,
                 ticket_expires_at = CASE WHEN ticket_expires_at > $1 + $6 THEN $1 + $6 ELSE ticket_expires_at END
             WHERE (tenant_id, attempt_id) IN (
                 SELECT tenant_id, attempt_id FROM attempts WHERE status = 'open' AND (
                     due_at > $1 + CASE WHEN lease IS NOT NULL THEN $3
                         WHEN callback_started_at IS NOT NULL THEN $4 ELSE $5 END
                     OR deadline_at > $1 + $5 OR callback_started_at > $1 + $7 OR ticket_expires_at > $1 + $6)
                 LIMIT $2 FOR UPDATE SKIP LOCKED)",
        bounds: &[LEASED, WAITING, ATTEMPT, TICKET, PAST],
    },
    Mend {
        table: "jobs",
        query: "UPDATE jobs SET due_at = $1, created_at = least(created_at, $1) WHERE job_id IN (
             SELECT job_id FROM jobs WHERE done_at IS NULL AND kind IN ('check', 'probe', 'delete_extra', 'delete_connection')
                 AND due_at > $1 + CASE WHEN lease IS NOT NULL THEN $3
                     WHEN kind = 'delete_connection' THEN $5 WHEN kind = 'probe' THEN $6 ELSE $4 END
             LIMIT $2 FOR UPDATE SKIP LOCKED)",
        bounds: &[LEASED, WAITING, DELETION, PROBE],
    },
    Mend {
        table: "redeliveries",
        query: "UPDATE redeliveries SET due_at = $1 WHERE (tenant_id, job_id) IN (
             SELECT tenant_id, job_id FROM redeliveries WHERE done_at IS NULL AND due_at > $1 + $3
             LIMIT $2 FOR UPDATE SKIP LOCKED)",
        bounds: &[REDELIVERY],
    },
    // A probe waits for 30 s, doubled with each that failed up to an hour, and a fifth more.
    Mend {
        table: "destination_health",
        query: "UPDATE destination_health SET probe_at = $1,
                 failing_since = CASE WHEN failing_since > $1 THEN $1 ELSE failing_since END
             WHERE tenant_id IN (
                 SELECT tenant_id FROM destination_health WHERE status = 'paused'
                     AND probe_at > $1 + least(interval '30 s' * power(2, least(probes, 7)), interval '1 h') * 1.2 + $3
                 LIMIT $2 FOR UPDATE SKIP LOCKED)",
        bounds: &[PAST],
    },
    // A walk may wait for 3 s for each page of the one before, and more than a thousand rows are on a page.
    Mend {
        table: "sweeps",
        query: "UPDATE sweeps SET due_at = least(due_at, $1),
                 started_at = CASE WHEN started_at > $1 THEN $1 ELSE started_at END,
                 swept_at = CASE WHEN swept_at > $1 + $5 THEN NULL ELSE swept_at END
             WHERE is_only AND $2 > 0 AND (started_at > $1 + $5 OR swept_at > $1 + $5
                 OR due_at > $1 + CASE WHEN lease IS NOT NULL THEN $3 ELSE $4 + interval '3 s' * (
                     SELECT coalesce(sum((count ->> 'seen')::bigint), 0) / 1000
                     FROM jsonb_each(before) AS walked (integration, count)) END)",
        bounds: &[LEASED, WAITING, PAST],
    },
    // Whoever repeats a call would be told for as long that it is being carried out.
    Mend {
        table: "idempotency_keys",
        query: "DELETE FROM idempotency_keys WHERE (tenant_id, principal, key) IN (
             SELECT tenant_id, principal, key FROM idempotency_keys
             WHERE status IS NULL AND until > $1 + $3 ORDER BY until DESC LIMIT $2)",
        bounds: &[CALL],
    },
];

impl Store {
    /// The advisory lock of whoever mends, in this database.
    const MENDING: i64 = 0x636f_6e6e_6675_7475;

    /// Makes due what is dated further ahead than it may be, and says how much that was. `waits` are how many seconds a
    /// delivery may wait after each number of tries. Nothing, while another replica is at it.
    pub async fn mend_future(
        &self,
        at: DateTime<Utc>,
        waits: &[f64],
    ) -> Result<Vec<(&'static str, u64)>, StoreError> {
        let mut tx = self.begin(As::Worker).await?;
        let is_ours: bool = sqlx::query_scalar("SELECT pg_try_advisory_xact_lock($1)")
            .bind(Self::MENDING)
            .fetch_one(&mut *tx)
            .await?;
        if !is_ours {
            return Ok(Vec::new());
        }
        let mut mended = Vec::new();
        for Mend { table, query, bounds } in MENDS {
            let mut query = sqlx::query(query).bind(at).bind(BATCH);
            for bound in bounds {
                query = query.bind(*bound);
            }
            mended.push((table, query.execute(&mut *tx).await?.rows_affected()));
        }
        // A receiver that said when to come back may have said up to an hour, and is believed if it said so in the past.
        let deliveries = sqlx::query(
            "UPDATE deliveries SET due_at = $1, hastened_from = NULL WHERE (tenant_id, delivery_id) IN (
                 SELECT tenant_id, delivery_id FROM deliveries AS late
                 WHERE status = 'ready' AND ((lease IS NOT NULL AND due_at > $1 + $3) OR (
                     greatest(due_at, hastened_from) >
                         $1 + interval '1 s' * ($4::float8[])[least(tries + 1, cardinality($4))]
                     AND NOT EXISTS (
                         SELECT FROM delivery_attempts AS last
                         WHERE last.tenant_id = late.tenant_id AND last.delivery_id = late.delivery_id
                             AND last.http_status IN (429, 503) AND last.started_at <= $1 + $5
                             AND greatest(due_at, hastened_from) <= last.started_at + interval '75 min')))
                 LIMIT $2 FOR UPDATE OF late SKIP LOCKED)",
        )
        .bind(at)
        .bind(BATCH)
        .bind(LEASED)
        .bind(waits)
        .bind(PAST)
        .execute(&mut *tx)
        .await?;
        mended.push(("deliveries", deliveries.rows_affected()));
        let budget = sqlx::query(
            "UPDATE nango_budget SET filled_at = least(filled_at, $1), promised_at = least(promised_at, $1)
             WHERE filled_at > $1 + $2 OR promised_at > $1 + $3",
        )
        .bind(at)
        .bind(PAST)
        .bind(HORIZON.checked_mul(2).unwrap_or(HORIZON))
        .execute(&mut *tx)
        .await?;
        mended.push(("nango_budget", budget.rows_affected()));
        mended.retain(|(_, rows)| *rows > 0);
        if !mended.is_empty() {
            wake(&mut tx);
        }
        tx.commit().await?;
        Ok(mended)
    }
}
