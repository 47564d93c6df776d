//! The bodies of webhooks: what is read is what the JSON says, and what is not read is not kept.

use crate::{config, near};
use contract::nango::{self, AuthHint, HintTags, Operation, SimplifiedHint, Webhook};
use proptest::{collection::vec, option, prelude::*, sample::select};
use serde_json::{Map, Value, json};

/// Stands for a token, a provider's text, a user's secret. Nango's own names have no percent sign.
const CANARY: &str = "gho%CANARY";

/// Any JSON, with the canary here and there.
fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
        Just(Value::from(CANARY)),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec(("[a-zA-Z_]{0,8}", inner), 0..4)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

fn text_of(choices: &'static [&'static str]) -> impl Strategy<Value = Value> {
    select(choices).prop_map(Value::from)
}

fn ids() -> impl Strategy<Value = Value> {
    prop_oneof![
        near("0195f2a1-0000-7000-8000-00000000000[0-9]".boxed()).prop_map(Value::from),
        near("[a-z]{1,4}").prop_map(Value::from),
        values(),
    ]
}

/// What Nango sends, with every field sometimes missing, sometimes of another type.
fn bodies() -> impl Strategy<Value = Map<String, Value>> {
    let errors = prop_oneof![
        ("[a-z_]{1,70}", values())
            .prop_map(|(kind, text)| json!({"type": kind, "description": text, "payload": text})),
        near("[a-z_]{0,65}").prop_map(Value::from),
        values(),
    ];
    let tags = prop_oneof![
        4 => (ids(), ids(), ids(), values()).prop_map(|(connection, attempt, tenant, other)| {
            json!({"connection_ref": connection, "attempt": attempt, "tenant_id": tenant,
                "end_user_id": other, "anything": CANARY})
        }),
        1 => values(),
    ];
    let field = |name: &'static str, usual: BoxedStrategy<Value>| {
        let value = prop_oneof![9 => usual, 1 => values()];
        option::weighted(0.95, value).prop_map(move |value| (name, value))
    };
    let types = ["auth", "auth", "auth", "sync", "forward", "async_action", "connection.activated"];
    let types = prop_oneof![
        9 => select(types.to_vec()).prop_map(Value::from),
        1 => near("[a-z.]{0,9}").prop_map(Value::from),
    ];
    (
        field("type", types.boxed()),
        field("from", text_of(&["nango", "nango", "nango", "github"]).boxed()),
        field("connectionId", near("[a-z0-9-]{1,9}").prop_map(Value::from).boxed()),
        field("providerConfigKey", near("[a-z-]{1,9}").prop_map(Value::from).boxed()),
        field("operation", text_of(&["creation", "override", "refresh", "deletion", "x"]).boxed()),
        field("success", any::<bool>().prop_map(Value::from).boxed()),
        field("tags", tags.boxed()),
        field("error", errors.boxed()),
        field("vendor", near("[a-z-]{1,66}").prop_map(Value::from).boxed()),
        field("credentials", Just(json!({"access_token": CANARY})).boxed()),
    )
        .prop_map(|(a, b, c, d, e, f, g, h, i, j)| {
            let fields = [a, b, c, d, e, f, g, h, i, j].into_iter();
            fields.filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
        })
}

fn word(value: &Value) -> Option<String> {
    let text = value.as_str()?;
    let is_of_word =
        |it: char| it.is_ascii_digit() || it.is_ascii_lowercase() || "_.-".contains(it);
    ((1..=64).contains(&text.len()) && text.chars().all(is_of_word)).then(|| text.to_owned())
}

