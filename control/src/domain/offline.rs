//! Whether a provider is asked for a connection that outlives the presence of its user: without a refresh token the
//! user must come back whenever the access token expires.

use std::collections::BTreeSet;
use url::Url;

/// What a provider needs to be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Needs {
    Parameter(&'static str, &'static str),
    /// One of these scopes.
    Scope(&'static [&'static str]),
}

/// By the beginning of the provider's name at Nango, as its `providers.yaml` has them. A provider that is not here
/// gives a refresh token without being asked, or none at all.
const NEEDS: &[(&str, Needs)] = &[
    ("google", Needs::Parameter("access_type", "offline")),
    ("youtube", Needs::Parameter("access_type", "offline")),
    ("dropbox", Needs::Parameter("token_access_type", "offline")),
    ("reddit", Needs::Parameter("duration", "permanent")),
    ("microsoft", Needs::Scope(&["offline_access"])),
    ("outlook", Needs::Scope(&["offline_access"])),
    ("one-drive", Needs::Scope(&["offline_access"])),
    ("onedrive", Needs::Scope(&["offline_access"])),
    ("sharepoint", Needs::Scope(&["offline_access"])),
    ("jira", Needs::Scope(&["offline_access"])),
    ("confluence", Needs::Scope(&["offline_access"])),
    ("atlassian", Needs::Scope(&["offline_access"])),
    ("xero", Needs::Scope(&["offline_access"])),
    ("okta", Needs::Scope(&["offline_access"])),
    ("auth0", Needs::Scope(&["offline_access"])),
    ("salesforce", Needs::Scope(&["refresh_token", "offline_access"])),
];

/// What is missing from a request for authorisation, in words; nothing, where nothing is. `provider` is the name
/// that Nango has for it.
pub fn missing(provider: &str, authorization: &Url) -> Option<String> {
    let parameter = |name: &str| {
        authorization.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value)
    };
    let (_, needs) = NEEDS.iter().find(|(begins, _)| provider.starts_with(begins))?;
    match needs {
        Needs::Parameter(name, value) => {
            let is_there = parameter(name).is_some_and(|given| given == *value);
            (!is_there).then(|| format!("the parameter {name}={value}"))
        }
        Needs::Scope(one_of) => {
            let scope = parameter("scope").unwrap_or_default();
            let scopes: BTreeSet<&str> = scope.split([' ', ',', '+']).collect();
            let is_there = one_of.iter().any(|scope| scopes.contains(scope));
            (!is_there).then(|| format!("the scope {}", one_of.join(" or ")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(provider: &str, query: &str, expected: Option<&str>) {
        let url = format!("https://provider.example/authorize?client_id=c&{query}");
        let missing = missing(provider, &url.parse().unwrap());
        assert_eq!(missing.as_deref(), expected, "{provider} {query}");
    }

    #[test]
    fn a_provider_that_gives_no_refresh_token_unasked_must_be_asked() {
        let offline = Some("the parameter access_type=offline");
        check("google", "scope=openid", offline);
        check("google-mail", "access_type=online&scope=openid", offline);
        check("google-mail", "access_type=offline&scope=openid", None);
        check("dropbox", "", Some("the parameter token_access_type=offline"));
        check("dropbox", "token_access_type=offline", None);
        check("reddit", "duration=temporary", Some("the parameter duration=permanent"));
        check("microsoft-teams", "scope=User.Read", Some("the scope offline_access"));
        check("microsoft", "scope=User.Read+offline_access", None);
        check("jira", "scope=read%3Ajira-work%20offline_access", None);
        check("jira", "scope=not_offline_access", Some("the scope offline_access"));
        check("salesforce", "scope=api", Some("the scope refresh_token or offline_access"));
        check("salesforce", "scope=api%20refresh_token", None);
        for provider in ["github", "slack", "notion", "some-other", ""] {
            check(provider, "scope=repo", None);
        }
    }
}
