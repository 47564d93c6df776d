//! How long a caller waits for a connection to change, and for what.

use super::query::{BadQuery, Query, number};
use chrono::TimeDelta;

/// The edge waits 70 s for an answer.
const WAIT_SECONDS_MAX: i64 = 60;

/// A wait for a version that is newer than one that the caller knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait {
    pub at_most: TimeDelta,
    /// The version that the caller knows; without one, the version at the start of the call.
    pub version: Option<i64>,
}

impl Wait {
    /// Reads the query of a call that may wait; nothing, if it asks for an answer at once.
    pub fn read(raw: &str) -> Result<Option<Self>, BadQuery> {
        let query = Query::read(raw, &["wait", "version"])?;
        let version = |text: &str| number(text).filter(|version| *version >= 0);
        let at_most = at_most(&query)?;
        let version = query.value("version", "a version that was answered", version)?;
        let Some(at_most) = at_most else {
            // A caller that names a version and does not wait would poll without a pause.
            return match version {
                Some(_) => Err(BadQuery::Value {
                    name: "version",
                    rule: "together with wait, for example ?wait=30&version=7".to_owned(),
                }),
                None => Ok(None),
            };
        };
        Ok(Some(Self { at_most, version }))
    }
}

/// How long a call waits; nothing, if it asks for an answer at once.
pub(super) fn at_most(query: &Query) -> Result<Option<TimeDelta>, BadQuery> {
    let seconds =
        |text: &str| number(text).filter(|seconds| (1..=WAIT_SECONDS_MAX).contains(seconds));
    let rule = format!("a number of seconds from 1 to {WAIT_SECONDS_MAX}");
    Ok(query.value("wait", rule, seconds)?.map(TimeDelta::seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(raw: &str, expected: Result<Option<(i64, Option<i64>)>, &str>) {
        let read = Wait::read(raw).map_err(|bad| bad.to_string());
        let expected = expected.map(|wait| {
            wait.map(|(seconds, version)| Wait { at_most: TimeDelta::seconds(seconds), version })
        });
        match (read, expected) {
            (Ok(read), Ok(expected)) => assert_eq!(read, expected, "{raw}"),
            (Err(bad), Err(part)) => assert!(bad.contains(part), "{raw}: {bad}"),
            (read, expected) => panic!("{raw}: {read:?}, not {expected:?}"),
        }
    }

    #[test]
    fn a_wait_lasts_a_minute_at_most() {
        check("", Ok(None));
        check("wait=1", Ok(Some((1, None))));
        check("wait=60&version=0", Ok(Some((60, Some(0)))));
        for raw in ["wait=0", "wait=61", "wait=-1", "wait=1.5", "wait=", "wait=03"] {
            check(raw, Err("wait must be a number of seconds from 1 to 60"));
        }
        check("wait=5&version=-1", Err("version must be"));
        check("version=7", Err("together with wait"));
        check("wait=5&wait=5", Err("once"));
        check("wait=5&since=7", Err("unknown in the query: since"));
    }
}
