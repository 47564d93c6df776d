//! Nango's limit of calls: so many a minute and account, in windows of a minute. Calls with a key and calls
//! with a session's token are counted apart; what browsers call is not counted.

use crate::{Shared, answer, lock};
use axum::{
    extract::{Request, State},
    http::{HeaderName, HeaderValue},
    middleware::Next,
    response::Response,
};
use chrono::{DateTime, TimeDelta, Utc};
use std::sync::Arc;

/// What Nango allows an account by default.
pub const DEFAULT_CALLS_PER_MINUTE: u32 = 200;

const WINDOW: TimeDelta = TimeDelta::minutes(1);

/// One account's window.
#[derive(Debug, Default)]
pub(crate) struct Window {
    ends_at: DateTime<Utc>,
    calls: u32,
}

/// What a counted call is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counted {
    is_allowed: bool,
    limit: u32,
    remaining: u32,
    ends_at: DateTime<Utc>,
}

impl Window {
    pub(crate) fn count(&mut self, limit: u32, now: DateTime<Utc>) -> Counted {
        if now >= self.ends_at {
            let ends_at = now.checked_add_signed(WINDOW).unwrap_or(now);
            *self = Self { ends_at, calls: 0 };
        }
        self.calls = self.calls.saturating_add(1);
        Counted {
            is_allowed: self.calls <= limit,
            limit,
            remaining: limit.saturating_sub(self.calls),
            ends_at: self.ends_at,
        }
    }
}

/// Counts a call, refuses it when it is one too many, and says in each answer what is left.
pub(crate) async fn limit(
    State(shared): State<Arc<Shared>>,
    request: Request,
    next: Next,
) -> Response {
    let path = request.uri().path();
    let windows = &shared.windows;
    let window = if path.starts_with("/oauth/connect/") {
        &windows.of_sessions
    } else if path == "/health" || path == "/oauth/callback" {
        return next.run(request).await;
    } else {
        &windows.of_keys
    };
    let now = crate::vault::now();
    let counted = lock(window).count(*lock(&shared.calls_per_minute), now);
    let mut answer = if counted.is_allowed {
        next.run(request).await
    } else {
        // Nango rounds down, so that it may be zero.
        let wait = counted.ends_at.signed_duration_since(now).num_seconds();
        answer::rate_limited(u16::try_from(wait).unwrap_or_default())
    };
    for (name, value) in [
        ("x-ratelimit-limit", i64::from(counted.limit)),
        ("x-ratelimit-remaining", i64::from(counted.remaining)),
        ("x-ratelimit-reset", counted.ends_at.timestamp()),
    ] {
        answer.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from(value));
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_takes_so_many_calls_and_the_next_one_as_many_again() {
        let at = |seconds| DateTime::from_timestamp(1_795_340_000_i64.saturating_add(seconds), 0);
        let at = |seconds| at(seconds).unwrap_or_default();
        let mut window = Window::default();
        let mut seen = Vec::new();
        for second in [0, 10, 59, 60, 61, 119] {
            let counted = window.count(2, at(second));
            seen.push((counted.is_allowed, counted.remaining));
            assert!(counted.ends_at > at(second));
        }
        let [first, second, third] = [(true, 1), (true, 0), (false, 0)];
        assert_eq!(seen, [first, second, third, first, second, third]);
    }
}
