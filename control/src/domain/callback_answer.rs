//! How a callback is answered: every answer is decided again from what is kept, so that none exists only in
//! a response that may be lost.

use super::{
    callback::Received,
    connection::Reason,
    returning::{Ticket, Told},
};
use chrono::{DateTime, Utc};

/// The authorization attempt of a callback's state, as it is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kept {
    /// `open`, or how it ended.
    pub status: String,
    pub reason: Option<String>,
    /// A first callback is accepted before this.
    pub deadline_at: DateTime<Utc>,
    pub called_back_at: Option<DateTime<Utc>>,
    /// Of the first callback.
    pub query_hash: Option<Vec<u8>>,
    pub ticket_hash: Option<Vec<u8>>,
    pub ticket_expires_at: Option<DateTime<Utc>>,
    pub ticket_used_at: Option<DateTime<Utc>>,
    pub return_url: Option<String>,
    /// The issuer of its provider, where that is known.
    pub issuer: Option<String>,
    /// Since when an owner of an organization has to approve.
    pub approval_awaited_at: Option<DateTime<Utc>>,
}

/// What a browser brings with a callback.
#[derive(Debug, Clone, Copy)]
pub struct Brought<'a> {
    pub received: &'a Received,
    pub query_hash: &'a [u8; 32],
    /// Of the cookie, if it has the attempt's.
    pub ticket: Option<&'a Ticket>,
}

/// Whether this service finishes callbacks itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finisher {
    Browser,
    Service,
}

/// What a callback is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next<'a> {
    /// On to Nango; `first` marks the attempt.
    SendOn {
        first: bool,
    },
    /// Finish at Nango, and show what it said.
    Finish,
    /// Keep the callback, and send the browser to the application with a new ticket.
    Bind,
    /// An owner of an organization has to approve, and nothing was brought that could be used: the link stays.
    AwaitApproval,
    /// End the attempt with the provider's error.
    Fail(Reason),
    /// Back to the application, with the ticket that the browser already has.
    Ticket,
    Tell(Told<'a>),
    /// The ticket is another browser's.
    OtherBrowser,
    /// The answer is another authorization server's.
    WrongIssuer,
    Unknown,
}

/// Why a page of the application gets no ticket from a link whose attempt ended otherwise.
pub const LINK_USED: &str = "link_used";
const SUPERSEDED: &str = "superseded";

impl Kept {
    /// What the callback that was brought at this time is answered.
    pub fn answer(&self, finisher: Finisher, brought: Brought<'_>, at: DateTime<Utc>) -> Next<'_> {
        if self.is_of_another_issuer(brought.received) {
            return Next::WrongIssuer;
        }
        match self.status.as_str() {
            "open" if self.called_back_at.is_none() && at < self.deadline_at => {
                self.first(finisher, brought.received)
            }
            "open" if self.called_back_at.is_none() => self.ended(Reason::NotAuthorized.as_str()),
            "open" => self.again(finisher, brought, at),
            "done" => Next::Tell(Told::Connected),
            "failed" => self.failed(brought.received),
            "expired" => self.ended(Reason::NotAuthorized.as_str()),
            "superseded" => self.ended(SUPERSEDED),
            _ => Next::Unknown,
        }
    }

    fn first(&self, finisher: Finisher, received: &Received) -> Next<'_> {
        match (received.result, finisher) {
            (Err(reason), _) => Next::Fail(reason),
            (Ok(()), _) if received.awaits_approval() && !received.has_code => Next::AwaitApproval,
            (Ok(()), Finisher::Browser) => Next::SendOn { first: true },
            (Ok(()), Finisher::Service) if self.return_url.is_some() => Next::Bind,
            (Ok(()), Finisher::Service) => Next::Finish,
        }
    }

