//! `x-forwarded-client-cert`: an accepted value stays what it is with another pair before it, and is
//! refused with a second URI or a second element.
#![no_main]

use contract::principal::Principal;
use filter::forwarded::{UnusableForwarded, read_uri};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|value: &str| {
    let read = read_uri(value);
    let Ok(uri) = &read else { return };
    assert_eq!(read_uri(&format!("Hash=0a;Subject=\"URI=x\\\",\";{value}")), read);
    assert_eq!(read_uri(&format!("{value};DNS=a.example")), read);
    assert_eq!(read_uri(&format!("{value},{value}")), Err(UnusableForwarded::Several));
    let two = read_uri(&format!("{value};URI=spiffe://a/b"));
    match uri {
        Some(uri) => {
            assert!(!uri.is_empty());
            assert_eq!(two, Err(UnusableForwarded::Several));
            if let Ok(principal) = uri.parse::<Principal>() {
                assert!(value.contains(uri.as_str()));
                assert_eq!(principal.to_string().to_lowercase(), uri.to_lowercase());
            }
        }
        // No URI, or an empty one.
        None => assert!(two.is_err() || two == Ok(Some("spiffe://a/b".to_owned()))),
    }
});
