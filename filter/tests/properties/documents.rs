//! Policies: a document says what it says or is refused, and whoever misspelt or doubled a word learns
//! of it.

use crate::{config, near};
use filter::policy::{IdentitySource, Listener, ListenerKind, NameKind, Policy, SecretSource};
use proptest::{collection::vec, prelude::*, sample::Index, sample::select};
use serde_json::{Value, json};

fn secrets() -> impl Strategy<Value = Value> {
    (select(vec!["filterState", "environment"]), ".{0,9}")
        .prop_map(|(kind, name)| json!({kind: name}))
}

fn identities() -> impl Strategy<Value = Value> {
    prop_oneof![
        vec(select(vec!["uri", "dns"]), 1..3)
            .prop_map(|names| json!({"certificate": {"names": names}})),
        "spiffe://[a-z]{1,3}/[a-z]{1,3}|dns:[a-z]{1,3}"
            .prop_map(|hop| json!({"forwardedCertificate": {"hop": hop}})),
        Just(json!({"istioPeer": {}})),
    ]
}

/// Grants of different principals, so that none overlap.
fn grants() -> impl Strategy<Value = Value> {
    let actions = select(vec![json!(["read"]), json!(["connect", "delete"]), json!(["proxy"])]);
    let tenants =
        select(vec![json!(["acme"]), json!(["acme", "acme-*"]), json!(["a_*", "b.*", "c"])]);
    vec((actions, tenants), 0..3).prop_map(|rows| {
        let grant = |(n, (actions, tenants)): (usize, (Value, Value))| {
            let principal = format!("spiffe://a/p{n}");
            json!({"principal": principal, "tenants": tenants, "actions": actions})
        };
        rows.into_iter().enumerate().map(grant).collect()
    })
}

fn documents() -> impl Strategy<Value = Value> {
    let version = "[a-zA-Z0-9._-]{1,64}";
    let clients = (version, secrets(), identities(), grants(), prop::option::of(grants()))
        .prop_map(|(version, keys, identity, grants, dry_run)| {
            let mut document = json!({"version": version, "listener": "clients",
                "assertionKeys": keys, "identity": identity, "grants": grants});
            if let Some(grants) = dry_run {
                document["dryRun"] = json!({"grants": grants});
            }
            document
        });
    let public = (version, secrets(), secrets(), 1..u64::MAX).prop_map(
        |(version, keys, webhook_keys, max)| {
            json!({"version": version, "listener": "public", "assertionKeys": keys,
                "webhook": {"keys": webhook_keys, "maxBodyBytes": max}})
        },
    );
    prop_oneof![clients, public]
}

fn parse(document: &Value) -> Option<Policy> {
    Policy::parse(&serde_json::to_vec(document).unwrap()).ok()
}

fn source(secret: &SecretSource) -> Value {
    match secret {
        SecretSource::FilterState(name) => json!({"filterState": name}),
        SecretSource::Environment(name) => json!({"environment": name}),
    }
}

fn identity(identity: &IdentitySource) -> Value {
    let name = |kind: &NameKind| match kind {
        NameKind::Uri => "uri",
        NameKind::Dns => "dns",
    };
    match identity {
        IdentitySource::Certificate { names } => {
            let names: Vec<&str> = names.iter().map(name).collect();
            json!({"certificate": {"names": names}})
        }
        IdentitySource::ForwardedCertificate { hop } => {
            json!({"forwardedCertificate": {"hop": hop.to_string()}})
        }
        IdentitySource::IstioPeer => json!({"istioPeer": {}}),
    }
}

