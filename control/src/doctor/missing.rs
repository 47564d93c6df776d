//! What is missing at Nango, and what is there that nobody has.

use super::finding::Finding;
use crate::store::{DeletionsHeld, Orphan, Orphans};

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

pub(super) fn orphans(orphans: &Orphans) -> Finding {
    const NAME: &str = "orphaned credentials";
    if orphans.count == 0 {
        return Finding::ok(NAME, "none: every credential with our tags has its connection");
    }
    let named: Vec<String> = orphans
        .sample
        .iter()
        .map(|Orphan { tenant, connection, integration }| {
            format!("{tenant}/{connection} ({integration})")
        })
        .collect();
    let count = orphans.count;
    let seen = format!("{count} at Nango have no connection here, such as {}", named.join(", "));
    Finding::warn(
        NAME,
        seen,
        "list them with `control orphans`, and delete them with `control orphans remove`",
    )
}