    /// The same callback leads to the same place; another one of the same state shows how things stand.
    fn again(&self, finisher: Finisher, brought: Brought<'_>, at: DateTime<Utc>) -> Next<'_> {
        let has_ticket = self.ticket_hash.is_some() && self.ticket_used_at.is_none();
        if has_ticket && self.ticket_expires_at.is_some_and(|expires_at| at < expires_at) {
            let own = brought.ticket.map(Ticket::hash);
            let is_own = own.is_some_and(|own| self.ticket_hash.as_deref() == Some(own.as_slice()));
            return if is_own { Next::Ticket } else { Next::OtherBrowser };
        }
        // Nango takes a state once, whoever brings it again.
        let is_same = self.query_hash.as_deref() == Some(brought.query_hash.as_slice());
        if finisher == Finisher::Browser && is_same && self.ticket_hash.is_none() {
            return Next::SendOn { first: false };
        }
        let awaits_approval = self.approval_awaited_at.is_some();
        Next::Tell(if awaits_approval { Told::AwaitingApproval } else { Told::Pending })
    }

    /// A user who said no and then yes is not told that he said no: the link was used up by the first.
    fn failed(&self, received: &Received) -> Next<'_> {
        let reason = self.reason.as_deref().unwrap_or_else(|| Reason::ProviderError.as_str());
        let by_error = [Reason::AccessDenied, Reason::ProviderError].map(Reason::as_str);
        let is_other = received.result.is_ok() && by_error.contains(&reason);
        Next::Tell(Told::Failed(if is_other { LINK_USED } else { reason }))
    }

