//! Who a token's user is, asked of the provider through Nango's proxy.

use super::{NangoClient, NangoError, PROFILE_TIMEOUT, authorized, calls::PROFILE};
use crate::domain::profile::{Mapping, Me, Method};
use contract::id::{IntegrationId, NangoConnectionId};

impl NangoClient {
    /// Whether profiles are read at all: only with a key of their own.
    pub fn reads_profiles(&self) -> bool {
        self.config.profile_key.is_some()
    }

    /// How many calls Nango takes a minute.
    pub fn calls_per_minute(&self) -> u32 {
        self.config.calls_per_minute.count()
    }

    /// Who the user is at the provider, or that it takes the token no more.
    ///
    /// The next path is tried where the provider has no answer for this token, and the last one's word
    /// counts: a token that one path rejects may be good for another. A provider that does not
    /// answer at all is not asked further: a later path might name another account than the first.
    pub async fn profile(
        &self,
        mapping: &Mapping,
        integration: &IntegrationId,
        id: &NangoConnectionId,
    ) -> Result<Me, NangoError> {
        let Some(key) = &self.config.profile_key else { return Ok(Me::Unsaid) };
        let method = match mapping.method() {
            Method::Get => reqwest::Method::GET,
            Method::Post => reqwest::Method::POST,
        };
        let deadline = self.gate.deadline(PROFILE_TIMEOUT);
        let mut said = Ok(Me::Unsaid);
        for path in mapping.paths() {
            let path: Vec<&str> = std::iter::once("proxy").chain(path.split('/')).collect();
            let request = self
                .http
                .request(method.clone(), self.url(&path))
                .header("provider-config-key", integration.as_str())
                .header("connection-id", id.as_str());
            let answer = self.ask(PROFILE, deadline, authorized(request, key)).await;
            said = answer.and_then(|answer| {
                let body = answer.json::<serde_json::Value>()?;
                let scopes = mapping.scopes_header().and_then(|name| answer.named(name));
                Ok(mapping.with_scopes(mapping.read(&body), scopes, &body))
            });
            // Where the provider is down, another path may name another account.
            let is_over = |error: &NangoError| {
                matches!(error, NangoError::Unreachable(_) | NangoError::Busy { .. })
            };
            if matches!(said, Ok(Me::Is(_))) || said.as_ref().err().is_some_and(is_over) {
                break;
            }
        }
        said
    }
}
