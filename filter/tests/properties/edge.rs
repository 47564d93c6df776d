//! The whole edge, for any request: what goes on was vouched for, and of what the edge says nothing is the
//! sender's.

use crate::{config, near};
use contract::{
    action::Action,
    assertion::{self, Target, Vouched},
    keys::KeyRing,
    signature,
};
use filter::{
    head::RawHeader,
    identity::Peer,
    pipeline::{self, Forward, Request, Secrets, Step},
    policy::Policy,
    upstream::HeaderChange,
};
use proptest::{collection::vec, option, prelude::*, sample::Index, sample::select};

const NOW: u64 = 1_795_340_000_000;
const KEYS: &[u8] = b"a:0123456789abcdef0123456789abcdef";
const WEBHOOK_KEYS: &[u8] = b"w:fedcba9876543210";
const APP: &str = "spiffe://acme.example/app";
const BODY_BYTES_MAX: usize = 24;

const CLIENTS: &str = r#"{"version":"1","listener":"clients","assertionKeys":{"filterState":"a"},
    "identity":{"certificate":{"names":["uri"]}},
    "grants":[{"principal":"spiffe://acme.example/app","tenants":["acme"],"actions":["connect","read"]}]}"#;
const PUBLIC: &str = r#"{"version":"1","listener":"public","assertionKeys":{"filterState":"a"},
    "webhook":{"keys":{"filterState":"w"},"maxBodyBytes":24}}"#;

type Headers = Vec<(String, Vec<u8>)>;

fn named(name: &str, value: &str) -> (String, Vec<u8>) {
    (name.to_owned(), value.as_bytes().to_vec())
}

/// All that a stranger may add. Envoy itself sets the request id, and sets one.
fn strangers() -> impl Strategy<Value = Headers> {
    let names = [
        "x-connections-principal",
        "x-connections-tenant",
        "x-connections-action",
        "x-connections-webhook-key",
        "x-connections-assertion",
        "x-connections-next",
        "x-forwarded-client-cert",
        "content-type",
        "content-length",
        "x-nango-hmac-sha256",
        "x-other",
    ];
    let values =
        ["acme", APP, "read", "w", "application/json", "3", "URI=spiffe://acme.example/app"];
    let value = prop_oneof![
        select(values.to_vec()).prop_map(|text| text.as_bytes().to_vec()),
        vec(any::<u8>(), 0..4),
    ];
    vec((select(names.to_vec()).prop_map(str::to_owned), value), 0..5)
}

fn begin(policy: &str, headers: &Headers, uri_names: &str, has_body: bool) -> Step {
    let raw: Vec<RawHeader<'_>> =
        headers.iter().map(|(name, value)| (name.as_bytes(), value.as_slice())).collect();
    let request = Request {
        headers: &raw,
        peer: Peer {
            uri_names: Some(uri_names.as_bytes()),
            certificate_end: Some(b"1795340000"),
            ..Peer::default()
        },
        secrets: Secrets { assertion_keys: Some(KEYS), webhook_keys: Some(WEBHOOK_KEYS) },
        has_body,
    };
    pipeline::begin(&Policy::parse(policy.as_bytes()).unwrap(), request, NOW).0
}

/// The headers as control gets them, all of them.
fn upstream(mut headers: Headers, forward: Forward) -> Headers {
    for change in forward.changes {
        match change {
            HeaderChange::Remove(removed) => headers.retain(|(name, _)| *name != removed),
            HeaderChange::Set(set, value) => {
                headers.retain(|(name, _)| name != set);
                headers.push(named(set, &value));
            }
        }
    }
    headers
}

fn only<'a>(headers: &'a Headers, name: &str) -> Option<&'a str> {
    let mut values = headers.iter().filter(|header| header.0 == name);
    let value = values.next().map(|header| str::from_utf8(&header.1).unwrap());
    assert!(values.next().is_none(), "{name} stands twice");
    value
}

