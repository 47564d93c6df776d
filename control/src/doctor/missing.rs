//! What is missing at Nango, and what is there that nobody has.

use super::finding::Finding;
use crate::store::{DeletionsHeld, Orphan, Orphans};
use chrono::{DateTime, SecondsFormat, Utc};

pub(super) fn held(held: Option<DeletionsHeld>) -> Finding {
    const NAME: &str = "missing at Nango";
    let Some(DeletionsHeld { since, missing, live }) = held else {
        return Finding::ok(NAME, "what is missing is believed to be deleted there");
    };
    Finding::fail(
        NAME,
        format!("since {since}, {missing} of {live} connections; none of them is deleted"),
        "see whether NANGO_SECRET_KEY is for the right environment, and decide with `control missing`",
    )
}

/// They are looked for in a reconciliation with all of Nango's list, so that they are as it found them.
pub(super) fn orphans(orphans: &Orphans, as_of: Option<DateTime<Utc>>) -> Finding {
    const NAME: &str = "orphaned credentials";
    let as_of = as_of.map(|as_of| as_of.to_rfc3339_opts(SecondsFormat::Secs, true));
    let as_of = match (orphans.count, as_of) {
        (0, None) => {
            let seen = "not known: no reconciliation with Nango's whole list has ended yet";
            return Finding::skip(NAME, seen);
        }
        (0, Some(as_of)) => {
            let seen =
                format!("none as of {as_of}: every credential with our tags had its connection");
            return Finding::ok(NAME, seen);
        }
        // A time that lay in the future is kept no longer; what was found is.
        (_, None) => "an earlier reconciliation".to_owned(),
        (_, Some(as_of)) => as_of,
    };
    let named: Vec<String> = orphans
        .sample
        .iter()
        .map(|Orphan { tenant, connection, integration }| {
            format!("{tenant}/{connection} ({integration})")
        })
        .collect();
    let (count, named) = (orphans.count, named.join(", "));
    Finding::warn(
        NAME,
        format!("as of {as_of}, {count} at Nango had no connection here, such as {named}"),
        "list them with `control orphans`, and delete them with `control orphans remove`",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Status;

    #[test]
    fn orphans_are_told_with_the_time_at_which_they_were_looked_for() {
        let at = DateTime::from_timestamp(1_795_340_000, 5);
        let some = Orphans { count: 2, ..Orphans::default() };
        let unknown = orphans(&Orphans::default(), None);
        assert_eq!(unknown.status, Status::Skip);
        assert_eq!(orphans(&some, None).status, Status::Warn);
        for (found, status) in [(Orphans::default(), Status::Ok), (some, Status::Warn)] {
            let finding = orphans(&found, at);
            assert_eq!(finding.status, status);
            assert!(finding.seen.contains("as of 2026-11-22T"), "{}", finding.seen);
        }
    }
}
