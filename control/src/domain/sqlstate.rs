//! What an error of PostgreSQL means for whoever asked, by its SQLSTATE: the classes are those of appendix A of
//! PostgreSQL's manual, and each of them is decided here.

/// What an error means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// It passes without a change of ours: the database restarts, is full, is locked, or does not let us in. Ask again
    /// later.
    Passing,
    /// It passes on another connection. This one holds what the server does not have any more, or another's.
    Spoiled,
    /// The database lacks what this release needs: a table, a role, a grant. It passes once an operator has migrated
    /// it or granted what is missing.
    Unprepared,
    /// The same question is refused however often it is asked: a fault of ours.
    Refused,
}

/// Codes that mean something else than the others of their class.
const EXCEPTIONS: &[(&str, Meaning)] = &[
    // "cached plan must not change result type": a migration added a column. We ask for no feature that is missing.
    ("0A000", Meaning::Spoiled),
    // The role that we switch into does not exist: set_config() calls that an invalid value.
    ("22023", Meaning::Unprepared),
    // A statement was sent in a transaction that failed before, or a transaction was begun in another: our own order.
    ("25000", Meaning::Refused),
    ("25001", Meaning::Refused),
    ("25P01", Meaning::Refused),
    ("25P02", Meaning::Refused),
    ("40002", Meaning::Refused),
    // Insufficient privilege; undefined column, object (a role, too), function, table, schema.
    ("42501", Meaning::Unprepared),
    ("42703", Meaning::Unprepared),
    ("42704", Meaning::Unprepared),
    ("42883", Meaning::Unprepared),
    ("42P01", Meaning::Unprepared),
    // "prepared statement already exists": another client's, behind a pooler.
    ("42P05", Meaning::Spoiled),
    // A parameter or an enumeration's value that cannot be changed or used now, and never will be.
    ("55P02", Meaning::Refused),
    ("55P04", Meaning::Refused),
];

/// Every class of appendix A.
const CLASSES: &[(&str, Meaning)] = &[
    // Success, warning, no data, not complete: no errors.
    ("00", Meaning::Refused),
    ("01", Meaning::Refused),
    ("02", Meaning::Refused),
    ("03", Meaning::Refused),
    // Connection exception: also all that PgBouncer says itself.
    ("08", Meaning::Passing),
    ("09", Meaning::Refused),
    ("0A", Meaning::Refused),
    ("0B", Meaning::Refused),
    ("0F", Meaning::Refused),
    ("0L", Meaning::Refused),
    ("0P", Meaning::Unprepared),
    ("0Z", Meaning::Refused),
    ("20", Meaning::Refused),
    ("21", Meaning::Refused),
    ("22", Meaning::Refused),
    ("23", Meaning::Refused),
    ("24", Meaning::Refused),
    // Invalid transaction state: read-only, on a standby too, and cut off for being idle or long.
    ("25", Meaning::Passing),
    // Invalid statement name: a pooler gave this client another session, or reset it.
    ("26", Meaning::Spoiled),
    ("27", Meaning::Refused),
    // Invalid authorization: pg_hba.conf does not let us in, or the password is being changed.
    ("28", Meaning::Passing),
    ("2B", Meaning::Refused),
    ("2D", Meaning::Refused),
    ("2F", Meaning::Refused),
    ("34", Meaning::Refused),
    ("38", Meaning::Refused),
    ("39", Meaning::Refused),
    ("3B", Meaning::Refused),
    // Invalid catalog name: the database is not there, as while it is restored.
    ("3D", Meaning::Passing),
    ("3F", Meaning::Unprepared),
    // Transaction rollback: serialization, deadlock, an unknown outcome.
    ("40", Meaning::Passing),
    ("42", Meaning::Refused),
    ("44", Meaning::Refused),
    // Insufficient resources: connections, memory, disk.
    ("53", Meaning::Passing),
    ("54", Meaning::Refused),
    // Not in the prerequisite state: locked, in use, not accepting connections.
    ("55", Meaning::Passing),
    // Operator intervention: shutdown, crash, starting up, cancelled by a timeout.
    ("57", Meaning::Passing),
    // System error: input and output of the server.
    ("58", Meaning::Passing),
    ("72", Meaning::Passing),
    // Configuration file error: the server cannot read its own files.
    ("F0", Meaning::Passing),
    ("HV", Meaning::Refused),
    ("P0", Meaning::Refused),
    ("XX", Meaning::Refused),
];

/// What an error with this code means. A class that no manual has is a fault of ours until somebody decides.
pub fn meaning(code: &str) -> Meaning {
    let of = |table: &[(&str, Meaning)], key: &str| {
        table.iter().find(|(known, _)| *known == key).map(|(_, meaning)| *meaning)
    };
    let class = || code.get(..2).and_then(|class| of(CLASSES, class));
    of(EXCEPTIONS, code).or_else(class).unwrap_or(Meaning::Refused)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// Every code in `errcodes.txt` of PostgreSQL 15.
    const CODES: &str = include_str!("../../tests/fixtures/errcodes.txt");

    #[test]
    fn every_class_of_the_manual_is_decided_once_and_no_other() {
        let known: BTreeSet<&str> =
            CODES.split_whitespace().filter_map(|code| code.get(..2)).collect();
        let decided: Vec<&str> = CLASSES.iter().map(|(class, _)| *class).collect();
        assert_eq!(decided, known.into_iter().collect::<Vec<_>>());
    }

    #[test]
    fn every_exception_is_a_code_of_the_manual_and_differs_from_its_class() {
        for (code, meaning) in EXCEPTIONS {
            assert!(CODES.split_whitespace().any(|known| known == *code), "{code}");
            let class = CLASSES.iter().find(|(class, _)| code.starts_with(class)).unwrap();
            assert_ne!(class.1, *meaning, "{code}");
        }
    }

    #[test]
    fn what_passes_is_told_from_what_does_not() {
        for (code, expected) in [
            ("28000", Meaning::Passing),
            ("28P01", Meaning::Passing),
            ("53300", Meaning::Passing),
            ("53100", Meaning::Passing),
            ("57P01", Meaning::Passing),
            ("57P02", Meaning::Passing),
            ("57P03", Meaning::Passing),
            ("57014", Meaning::Passing),
            ("25006", Meaning::Passing),
            ("55000", Meaning::Passing),
            ("3D000", Meaning::Passing),
            ("08P01", Meaning::Passing),
            ("26000", Meaning::Spoiled),
            ("0A000", Meaning::Spoiled),
            ("42P05", Meaning::Spoiled),
            ("42501", Meaning::Unprepared),
            ("42P01", Meaning::Unprepared),
            ("42601", Meaning::Refused),
            ("23505", Meaning::Refused),
            ("25P02", Meaning::Refused),
            ("XX000", Meaning::Refused),
            ("ZZ999", Meaning::Refused),
            ("", Meaning::Refused),
        ] {
            assert_eq!(meaning(code), expected, "{code}");
        }
    }
}