/// The place of every object in a document.
fn objects(document: &Value, place: &str) -> Vec<String> {
    match document {
        Value::Object(members) => {
            let of_members =
                members.iter().flat_map(|(name, value)| objects(value, &format!("{place}/{name}")));
            std::iter::once(place.to_owned()).chain(of_members).collect()
        }
        Value::Array(rows) => {
            let rows = rows.iter().enumerate();
            rows.flat_map(|(n, row)| objects(row, &format!("{place}/{n}"))).collect()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_document_loads_and_says_what_it_says(document in documents()) {
        let policy = parse(&document).unwrap();
        prop_assert_eq!(&document["version"], policy.version.as_str());
        prop_assert_eq!(&document["listener"], policy.listener.kind().as_str());
        prop_assert_eq!(&document["assertionKeys"], &source(&policy.assertion_keys));
        match &policy.listener {
            Listener::Public { webhook } => {
                prop_assert_eq!(&document["webhook"]["keys"], &source(&webhook.keys));
                prop_assert_eq!(&document["webhook"]["maxBodyBytes"], webhook.max_body_bytes);
            }
            Listener::Clients { identity: read, dry_run, .. } => {
                prop_assert_eq!(&document["identity"], &identity(read));
                prop_assert_eq!(document.get("dryRun").is_some(), dry_run.is_some());
            }
        }
    }

    #[test]
    fn a_word_too_much_is_refused_wherever_it_stands(document in documents(), at: Index) {
        let places = objects(&document, "");
        let place = &places[at.index(places.len())];
        let mut surplus = document.clone();
        surplus.pointer_mut(place).unwrap()["surplus"] = json!(1);
        prop_assert!(parse(&surplus).is_none(), "{}: {}", place, surplus);
    }

    #[test]
    fn a_word_too_few_is_refused_but_for_a_dry_run_and_for_tenants(
        document in documents(),
        (at, member) in (any::<Index>(), any::<Index>()),
    ) {
        let places = objects(&document, "");
        let place = &places[at.index(places.len())];
        let mut shorter = document.clone();
        let members = shorter.pointer_mut(place).unwrap().as_object_mut().unwrap();
        let Some(name) = members.keys().nth(member.index(members.len().max(1))).cloned() else {
            return Ok(());
        };
        members.remove(&name);
        // Without tenants a grant is for a template; these are for none, and so it is refused too.
        prop_assert_eq!(parse(&shorter).is_some(), name == "dryRun", "{}: {}", name, shorter);
    }

    /// Of two values of one word a reader may take either.
    #[test]
    fn a_word_that_stands_twice_is_refused(document in documents(), member: Index) {
        let members = document.as_object().unwrap();
        let (name, value) = members.iter().nth(member.index(members.len())).unwrap();
        let text = document.to_string();
        let twice = format!("{{\"{name}\":{value},{}", text.strip_prefix('{').unwrap());
        prop_assert!(Policy::parse(twice.as_bytes()).is_err(), "{}", twice);
    }

    #[test]
    fn what_belongs_to_the_other_listener_is_refused(one in documents(), other in documents()) {
        let mut mixed = one.clone();
        mixed["listener"] = other["listener"].clone();
        prop_assert_eq!(parse(&mixed).is_some(), one["listener"] == other["listener"]);
        for name in ["webhook", "identity", "grants", "dryRun"] {
            let mut mixed = one.clone();
            if let (None, Some(foreign)) = (one.get(name), other.get(name)) {
                mixed[name] = foreign.clone();
                let belongs = one["listener"] == other["listener"];
                prop_assert_eq!(parse(&mixed).is_some(), belongs, "{}", mixed);
            }
        }
    }

    #[test]
    fn accepted_implies_a_short_version_and_refused_implies_a_reason(
        text in prop_oneof![
            near(documents().prop_map(|document| document.to_string())),
            documents().prop_map(|document| document.to_string().replace(":\"", ":\"/")),
            "[{}\\[\\]\",:a-z0-9]{0,40}",
        ],
    ) {
        match Policy::parse(text.as_bytes()) {
            Ok(policy) => {
                let is_of_version = |it: char| it.is_ascii_alphanumeric() || "._-".contains(it);
                prop_assert!((1..=64).contains(&policy.version.len()));
                prop_assert!(policy.version.chars().all(is_of_version));
                if let Listener::Public { webhook } = &policy.listener {
                    prop_assert!(webhook.max_body_bytes > 0);
                }
                let document: Value = serde_json::from_str(&text).unwrap();
                let is_public = policy.listener.kind() == ListenerKind::Public;
                prop_assert_eq!(document.get("webhook").is_some_and(|it| !it.is_null()), is_public);
            }
            Err(unusable) => {
                prop_assert!(!unusable.0.is_empty());
                let told = unusable.to_string();
                prop_assert!(unusable.0.iter().all(|problem| told.contains(problem.as_str())));
            }
        }
    }
}