    /// An attempt that no callback can reach any more: an application's page takes its user back.
    fn ended(&self, reason: &'static str) -> Next<'_> {
        if self.return_url.is_some() { Next::Tell(Told::Failed(reason)) } else { Next::Unknown }
    }

    /// RFC 9207, section 2.4: issuers are compared as they are written.
    fn is_of_another_issuer(&self, received: &Received) -> bool {
        match (&self.issuer, &received.issuer) {
            (Some(known), Some(said)) => known != said,
            (None, _) | (_, None) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::callback::{Callback, read};
    use contract::id::AttemptId;
    use sha2::{Digest as _, Sha256};

    const CODE: &str = "code=c&state=s";
    const DENIED: &str = "error=access_denied&state=s";

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    fn cookie(name: &str) -> Ticket {
        Ticket::of_browser(name, AttemptId::from_parts(1, &[0; 10]))
    }

    fn ask(kept: &Kept, finisher: Finisher, query: &str, ticket: Option<&Ticket>) -> String {
        let Callback::Of(received) = read(query) else { panic!("{query}") };
        let query_hash: [u8; 32] = Sha256::digest(query).into();
        let brought = Brought { received: &received, query_hash: &query_hash, ticket };
        format!("{:?}", kept.answer(finisher, brought, at(100)))
    }

    fn kept(status: &str) -> Kept {
        Kept { status: status.to_owned(), deadline_at: at(3600), ..Kept::default() }
    }

    fn returning(kept: Kept) -> Kept {
        Kept { return_url: Some("https://app.example/".to_owned()), ..kept }
    }

    fn called_back(kept: Kept) -> Kept {
        let query_hash = Some(Sha256::digest(CODE).to_vec());
        Kept { called_back_at: Some(at(90)), query_hash, ..kept }
    }

    #[test]
    fn a_first_callback_is_sent_on_finished_bound_or_failed() {
        let open = kept("open");
        let (browser, service) = (Finisher::Browser, Finisher::Service);
        assert_eq!(ask(&open, browser, CODE, None), "SendOn { first: true }");
        assert_eq!(ask(&open, service, CODE, None), "Finish");
        assert_eq!(ask(&returning(open.clone()), service, CODE, None), "Bind");
        for finisher in [browser, service] {
            assert_eq!(ask(&open, finisher, DENIED, None), "Fail(AccessDenied)");
        }
        let late = Kept { deadline_at: at(100), ..open };
        assert_eq!(ask(&late, browser, CODE, None), "Unknown");
        assert_eq!(ask(&returning(late), service, CODE, None), r#"Tell(Failed("not_authorized"))"#);
    }

    #[test]
    fn the_same_callback_is_sent_on_again_and_another_of_its_state_is_not() {
        let open = called_back(kept("open"));
        assert_eq!(ask(&open, Finisher::Browser, CODE, None), "SendOn { first: false }");
        for query in ["code=d&state=s", DENIED] {
            assert_eq!(ask(&open, Finisher::Browser, query, None), "Tell(Pending)", "{query}");
        }
        assert_eq!(ask(&open, Finisher::Service, CODE, None), "Tell(Pending)", "finished once");
    }

    #[test]
    fn a_ticket_is_brought_forth_again_by_its_own_browser_until_it_is_used_or_too_old() {
        let own = cookie("own");
        let bound = returning(called_back(kept("open")));
        let bound = Kept {
            ticket_hash: Some(own.hash().to_vec()),
            ticket_expires_at: Some(at(101)),
            ..bound
        };
        for finisher in [Finisher::Browser, Finisher::Service] {
            assert_eq!(ask(&bound, finisher, CODE, Some(&own)), "Ticket");
            assert_eq!(ask(&bound, finisher, CODE, Some(&cookie("other"))), "OtherBrowser");
            assert_eq!(ask(&bound, finisher, CODE, None), "OtherBrowser");
            let used = Kept { ticket_used_at: Some(at(95)), ..bound.clone() };
            assert_eq!(ask(&used, finisher, CODE, Some(&own)), "Tell(Pending)");
            let old = Kept { ticket_expires_at: Some(at(100)), ..bound.clone() };
            assert_eq!(ask(&old, finisher, CODE, Some(&own)), "Tell(Pending)");
        }
    }

    #[test]
    fn what_ended_is_told_as_it_ended_and_a_no_is_not_the_answer_to_a_yes() {
        for finisher in [Finisher::Browser, Finisher::Service] {
            assert_eq!(ask(&kept("done"), finisher, CODE, None), "Tell(Connected)");
            assert_eq!(ask(&kept("done"), finisher, DENIED, None), "Tell(Connected)");
            for (reason, query, told) in [
                ("access_denied", DENIED, "access_denied"),
                ("access_denied", CODE, "link_used"),
                ("provider_error", CODE, "link_used"),
                ("provider_error", "error=x&state=s", "provider_error"),
                ("token_exchange_failed", CODE, "token_exchange_failed"),
                ("account_changed", CODE, "account_changed"),
            ] {
                let failed = Kept { reason: Some(reason.to_owned()), ..kept("failed") };
                let expected = format!("Tell(Failed({told:?}))");
                assert_eq!(ask(&failed, finisher, query, None), expected, "{reason} {query}");
            }
            for (status, told) in [("superseded", "superseded"), ("expired", "not_authorized")] {
                assert_eq!(ask(&kept(status), finisher, CODE, None), "Unknown");
                let expected = format!("Tell(Failed({told:?}))");
                assert_eq!(ask(&returning(kept(status)), finisher, CODE, None), expected);
            }
        }
    }

    #[test]
    fn an_approval_is_awaited_with_the_code_and_without_it_the_link_stays() {
        let with = "code=c&state=s&setup_action=request";
        let without = "state=s&setup_action=request";
        let open = kept("open");
        for finisher in [Finisher::Browser, Finisher::Service] {
            assert_eq!(ask(&open, finisher, without, None), "AwaitApproval");
            assert_ne!(ask(&open, finisher, with, None), "AwaitApproval");
        }
        let begun = Kept { approval_awaited_at: Some(at(90)), ..called_back(open) };
        assert_eq!(ask(&begun, Finisher::Service, with, None), "Tell(AwaitingApproval)");
        assert_eq!(ask(&begun, Finisher::Browser, with, None), "Tell(AwaitingApproval)");
    }

    #[test]
    fn an_answer_of_another_issuer_is_none_and_one_that_names_nobody_is_taken() {
        let open = Kept { issuer: Some("https://a.example".to_owned()), ..kept("open") };
        let iss = |issuer: &str| format!("code=c&state=s{issuer}");
        for (query, expected) in [
            (iss("&iss=https%3A%2F%2Fa.example"), "SendOn { first: true }"),
            (iss(""), "SendOn { first: true }"),
            (iss("&iss=https%3A%2F%2Fa.example%2F"), "WrongIssuer"),
            (iss("&iss=https%3A%2F%2Fevil.example"), "WrongIssuer"),
            (iss("&iss=https%3A%2F%2Fa.example&iss=https%3A%2F%2Fa.example"), "WrongIssuer"),
            (
                "error=access_denied&state=s&iss=https%3A%2F%2Fevil.example".to_owned(),
                "WrongIssuer",
            ),
        ] {
            assert_eq!(ask(&open, Finisher::Browser, &query, None), expected, "{query}");
        }
        let unknown = kept("open");
        let query = iss("&iss=https%3A%2F%2Fanybody.example");
        assert_eq!(ask(&unknown, Finisher::Browser, &query, None), "SendOn { first: true }");
    }
}
