//! What is known of providers beyond their names, as a file says it: where "me" is, and which scopes may be
//! asked for. The built-in file has the form of an operator's.

use super::{
    described::{is_issuer, is_path, is_pointer},
    granted::{ScopeRules, WrittenRules, is_parameter},
    profile::{Mapping, Method, Success, TokenRejected},
    provider::Provider,
    start::is_scope,
};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// The providers' own words on "me":
/// [GitHub](https://docs.github.com/en/rest/users/users#get-the-authenticated-user),
/// [Google](https://developers.google.com/identity/openid-connect/openid-connect#obtainuserinfo),
/// [Notion](https://developers.notion.com/reference/get-self) (the bot, and the person who owns it),
/// Slack: [`users.identity`](https://docs.slack.dev/reference/methods/users.identity) knows the person, but
/// only for a person's token; [`auth.test`](https://docs.slack.dev/reference/methods/auth.test) takes a bot's.
const BUILT_IN: &[u8] = include_bytes!("../../providers.json");

/// More ways to "me" than this would take longer than anybody waits for a profile.
const PATHS_MAX: usize = 4;

/// What is described of all providers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Descriptions(BTreeMap<Provider, Description>);

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Description {
    mapping: Option<Mapping>,
    scopes: Option<BTreeSet<String>>,
    granted: Option<ScopeRules>,
    consent: Option<BTreeMap<String, String>>,
    issuer: Option<String>,
}

