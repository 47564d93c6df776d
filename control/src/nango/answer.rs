//! How Nango answers: a success as JSON, a redirect, a refusal with a code, or nothing that can be used.

use super::wire;
use crate::{cause::chain, domain::connection::Reason};
use chrono::TimeDelta;
use reqwest::{
    RequestBuilder, Response, StatusCode,
    header::{CONTENT_TYPE, HeaderMap, HeaderName, LOCATION, RETRY_AFTER},
};
use std::{fmt, time::Duration};

/// A longer answer is none of Nango's.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// Nango's own windows are a minute long. Who asks for a longer pause is not Nango.
const PAUSE_MAX: TimeDelta = TimeDelta::seconds(120);
/// After a 429 that does not say.
const PAUSE: TimeDelta = TimeDelta::seconds(10);

/// What Nango itself says with a 401, to whoever calls its API: about our key, or about the token of a connect session. Its
/// proxy passes a provider's 401 through, and providers spell codes of their own the same way. A code that is Nango's and is
/// not here would be taken for a rejected token.
const NANGOS_OWN_401: [&str; 13] = [
    "agent_session_ended",
    "deprecated_authentication",
    "invalid_agent_session_token_format",
    "invalid_connect_session_token_format",
    "invalid_public_key",
    "invalid_secret_key",
    "invalid_secret_key_format",
    "malformed_auth_header",
    "missing_auth_header",
    "missing_public_key",
    "unknown_account",
    "unknown_agent_session_token",
    "unknown_connect_session_token",
];

/// Why a call to Nango has no result.
#[derive(Debug, thiserror::Error)]
pub enum NangoError {
    /// No answer, or 5xx.
    #[error("nango is unreachable: {0}")]
    Unreachable(String),
    /// It was not asked, or it asked to be left alone.
    #[error("nango is busy for {} s: {why}", retry_after.as_secs())]
    Busy { why: WhyBusy, retry_after: Duration },
    /// Nango understood and said no.
    #[error("nango refused with {status} {code}")]
    Refused { status: u16, code: String },
    /// Nango said something that we do not understand.
    #[error("nango answered what it never should: {0}")]
    Malformed(&'static str),
}

impl NangoError {
    /// Whether this is the provider's 401, passed through by Nango's proxy, and not one of Nango's own.
    pub fn is_rejected_token(&self) -> bool {
        matches!(self, Self::Refused { status: 401, code } if !NANGOS_OWN_401.contains(&code.as_str()))
    }
}

/// Why Nango is not asked now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WhyBusy {
    #[error("the call budget is used up")]
    Budget,
    #[error("nobody says what is left of the call budget")]
    BudgetUnknown,
    /// It failed too often, or it said 429.
    #[error("it is left alone for a while")]
    LeftAlone,
}

/// Why a request has no answer that is Nango's.
#[derive(Debug)]
pub(super) enum Failure {
    /// It never left, so that it may be made again, whatever it does.
    Unsent(String),
    /// Nobody knows what became of it.
    Unanswered(String),
    /// 429, with how long to wait.
    Limited(TimeDelta),
    Endless,
}

impl From<Failure> for NangoError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Unsent(told) | Failure::Unanswered(told) => Self::Unreachable(told),
            Failure::Limited(_) => Self::Unreachable("it answered 429".to_owned()),
            Failure::Endless => Self::Malformed("an answer without end"),
        }
    }
}

/// An answer that is no failure of Nango's, read to its end.
pub(super) struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

/// Its body may hold a connect session's token, and its headers a state and a cookie.
impl fmt::Debug for Answer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Answer").field("status", &self.status).finish_non_exhaustive()
    }
}

/// Sends a request, and reads its answer.
pub(super) async fn fetch(request: RequestBuilder) -> Result<Answer, Failure> {
    let answer = request.send().await.map_err(|error| {
        let is_unsent = error.is_connect();
        // The error's URL would hold a connect-session token.
        let told = chain(&error.without_url());
        if is_unsent { Failure::Unsent(told) } else { Failure::Unanswered(told) }
    })?;
    let (status, headers) = (answer.status(), answer.headers().clone());
    if status == StatusCode::TOO_MANY_REQUESTS {
        return Err(Failure::Limited(pause(&headers)));
    }
    if status.is_server_error() {
        return Err(Failure::Unanswered(format!("it answered {status}")));
    }
    let body = read_body(answer).await?;
    Ok(Answer { status, headers, body })
}

impl Answer {
    /// A success's JSON. The type is checked first: a Nango that ships its dashboard answers unknown
    /// paths with 200 and HTML.
    pub(super) fn json<T: serde::de::DeserializeOwned>(&self) -> Result<T, NangoError> {
        if !self.status.is_success() {
            return Err(self.refusal());
        }
        if !self.is_json() {
            return Err(NangoError::Malformed("a success that is not JSON"));
        }
        serde_json::from_slice(&self.body)
            .map_err(|_unexpected| NangoError::Malformed("unexpected JSON"))
    }

    /// Where a browser is sent.
    pub(super) fn redirect(&self) -> Result<&str, NangoError> {
        if self.status != StatusCode::FOUND {
            return Err(self.refusal());
        }
        Ok(header(&self.headers, &LOCATION).unwrap_or_default())
    }

    /// What Nango says of a callback: nothing against it, or why not. The page's text is the provider's, or
    /// its user's, and may hold anything; only whether it is about the callback or about the code is kept.
    pub(super) fn completed(&self) -> Result<Option<Reason>, NangoError> {
        let of_the_callback: [&[u8]; 4] = [
            b"No session found",
            b"failed to get session",
            b"state cookie missing",
            b"invalid_oauth_state",
        ];
        let is_about = |words: &[u8]| self.body.windows(words.len()).any(|part| part == words);
        match self.status {
            StatusCode::OK => Ok(None),
            StatusCode::BAD_REQUEST if of_the_callback.into_iter().any(is_about) => {
                Ok(Some(Reason::VaultRefused))
            }
            StatusCode::BAD_REQUEST => Ok(Some(Reason::TokenExchangeFailed)),
            _ => Err(self.refusal()),
        }
    }

