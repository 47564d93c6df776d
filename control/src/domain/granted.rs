//! Which scopes a user granted, as far as a provider says so without its token: in the callback, in a header of
//! the answer about the profile, or in that answer itself.

use super::{described::is_pointer, start::is_scope};
use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// A longer list is no list of scopes.
const SCOPES_MAX: usize = 200;

/// Where a provider says which scopes it granted, and which scopes include others. Only
/// [`super::description::Descriptions::read`] makes one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScopeRules {
    /// The callback has a parameter `scope` with what was granted.
    pub(super) in_callback: bool,
    /// The header of the answer about the profile that lists them.
    pub(super) header: Option<String>,
    /// Where the answer about the profile has them, as a JSON pointer.
    pub(super) pointer: Option<String>,
    /// By scope, those that it includes.
    pub(super) includes: BTreeMap<String, Vec<String>>,
}

/// The scopes that a user granted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GrantedScopes {
    /// As the provider names them.
    pub authorized: Vec<String>,
    /// The same, and all that they include.
    pub covered: Vec<String>,
}

impl ScopeRules {
    pub const fn in_callback(&self) -> bool {
        self.in_callback
    }

    pub fn header(&self) -> Option<&str> {
        self.header.as_deref()
    }

    /// Reads the answer about a profile and its header; nothing, where neither says which scopes there are.
    pub fn read(&self, header: Option<&str>, answer: &Value) -> Option<GrantedScopes> {
        let found = self.pointer.as_deref().and_then(|pointer| answer.pointer(pointer));
        let scopes = header.and_then(read_list).or_else(|| found.and_then(read_value))?;
        Some(self.granted(scopes))
    }

    /// These scopes, with all that they include.
    pub fn granted(&self, authorized: Vec<String>) -> GrantedScopes {
        let mut covered: BTreeSet<&str> = BTreeSet::new();
        let mut left: Vec<&str> = authorized.iter().map(String::as_str).collect();
        while let Some(scope) = left.pop() {
            if covered.insert(scope) {
                left.extend(self.includes.get(scope).into_iter().flatten().map(String::as_str));
            }
        }
        let covered = covered.into_iter().map(str::to_owned).collect();
        GrantedScopes { authorized, covered }
    }
}

impl GrantedScopes {
    /// Those of the requested scopes that were not granted.
    pub fn missing<'a>(&self, requested: &'a [String]) -> Vec<&'a str> {
        let is_missing = |scope: &&String| !self.covered.contains(scope);
        requested.iter().filter(is_missing).map(String::as_str).collect()
    }
}

/// The same as a file has it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct WrittenRules {
    #[serde(default)]
    in_callback: bool,
    header: Option<String>,
    pointer: Option<String>,
    #[serde(default)]
    includes: BTreeMap<String, Vec<String>>,
}

impl WrittenRules {
    pub(super) fn check(self, refuse: &mut impl FnMut(String)) -> ScopeRules {
        let Self { in_callback, header, pointer, includes } = self;
        let is_name_byte =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if let Some(header) =
            header.as_ref().filter(|it| it.is_empty() || !it.bytes().all(is_name_byte))
        {
            refuse(format!(
                "grantedScopes.header: {header:?} is no lower-case name of a header, such as x-oauth-scopes"
            ));
        }
        if let Some(pointer) = pointer.as_ref().filter(|pointer| !is_pointer(pointer)) {
            refuse(format!("grantedScopes: {pointer:?} is no JSON pointer, such as /scopes"));
        }
        let scopes =
            includes.iter().flat_map(|(scope, included)| std::iter::once(scope).chain(included));
        for scope in scopes.filter(|scope| !is_scope(scope)) {
            refuse(format!("grantedScopes.includes: {scope:?} is no scope"));
        }
        ScopeRules { in_callback, header, pointer, includes }
    }
}

/// The parameters of an authorization request that are Nango's: another value would break its flow, or lead it
/// elsewhere.
const OF_THE_FLOW: [&str; 8] = [
    "state",
    "redirect_uri",
    "client_id",
    "scope",
    "response_type",
    "response_mode",
    "code_challenge",
    "code_challenge_method",
];

/// Whether a provider's own parameter of this name may be added to an authorization request.
pub(super) fn is_parameter(name: &str) -> bool {
    let is_byte = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    !name.is_empty()
        && name.len() <= 64
        && name.bytes().all(is_byte)
        && !OF_THE_FLOW.contains(&name)
}

