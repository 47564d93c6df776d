//! Bodies of webhooks: any is read, a hint survives being stored, and a signature holds for the bytes
//! that were signed, however they are cut, and for no others.
#![no_main]

use contract::{
    keys::KeyRing,
    nango::{AuthHint, SimplifiedHint, Webhook, read},
    signature::{WebhookVerifier, sign},
};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|body: &[u8]| {
    let webhook = read(body);
    if let Ok(Value::Object(members)) = serde_json::from_slice(body) {
        let text = |name: &str| members.get(name).and_then(Value::as_str).unwrap_or_default();
        match &webhook {
            Webhook::Auth(hint) => {
                assert_eq!((text("type"), text("from")), ("auth", "nango"));
                assert_eq!(text("connectionId"), hint.connection_id.as_str());
                assert_eq!(text("providerConfigKey"), hint.provider_config_key.as_str());
                let stored = serde_json::to_vec(hint).unwrap();
                assert_eq!(serde_json::from_slice::<AuthHint>(&stored).unwrap(), *hint);
            }
            Webhook::Simplified(hint) => {
                assert_eq!(text("connectionId"), hint.connection_id.as_str());
                let stored = serde_json::to_vec(hint).unwrap();
                assert_eq!(serde_json::from_slice::<SimplifiedHint>(&stored).unwrap(), *hint);
            }
            Webhook::Ignored { kind } => assert_eq!(text("type"), kind),
            Webhook::Unknown => {}
        }
    }

    let keys = KeyRing::parse(b"k:0123456789abcdef").unwrap();
    let claimed = sign(&keys, body);
    let verify = |chunks: &[&[u8]]| {
        let mut verifier = WebhookVerifier::new(&keys, claimed.as_bytes()).unwrap();
        chunks.iter().for_each(|chunk| verifier.update(chunk));
        verifier.finish().is_ok()
    };
    let at = body.first().map_or(0, |first| usize::from(*first) % body.len());
    let (before, after) = body.split_at(at);
    assert!(verify(&[before, b"", after]));
    assert!(!verify(&[before, b"\0", after]));
    assert_eq!(verify(&[after, before]), [after, before].concat() == body);
    // A body is its own claim at best by chance.
    let claim = WebhookVerifier::new(&keys, body).and_then(|it| Ok(it.finish()));
    assert!(!matches!(claim, Ok(Ok(_))));
});
