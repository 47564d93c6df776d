//! Attempts: whose callback a state is.

use super::{As, Store, StoreError, read};
use crate::domain::callback::UnverifiedState;
use chrono::{DateTime, Utc};
use contract::id::{AttemptId, ConnectionId, TenantId};
use uuid::Uuid;

/// The attempt that a callback belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallbackAttempt {
    pub tenant: TenantId,
    pub connection: ConnectionId,
    pub attempt: AttemptId,
}

impl Store {
    /// Finds the open attempt of a state and marks its callback as started, once: of several callbacks
    /// with one state, exactly one is handed the attempt.
    pub async fn begin_callback(
        &self,
        state: &UnverifiedState,
        at: DateTime<Utc>,
    ) -> Result<Option<CallbackAttempt>, StoreError> {
        let mut tx = self.begin(As::Worker).await?;
        let row: Option<(String, Uuid, Uuid)> = sqlx::query_as(
            "UPDATE attempts SET callback_started_at = $2
             FROM callback_states
             WHERE callback_states.state_hash = $1
               AND attempts.tenant_id = callback_states.tenant_id
               AND attempts.attempt_id = callback_states.attempt_id
               AND attempts.status = 'open'
               AND attempts.callback_started_at IS NULL
               AND attempts.deadline_at > $2
             RETURNING attempts.tenant_id, attempts.connection_id, attempts.attempt_id",
        )
        .bind(state.hash().as_slice())
        .bind(at)
        .fetch_optional(&mut *tx)
        .await?;
        tx.commit().await?;
        row.map(|(tenant, connection, attempt)| {
            Ok(CallbackAttempt {
                tenant: read("attempts.tenant_id", &tenant)?,
                connection: ConnectionId::from_uuid(connection),
                attempt: AttemptId::from_uuid(attempt),
            })
        })
        .transpose()
    }
}