/// Reads scopes that are separated by white space or commas, which no scope has; nothing, if it is no such list.
pub fn read_list(text: &str) -> Option<Vec<String>> {
    collect(&mut text.split([' ', '\t', ',']).filter(|scope| !scope.is_empty()))
}

fn read_value(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::String(text) => read_list(text),
        Value::Array(items) => {
            let texts: Vec<&str> = items.iter().map(Value::as_str).collect::<Option<_>>()?;
            collect(&mut texts.into_iter())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => None,
    }
}

/// Each scope once, in its order.
fn collect(scopes: &mut dyn Iterator<Item = &str>) -> Option<Vec<String>> {
    let mut seen = Vec::new();
    for scope in scopes {
        if !is_scope(scope) || seen.len() >= SCOPES_MAX {
            return None;
        }
        if !seen.iter().any(|seen| seen == scope) {
            seen.push(scope.to_owned());
        }
    }
    Some(seen)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::description::Descriptions;
    use serde_json::json;

    fn rules(provider: &str) -> ScopeRules {
        let described = Descriptions::built_in();
        described.granted(&provider.parse().unwrap()).cloned().unwrap_or_default()
    }

    #[track_caller]
    fn check(text: &str, expected: Option<&[&str]>) {
        let expected: Option<Vec<String>> =
            expected.map(|scopes| scopes.iter().map(|&scope| scope.to_owned()).collect());
        assert_eq!(read_list(text), expected, "{text:?}");
    }

    #[test]
    fn a_list_is_separated_by_white_space_or_commas_and_has_scopes_only() {
        check("repo, user", Some(&["repo", "user"]));
        check("openid https://a.example/auth#b", Some(&["openid", "https://a.example/auth#b"]));
        check("repo,user,repo", Some(&["repo", "user"]));
        check("", Some(&[]));
        check("repo\0", None);
        check("répo", None);
        check(&"a".repeat(256), None);
        let many: Vec<String> = (0..201).map(|number| format!("s{number}")).collect();
        check(&many.join(" "), None);
    }

    #[test]
    fn github_names_them_in_a_header_and_drops_those_that_others_include() {
        let granted = rules("github").read(Some("repo, admin:org"), &json!({"id": 1})).unwrap();
        assert_eq!(granted.authorized, ["repo", "admin:org"]);
        let requested = ["repo", "public_repo", "read:org", "user"].map(str::to_owned);
        assert_eq!(granted.missing(&requested), ["user"]);
        // A token of a GitHub App has none, and says so.
        assert_eq!(rules("github").read(Some(""), &json!({})).unwrap().authorized, [""; 0]);
        assert_eq!(rules("github").read(None, &json!({"scope": "repo"})), None);
    }

    #[test]
    fn an_answer_has_them_as_a_text_or_a_list() {
        let rules = ScopeRules { pointer: Some("/scopes".to_owned()), ..ScopeRules::default() };
        let read = |scopes: Value| {
            rules.read(None, &json!({ "scopes": scopes })).map(|granted| granted.authorized)
        };
        assert_eq!(read(json!(["a", "b"])).unwrap(), ["a", "b"]);
        assert_eq!(read(json!("a b")).unwrap(), ["a", "b"]);
        for other in [json!(null), json!(1), json!({}), json!(["a", 1]), json!(["a b"])] {
            assert_eq!(read(other.clone()), None, "{other}");
        }
    }

    #[test]
    fn scopes_that_include_each_other_end() {
        let includes = [("a", "b"), ("b", "a")];
        let includes = includes.map(|(one, other)| (one.to_owned(), vec![other.to_owned()]));
        let rules = ScopeRules { includes: includes.into(), ..ScopeRules::default() };
        assert_eq!(rules.granted(vec!["a".to_owned()]).covered, ["a", "b"]);
    }

    #[test]
    fn google_names_the_long_form_of_a_short_scope() {
        let email = "https://www.googleapis.com/auth/userinfo.email".to_owned();
        let requested = ["email", "profile"].map(str::to_owned);
        assert_eq!(rules("google").granted(vec![email]).missing(&requested), ["profile"]);
        assert!(rules("google").in_callback());
        assert!(!rules("github").in_callback());
    }
}
