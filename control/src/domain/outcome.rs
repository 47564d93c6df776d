//! How one try to notify ended, and whose fault it is when it failed.

use std::time::Duration;

/// How one try ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The receiver took it: any 2xx.
    Delivered { status: u16 },
    /// The receiver answered something else. `retry_after` is what it asks for, if it does.
    Refused { status: u16, retry_after: Option<Duration> },
    /// No answer came: no address, no connection, no handshake, or not in time.
    NoAnswer(NoAnswer),
}

/// Why no answer came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoAnswer {
    /// Our certificate, its key or a CA cannot be used.
    OurIdentity,
    /// No key of `DATA_ENCRYPTION_KEY` opens the destination's secrets.
    OurKeys,
    /// Our resolver does not answer; a name that it says is none is [`Self::NoSuchName`].
    OurResolver,
    /// No socket, no memory, no place: this process has run out of something.
    OurLimits,
    NoSuchName,
    /// The name leads to an address that may not be called.
    Forbidden,
    /// Nobody took the connection.
    Connect,
    /// The handshake failed: their certificate, or they do not take ours.
    Handshake,
    Timeout,
    /// The connection broke after the request was sent, or what came was no answer.
    Broken,
}

/// Whose fault a failed try is. Ours uses none of the receiver's tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    Ours,
    Network,
    Theirs,
}

impl Fault {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Network => "network",
            Self::Theirs => "theirs",
        }
    }
}

impl NoAnswer {
    pub const ALL: [Self; 10] = [
        Self::OurIdentity,
        Self::OurKeys,
        Self::OurResolver,
        Self::OurLimits,
        Self::NoSuchName,
        Self::Forbidden,
        Self::Connect,
        Self::Handshake,
        Self::Timeout,
        Self::Broken,
    ];
}

impl Outcome {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Delivered { .. } => "delivered",
            Self::Refused { .. } => "refused",
            Self::NoAnswer(NoAnswer::OurIdentity) => "our_identity",
            Self::NoAnswer(NoAnswer::OurKeys) => "our_keys",
            Self::NoAnswer(NoAnswer::OurResolver) => "our_resolver",
            Self::NoAnswer(NoAnswer::OurLimits) => "our_limits",
            Self::NoAnswer(NoAnswer::NoSuchName) => "no_such_name",
            Self::NoAnswer(NoAnswer::Forbidden) => "forbidden_address",
            Self::NoAnswer(NoAnswer::Connect) => "no_connection",
            Self::NoAnswer(NoAnswer::Handshake) => "handshake_failed",
            Self::NoAnswer(NoAnswer::Timeout) => "timeout",
            Self::NoAnswer(NoAnswer::Broken) => "broken",
        }
    }

    pub const fn status(self) -> Option<u16> {
        match self {
            Self::Delivered { status } | Self::Refused { status, .. } => Some(status),
            Self::NoAnswer(_) => None,
        }
    }

    /// `None`, where nothing failed.
    pub const fn fault(self) -> Option<Fault> {
        match self {
            Self::Delivered { .. } => None,
            Self::NoAnswer(
                NoAnswer::OurIdentity
                | NoAnswer::OurKeys
                | NoAnswer::OurResolver
                | NoAnswer::OurLimits,
            ) => Some(Fault::Ours),
            Self::NoAnswer(NoAnswer::Connect | NoAnswer::Timeout | NoAnswer::Broken) => {
                Some(Fault::Network)
            }
            Self::Refused { .. }
            | Self::NoAnswer(NoAnswer::NoSuchName | NoAnswer::Forbidden | NoAnswer::Handshake) => {
                Some(Fault::Theirs)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn whatever_is_said_of_our_side_is_our_fault_and_nothing_else_is() {
        let words: BTreeSet<&str> = NoAnswer::ALL.map(|why| Outcome::NoAnswer(why).as_str()).into();
        assert_eq!(words.len(), NoAnswer::ALL.len());
        for why in NoAnswer::ALL.map(Outcome::NoAnswer) {
            let is_ours = why.fault() == Some(Fault::Ours);
            assert_eq!(is_ours, why.as_str().starts_with("our_"), "{why:?}");
        }
        for status in [301, 400, 410, 429, 500, 503] {
            let refused = Outcome::Refused { status, retry_after: None };
            assert_eq!((refused.fault(), refused.status()), (Some(Fault::Theirs), Some(status)));
        }
        assert_eq!(Outcome::Delivered { status: 204 }.fault(), None);
    }
}
