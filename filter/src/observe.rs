//! What the edge counts, and under which names.
//!
//! Envoy keeps a stat for as long as it runs, so that every part of a name is from a closed list: no
//! tenant, no principal, nothing that a caller could choose. `stats_config` in `envoy.yaml` makes labels
//! of the parts; `sandbox/tests/e2e/metrics.rs` holds the two together.

use crate::policy::ListenerKind;

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Decision {
    Forwarded,
    /// Answered here, without a fault of the caller.
    Answered,
    Refused,
    /// The caller went away before the decision.
    Abandoned,
}

impl Decision {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Forwarded => "forwarded",
            Self::Answered => "answered",
            Self::Refused => "refused",
            Self::Abandoned => "abandoned",
        }
    }
}

/// A counter of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Counter {
    Requests {
        listener: ListenerKind,
        /// Nothing where no route was found.
        route: Option<&'static str>,
        decision: Decision,
        /// The reason in the access log, of what was not forwarded.
        reason: Option<&'static str>,
    },
    /// Requests that the policy's dry run would have decided otherwise.
    DryRun { route: Option<&'static str>, would: &'static str },
}

impl Counter {
    pub fn name(self) -> String {
        match self {
            Self::Requests { listener, route, decision, reason } => format!(
                "connections_edge_requests.listener.{}.route.{}.decision.{}.reason.{}",
                listener.as_str(),
                route.unwrap_or("none"),
                decision.as_str(),
                reason.unwrap_or("none"),
            ),
            Self::DryRun { route, would } => {
                format!("connections_edge_dry_run.route.{}.would.{would}", route.unwrap_or("none"))
            }
        }
    }
}

/// How long verifying a webhook's body took, all chunks together, without the waiting between them.
pub const VERIFICATION_MICROSECONDS: &str = "connections_edge_verification_microseconds";

/// When a policy was loaded, in seconds since 1970: the version with the highest value is the one that
/// holds, and a second version with the same value means that not all workers have it yet.
pub fn policy_loaded_seconds(listener: ListenerKind, version: &str) -> String {
    let listener = listener.as_str();
    // The version is last, because it may have dots.
    format!("connections_edge_policy_loaded_seconds.listener.{listener}.version.{version}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counters_name_says_what_is_counted() {
        let refused = Counter::Requests {
            listener: ListenerKind::Clients,
            route: Some("get"),
            decision: Decision::Refused,
            reason: Some("edge_no_grant"),
        };
        assert_eq!(
            refused.name(),
            "connections_edge_requests.listener.clients.route.get.decision.refused.reason.edge_no_grant"
        );
        let forwarded = Counter::Requests {
            listener: ListenerKind::Public,
            route: None,
            decision: Decision::Forwarded,
            reason: None,
        };
        assert_eq!(
            forwarded.name(),
            "connections_edge_requests.listener.public.route.none.decision.forwarded.reason.none"
        );
        let dry_run = Counter::DryRun { route: Some("get"), would: "refuse" };
        assert_eq!(dry_run.name(), "connections_edge_dry_run.route.get.would.refuse");
        assert_eq!(
            policy_loaded_seconds(ListenerKind::Clients, "1.2"),
            "connections_edge_policy_loaded_seconds.listener.clients.version.1.2"
        );
    }
}