/// What an `auth` body says, found by looking, and not by a type.
fn check_hint(body: &Map<String, Value>, hint: &AuthHint) -> Result<(), TestCaseError> {
    let at = |name: &str| body.get(name).unwrap_or(&Value::Null);
    prop_assert_eq!((at("type"), at("from")), (&json!("auth"), &json!("nango")));
    prop_assert_eq!(at("connectionId"), hint.connection_id.as_str());
    prop_assert_eq!(at("providerConfigKey"), hint.provider_config_key.as_str());
    prop_assert_eq!(at("success"), hint.success);
    let operation = match at("operation").as_str() {
        Some("creation") => Operation::Creation,
        Some("override") => Operation::Override,
        Some("refresh") => Operation::Refresh,
        Some("deletion") => Operation::Deletion,
        _ => Operation::Unknown,
    };
    prop_assert_eq!(&hint.operation, &operation);
    let tag = |name: &str| at("tags").get(name).and_then(Value::as_str).unwrap_or_default();
    let tags = HintTags {
        connection_ref: tag("connection_ref").parse().ok(),
        tenant_id: tag("tenant_id").parse().ok(),
        attempt: tag("attempt").parse().ok(),
    };
    prop_assert_eq!(&hint.tags, &tags);
    let error = at("error");
    prop_assert_eq!(&hint.error_kind, &word(error.get("type").unwrap_or(error)));
    Ok(())
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn what_is_read_is_what_the_json_says_and_nothing_beside_it(body in bodies()) {
        let webhook = nango::read(&serde_json::to_vec(&body).unwrap());
        match &webhook {
            Webhook::Auth(hint) => check_hint(&body, hint)?,
            Webhook::Simplified(hint) => {
                prop_assert!(body["type"].as_str().unwrap().starts_with("connection."));
                prop_assert_eq!(&body["connectionId"], hint.connection_id.as_str());
                prop_assert_eq!(&hint.vendor, &body.get("vendor").and_then(word));
            }
            Webhook::Ignored { kind } => {
                prop_assert!(["sync", "async_action", "forward"].contains(&kind.as_str()));
                prop_assert_eq!(&body["type"], kind.as_str());
            }
            Webhook::Unknown => {}
        }
        prop_assert!(!format!("{webhook:?}").contains(CANARY), "{:?}", webhook);
    }

    /// The other way round: a body that has what a hint needs is never unknown.
    #[test]
    fn an_auth_body_with_its_fields_is_read_whatever_else_is_in_it(
        (connection, integration) in ("[a-zA-Z0-9,.@_-]{1,255}", "[a-zA-Z0-9~:.@ _-]{1,255}"),
        (operation, success) in ("[a-z]{0,9}", any::<bool>()),
        tags in option::of(vec(("[a-z_]{0,9}", values()), 0..4)),
        others in vec(("x[a-zA-Z]{0,8}", values()), 0..4),
    ) {
        let mut body: Map<String, Value> = others.into_iter().collect();
        let tags = tags.map(|tags| tags.into_iter().collect::<Map<String, Value>>());
        body.append(json!({"type": "auth", "from": "nango", "connectionId": connection,
            "providerConfigKey": integration, "operation": operation, "success": success,
            "tags": tags}).as_object_mut().unwrap());
        let webhook = nango::read(&serde_json::to_vec(&body).unwrap());
        let Webhook::Auth(hint) = webhook else { panic!("{webhook:?}") };
        check_hint(&body, &hint)?;
    }

    #[test]
    fn a_hint_survives_being_stored(body in bodies()) {
        match nango::read(&serde_json::to_vec(&body).unwrap()) {
            Webhook::Auth(hint) => {
                let stored = serde_json::to_vec(&hint).unwrap();
                prop_assert_eq!(serde_json::from_slice::<AuthHint>(&stored).unwrap(), hint);
            }
            Webhook::Simplified(hint) => {
                let stored = serde_json::to_value(&hint).unwrap();
                prop_assert_eq!(serde_json::from_value::<SimplifiedHint>(stored).unwrap(), hint);
            }
            Webhook::Ignored { .. } | Webhook::Unknown => {}
        }
    }

    #[test]
    fn bytes_that_are_no_json_object_are_unknown(
        bytes in vec(any::<u8>(), 0..80),
        body in bodies(),
        cut: prop::sample::Index,
    ) {
        if serde_json::from_slice::<Map<String, Value>>(&bytes).is_err() {
            prop_assert_eq!(nango::read(&bytes), Webhook::Unknown);
        }
        let whole = serde_json::to_vec(&body).unwrap();
        prop_assert_eq!(nango::read(whole.split_at(cut.index(whole.len())).0), Webhook::Unknown);
        prop_assert_eq!(nango::read(&[whole.as_slice(), b"{}"].concat()), Webhook::Unknown);
    }
}
