//! Where a browser goes back to, and the ticket it takes along.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use contract::id::{AttemptId, ConnectionId};
use sha2::{Digest, Sha256};
use std::fmt;
use url::{Origin, Url};

const URL_BYTES_MAX: usize = 2048;

/// The origins whose pages an application may name.
#[derive(Debug, Clone, Default)]
pub struct AllowedOrigins(Vec<Origin>);

impl AllowedOrigins {
    /// Reads `https://app.example,https://other.example`.
    pub fn read(text: &str) -> Option<Self> {
        let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        let origins = entries.map(|entry| read_origin(entry).map(|url| url.origin()));
        origins.collect::<Option<Vec<Origin>>>().map(Self)
    }

    /// Those that a tenant named. One that cannot be read allows nothing.
    pub fn of(origins: &[String]) -> Self {
        let urls = origins.iter().filter_map(|origin| read_origin(origin));
        Self(urls.map(|url| url.origin()).collect())
    }

    /// The page of this address, if it is one of theirs.
    pub fn page(&self, text: &str) -> Option<Url> {
        let url = Url::parse(text).ok().filter(|url| url.as_str().len() <= URL_BYTES_MAX)?;
        let is_plain =
            url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
        (is_plain && self.0.contains(&url.origin())).then_some(url)
    }
}

/// Reads `https://app.example`: an address without path, query, fragment and user.
pub(super) fn read_origin(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let is_origin = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    let is_plain = url.username().is_empty() && url.password().is_none();
    (is_origin && is_plain && matches!(url.scheme(), "https" | "http")).then_some(url)
}

/// By which an application finishes a callback, once. Whoever has it came back from the provider.
#[derive(Clone, PartialEq, Eq)]
pub struct Ticket(String);

impl fmt::Debug for Ticket {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Ticket(..)")
    }
}

impl Ticket {
    /// The ticket of the browser that has this cookie. Nothing but the ticket's hash is kept, so that only
    /// that browser can bring the ticket forth again.
    pub fn of_browser(cookie: &str, attempt: AttemptId) -> Self {
        let text = format!("connections/ticket/{attempt}/{cookie}");
        Self(URL_SAFE_NO_PAD.encode(Sha256::digest(text)))
    }

    /// As it came back from somewhere.
    pub const fn unverified(text: String) -> Self {
        Self(text)
    }

    /// Under what it is kept.
    pub fn hash(&self) -> [u8; 32] {
        Sha256::digest(&self.0).into()
    }

    /// The application's page, with the ticket for it.
    pub fn address(&self, page: &Url, connection: ConnectionId) -> String {
        let mut url = page.clone();
        url.query_pairs_mut()
            .append_pair("connectionId", &connection.to_string())
            .append_pair("ticket", &self.0);
        url.into()
    }
}

/// A new value for the cookie that a ticket is derived from.
pub fn browser_secret(random: [u8; 32]) -> String {
    URL_SAFE_NO_PAD.encode(random)
}

/// What an application's page is told where there is no ticket: `outcome`, or `error` with its reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told<'a> {
    Connected,
    Pending,
    AwaitingApproval,
    Failed(&'a str),
}

/// The application's page, with how the authorization stands, in words of ours.
pub fn told_address(page: &Url, connection: ConnectionId, told: Told<'_>) -> String {
    let mut url = page.clone();
    let (name, value) = match told {
        Told::Connected => ("outcome", "connected"),
        Told::Pending => ("outcome", "pending"),
        Told::AwaitingApproval => ("outcome", "awaiting_approval"),
        Told::Failed(reason) => ("error", reason),
    };
    url.query_pairs_mut()
        .append_pair("connectionId", &connection.to_string())
        .append_pair(name, value);
    url.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_of_an_allowed_origin_and_of_no_other() {
        let allowed = AllowedOrigins::read("https://app.example, http://localhost:5173").unwrap();
        for page in
            ["https://app.example/done?a=b", "http://localhost:5173/", "https://APP.example"]
        {
            assert!(allowed.page(page).is_some(), "{page}");
        }
        for page in [
            "https://app.example.evil.example/",
            "https://app.example:444/",
            "http://app.example/",
            "https://user@app.example/",
            "https://app.example/#x",
            "javascript:alert(1)",
            "//app.example/",
            "/done",
            "",
        ] {
            assert!(allowed.page(page).is_none(), "{page}");
        }
        assert!(AllowedOrigins::default().page("https://app.example/").is_none());
        assert!(AllowedOrigins::read("https://app.example/path").is_none());
    }

    #[test]
    fn a_browser_takes_a_ticket_along_beside_what_the_page_had() {
        let page = Url::parse("https://app.example/done?a=b").unwrap();
        let id = ConnectionId::from_parts(1, &[1; 10]);
        let ticket = Ticket::unverified("A".repeat(43));
        assert_eq!(
            ticket.address(&page, id),
            format!("https://app.example/done?a=b&connectionId={id}&ticket={}", "A".repeat(43))
        );
        assert!(!format!("{ticket:?}").contains("AA"));
    }

    #[test]
    fn a_ticket_is_of_one_browser_and_one_attempt() {
        let attempt = |number| AttemptId::from_parts(number, &[0; 10]);
        let ticket = Ticket::of_browser("a", attempt(1));
        assert_eq!(ticket, Ticket::of_browser("a", attempt(1)));
        assert_ne!(ticket, Ticket::of_browser("b", attempt(1)));
        assert_ne!(ticket, Ticket::of_browser("a", attempt(2)));
        assert_eq!(ticket.0.len(), 43);
    }

    #[test]
    fn a_page_without_a_ticket_is_told_one_outcome() {
        let page = Url::parse("https://app.example/done?a=b").unwrap();
        let id = ConnectionId::from_parts(1, &[1; 10]);
        for (told, said) in [
            (Told::Connected, "outcome=connected"),
            (Told::Pending, "outcome=pending"),
            (Told::AwaitingApproval, "outcome=awaiting_approval"),
            (Told::Failed("access_denied"), "error=access_denied"),
        ] {
            let expected = format!("https://app.example/done?a=b&connectionId={id}&{said}");
            assert_eq!(told_address(&page, id, told), expected);
        }
    }
}
