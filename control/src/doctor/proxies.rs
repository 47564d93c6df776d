//! Proxies of the environment, which this service does not use: what calls Nango through one is said by a setting.

use super::finding::Finding;
use crate::config::Environment;

/// Variables by which other programs choose a proxy.
const VARIABLES: [&str; 6] =
    ["ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY", "all_proxy", "http_proxy", "https_proxy"];

/// Those that are set. Their values may hold passwords.
pub fn ignored(environment: &Environment) -> Vec<&'static str> {
    let is_set = |name: &&str| environment.get(*name).is_some_and(|value| !value.trim().is_empty());
    VARIABLES.into_iter().filter(is_set).collect()
}

pub(super) fn proxies(environment: &Environment, is_chosen: bool) -> Finding {
    const NAME: &str = "NANGO_PROXY_URL";
    let ignored = ignored(environment).join(", ");
    let seen = match (is_chosen, ignored.is_empty()) {
        (true, true) => "calls to Nango go through it".to_owned(),
        (true, false) => format!("calls to Nango go through it, and {ignored} are not used"),
        (false, true) => "not set: Nango is called without a proxy".to_owned(),
        (false, false) => {
            return Finding::warn(
                NAME,
                format!(
                    "not set, and {ignored} of the environment are not used: Nango is called without a proxy"
                ),
                "set NANGO_PROXY_URL to the proxy if this host reaches Nango by none other way; else take the others out",
            );
        }
    };
    Finding::ok(NAME, seen)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Status;

    #[test]
    fn a_proxy_of_the_environment_is_named_and_never_shown() {
        let with = |names: &[&str]| -> Environment {
            names
                .iter()
                .map(|name| ((*name).to_owned(), "http://u:pw@proxy.example".to_owned()))
                .collect()
        };
        assert_eq!(proxies(&with(&[]), false).status, Status::Ok);
        assert_eq!(proxies(&with(&[]), true).status, Status::Ok);
        assert_eq!(proxies(&with(&["NO_PROXY", "no_proxy"]), false).status, Status::Ok);
        for name in VARIABLES {
            let finding = proxies(&with(&[name]), false);
            assert_eq!(finding.status, Status::Warn, "{name}");
            assert!(finding.seen.contains(name) && !finding.seen.contains("pw"), "{finding:?}");
            assert_eq!(proxies(&with(&[name]), true).status, Status::Ok, "{name}");
        }
        let empty: Environment = [("HTTP_PROXY".to_owned(), " ".to_owned())].into();
        assert_eq!(proxies(&empty, false).status, Status::Ok);
    }
}
