//! Every webhook that was recorded from a real Nango is verified and read.
#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use contract::{
    keys::KeyRing,
    nango::{self, HintTags, Operation, Webhook},
    signature::WebhookVerifier,
};
use std::{collections::BTreeMap, fs, path::PathBuf};

struct Capture {
    name: String,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

fn fixtures() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/nango-0.71.4")
}

fn captures() -> Vec<Capture> {
    let mut captures: Vec<Capture> = fs::read_dir(fixtures().join("webhooks"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            let raw = fs::read(&path).unwrap();
            let text = str::from_utf8(&raw).unwrap();
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            let headers = head
                .lines()
                .filter_map(|line| line.split_once(": "))
                .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
                .collect();
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            Capture { name, headers, body: body.as_bytes().to_vec() }
        })
        .collect();
    captures.sort_by(|one, other| one.name.cmp(&other.name));
    captures
}

fn capture(prefix: &str) -> Capture {
    captures().into_iter().find(|capture| capture.name.starts_with(prefix)).unwrap()
}

fn keys() -> KeyRing {
    let text = fs::read_to_string(fixtures().join("signing-keys.json")).unwrap();
    let keys: BTreeMap<String, String> = serde_json::from_str(&text).unwrap();
    let ring: Vec<String> = keys.iter().map(|(id, value)| format!("{id}:{value}")).collect();
    KeyRing::parse(ring.join(",").as_bytes()).unwrap()
}

/// These were recorded later, in an environment whose key was not kept.
fn is_of_lost_key(name: &str) -> bool {
    ["w50-", "w51-", "w52-"].iter().any(|prefix| name.starts_with(prefix))
}

#[test]
fn every_captured_webhook_is_verified_by_the_key_of_its_environment() {
    let captures = captures();
    assert_eq!(captures.len(), 31);
    for Capture { name, headers, body } in captures {
        let claimed = &headers["x-nango-hmac-sha256"];
        let mut verifier = WebhookVerifier::new(&keys(), claimed.as_bytes()).unwrap();
        verifier.update(&body);
        let verified = verifier.finish();
        if is_of_lost_key(&name) {
            assert!(verified.is_err(), "{name}");
            continue;
        }
        let expected = if name.contains("-prod-env-") { "prod" } else { "dev" };
        assert_eq!(verified.unwrap().key().as_str(), expected, "{name}");
    }
}

#[test]
fn no_captured_webhook_is_verified_by_its_legacy_signature() {
    for Capture { name, headers, body } in captures() {
        let claimed = &headers["x-nango-signature"];
        let mut verifier = WebhookVerifier::new(&keys(), claimed.as_bytes()).unwrap();
        verifier.update(&body);
        assert!(verifier.finish().is_err(), "{name}");
    }
}

#[test]
fn every_captured_webhook_is_read() {
    for Capture { name, body, .. } in captures() {
        let webhook = nango::read(&body);
        let (_, kind) = name.split_once('-').unwrap();
        let expected = match kind {
            "forward-matched-connection" => Webhook::Ignored { kind: "forward".to_owned() },
            "forward-unmatched-raw-unwrapped" | "forward-spoofed-signature-headers-overridden" => {
                Webhook::Unknown
            }
            _ => {
                let Webhook::Auth(hint) = &webhook else { panic!("{name}: {webhook:?}") };
                let failed = kind.contains("fail") && !kind.contains("heals")
                    || kind.contains("denied")
                    || kind.contains("http500")
                    || kind.contains("http400");
                assert_eq!(hint.success, !failed, "{name}");
                assert_eq!(hint.error_kind.is_some(), failed, "{name}");
                continue;
            }
        };
        assert_eq!(webhook, expected, "{name}");
    }
}

#[test]
fn a_failed_reconnect_claims_to_be_a_creation_of_a_connection_that_exists() {
    for prefix in ["w07-", "w09-"] {
        let Webhook::Auth(hint) = nango::read(&capture(prefix).body) else { panic!("{prefix}") };
        assert_eq!((hint.operation, hint.success), (Operation::Creation, false));
        assert_eq!(hint.tags, HintTags::default(), "a failure has no tags to match by");
    }
}

#[test]
fn a_refresh_that_failed_or_recovered_brings_our_tags_back() {
    for (prefix, success) in [("w50-", false), ("w51-", true)] {
        let Webhook::Auth(hint) = nango::read(&capture(prefix).body) else { panic!("{prefix}") };
        assert_eq!((hint.operation, hint.success), (Operation::Refresh, success));
        let HintTags { connection_ref, tenant_id, attempt } = hint.tags;
        assert!(connection_ref.is_some() && attempt.is_some(), "{prefix}");
        assert_eq!(tenant_id, Some("acme".parse().unwrap()));
    }
}

#[test]
fn a_success_brings_tags_back_and_only_ours_are_read() {
    let Webhook::Auth(hint) = nango::read(&capture("w08-").body) else { panic!("w08") };
    assert_eq!((hint.operation, hint.success), (Operation::Override, true));
    // They were written by somebody else's hand, and so are none of ours.
    assert_eq!(hint.tags, HintTags::default());
}

#[test]
fn the_forged_event_looks_like_any_other() {
    let Webhook::Auth(hint) = nango::read(&capture("w42-").body) else { panic!("w42") };
    assert_eq!((hint.operation, hint.success), (Operation::Creation, true));
    assert_eq!(hint.connection_id.as_str(), "forged-connection");
}
