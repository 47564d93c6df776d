//! What a query asks, read strictly: a parameter that would be passed over in silence is refused.

use std::collections::BTreeMap;

/// How much of a parameter's name is said again.
const NAME_CHARS_MAX: usize = 64;

/// What is wrong with a query, and how to mend it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadQuery {
    #[error("unknown in the query: {unknown}; this call takes {known}")]
    Unknown { unknown: String, known: String },
    #[error("{0} may be in the query once")]
    Repeated(&'static str),
    #[error("{name} must be {rule}")]
    Value { name: &'static str, rule: String },
    #[error(
        "cursor must be the nextCursor of a list of this tenant, unchanged; leave it out to begin again"
    )]
    Cursor,
    #[error(
        "after must be a nextCursor of this call and tenant, unchanged; leave it out to begin with the oldest"
    )]
    After,
}

/// The parameters of a query, each known, and each there once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query(BTreeMap<&'static str, String>);

impl Query {
    pub fn read(raw: &str, known: &[&'static str]) -> Result<Self, BadQuery> {
        let mut found = BTreeMap::new();
        let mut unknown = Vec::new();
        for (name, value) in url::form_urlencoded::parse(raw.as_bytes()) {
            let Some(name) = known.iter().copied().find(|known| *known == name) else {
                unknown.push(name.chars().take(NAME_CHARS_MAX).collect::<String>());
                continue;
            };
            if found.insert(name, value.into_owned()).is_some() {
                return Err(BadQuery::Repeated(name));
            }
        }
        if unknown.is_empty() {
            return Ok(Self(found));
        }
        Err(BadQuery::Unknown { unknown: unknown.join(", "), known: known.join(", ") })
    }

    /// The value of a parameter, if it is there; `read` says whether it keeps the rule.
    pub fn value<T>(
        &self,
        name: &'static str,
        rule: impl Into<String>,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, BadQuery> {
        let Some(text) = self.0.get(name) else { return Ok(None) };
        read(text).map(Some).ok_or_else(|| BadQuery::Value { name, rule: rule.into() })
    }

    /// The raw text of a parameter.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

/// Reads a number as it is printed, so that one number has one spelling.
pub fn number<N: std::str::FromStr + ToString>(text: &str) -> Option<N> {
    text.parse().ok().filter(|number: &N| number.to_string() == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(raw: &str, expected: Result<&[(&'static str, &str)], &str>) {
        let read = Query::read(raw, &["sub", "limit"]).map_err(|bad| bad.to_string());
        let expected = expected.map(|pairs| {
            Query(pairs.iter().map(|(name, value)| (*name, (*value).to_owned())).collect())
        });
        assert_eq!(read, expected.map_err(str::to_owned), "{raw}");
    }

    #[test]
    fn a_query_is_read_whole_or_refused() {
        check("", Ok(&[]));
        check("sub=a%20b+c&limit=7", Ok(&[("sub", "a b c"), ("limit", "7")]));
        check("sub=", Ok(&[("sub", "")]));
        check("sub=a&sub=a", Err("sub may be in the query once"));
        check("Sub=a&sub=b&x", Err("unknown in the query: Sub, x; this call takes sub, limit"));
        let long = "x".repeat(100);
        let said = "x".repeat(NAME_CHARS_MAX);
        check(&long, Err(&format!("unknown in the query: {said}; this call takes sub, limit")));
    }

    #[test]
    fn a_number_has_one_spelling() {
        assert_eq!(number::<u16>("7"), Some(7));
        for text in ["", "07", "+7", " 7", "7.0", "-1", "65536", "٧"] {
            assert_eq!(number::<u16>(text), None, "{text}");
        }
    }
}