/// A description as a file has it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Written {
    profile: Option<WrittenMapping>,
    scopes: Option<Vec<String>>,
    granted_scopes: Option<WrittenRules>,
    consent_parameters: Option<BTreeMap<String, String>>,
    issuer: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WrittenMapping {
    #[serde(default)]
    method: Method,
    paths: Vec<String>,
    success: Option<WrittenSuccess>,
    token_rejected: Option<WrittenRejection>,
    account_id: Vec<String>,
    #[serde(default)]
    display_name: Vec<String>,
    #[serde(default)]
    username: Vec<String>,
    #[serde(default)]
    avatar: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenSuccess {
    pointer: String,
    equals: Value,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WrittenRejection {
    pointer: String,
    one_of: Vec<String>,
}

impl Descriptions {
    /// What is known without a file of the operator's.
    pub fn built_in() -> Self {
        // A test reads it, so that it is never found broken here.
        Self::read(BUILT_IN).unwrap_or_default()
    }

    /// Reads a file, or says everything that is wrong with it and how to mend it.
    pub fn read(text: &[u8]) -> Result<Self, Vec<String>> {
        let Members(members) = serde_json::from_slice(text)
            .map_err(|error| vec![format!("it is no JSON object of providers: {error}")])?;
        let mut problems = Vec::new();
        let mut described = BTreeMap::new();
        for (name, value) in members {
            let mut refuse = |problem: String| problems.push(format!("{name}: {problem}"));
            let provider = match name.parse::<Provider>() {
                Ok(provider) => provider,
                Err(malformed) => {
                    refuse(malformed.to_string());
                    continue;
                }
            };
            match serde_json::from_value::<Written>(value) {
                Ok(written) => {
                    let description = written.check(&mut refuse);
                    if described.insert(provider, description).is_some() {
                        refuse("is described twice; keep one".to_owned());
                    }
                }
                Err(error) => refuse(error.to_string()),
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let mut read = Self(described);
        read.settle();
        Ok(read)
    }

    /// Takes in what `others` says. Where it does not speak of a profile or of scopes, what was known stays.
    pub fn extend(&mut self, others: Self) {
        for (provider, other) in others.0 {
            let known = self.0.entry(provider).or_default();
            known.mapping = other.mapping.or(known.mapping.take());
            known.scopes = other.scopes.or(known.scopes.take());
            known.granted = other.granted.or(known.granted.take());
            known.consent = other.consent.or(known.consent.take());
            known.issuer = other.issuer.or(known.issuer.take());
        }
        self.settle();
    }

    /// Whoever reads an answer about a profile reads the granted scopes in it, too.
    fn settle(&mut self) {
        for Description { mapping, granted, .. } in self.0.values_mut() {
            if let Some(mapping) = mapping {
                mapping.granted = granted.clone().unwrap_or_default();
            }
        }
    }

    pub fn mapping(&self, provider: &Provider) -> Option<&Mapping> {
        self.0.get(provider)?.mapping.as_ref()
    }

    /// Where the provider says which scopes were granted.
    pub fn granted(&self, provider: &Provider) -> Option<&ScopeRules> {
        self.0.get(provider)?.granted.as_ref()
    }

    /// What is added to an authorization request so that the provider shows its consent screen in any case.
    pub fn consent(&self, provider: &Provider) -> Option<&BTreeMap<String, String>> {
        self.0.get(provider)?.consent.as_ref()
    }

    /// The scopes that may be asked for; nothing, where every scope may.
    pub fn scopes(&self, provider: &Provider) -> Option<&BTreeSet<String>> {
        self.0.get(provider)?.scopes.as_ref()
    }

    /// What the provider calls itself in `iss`; nothing, where that is not known.
    pub fn issuer(&self, provider: &Provider) -> Option<&str> {
        self.0.get(provider)?.issuer.as_deref()
    }
}

impl Written {
    fn check(self, refuse: &mut impl FnMut(String)) -> Description {
        let scopes: Option<BTreeSet<String>> = self.scopes.map(|it| it.into_iter().collect());
        for scope in scopes.iter().flatten().filter(|scope| !is_scope(scope)) {
            refuse(format!("scopes: {scope:?} is no scope: 1 to 255 visible characters, no comma"));
        }
        for name in self.consent_parameters.iter().flatten().map(|(name, _)| name) {
            if !is_parameter(name) {
                refuse(format!(
                    "consentParameters: {name:?} is none that may be added; name one of the provider's own, such as prompt"
                ));
            }
        }
        if self.issuer.as_deref().is_some_and(|issuer| !is_issuer(issuer)) {
            refuse("issuer must be an https URL without query and fragment (RFC 8414)".to_owned());
        }
        Description {
            mapping: self.profile.map(|profile| profile.check(refuse)),
            scopes,
            granted: self.granted_scopes.map(|rules| rules.check(refuse)),
            consent: self.consent_parameters,
            issuer: self.issuer,
        }
    }
}

impl WrittenMapping {
    fn check(self, refuse: &mut impl FnMut(String)) -> Mapping {
        let Self { method, paths, success, token_rejected, .. } = self;
        let Self { account_id, display_name, username, avatar, .. } = self;
        if !(1..=PATHS_MAX).contains(&paths.len()) {
            refuse(format!("profile.paths must have 1 to {PATHS_MAX} paths"));
        }
        for path in paths.iter().filter(|path| !is_path(path)) {
            refuse(format!(
                "profile.paths: {path:?} is no path below the provider's API, such as v1/me: segments of letters, \
                 digits and ._~@- joined by '/', without '..', query or address"
            ));
        }
        if account_id.is_empty() {
            refuse("profile.accountId must have a JSON pointer at least, such as /id".to_owned());
        }
        let pointers = [&account_id, &display_name, &username, &avatar].into_iter().flatten();
        let pointers = pointers.chain(success.as_ref().map(|success| &success.pointer));
        let pointers = pointers.chain(token_rejected.as_ref().map(|rejected| &rejected.pointer));
        for pointer in pointers.filter(|pointer| !is_pointer(pointer)) {
            refuse(format!("profile: {pointer:?} is no JSON pointer, such as /user/id"));
        }
        if token_rejected.is_some() && success.is_none() {
            // A success that could also be a rejection would end connections that are well.
            refuse(
                "profile.tokenRejected is read of failures alone; say what a success holds"
                    .to_owned(),
            );
        }
        if token_rejected.as_ref().is_some_and(|rejected| rejected.one_of.is_empty()) {
            refuse("profile.tokenRejected.oneOf must have a word at least".to_owned());
        }
        let success = success.map(|WrittenSuccess { pointer, equals }| Success { pointer, equals });
        let token_rejected = token_rejected
            .map(|WrittenRejection { pointer, one_of }| TokenRejected { pointer, one_of });
        Mapping {
            method,
            paths,
            success,
            token_rejected,
            account_id,
            display_name,
            username,
            avatar,
            granted: ScopeRules::default(),
        }
    }
}

/// The members of an object, those that occur twice too: a map would drop the first in silence, and with it
/// an allow-list.
struct Members(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object with a member for each provider")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(file: &Value) -> Result<Descriptions, Vec<String>> {
        Descriptions::read(file.to_string().as_bytes())
    }

    #[test]
    fn the_built_in_file_is_one_that_an_operator_could_write() {
        let built_in = Descriptions::read(BUILT_IN).unwrap();
        for name in ["github", "google", "notion", "slack"] {
            let provider = name.parse().unwrap();
            assert!(built_in.mapping(&provider).is_some(), "{name}");
            assert_eq!(built_in.scopes(&provider), None, "{name}");
        }
        assert_eq!(built_in.mapping(&"gitlab".parse().unwrap()), None);
    }

    #[test]
    fn a_file_adds_replaces_and_leaves_alone() {
        let mut described = Descriptions::built_in();
        let profile = json!({"method": "POST", "paths": ["api/v4/user"], "accountId": ["/id"]});
        let file = json!({"gitlab": {"profile": profile}, "slack": {"profile": profile},
            "github": {"scopes": ["repo"]}, "google": {"scopes": []}});
        described.extend(read(&file).unwrap());
        let mapping = |name: &str| described.mapping(&name.parse().unwrap()).unwrap();
        assert_eq!(mapping("gitlab").method(), Method::Post);
        assert_eq!(mapping("slack").paths().collect::<Vec<_>>(), ["api/v4/user"]);
        assert_eq!(mapping("github").paths().collect::<Vec<_>>(), ["user"]);
        let scopes = |name: &str| described.scopes(&name.parse().unwrap()).map(BTreeSet::len);
        assert_eq!([scopes("github"), scopes("google"), scopes("slack")], [Some(1), Some(0), None]);
    }

    #[test]
    fn a_path_leads_nowhere_but_below_the_providers_api() {
        for path in ["user", "v1/users/me", "api/users/@me", "users.identity", "a_b/~c-d/..."] {
            assert!(is_path(path), "{path:?}");
        }
        for path in [
            "",
            "/",
            "/user",
            "user/",
            "a//b",
            "..",
            "a/../b",
            ".",
            "a/./b",
            "https://evil.example/me",
            "//evil.example",
            "@evil.example/me",
            "user?a=b",
            "user#a",
            "a%2f..",
            "a\\b",
            "a:b",
            "a b",
            "usér",
            "a;b",
            "a\n",
            &"a".repeat(201),
        ] {
            assert!(!is_path(path), "{path:?}");
        }
    }

    #[test]
    fn everything_that_is_wrong_is_told_at_once() {
        let file = json!({
            "GitHub": {},
            "a": {"scope": []},
            "b": {"profile": {"paths": [], "accountId": []}},
            "c": {"profile": {"paths": ["../x", "ok"], "accountId": ["id"], "avatar": ["/a~2"]}, "scopes": ["a b"]},
            "d": {"profile": {"method": "PUT", "paths": ["x"], "accountId": ["/id"]}},
            "e": {"profile": {"paths": ["x"], "accountId": ["/id"], "success": {"pointer": "ok", "equals": 1}}},
            "f": {"profile": {"paths": ["x"], "accountId": ["/id"], "tokenRejected": {"pointer": "error", "oneOf": []}}},
            "g": {"grantedScopes": {"header": "X-Scopes", "pointer": "scopes", "includes": {"a b": ["c,d"]}},
                "consentParameters": {"redirect_uri": "https://evil.example", "prompt": "consent", "": "x"}},
            "h": {"grantedScopes": {"callback": true}},
        });
        let problems = read(&file).unwrap_err().join("\n");
        for told in [
            "GitHub: a provider is named by",
            "a: unknown field `scope`",
            "b: profile.paths must have 1 to 4",
            "b: profile.accountId must have",
            "c: profile.paths: \"../x\"",
            "c: profile: \"id\" is no JSON pointer",
            "c: profile: \"/a~2\"",
            "c: scopes: \"a b\"",
            "d: unknown variant `PUT`",
            "e: profile: \"ok\" is no JSON",
            "f: profile: \"error\" is no JSON",
            "f: profile.tokenRejected is read",
            "f: profile.tokenRejected.oneOf must",
            "g: grantedScopes.header: \"X-Scopes\"",
            "g: grantedScopes: \"scopes\" is no JSON pointer",
            "g: grantedScopes.includes: \"a b\"",
            "g: grantedScopes.includes: \"c,d\"",
            "g: consentParameters: \"redirect_uri\"",
            "g: consentParameters: \"\"",
            "h: unknown field `callback`",
        ] {
            assert!(problems.contains(told), "{told} in:\n{problems}");
        }
        assert_eq!(problems.lines().count(), 20, "{problems}");
        for text in ["", "[]", "{", "null", "{\"a\": 1}"] {
            assert_eq!(Descriptions::read(text.as_bytes()).unwrap_err().len(), 1, "{text}");
        }
    }

    #[test]
    fn a_provider_that_is_described_twice_loses_nothing_in_silence() {
        let twice = br#"{"github": {"scopes": ["repo"]}, "github": {}}"#;
        assert_eq!(
            Descriptions::read(twice).unwrap_err(),
            ["github: is described twice; keep one"]
        );
    }
}
