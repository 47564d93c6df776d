//! The one shape of a refusal, from the edge and from everything behind it: RFC 9457.

use serde::{Deserialize, Serialize};

/// The media type of a [`Problem`].
pub const MEDIA_TYPE: &str = "application/problem+json";

/// The page that says of each code what it means. It is relative to the host that refused, for only its operator
/// knows under which names it is reached; both of the edge's listeners have it.
pub const ERRORS: &str = "/errors";

/// Why a request was refused, in words for its sender. Nothing internal belongs here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// Leads to what the code means, at the host that refused: [`ERRORS`] and the code after `#`.
    pub r#type: String,
    /// The same words for every problem of this code.
    pub title: String,
    /// The HTTP status, repeated.
    pub status: u16,
    /// What is wrong with this request, and how to mend it.
    pub detail: String,
    /// The stable name that a program may compare.
    pub code: String,
    /// Names the request in our logs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

impl Problem {
    pub fn new(status: u16, code: &str, title: &str, detail: String) -> Self {
        Self {
            r#type: format!("{ERRORS}#{code}"),
            title: title.to_owned(),
            status,
            detail,
            code: code.to_owned(),
            request_id: None,
        }
    }

    #[must_use]
    pub fn with_request_id(self, request_id: Option<String>) -> Self {
        Self { request_id, ..self }
    }

    /// The document as bytes.
    pub fn to_json(&self) -> Vec<u8> {
        // Strings and a number always serialise; should that ever change, an empty body is still a refusal.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_has_the_members_that_the_api_promises() {
        let problem = Problem::new(404, "not_found", "Not found", "No such connection.".to_owned())
            .with_request_id(Some("r-1".to_owned()));
        assert_eq!(
            String::from_utf8(problem.to_json()).unwrap(),
            r#"{"type":"/errors#not_found","title":"Not found","status":404,"detail":"No such connection.","code":"not_found","requestId":"r-1"}"#
        );
    }
}
