//! What the keys may do at Nango, and what they should.

use super::finding::Finding;
use crate::nango::{KeyName, Question, Said};

/// What each key is asked, and whether it should be able to. The main key starts, confirms and deletes and
/// is blind to tokens; the profile key reads profiles and nothing else.
pub(super) const WANTED: &[(KeyName, Question, bool)] = &[
    (KeyName::Main, Question::List, true),
    (KeyName::Main, Question::Read, true),
    (KeyName::Main, Question::Delete, true),
    (KeyName::Main, Question::ReadCredentials, false),
    (KeyName::Main, Question::Proxy, false),
    (KeyName::Profile, Question::Proxy, true),
    (KeyName::Profile, Question::List, false),
    (KeyName::Profile, Question::ReadCredentials, false),
];

/// What an answer shows; nothing, where it could have come from something else. Nango looks at a key's scopes
/// before it looks for the connection, which does not exist.
pub(super) fn may(question: Question, said: &Said) -> Option<bool> {
    match (question, said.status, said.code.as_str()) {
        (_, 403, _) => Some(false),
        (Question::List, 200, _)
        | (Question::Read | Question::ReadCredentials, 404, "not_found")
        | (Question::Delete, 400, "unknown_connection")
        | (Question::Proxy, 400, "invalid_headers") => Some(true),
        _ => None,
    }
}

pub(super) fn judge(key: KeyName, question: Question, wanted: bool, said: &Said) -> Finding {
    let (setting, needs) = match key {
        KeyName::Main => (
            "NANGO_SECRET_KEY",
            "connect_sessions:write, connections:list, connections:read, connections:delete, integrations:list",
        ),
        KeyName::Profile => ("NANGO_PROFILE_KEY", "proxy"),
    };
    let scope = match question {
        Question::List => "connections:list",
        Question::Read => "connections:read",
        Question::ReadCredentials => "connections:read_credentials",
        Question::Delete => "connections:delete",
        Question::Proxy => "proxy",
    };
    let name = format!("{setting} {scope}");
    let mend = format!("make a key in Nango's dashboard with exactly these scopes: {needs}");
    match (may(question, said), wanted) {
        (Some(true), true) => Finding::ok(&name, "has it"),
        (Some(false), false) => Finding::ok(&name, "has it not, as it should"),
        (Some(false), true) => Finding::fail(&name, "has it not", mend),
        (Some(true), false) => Finding::warn(&name, excess(question), mend),
        (None, _) => Finding::warn(&name, unclear(said), LOOK_AGAIN),
    }
}

const LOOK_AGAIN: &str = "look again; if it stays so, read the key's scopes in Nango's dashboard";

fn unclear(Said { status, code }: &Said) -> String {
    if *status == 0 {
        "cannot be told: no answer".to_owned()
    } else {
        format!("cannot be told from the answer: {status} {code}")
    }
}

const fn excess(question: Question) -> &'static str {
    match question {
        Question::ReadCredentials => {
            "has it: whoever gets hold of this key reads every user's token"
        }
        Question::Proxy => {
            "has it: whoever gets hold of this key can have every user's token sent to any address"
        }
        Question::List | Question::Read | Question::Delete => "has it, and needs it not",
    }
}

pub(super) fn no_profile_key(may_change_account: bool) -> Finding {
    const NAME: &str = "NANGO_PROFILE_KEY";
    if may_change_account {
        return Finding::ok(NAME, "not set: connections do not say whose account they are");
    }
    Finding::warn(
        NAME,
        "not set: nobody knows whose account a connection is, so that ACCOUNT_CHANGE=refuse refuses none",
        "set it to a key of Nango's with the scope environment:proxy, or set ACCOUNT_CHANGE=accept",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Status;

    #[track_caller]
    fn check(
        question: Question,
        status: u16,
        code: &str,
        expected: Option<bool>,
        judged: [Status; 2],
    ) {
        let said = Said { status, code: code.to_owned() };
        assert_eq!(may(question, &said), expected, "{question:?} {said:?}");
        let judge = |wanted| judge(KeyName::Main, question, wanted, &said).status;
        assert_eq!([judge(true), judge(false)], judged, "{question:?} {said:?}");
    }

    #[test]
    fn a_scope_that_is_missing_fails_and_one_too_many_warns() {
        const HAS: [Status; 2] = [Status::Ok, Status::Warn];
        const LACKS: [Status; 2] = [Status::Fail, Status::Ok];
        const UNKNOWN: [Status; 2] = [Status::Warn, Status::Warn];
        for (question, status, code) in [
            (Question::List, 200, "unknown"),
            (Question::Read, 404, "not_found"),
            (Question::ReadCredentials, 404, "not_found"),
            (Question::Delete, 400, "unknown_connection"),
            (Question::Proxy, 400, "invalid_headers"),
        ] {
            check(question, status, code, Some(true), HAS);
            check(question, 403, "forbidden", Some(false), LACKS);
            check(question, 0, "", None, UNKNOWN);
            check(question, 503, "", None, UNKNOWN);
            check(question, 401, "unknown_account", None, UNKNOWN);
            check(question, 400, "unknown_provider_config", None, UNKNOWN);
        }
    }
}
