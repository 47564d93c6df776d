//! What the edge says of itself, and whether it takes what Nango signs.

use super::finding::Finding;
use crate::edge::Server;
use contract::capability;
use std::collections::BTreeSet;

/// The oldest Envoy that carries this filter.
const OLDEST: (u32, u32) = (1, 38);

pub(super) fn not_asked() -> Finding {
    Finding::skip("edge", "not asked: EDGE_ADMIN_URL is not set")
}

/// All that one Envoy shows.
pub(super) fn server(server: Result<&Server, &str>) -> Vec<Finding> {
    match server {
        Ok(server) => {
            vec![
                version(&server.version),
                unknown_fields(server),
                capabilities(server),
                filter(server),
            ]
        }
        Err(why) => {
            let mend = "set EDGE_ADMIN_URL to the admin page of an Envoy of the edge, and open the way there from here";
            vec![Finding::fail("edge", why, mend)]
        }
    }
}

fn version(version: &str) -> Finding {
    const NAME: &str = "edge";
    let mut numbers = version.split('.').map_while(|number| number.parse::<u32>().ok());
    match (numbers.next(), numbers.next()) {
        (Some(major), Some(minor)) if (major, minor) < OLDEST => Finding::fail(
            NAME,
            format!("Envoy {version} is too old for this filter"),
            format!("run Envoy {}.{} or newer", OLDEST.0, OLDEST.1),
        ),
        (Some(_), Some(_)) => Finding::ok(NAME, format!("Envoy {version}")),
        _ => Finding::warn(
            NAME,
            format!("its version is not readable: {version}"),
            "run a released Envoy",
        ),
    }
}

/// What Envoy does not know, it leaves out: a guard that is misspelled is none.
fn unknown_fields(server: &Server) -> Finding {
    const NAME: &str = "edge configuration";
    let read = |name: &str| server.stats.get(name).copied();
    let fixed = read("server.static_unknown_fields");
    let dynamic = read("server.dynamic_unknown_fields");
    let (Some(fixed), Some(dynamic)) = (fixed, dynamic) else {
        return Finding::warn(
            NAME,
            "Envoy does not say whether it knows every field",
            "look at server.static_unknown_fields and server.dynamic_unknown_fields on its admin page",
        );
    };
    if (fixed, dynamic) == (0, 0) {
        return Finding::ok(NAME, "Envoy knows every field");
    }
    Finding::fail(
        NAME,
        format!(
            "Envoy left out {fixed} fields of its bootstrap and {dynamic} of what it was sent since: what they should \
             do is not done"
        ),
        "its log names each field: correct the name, or run a newer Envoy; start Envoy with \
         --reject-unknown-dynamic-fields, so that it refuses the next one",
    )
}

/// A misspelled name in the list of what the filter may do is no unknown field, and takes a call or a callback away.
fn capabilities(server: &Server) -> Finding {
    const NAME: &str = "edge capabilities";
    let needed = || capability::ALLOWED.into_iter();
    let lists = server.allowed.iter();
    let missing: BTreeSet<&str> =
        lists.clone().flat_map(|list| needed().filter(|name| !list.contains(*name))).collect();
    let all = lists.flatten().map(String::as_str);
    let strange: BTreeSet<&str> = all.filter(|name| needed().all(|it| it != *name)).collect();
    if server.allowed.is_empty() {
        return Finding::warn(
            NAME,
            "no filter here has a list of what it may do",
            "take capability_restriction_config from the files of envoy/ecds/, or from the manifests of your mesh",
        );
    }
    if missing.is_empty() && strange.is_empty() {
        return Finding::ok(NAME, "the filter may do what it needs, and no more");
    }
    let names = |names: BTreeSet<&str>| names.into_iter().collect::<Vec<_>>().join(", ");
    Finding::fail(
        NAME,
        format!(
            "the filter lacks [{}] and is allowed [{}]: requests hang or pass it by",
            names(missing),
            names(strange)
        ),
        "take capability_restriction_config from the files of envoy/ecds/ of this release, letter by letter",
    )
}

fn filter(server: &Server) -> Finding {
    const NAME: &str = "edge filter";
    let active = server.stats.iter().filter(|(name, _)| name.starts_with("wasm."));
    let active: u64 =
        active.map(|(_, count)| count).fold(0, |sum, count| sum.saturating_add(*count));
    if active > 0 {
        return Finding::ok(NAME, "runs in Envoy");
    }
    Finding::fail(
        NAME,
        "no Wasm filter runs in this Envoy: it refuses everything, or lets everything through",
        "look at Envoy's log, and at the files of envoy/ecds/",
    )
}

/// How many webhooks Envoy refused for their signature since it started.
pub(super) fn refused(server: &Server) -> u64 {
    let refused = server.stats.iter().filter(|(name, _)| name.contains("edge_signature_"));
    refused.map(|(_, count)| count).fold(0, |sum, count| sum.saturating_add(*count))
}

