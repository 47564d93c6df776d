//! The labels of metrics. Each value is from a closed list, so that nobody's tenant, path or id can become
//! a series: Prometheus keeps those for as long as it runs.

use prometheus_client::encoding::EncodeLabelSet;

/// A request. The route is the template that the router matched.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RequestLabels {
    pub route: String,
    pub method: &'static str,
    /// The class: `2xx`.
    pub status: &'static str,
}

/// What was asked of Nango.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallName {
    Session,
    Connect,
    Complete,
    LookUp,
    Page,
    Look,
    Delete,
    Profile,
}

impl CallName {
    pub const ALL: [Self; 8] = [
        Self::Session,
        Self::Connect,
        Self::Complete,
        Self::LookUp,
        Self::Page,
        Self::Look,
        Self::Delete,
        Self::Profile,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Connect => "connect",
            Self::Complete => "complete",
            Self::LookUp => "look_up",
            Self::Page => "page",
            Self::Look => "look",
            Self::Delete => "delete",
            Self::Profile => "profile",
        }
    }
}

/// How one call to Nango ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallOutcome {
    /// 2xx or a redirect.
    Taken,
    /// 4xx.
    Refused,
    Unsent,
    /// No answer, 5xx, or one without end.
    Unanswered,
    /// 429.
    Limited,
}

impl CallOutcome {
    pub const ALL: [Self; 5] =
        [Self::Taken, Self::Refused, Self::Unsent, Self::Unanswered, Self::Limited];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Taken => "taken",
            Self::Refused => "refused",
            Self::Unsent => "unsent",
            Self::Unanswered => "unanswered",
            Self::Limited => "limited",
        }
    }
}

/// What became of a piece of the outbox's work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkResult {
    Done,
    Failed,
    Panicked,
}

impl WorkResult {
    pub const ALL: [Self; 3] = [Self::Done, Self::Failed, Self::Panicked];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Panicked => "panicked",
        }
    }
}

/// How a row of the vault's list differed from what was believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drift {
    /// It says something else.
    Changed,
    /// It is not there.
    Missing,
}

impl Drift {
    pub const ALL: [Self; 2] = [Self::Changed, Self::Missing];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Changed => "changed",
            Self::Missing => "missing",
        }
    }
}

/// Why a delivery was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GivenUp {
    /// Its tries are used up.
    Tries,
    /// Faults of ours kept it waiting for too long.
    OurFault,
    /// Its event is no longer kept.
    Age,
}

impl GivenUp {
    pub const ALL: [Self; 3] = [Self::Tries, Self::OurFault, Self::Age];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tries => "tries",
            Self::OurFault => "our_fault",
            Self::Age => "age",
        }
    }
}

macro_rules! labels {
    ($($(#[$doc:meta])* $name:ident { $($label:ident),+ })+) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
        pub(super) struct $name { $(pub(super) $label: &'static str),+ }
    )+};
}

labels! {
    Build { version }
    Call { call }
    CallEnd { call, outcome }
    CallRefusal { call, why }
    Class { class }
    Kind { kind }
    Outcome { outcome }
    Refusal { code }
    State { state }
    Status { status }
    Try { outcome, fault }
    Which { certificate }
    Why { why }
    Work { kind, result }
}