    /// Whether a callback without Nango's state cookie was refused for want of it; nothing, where the answer is
    /// about something else than an authorization.
    pub(super) fn misses_cookie(&self) -> Option<bool> {
        let says = |words: &[u8]| self.body.windows(words.len()).any(|part| part == words);
        let is_about_the_state =
            says(b"No session found") || says(b"invalid_oauth_state") || says(b"No state found");
        match self.status {
            StatusCode::BAD_REQUEST if says(b"state cookie missing") => Some(true),
            StatusCode::BAD_REQUEST if !is_about_the_state && says(b"__nangoOAuthError") => {
                Some(false)
            }
            _ => None,
        }
    }

    pub(super) const fn status(&self) -> StatusCode {
        self.status
    }

    pub(super) fn text(&self, name: &HeaderName) -> Option<&str> {
        header(&self.headers, name)
    }

    /// A header of the provider's, where Nango forwards it.
    pub(super) fn named(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// What an answer means that is no success. Only Nango's own error code is kept of it.
    pub(super) fn refusal(&self) -> NangoError {
        let code = self.is_json().then(|| wire::error_code(&self.body)).flatten();
        let code = code.unwrap_or_else(|| "unknown".to_owned());
        NangoError::Refused { status: self.status.as_u16(), code }
    }

    fn is_json(&self) -> bool {
        header(&self.headers, &CONTENT_TYPE)
            .is_some_and(|value| value.starts_with("application/json"))
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Nango rounds down, so that 0 is a part of a second.
fn pause(headers: &HeaderMap) -> TimeDelta {
    let seconds: Option<i64> = header(headers, &RETRY_AFTER).and_then(|value| value.parse().ok());
    let pause = seconds.and_then(TimeDelta::try_seconds).unwrap_or(PAUSE);
    pause.clamp(TimeDelta::seconds(1), PAUSE_MAX)
}

async fn read_body(mut answer: Response) -> Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    let broken = |error: reqwest::Error| Failure::Unanswered(chain(&error.without_url()));
    while let Some(chunk) = answer.chunk().await.map_err(broken)? {
        body.extend_from_slice(&chunk);
        if body.len() > ANSWER_BYTES_MAX {
            return Err(Failure::Endless);
        }
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_pause(retry_after: Option<&str>, seconds: i64) {
        let mut headers = HeaderMap::new();
        if let Some(value) = retry_after {
            headers.insert(RETRY_AFTER, value.parse().unwrap());
        }
        assert_eq!(pause(&headers), TimeDelta::seconds(seconds), "{retry_after:?}");
    }

    fn said(status: StatusCode, code: &str) -> NangoError {
        let headers = [(CONTENT_TYPE, "application/json".parse().unwrap())];
        let body = serde_json::json!({"error": {"code": code}}).to_string().into_bytes();
        Answer { status, headers: headers.into_iter().collect(), body }.refusal()
    }

    #[test]
    fn a_providers_own_word_for_401_is_a_rejected_token_and_nangos_is_not() {
        // TikTok's and OpenAI's, which are spelled as Nango spells its own; a text, a number in it, and what is no code.
        for code in [
            "access_token_invalid",
            "invalid_api_key",
            "invalid_token",
            "token_expired",
            "unauthorized",
            "unauthenticated",
            "user_not_found",
            "InvalidAuthenticationToken",
            "401",
            "",
        ] {
            let refused = said(StatusCode::UNAUTHORIZED, code);
            assert!(refused.is_rejected_token(), "{code}");
            for status in [StatusCode::BAD_REQUEST, StatusCode::FORBIDDEN, StatusCode::NOT_FOUND] {
                assert!(!said(status, code).is_rejected_token(), "{status} {code}");
            }
        }
        for code in NANGOS_OWN_401 {
            assert!(!said(StatusCode::UNAUTHORIZED, code).is_rejected_token(), "{code}");
        }
    }

    #[test]
    fn an_answer_prints_nothing_but_its_status() {
        let headers = [(LOCATION, "https://x.example/?state=hush".parse().unwrap())];
        let body = br#"{"token": "hush"}"#.to_vec();
        let answer =
            Answer { status: StatusCode::OK, headers: headers.into_iter().collect(), body };
        assert_eq!(format!("{answer:?}"), "Answer { status: 200, .. }");
    }

    #[test]
    fn every_recorded_401_of_nangos_own_is_known_as_such() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../contract/fixtures/nango-0.71.4/api");
        let mut seen = std::collections::BTreeSet::new();
        for file in std::fs::read_dir(folder).unwrap() {
            let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
            let body = text.lines().last().unwrap_or_default().as_bytes();
            if text.starts_with("HTTP/1.1 401") {
                seen.insert(wire::error_code(body).unwrap());
            }
        }
        assert!(seen.len() >= 6, "{seen:?}");
        for code in seen {
            assert!(NANGOS_OWN_401.contains(&code.as_str()), "{code}");
        }
    }

    #[test]
    fn a_pause_is_as_long_as_nango_says_within_reason() {
        check_pause(Some("54"), 54);
        check_pause(Some("0"), 1);
        check_pause(Some("-5"), 1);
        check_pause(Some("99999999999999999"), 10);
        check_pause(Some("86400"), 120);
        check_pause(Some("Sun, 22 Nov 2026 09:55:42 GMT"), 10);
        check_pause(None, 10);
    }
}
