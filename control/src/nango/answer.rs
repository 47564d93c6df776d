//! How Nango answers: a success as JSON, a refusal with a code, or nothing that can be used.

use super::wire;
use crate::{cause::chain, domain::connection::Reason};
use reqwest::{RequestBuilder, Response, StatusCode, header::CONTENT_TYPE};

/// A longer answer is none of Nango's.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// Why a call to Nango has no result.
#[derive(Debug, thiserror::Error)]
pub enum NangoError {
    /// No answer, or one that says to come back: 5xx, 429.
    #[error("nango is unreachable: {0}")]
    Unreachable(String),
    /// Nango understood and said no.
    #[error("nango refused with {status} {code}")]
    Refused { status: u16, code: String },
    /// Nango said something that we do not understand.
    #[error("nango answered what it never should: {0}")]
    Malformed(&'static str),
}

pub(super) async fn send(request: RequestBuilder) -> Result<Response, NangoError> {
    // The error's URL would hold a connect-session token.
    request.send().await.map_err(|error| NangoError::Unreachable(chain(&error.without_url())))
}

/// Sends a request and reads a success as JSON. The type is checked first: a Nango that ships its
/// dashboard answers unknown paths with 200 and HTML.
pub(super) async fn read_json<T: serde::de::DeserializeOwned>(
    request: RequestBuilder,
) -> Result<T, NangoError> {
    let answer = send(request).await?;
    if !answer.status().is_success() {
        return Err(refusal(answer).await);
    }
    if !is_json(&answer) {
        return Err(NangoError::Malformed("a success that is not JSON"));
    }
    let body = read_body(answer).await?;
    serde_json::from_slice(&body).map_err(|_unexpected| NangoError::Malformed("unexpected JSON"))
}

/// What a failed answer means. Only Nango's own error code is kept of it.
pub(super) async fn refusal(answer: Response) -> NangoError {
    let status = answer.status();
    if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
        return NangoError::Unreachable(format!("it answered {status}"));
    }
    let is_json = is_json(&answer);
    let code = match read_body(answer).await {
        Ok(body) if is_json => wire::error_code(&body),
        Ok(_html) => None,
        Err(error) => return error,
    };
    let code = code.unwrap_or_else(|| "unknown".to_owned());
    NangoError::Refused { status: status.as_u16(), code }
}

/// What the page says of a callback that failed. Its text is the provider's, or its user's, and may hold
/// anything; only whether it is about the callback itself or about the code is kept.
pub(super) async fn read_failure(answer: Response) -> Result<Reason, NangoError> {
    let body = read_body(answer).await?;
    let is_about = |words: &[u8]| body.windows(words.len()).any(|part| part == words);
    let of_the_callback: [&[u8]; 4] = [
        b"No session found",
        b"failed to get session",
        b"state cookie missing",
        b"invalid_oauth_state",
    ];
    Ok(if of_the_callback.into_iter().any(is_about) {
        Reason::VaultRefused
    } else {
        Reason::TokenExchangeFailed
    })
}

fn is_json(answer: &Response) -> bool {
    let content_type = answer.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    content_type.is_some_and(|value| value.starts_with("application/json"))
}

async fn read_body(mut answer: Response) -> Result<Vec<u8>, NangoError> {
    let mut body = Vec::new();
    let unreachable = |error: reqwest::Error| NangoError::Unreachable(chain(&error.without_url()));
    while let Some(chunk) = answer.chunk().await.map_err(unreachable)? {
        body.extend_from_slice(&chunk);
        if body.len() > ANSWER_BYTES_MAX {
            return Err(NangoError::Malformed("an answer without end"));
        }
    }
    Ok(body)
}
