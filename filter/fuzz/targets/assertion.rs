//! Edge assertions: the lines of the input are a request and a claim about it. A claim is accepted if it
//! is, to the byte, what the edge signs, and an assertion of this request is not accepted of another.
#![no_main]

use contract::{
    assertion::{FRESH_MS, Target, Vouched, sign, verify},
    keys::KeyRing,
};
use libfuzzer_sys::fuzz_target;

const NOW: u64 = 1_795_340_000_000;

fuzz_target!(|text: &str| {
    let mut lines = text.split('\n');
    let mut line = || lines.next().unwrap_or_default();
    let keys = KeyRing::parse(b"a:0123456789abcdef0123456789abcdef").unwrap();
    let target = Target { method: line(), path: line() };
    let vouched = Vouched {
        principal: line().parse().ok(),
        tenant: line().parse().ok(),
        action: line().parse().ok(),
        webhook_key: line().parse().ok(),
        request_id: Some(line().to_owned()),
    };
    let claimed = line();
    if verify(&keys, claimed, target, &vouched, NOW).is_ok() {
        let made_ms: u64 = claimed.split(',').nth(2).unwrap().parse().unwrap();
        assert!(made_ms.abs_diff(NOW) <= FRESH_MS);
        assert_eq!(claimed, sign(&keys, target, &vouched, made_ms));
    }

    let assertion = sign(&keys, target, &vouched, NOW);
    assert_eq!(verify(&keys, &assertion, target, &vouched, NOW), Ok(()));
    let other = Target { method: line(), path: line() };
    if (other.method, other.path) != (target.method, target.path) {
        assert!(verify(&keys, &assertion, other, &vouched, NOW).is_err());
    }
    let other = Vouched { request_id: Some(line().to_owned()), ..vouched.clone() };
    if other != vouched {
        assert!(verify(&keys, &assertion, target, &other, NOW).is_err());
    }
    for other in [
        Vouched { principal: None, ..vouched.clone() },
        Vouched { tenant: None, ..vouched.clone() },
        Vouched { action: None, ..vouched.clone() },
        Vouched { webhook_key: None, ..vouched.clone() },
    ] {
        let verified = verify(&keys, &assertion, target, &other, NOW);
        assert_eq!(verified.is_ok(), other == vouched);
    }
});
