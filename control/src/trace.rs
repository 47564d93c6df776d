//! Which trace the work at hand belongs to: taken from whoever asked for it, and told to whoever is called.
//!
//! Where spans are exported, what is told names our own span; else the caller's `traceparent` is passed on as
//! it came, because a span that nobody exports would be a gap in the caller's trace.

use crate::domain::traceparent::Traceparent;
use opentelemetry::{
    Context, SpanId, TraceFlags, TraceId,
    trace::{SpanContext, TraceContextExt as _, TraceState},
};
use reqwest::RequestBuilder;
use tracing::{Instrument as _, Span};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// The header.
pub const TRACEPARENT: &str = "traceparent";
/// The field of spans, and of log lines.
const TRACE_ID: &str = "trace.id";

tokio::task_local! {
    static CALLER: Option<Traceparent>;
}

/// Does work in a span of its own, as a part of the caller's trace where there is one. The span has an empty
/// field `trace.id`, which this fills in.
pub async fn within<T>(
    caller: Option<Traceparent>,
    span: Span,
    work: impl Future<Output = T>,
) -> T {
    if let Some(caller) = &caller {
        // It has not begun yet, so that this does not fail.
        let _is_set = span.set_parent(remote(caller)).is_ok();
    }
    // On the heap: each layer around a future would hold a copy of it, and work nests.
    let named = Box::pin(async {
        name(&Span::current());
        work.await
    });
    CALLER.scope(caller, named.instrument(span)).await
}

/// The trace that the work at hand belongs to, as it is told to whoever is called.
pub fn current() -> Option<Traceparent> {
    let context = Span::current().context();
    let span = context.span();
    let ours = span.span_context();
    if ours.is_valid() {
        let (trace, span) = (ours.trace_id().to_bytes(), ours.span_id().to_bytes());
        Some(Traceparent::from_parts(trace, span, ours.is_sampled()))
    } else {
        CALLER.try_with(Clone::clone).ok().flatten()
    }
}

/// A request that tells whoever gets it.
pub fn told(request: RequestBuilder) -> RequestBuilder {
    match current() {
        Some(traceparent) => request.header(TRACEPARENT, traceparent.as_str()),
        None => request,
    }
}

/// Writes into a span, which must be the current one, which trace it belongs to.
pub fn name(span: &Span) {
    if let Some(traceparent) = current() {
        span.record(TRACE_ID, traceparent.trace_id());
    }
}

/// The same work on a task of its own, in the same trace.
pub fn carried<T>(work: impl Future<Output = T>) -> impl Future<Output = T> {
    let caller = CALLER.try_with(Clone::clone).ok().flatten();
    CALLER.scope(caller, work.in_current_span())
}

fn remote(caller: &Traceparent) -> Context {
    let (trace, span, is_sampled) = caller.parts();
    let flags = if is_sampled { TraceFlags::SAMPLED } else { TraceFlags::default() };
    let (trace, span) = (TraceId::from_bytes(trace), SpanId::from_bytes(span));
    let caller = SpanContext::new(trace, span, flags, true, TraceState::default());
    Context::new().with_remote_span_context(caller)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALLER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[tokio::test]
    async fn a_trace_is_passed_on_as_it_came_where_nothing_is_exported() {
        let caller = CALLER.parse().ok();
        assert_eq!(current(), None);
        let told = within(caller.clone(), Span::none(), async { current() }).await;
        assert_eq!(told, caller);
        let spawned = within(caller.clone(), Span::none(), async {
            tokio::spawn(carried(async { current() })).await.unwrap()
        });
        assert_eq!(spawned.await, caller);
        assert_eq!(within(None, Span::none(), async { current() }).await, None);
    }
}
