//! The one way to Nango: within the budget, not while it is ill, before the deadline, and again only where
//! that is safe.

use super::{
    answer::{Answer, Failure, NangoError, WhyBusy},
    tried::{count_refusal, try_once},
};
use crate::{
    budget::{Budget, NoCall, spread},
    clock::Clock,
    domain::{
        breaker::{Breaker, Pass, Verdict},
        budget::CallClass,
    },
    metrics::{CallName, Metrics},
    mint::Mint,
};
use chrono::{DateTime, TimeDelta, Utc};
use reqwest::RequestBuilder;
use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

/// The waits before the second and third try; up to half as much is added.
const WAITS: [Duration; 2] = [Duration::from_millis(100), Duration::from_millis(300)];

/// What one call is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call {
    pub(super) name: CallName,
    /// Whose share it uses; none, where Nango counts it elsewhere.
    pub(super) class: Option<CallClass>,
    pub(super) repeat: Repeat,
    /// Whether a failure is Nango's: what the proxy answers may be the provider's trouble.
    pub(super) shows_health: bool,
}

/// Whether a call may be made again after it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeat {
    /// A second one changes nothing.
    Safe,
    /// A second one would do it twice, unless the first never left.
    IfUnsent,
    Never,
}

impl Repeat {
    const fn is_allowed_after(self, failure: &Failure) -> bool {
        match failure {
            Failure::Unsent(_) => matches!(self, Self::Safe | Self::IfUnsent),
            Failure::Unanswered(_) => matches!(self, Self::Safe),
            Failure::Limited(_) | Failure::Endless => false,
        }
    }
}

/// Until when an operation may take, all its calls together.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadline {
    at: DateTime<Utc>,
    within: Duration,
}

impl Deadline {
    fn new(now: DateTime<Utc>, within: Duration) -> Self {
        let at = TimeDelta::from_std(within).ok().and_then(|within| now.checked_add_signed(within));
        Self { at: at.unwrap_or(now), within }
    }

    /// A clock that was set back gives an operation no more than it had.
    fn left(self, now: DateTime<Utc>) -> Duration {
        self.at.signed_duration_since(now).to_std().unwrap_or_default().min(self.within)
    }
}

/// Calls that were taken out of the budget together, before the first of them was made.
#[derive(Debug)]
pub(super) struct Prepaid {
    class: CallClass,
    left: AtomicU32,
    lapses_at: DateTime<Utc>,
}

/// What stands between this process and Nango.
#[derive(Debug)]
pub(super) struct Gate {
    /// Nothing for whoever asks now and then, and has no database.
    budget: Option<Arc<Budget>>,
    breaker: Mutex<Breaker>,
    call_timeout: Duration,
    clock: Clock,
    mint: Mint,
    metrics: Metrics,
}

impl Gate {
    pub(super) fn new(
        budget: Option<Arc<Budget>>,
        call_timeout: Duration,
        (clock, mint): (Clock, Mint),
        metrics: Metrics,
    ) -> Self {
        Self { budget, breaker: Mutex::default(), call_timeout, clock, mint, metrics }
    }

    pub(super) fn deadline(&self, within: Duration) -> Deadline {
        Deadline::new(self.clock.now(), within)
    }

    pub(super) async fn prepay(&self, class: CallClass, calls: u32) -> Result<Prepaid, NangoError> {
        // A call that cannot be made now must not cost one.
        self.breaker().look(self.clock.now()).map_err(|until| self.left_alone(until))?;
        let lapses_at = match &self.budget {
            Some(budget) => budget.take_together(class, calls).await.map_err(no_call)?,
            None => self.clock.now(),
        };
        Ok(Prepaid { class, left: AtomicU32::new(calls), lapses_at })
    }

    /// Asks until there is an answer, or until asking again is of no use.
    pub(super) async fn ask(
        &self,
        call: Call,
        prepaid: Option<&Prepaid>,
        deadline: Deadline,
        request: RequestBuilder,
    ) -> Result<Answer, NangoError> {
        let mut waits = WAITS.into_iter();
        let mut failed = None;
        loop {
            // Only a stream could not be copied, and nothing that we send is one.
            let Some(copy) = request.try_clone() else {
                return Err(NangoError::Malformed("a request that cannot be copied"));
            };
            let pass = match self.enter(call, prepaid, deadline).await {
                Ok(pass) => pass,
                // What went wrong first says more.
                Err(busy) => {
                    count_refusal(&self.metrics, call.name, &busy);
                    return Err(failed.unwrap_or(busy));
                }
            };
            let copy = copy.timeout(deadline.left(self.clock.now()).min(self.call_timeout));
            if failed.is_some() {
                self.metrics.nango_retried(call.name);
            }
            let fetched = try_once(&self.metrics, call.name, copy).await;
            let failure = match fetched {
                Ok(answer) => {
                    self.learn(call, pass, Verdict::Answered);
                    return Ok(answer);
                }
                Err(failure) => failure,
            };
            let may_repeat = call.repeat.is_allowed_after(&failure);
            let error = self.fail(call, pass, failure);
            let wait = waits.next().map(|wait| wait.mul_f64(1.0 + self.mint.jitter() / 2.0));
            match wait.filter(|wait| may_repeat && *wait < deadline.left(self.clock.now())) {
                Some(wait) => tokio::time::sleep(wait).await,
                None => return Err(error),
            }
            failed = Some(error);
        }
    }