/// Whether the edge has the key that Nango signs with. Control has no copy of it.
pub(super) fn webhook_key(tried: Option<Result<u16, String>>, refused: Option<u64>) -> Finding {
    const NAME: &str = "webhook key";
    let so_far = match refused {
        None => String::new(),
        Some(0) => "; it has refused no webhook for its signature since it started".to_owned(),
        Some(count) => {
            format!("; it has refused {count} webhooks for their signature since it started")
        }
    };
    let Some(tried) = tried else {
        let seen = format!(
            "not known here: only the edge has it; NANGO_WEBHOOK_SECRET in the environment of the doctor would try it{so_far}"
        );
        return match refused {
            Some(1..) => Finding::warn(
                NAME,
                seen,
                "if the access log shows them to be Nango's, put Nango's webhook signing key into the edge's \
                 secrets/webhook-keys",
            ),
            Some(0) | None => Finding::skip(NAME, seen),
        };
    };
    match tried {
        Ok(200) => {
            Finding::ok(NAME, format!("the edge takes what NANGO_WEBHOOK_SECRET signs{so_far}"))
        }
        Ok(401) => Finding::fail(
            NAME,
            format!("the edge refuses what NANGO_WEBHOOK_SECRET signs{so_far}"),
            "put Nango's webhook signing key, which is not its API key, into the edge's secrets/webhook-keys",
        ),
        Ok(status) => Finding::warn(
            NAME,
            format!("a signed webhook to PUBLIC_URL was answered with {status}{so_far}"),
            "docs/errors.md says what it means; 503 is control's, which does not reach its database",
        ),
        Err(why) => Finding::warn(
            NAME,
            format!("PUBLIC_URL is not reached from here: {why}{so_far}"),
            "run the doctor where PUBLIC_URL is reached, or look whether Nango reaches it",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Status;

    fn with(stats: &[(&str, u64)]) -> Server {
        let stats = stats.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
        let allowed = vec![capability::ALLOWED.map(str::to_owned).into(); 2];
        Server { version: "1.40.0".to_owned(), stats, allowed }
    }

    const WELL: &[(&str, u64)] = &[
        ("server.static_unknown_fields", 0),
        ("server.dynamic_unknown_fields", 0),
        ("wasm.envoy.wasm.runtime.v8.active", 3),
    ];

    #[test]
    fn an_envoy_is_judged_by_its_version_its_fields_and_its_filter() {
        let judge = |found: &Server| {
            server(Ok(found)).into_iter().map(|finding| finding.status).collect::<Vec<_>>()
        };
        let (ok, fail, warn) = (Status::Ok, Status::Fail, Status::Warn);
        assert_eq!(judge(&with(WELL)), [ok, ok, ok, ok]);
        for (version, expected) in [
            ("1.38.0", ok),
            ("1.39.3-dev", ok),
            ("2.0.0", ok),
            ("1.37.9", fail),
            ("0.99.0", fail),
            ("main", warn),
            ("", warn),
        ] {
            let found = Server { version: version.to_owned(), ..with(WELL) };
            assert_eq!(judge(&found), [expected, ok, ok, ok], "{version}");
        }
        for field in ["server.static_unknown_fields", "server.dynamic_unknown_fields"] {
            let mut found = with(WELL);
            found.stats.insert(field.to_owned(), 1);
            assert_eq!(judge(&found), [ok, fail, ok, ok], "{field}");
            found.stats.remove(field);
            assert_eq!(judge(&found), [ok, warn, ok, ok], "{field}");
        }
        let mut found = with(WELL);
        found.stats.insert("wasm.envoy.wasm.runtime.v8.active".to_owned(), 0);
        assert_eq!(judge(&found), [ok, ok, ok, fail]);
        let mut found = with(WELL);
        found.allowed[1].remove("proxy_on_request_headers");
        assert_eq!(judge(&found), [ok, ok, fail, ok], "a list that lacks a name");
        found.allowed[1].insert("proxy_on_request_headersx".to_owned());
        assert_eq!(judge(&found), [ok, ok, fail, ok], "a misspelled name");
        let seen = &server(Ok(&found))[2].seen;
        assert!(seen.contains("lacks [proxy_on_request_headers]"), "{seen}");
        assert!(seen.contains("allowed [proxy_on_request_headersx]"), "{seen}");
        found.allowed.clear();
        assert_eq!(judge(&found), [ok, ok, warn, ok], "no list");
        assert_eq!(server(Err("away"))[0].status, fail);
    }

    #[test]
    fn a_wrong_webhook_key_is_found_where_the_key_is_known_and_what_is_unknown_is_said() {
        let judge = |tried, refused| webhook_key(tried, refused).status;
        assert_eq!(judge(Some(Ok(200)), Some(7)), Status::Ok);
        assert_eq!(judge(Some(Ok(401)), None), Status::Fail);
        assert_eq!(judge(Some(Ok(503)), None), Status::Warn);
        assert_eq!(judge(Some(Err("away".to_owned())), None), Status::Warn);
        assert_eq!(judge(None, None), Status::Skip);
        assert_eq!(not_asked().status, Status::Skip);
        assert_eq!(judge(None, Some(0)), Status::Skip);
        let unknown = webhook_key(None, Some(3));
        assert_eq!(unknown.status, Status::Warn);
        assert!(unknown.seen.contains("not known here") && unknown.seen.contains("refused 3"));
        let counted =
            with(&[("a.reason.edge_signature_mismatch", 2), ("edge_signature_missing", 1)]);
        assert_eq!(refused(&counted), 3);
    }
}
