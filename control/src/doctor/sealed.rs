//! Which keys the secrets of tenants' destinations are sealed with, so that one that seals none may go.

use super::finding::Finding;
use contract::keys::KeyId;
use std::collections::BTreeMap;

/// `keys` are those that are set, the one that seals before those that only open; `sealed` says how many each
/// key has sealed.
pub(super) fn secrets(keys: &[&KeyId], sealed: &BTreeMap<String, i64>) -> Finding {
    const NAME: &str = "destinations' secrets";
    let is_set = |id: &str| keys.iter().any(|key| key.as_str() == id);
    let first = keys.first().map_or("", |key| key.as_str());
    let counts: Vec<String> =
        sealed.iter().map(|(id, count)| format!("{count} with `{id}`")).collect();
    let seen = if counts.is_empty() {
        "none are kept".to_owned()
    } else {
        format!("sealed: {}", counts.join(", "))
    };
    if sealed.keys().any(|id| !is_set(id)) {
        let mend = "set DATA_ENCRYPTION_KEY with every key that is named here, behind the first; \
                    if one is lost, its tenants put their destinations again";
        let seen = format!("{seen}, and not each is set: those tenants are sent nothing");
        return Finding::fail(NAME, seen, mend);
    }
    if sealed.keys().any(|id| id != first) {
        let mend = format!(
            "keep all keys until control has sealed the rest with `{first}`, minutes from now"
        );
        return Finding::warn(NAME, seen, mend);
    }
    let idle: Vec<String> = keys.iter().skip(1).map(|key| format!("`{key}`")).collect();
    if idle.is_empty() {
        return Finding::ok(NAME, seen);
    }
    let seen = format!(
        "{seen}; {} may go an hour after it sealed last, when no flow needs it",
        idle.join(", ")
    );
    Finding::ok(NAME, seen)
}

/// Whether each key is the one that was first used under its id.
pub(super) fn replaced(ids: &[KeyId]) -> Finding {
    const NAME: &str = "data encryption keys";
    if ids.is_empty() {
        return Finding::ok(NAME, "each is the one of its id");
    }
    let ids: Vec<String> = ids.iter().map(|id| format!("`{id}`")).collect();
    let seen = format!(
        "another key than before under {}: what the first has sealed cannot be opened, and control does not start",
        ids.join(", ")
    );
    let mend = "set DATA_ENCRYPTION_KEY to the key from before, with a new one under an id of its own in front: new:…,1:…; \
                if it is lost, leave its id out, and its tenants put their destinations again";
    Finding::fail(NAME, seen, mend)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Status;

    #[track_caller]
    fn check(keys: &[&str], sealed: &[(&str, i64)], status: Status, seen: &str) {
        let keys: Vec<KeyId> = keys.iter().map(|id| id.parse().unwrap()).collect();
        let sealed = sealed.iter().map(|(id, count)| ((*id).to_owned(), *count)).collect();
        let found = secrets(&keys.iter().collect::<Vec<_>>(), &sealed);
        assert_eq!((found.status, found.mend.is_some()), (status, status != Status::Ok));
        assert!(found.seen.contains(seen), "{}", found.seen);
    }

    #[test]
    fn a_key_may_go_when_it_seals_nothing_and_not_before() {
        check(&[], &[], Status::Ok, "none are kept");
        check(&["new"], &[("new", 3)], Status::Ok, "3 with `new`");
        check(&["new", "old"], &[("new", 3)], Status::Ok, "`old` may go");
        check(
            &["new", "old"],
            &[("new", 1), ("old", 2)],
            Status::Warn,
            "1 with `new`, 2 with `old`",
        );
        check(&["old", "new"], &[("old", 2)], Status::Ok, "`new` may go");
        check(&["new"], &[("new", 1), ("old", 2)], Status::Fail, "not each is set");
        check(&[], &[("1", 2)], Status::Fail, "2 with `1`");
    }
}
