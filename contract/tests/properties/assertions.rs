//! The edge assertion: it holds for the request it was made for, for half a minute, and for nothing else.

use crate::{config, near};
use contract::{
    action::Action,
    assertion::{self, BadAssertion, FRESH_MS, Target, Vouched},
    keys::KeyRing,
};
use proptest::{collection::vec, option, prelude::*, sample::select};

const NOW: u64 = 1_795_340_000_000;

fn keys() -> KeyRing {
    KeyRing::parse(b"a:0123456789abcdef0123456789abcdef").unwrap()
}

/// A request, owned. Its texts are short and of few letters, so that two of them often differ in where
/// one field ends and the next begins, and in nothing else.
#[derive(Debug, Clone, PartialEq)]
struct Passed {
    method: String,
    path: String,
    vouched: Vouched,
}

impl Passed {
    fn target(&self) -> Target<'_> {
        Target { method: &self.method, path: &self.path }
    }

    /// The document says that an absent request id and an empty one are the same.
    fn with_plain_id(mut self) -> Self {
        self.vouched.request_id = self.vouched.request_id.filter(|id| !id.is_empty());
        self
    }
}

fn principals() -> impl Strategy<Value = String> {
    prop_oneof!["spiffe://a/[ab]{1,2}", "dns:[ab]{1,2}"]
}

fn vouched() -> impl Strategy<Value = Vouched> {
    let parse = |text: String| text.parse().unwrap();
    (
        option::of(principals().prop_map(|text| text.parse().unwrap())),
        option::of("[ab]{1,2}".prop_map(|text| text.parse().unwrap())),
        option::of(select(Action::ALL.to_vec())),
        option::of("[ab]{1,2}".prop_map(parse)),
        option::of("[ab]{0,2}"),
    )
        .prop_map(|(principal, tenant, action, webhook_key, request_id)| Vouched {
            principal,
            tenant,
            action,
            webhook_key,
            request_id,
        })
}

fn passed() -> impl Strategy<Value = Passed> {
    ("[AB]{1,2}", "/[ab/?]{0,2}", vouched()).prop_map(|(method, path, vouched)| Passed {
        method,
        path,
        vouched,
    })
}

/// Each field of one of the two: the smallest difference is one field.
fn mixed(one: &Passed, other: &Passed, takes: &[bool]) -> Passed {
    let from = |n: usize| if takes[n] { other } else { one };
    Passed {
        method: from(0).method.clone(),
        path: from(1).path.clone(),
        vouched: Vouched {
            principal: from(2).vouched.principal.clone(),
            tenant: from(3).vouched.tenant.clone(),
            action: from(4).vouched.action,
            webhook_key: from(5).vouched.webhook_key.clone(),
            request_id: from(6).vouched.request_id.clone(),
        },
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn what_was_signed_is_verified_while_it_is_fresh_and_not_a_millisecond_longer(
        passed in passed(),
        made_ms in prop_oneof![Just(0), Just(NOW), Just(u64::MAX), any::<u64>()],
        apart in prop_oneof![0..2 * FRESH_MS, FRESH_MS - 1..FRESH_MS + 2, any::<u64>()],
    ) {
        let assertion = assertion::sign(&keys(), passed.target(), &passed.vouched, made_ms);
        let expected = if apart <= FRESH_MS { Ok(()) } else { Err(BadAssertion::Stale) };
        for now in [made_ms.checked_add(apart), made_ms.checked_sub(apart)].into_iter().flatten() {
            let target = passed.target();
            let verified = assertion::verify(&keys(), &assertion, target, &passed.vouched, now);
            prop_assert_eq!(verified, expected, "made {} read {}", made_ms, now);
        }
    }

    #[test]
    fn an_assertion_holds_for_its_own_request_and_for_no_other(
        (one, other) in (passed(), passed()),
        takes in vec(any::<bool>(), 7),
    ) {
        let other = mixed(&one, &other, &takes);
        let assertion = assertion::sign(&keys(), one.target(), &one.vouched, NOW);
        let verified = assertion::verify(&keys(), &assertion, other.target(), &other.vouched, NOW);
        let is_same = one.with_plain_id() == other.with_plain_id();
        let expected = if is_same { Ok(()) } else { Err(BadAssertion::Mismatch) };
        prop_assert_eq!(verified, expected);
    }

    /// A change in the text of an assertion is a change of key, of time or of the MAC itself.
    #[test]
    fn an_assertion_has_one_spelling(
        passed in passed(),
        made_ms in prop_oneof![Just(NOW), 0..10_u64],
        change in 0..8_usize,
        changed in near(Just("v1,a,1795340000000".to_owned())),
    ) {
        let assertion = assertion::sign(&keys(), passed.target(), &passed.vouched, made_ms);
        let mac = assertion.rsplit_once(',').unwrap().1;
        let other = match change {
            0 => format!("v1,a,+{made_ms},{mac}"),
            1 => format!("v1,a,0{made_ms},{mac}"),
            2 => format!("v1,a,{made_ms},{}", mac.to_uppercase()),
            3 => format!("v1,a,{made_ms},{mac},"),
            4 => format!("v1,a,{made_ms}, {mac}"),
            5 => format!("V1,a,{made_ms},{mac}"),
            6 => format!("v1,a,{made_ms},{}", mac.split_at(62).0),
            _ => format!("{changed},{mac}"),
        };
        let (target, vouched) = (passed.target(), &passed.vouched);
        let verified = assertion::verify(&keys(), &other, target, vouched, made_ms);
        prop_assert_eq!(verified.is_ok(), other == assertion, "{}", other);
    }

    #[test]
    fn no_text_that_the_edge_did_not_make_is_accepted(
        passed in passed(),
        text in near(prop_oneof![
            ".{0,100}",
            "v1,[ab]{1,2},[0-9]{1,20},[0-9a-f]{0,70}",
            "v1,a,1795340000000,[0-9a-f]{64}",
            "v1,a,17953400000[0-9]{2},",
        ]),
    ) {
        let (target, vouched) = (passed.target(), &passed.vouched);
        prop_assert!(assertion::verify(&keys(), &text, target, vouched, NOW).is_err(), "{}", text);
    }

    #[test]
    fn another_secret_under_the_same_id_verifies_nothing_and_another_id_is_unknown(
        passed in passed(),
        secret in "[0-9a-f]{32}",
    ) {
        prop_assume!(secret != "0123456789abcdef0123456789abcdef");
        let assertion = assertion::sign(&keys(), passed.target(), &passed.vouched, NOW);
        for (id, expected) in [("a", BadAssertion::Mismatch), ("b", BadAssertion::UnknownKey)] {
            let keys = KeyRing::parse(format!("{id}:{secret}").as_bytes()).unwrap();
            let (target, vouched) = (passed.target(), &passed.vouched);
            let verified = assertion::verify(&keys, &assertion, target, vouched, NOW);
            prop_assert_eq!(verified, Err(expected));
        }
    }
}
