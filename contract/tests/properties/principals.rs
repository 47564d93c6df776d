//! Principals: what is accepted prints as it was written, and two texts that name one workload differ in
//! the case of a DNS name at most.

use crate::{config, near};
use contract::principal::Principal;
use proptest::prelude::*;

/// SPIFFE-ID, sections 2.1 to 2.3, character by character.
fn is_spiffe_id(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("spiffe://") else { return false };
    let mut parts = rest.split('/');
    let domain = parts.next().unwrap();
    let segments: Vec<&str> = parts.collect();
    let is_domain = (1..=255).contains(&domain.len())
        && domain.chars().all(|it| matches!(it, 'a'..='z' | '0'..='9' | '.' | '_' | '-'));
    let is_segment = |segment: &&str| {
        !["", ".", ".."].contains(segment)
            && segment
                .chars()
                .all(|it| matches!(it, 'a'..='z' | 'A'..='Z' | '0'..='9' | '.' | '_' | '-'))
    };
    text.len() <= 2048 && is_domain && !segments.is_empty() && segments.iter().all(is_segment)
}

/// RFC 1123, section 2.1, character by character.
fn is_dns_name(text: &str) -> bool {
    let is_end = |it: Option<char>| it.is_some_and(|it| it.is_ascii_alphanumeric());
    text.len() <= 253
        && text.split('.').all(|label| {
            label.len() <= 63
                && is_end(label.chars().next())
                && is_end(label.chars().last())
                && label.chars().all(|it| it.is_ascii_alphanumeric() || it == '-')
        })
}

fn spiffe_ids() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => "spiffe://[a-z0-9._-]{1,12}(/[a-zA-Z0-9._-]{1,6}){1,4}",
        1 => "spiffe://[a-z0-9._-]{250,260}/[a-z]{1,3}",
        1 => "spiffe://[a-z]{1,9}/[a-z]{2020,2050}",
        1 => "(spiffe|SPIFFE|https|):?/{0,2}[a-z.]{0,3}/{0,2}[a-z./]{0,5}",
    ]
}

fn dns_names() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => r"[a-zA-Z0-9-]{1,9}(\.[a-zA-Z0-9-]{1,9}){0,3}\.?",
        1 => r"[a-z0-9]{60,66}\.[a-z]{2,3}",
        1 => r"([a-z]{60}\.){4}[a-z]{5,15}",
    ]
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_spiffe_id_is_accepted_by_its_standard_alone_and_prints_as_it_was_written(
        text in near(spiffe_ids()),
    ) {
        let read = text.parse::<Principal>();
        prop_assert_eq!(read.is_ok(), is_spiffe_id(&text), "{}", text);
        if let Ok(principal) = read {
            prop_assert_eq!(principal.to_string(), text.as_str());
            let Principal::Spiffe(id) = principal else { panic!("{text} is a DNS name") };
            prop_assert_eq!(id.as_str(), text);
        }
    }

    #[test]
    fn a_dns_name_is_accepted_by_its_rule_alone_and_prints_in_lower_case(
        name in near(dns_names()),
    ) {
        let text = format!("dns:{name}");
        let read = text.parse::<Principal>();
        prop_assert_eq!(read.is_ok(), is_dns_name(&name), "{}", text);
        if let Ok(principal) = read {
            prop_assert_eq!(principal.to_string(), text.to_ascii_lowercase());
            for other in [format!("dns:{}", name.to_ascii_uppercase()), principal.to_string()] {
                prop_assert_eq!(other.parse::<Principal>(), Ok(principal.clone()));
            }
            let Principal::Dns(name_of) = principal else { panic!("{text} is a SPIFFE ID") };
            prop_assert_eq!(name_of.as_str(), name.to_ascii_lowercase());
        }
    }

    /// A comma joins names in Envoy's formatters, a semicolon and a quote end a value in a forwarded
    /// certificate, a percent sign hides a character, a line break ends a header.
    #[test]
    fn an_accepted_principal_has_no_character_that_means_something_elsewhere(
        text in prop_oneof![
            near(spiffe_ids()),
            near(dns_names()).prop_map(|name| format!("dns:{name}")),
            ".{0,40}",
        ],
    ) {
        if let Ok(principal) = text.parse::<Principal>() {
            let printed = principal.to_string();
            prop_assert!(printed.bytes().all(|byte| byte.is_ascii_graphic()), "{:?}", printed);
            let has_strange = printed.contains([',', ';', '"', '=', '%', '\\', '{', '*', '?', '#']);
            prop_assert!(!has_strange, "{}", printed);
            let mut segments = printed.split('/').skip(3);
            prop_assert!(!segments.any(|segment| segment == "." || segment == ".."));
        }
    }
}