/// What control would believe: what the assertion proves, read as control reads it.
fn believed(headers: &Headers) -> Result<Vouched, TestCaseError> {
    let told = |name: &str| only(headers, name);
    let vouched = Vouched {
        principal: told("x-connections-principal").map(|it| it.parse().unwrap()),
        tenant: told("x-connections-tenant").map(|it| it.parse().unwrap()),
        action: told("x-connections-action").map(|it| it.parse().unwrap()),
        webhook_key: told("x-connections-webhook-key").map(|it| it.parse().unwrap()),
        request_id: told("x-request-id").map(str::to_owned),
    };
    let target = Target { method: told(":method").unwrap(), path: told(":path").unwrap() };
    let keys = KeyRing::parse(KEYS).unwrap();
    let assertion = told("x-connections-assertion").unwrap();
    prop_assert_eq!(assertion::verify(&keys, assertion, target, &vouched, NOW), Ok(()));
    prop_assert!(told("x-connections-next").is_none());
    prop_assert!(told("x-forwarded-client-cert").is_none());
    Ok(vouched)
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_client_goes_on_as_itself_for_its_tenant_and_by_its_grant_or_not_at_all(
        uri_names in near(prop_oneof![9 => Just(APP.to_owned()), 1 => Just("-".to_owned())]),
        (method, path) in (
            select(vec!["GET", "GET", "POST", "DELETE"]),
            near(select(vec![
                "/tenants/acme/connections",
                "/tenants/acme/connections/1?wait=3",
                "/tenants/rival/connections/1",
                "/tenants/acme/audit",
                "/providers",
                "/health",
            ]).prop_map(str::to_owned)),
        ),
        strangers in strangers(),
        has_body: bool,
    ) {
        let own =
            vec![named(":method", method), named(":path", &path), named("x-request-id", "r-1")];
        let headers = [own, strangers].concat();
        match begin(CLIENTS, &headers, &uri_names, has_body) {
            Step::Forward(forward) => {
                let headers = upstream(headers, forward);
                prop_assert_eq!(only(&headers, ":path"), Some(path.as_str()));
                let vouched = believed(&headers)?;
                prop_assert_eq!(vouched.principal.unwrap().to_string(), uri_names.as_str());
                prop_assert_eq!(vouched.webhook_key, None);
                match (vouched.tenant, vouched.action) {
                    (Some(tenant), Some(action)) => {
                        prop_assert_eq!((tenant.as_str(), uri_names.as_str()), ("acme", APP));
                        prop_assert!([Action::Connect, Action::Read].contains(&action));
                        prop_assert!(path.starts_with("/tenants/acme/"), "{}", path);
                    }
                    (None, None) => prop_assert!(!path.starts_with("/tenants/"), "{}", path),
                    half => prop_assert!(false, "{half:?}"),
                }
            }
            Step::Hold(_) => prop_assert!(false, "only webhooks are held"),
            Step::Answer(_) | Step::Refuse(_) | Step::RefuseAfterBody(_) => {}
        }
    }

    #[test]
    fn a_webhook_goes_on_if_its_bytes_were_signed_and_are_not_too_many(
        body in vec(any::<u8>(), 0..BODY_BYTES_MAX + 8),
        cuts in vec(any::<Index>(), 0..3),
        change in option::weighted(0.3, (any::<Index>(), 0..8_u8)),
        strangers in strangers(),
        is_plain: bool,
    ) {
        let signed = signature::sign(&KeyRing::parse(WEBHOOK_KEYS).unwrap(), &body);
        let strangers = if is_plain { Vec::new() } else { strangers };
        let headers = [
            vec![
                named(":method", "POST"),
                named(":path", "/webhooks/nango"),
                named("x-request-id", "r-1"),
                named("content-type", "application/json"),
                named("x-nango-hmac-sha256", &signed),
            ],
            strangers,
        ]
        .concat();
        let mut sent = body.clone();
        if let (Some((at, bit)), false) = (change, body.is_empty()) {
            sent[at.index(body.len())] ^= 1 << bit;
        }
        let end = match begin(PUBLIC, &headers, APP, true) {
            Step::Hold(mut held) => {
                let mut cuts: Vec<usize> =
                    cuts.iter().map(|cut| cut.index(sent.len() + 1)).collect();
                cuts.sort_unstable();
                cuts.push(sent.len());
                let mut from = 0;
                let mut chunks =
                    cuts.into_iter().map(|to| &sent[std::mem::replace(&mut from, to)..to]);
                chunks.try_for_each(|chunk| held.update(chunk)).and_then(|()| held.finish(NOW)).ok()
            }
            Step::Refuse(_) | Step::RefuseAfterBody(_) => None,
            step @ (Step::Forward(_) | Step::Answer(_)) => panic!("{step:?}"),
        };
        let is_good = sent == body && body.len() <= BODY_BYTES_MAX;
        prop_assert!(is_good || end.is_none());
        prop_assert!(end.is_some() || !is_good || !is_plain);
        if let Some(forward) = end {
            let vouched = believed(&upstream(headers, forward))?;
            prop_assert_eq!(vouched.webhook_key.unwrap().to_string(), "w");
            // The listener asks for no certificate, and believes none.
            let told = (vouched.principal, vouched.tenant, vouched.action);
            prop_assert_eq!(told, (None, None, None));
        }
    }
}
