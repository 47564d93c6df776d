//! A row of the table: a request, what becomes of it, and the rule that says so.

use super::{
    signatures::Signature,
    worlds::{Who, World},
};
use crate::{
    support::{Http, Sending},
    wire::Message,
};

/// What becomes of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// Control sees it, vouched for as this principal and this tenant.
    Forwarded { principal: Option<&'static str>, tenant: Option<&'static str> },
    /// The filter answers without a fault of the caller.
    Answered(u16, &'static str),
    /// The filter refuses it: the status, the code that the caller sees, the reason in the log.
    Refused(u16, &'static str, &'static str),
    /// Envoy refuses it by itself, with this status and code.
    ByEnvoy(u16, &'static str),
    /// Envoy answers it by itself, without a fault of the caller.
    AnsweredByEnvoy(u16),
    /// Envoy ends the stream or the connection without an answer.
    Cut,
    /// A row that says no end is wrong.
    Unsaid,
}

impl End {
    /// The filter sees the request; Envoy refuses some before they have headers that a log could show.
    pub const fn is_of_filter(&self) -> bool {
        matches!(self, Self::Forwarded { .. } | Self::Answered(..) | Self::Refused(..))
    }
}

/// One request and what becomes of it.
#[derive(Debug, Clone)]
pub struct Row {
    pub rule: &'static str,
    pub world: World,
    /// Somebody at the clients listener; nothing for the public one.
    pub who: Option<Who>,
    pub message: Message,
    pub signature: Signature,
    pub over: &'static [Http],
    pub end: End,
    /// Headers that the answer must have.
    pub answers: Vec<(&'static str, &'static str)>,
    /// Headers that control must see, or must not.
    pub arrives: Vec<(&'static str, Option<&'static str>)>,
}

impl Row {
    fn new(rule: &'static str, who: Option<Who>, message: Message) -> Self {
        Self {
            rule,
            world: World::Shipped,
            who,
            message,
            signature: Signature::None,
            over: &Http::BOTH,
            end: End::Unsaid,
            answers: Vec::new(),
            arrives: Vec::new(),
        }
    }

    /// A call of the demo application.
    pub fn client(rule: &'static str, method: &'static str, target: &str) -> Self {
        Self::new(rule, Some(Who::APP), Message::new(method, target))
    }

    /// A call of anybody.
    pub fn public(rule: &'static str, method: &'static str, target: &str) -> Self {
        Self::new(rule, None, Message::new(method, target))
    }

    /// A webhook of Nango's, signed.
    pub fn webhook(rule: &'static str, sending: Sending, body: &[u8]) -> Self {
        let message = Message::new("POST", "/webhooks/nango").body(sending, body);
        let message = message.header("content-type", "application/json");
        Self { signature: Signature::Good, ..Self::new(rule, None, message) }
    }

    pub fn by(self, who: Who) -> Self {
        Self { who: Some(who), ..self }
    }

    pub fn in_world(self, world: World) -> Self {
        Self { world, ..self }
    }

    pub fn over(self, over: &'static [Http]) -> Self {
        Self { over, ..self }
    }

    pub fn signed(self, signature: Signature) -> Self {
        Self { signature, ..self }
    }

    pub fn header(self, name: &'static str, value: impl AsRef<[u8]>) -> Self {
        Self { message: self.message.header(name, value), ..self }
    }

    pub fn without(mut self, name: &str) -> Self {
        self.message.headers.retain(|header| header.0 != name);
        self
    }

    pub fn json(self, body: &[u8]) -> Self {
        let message = self.message.body(Sending::Whole, body);
        Self { message: message.header("content-type", "application/json"), ..self }
    }

    /// A body that nothing is declared of.
    pub fn bytes(self, body: &[u8]) -> Self {
        Self { message: self.message.body(Sending::Whole, body), ..self }
    }

    pub fn ends(self, end: End) -> Self {
        Self { end, ..self }
    }

    /// Control sees it as the demo application's, for the tenant acme.
    pub fn forwarded(self) -> Self {
        let principal = Some(sandbox::pki::APP);
        self.ends(End::Forwarded { principal, tenant: Some("acme") })
    }

    /// Control sees it as nobody's.
    pub fn forwarded_of_nobody(self) -> Self {
        self.ends(End::Forwarded { principal: None, tenant: None })
    }

    pub fn refused(self, status: u16, code: &'static str, reason: &'static str) -> Self {
        self.ends(End::Refused(status, code, reason))
    }

    /// Control sees this header so.
    pub fn arrives(mut self, name: &'static str, value: &'static str) -> Self {
        self.arrives.push((name, Some(value)));
        self
    }

    /// Control sees no such header.
    pub fn stays(mut self, name: &'static str) -> Self {
        self.arrives.push((name, None));
        self
    }

    pub fn answers(mut self, name: &'static str, value: &'static str) -> Self {
        self.answers.push((name, value));
        self
    }
}