    /// Whether one call may be made now. It is looked before the budget is asked, so that what cannot be
    /// made costs nothing.
    async fn enter(
        &self,
        call: Call,
        prepaid: Option<&Prepaid>,
        deadline: Deadline,
    ) -> Result<Pass, NangoError> {
        let look = self.breaker().look(self.clock.now());
        match look {
            // Somebody else's call must find out how Nango is.
            Ok(Pass::Probe) if !call.shows_health => {
                return Err(self.left_alone(self.clock.now()));
            }
            Ok(_pass) => {}
            Err(until) => return Err(self.left_alone(until)),
        }
        if let (Some(class), Some(budget)) = (call.class, &self.budget)
            && !prepaid.is_some_and(|prepaid| prepaid.take(self.clock.now()))
        {
            let class = prepaid.map_or(class, |prepaid| prepaid.class);
            let taking = tokio::time::timeout(deadline.left(self.clock.now()), budget.take(class));
            taking.await.unwrap_or(Err(NoCall::Unknown)).map_err(no_call)?;
        }
        if deadline.left(self.clock.now()).is_zero() {
            // Nango would be blamed for a time-out that is ours.
            return Err(NangoError::Unreachable("no time is left to ask it".to_owned()));
        }
        if !call.shows_health {
            return Ok(Pass::Usual);
        }
        let entered = self.breaker().enter(self.clock.now());
        entered.map_err(|until| self.left_alone(until))
    }

    fn fail(&self, call: Call, pass: Pass, failure: Failure) -> NangoError {
        match failure {
            Failure::Unsent(told) | Failure::Unanswered(told) => {
                self.learn(call, pass, Verdict::Failed);
                NangoError::Unreachable(told)
            }
            Failure::Limited(pause) => {
                let wait = spread(pause.to_std().unwrap_or_default(), self.mint.jitter());
                let pause = TimeDelta::from_std(wait).unwrap_or(pause);
                self.learn(call, pass, Verdict::Limited(pause));
                NangoError::Busy { why: WhyBusy::LeftAlone, retry_after: wait }
            }
            Failure::Endless => {
                self.learn(call, pass, Verdict::Answered);
                NangoError::Malformed("an answer without end")
            }
        }
    }

    fn learn(&self, call: Call, pass: Pass, verdict: Verdict) {
        if !call.shows_health {
            return;
        }
        let mut breaker = self.breaker();
        let was_closed = breaker.is_closed();
        breaker.learn(pass, verdict, self.clock.now());
        self.metrics.breaker(breaker.is_closed());
        match (was_closed, breaker.is_closed()) {
            (true, false) => tracing::error!("Nango is left alone for a while: {verdict:?}"),
            (false, true) => tracing::info!("Nango answers again"),
            (true, true) | (false, false) => {}
        }
    }

    fn left_alone(&self, until: DateTime<Utc>) -> NangoError {
        let wait = until.signed_duration_since(self.clock.now()).to_std().unwrap_or_default();
        let wait = wait.max(Duration::from_secs(1));
        let retry_after = spread(wait, self.mint.jitter());
        NangoError::Busy { why: WhyBusy::LeftAlone, retry_after }
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        // It is changed by whole values, so that a panic leaves nothing half done.
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Prepaid {
    fn take(&self, at: DateTime<Utc>) -> bool {
        let less = |left: u32| left.checked_sub(1);
        at < self.lapses_at
            && self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).is_ok()
    }
}

fn no_call(no_call: NoCall) -> NangoError {
    match no_call {
        NoCall::Wait(retry_after) => NangoError::Busy { why: WhyBusy::Budget, retry_after },
        NoCall::Unknown => {
            NangoError::Busy { why: WhyBusy::BudgetUnknown, retry_after: Duration::from_secs(3) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_never_left_or_changes_nothing_is_asked_again() {
        let unsent = || Failure::Unsent(String::new());
        let unanswered = || Failure::Unanswered(String::new());
        let limited = || Failure::Limited(TimeDelta::seconds(1));
        for (repeat, failure, expected) in [
            (Repeat::Safe, unsent(), true),
            (Repeat::Safe, unanswered(), true),
            (Repeat::Safe, limited(), false),
            (Repeat::Safe, Failure::Endless, false),
            (Repeat::IfUnsent, unsent(), true),
            (Repeat::IfUnsent, unanswered(), false),
            (Repeat::IfUnsent, limited(), false),
            (Repeat::IfUnsent, Failure::Endless, false),
            (Repeat::Never, unsent(), false),
            (Repeat::Never, unanswered(), false),
            (Repeat::Never, limited(), false),
            (Repeat::Never, Failure::Endless, false),
        ] {
            assert_eq!(repeat.is_allowed_after(&failure), expected, "{repeat:?} {failure:?}");
        }
    }

    #[test]
    fn all_calls_of_an_operation_have_one_deadline() {
        let at = |seconds| DateTime::from_timestamp(seconds, 0).unwrap();
        let deadline = Deadline::new(at(100), Duration::from_secs(10));
        for (now, left) in [(100, 10), (104, 6), (110, 0), (200, 0), (50, 10)] {
            assert_eq!(deadline.left(at(now)), Duration::from_secs(left), "at {now}");
        }
    }

    #[test]
    fn calls_in_hand_are_good_until_they_lapse() {
        let at = |seconds| DateTime::from_timestamp(seconds, 0).unwrap();
        let prepaid = |calls| Prepaid {
            class: CallClass::Upkeep,
            left: AtomicU32::new(calls),
            lapses_at: at(3),
        };
        let two = prepaid(2);
        assert_eq!([two.take(at(0)), two.take(at(2)), two.take(at(2))], [true, true, false]);
        assert!(!prepaid(2).take(at(3)));
    }
}
