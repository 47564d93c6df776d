//! One try of a call, in a span of its own and counted. The span has the call's name and how it ended: no
//! URL, which may hold a code, and no header.

use super::answer::{Answer, Failure, NangoError, WhyBusy, fetch};
use crate::{
    metrics::{CallName, CallOutcome, Metrics},
    trace,
};
use reqwest::RequestBuilder;
use tracing::{Instrument as _, Span, field::Empty};

/// Sends a request within the trace that it is made for, and reads its answer.
pub(super) async fn try_once(
    metrics: &Metrics,
    call: CallName,
    request: RequestBuilder,
) -> Result<Answer, Failure> {
    let span = tracing::info_span!(
        "nango",
        otel.name = format!("nango {}", call.as_str()),
        otel.kind = "client",
        otel.status_code = Empty,
        nango.call = call.as_str(),
        nango.outcome = Empty,
        http.response.status_code = Empty,
        trace.id = Empty,
    );
    let trying = Box::pin(async {
        let span = Span::current();
        trace::name(&span);
        let begun = metrics.begin();
        let fetched = fetch(trace::told(request)).await;
        let outcome = outcome(&fetched);
        metrics.nango_called(call, outcome, &begun);
        span.record("nango.outcome", outcome.as_str());
        match &fetched {
            Ok(answer) => {
                span.record("http.response.status_code", answer.status().as_u16());
            }
            Err(_failure) => {
                span.record("otel.status_code", "ERROR");
            }
        }
        fetched
    });
    trying.instrument(span).await
}

/// Counts a call that was not made.
pub(super) fn count_refusal(metrics: &Metrics, call: CallName, error: &NangoError) {
    if let NangoError::Busy { why, .. } = error {
        let why = match why {
            WhyBusy::Budget => "budget",
            WhyBusy::BudgetUnknown => "budget_unknown",
            WhyBusy::LeftAlone => "left_alone",
        };
        metrics.nango_not_asked(call, why);
    }
}

fn outcome(fetched: &Result<Answer, Failure>) -> CallOutcome {
    match fetched {
        Ok(answer) if answer.status().is_client_error() => CallOutcome::Refused,
        Ok(_answer) => CallOutcome::Taken,
        Err(Failure::Unsent(_)) => CallOutcome::Unsent,
        Err(Failure::Unanswered(_) | Failure::Endless) => CallOutcome::Unanswered,
        Err(Failure::Limited(_)) => CallOutcome::Limited,
    }
}
