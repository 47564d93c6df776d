//! Grants: what they allow is what their words allow one by one, and no two of them allow the same.

use crate::config;
use contract::{action::Action, id::TenantId, principal::Principal};
use filter::policy::{GrantIndex, Grants, Listener, Policy};
use proptest::{collection::vec, prelude::*, sample::select, sample::subsequence};
use serde_json::json;

const PRINCIPALS: &[&str] = &[
    "spiffe://a/t1",
    "spiffe://a/T1",
    "spiffe://a/app-t1",
    "spiffe://a/t1-a/app",
    "spiffe://b/t1",
    "dns:t1.a",
    "dns:t1.x.a",
    "dns:t1-a.x.a",
];
const TEMPLATES: &[&str] = &[
    "spiffe://a/{tenant}",
    "spiffe://a/app-{tenant}",
    "spiffe://a/{tenant}/app",
    "spiffe://a/{tenant}-a/app",
    "dns:{tenant}.a",
    "dns:{tenant}.X.A",
];
const TENANTS: &[&str] = &["t1", "T1", "t1-a", "t1-a-b", "t1.a", "app-t1", "x"];
const PATTERNS: &[&str] = &["t1", "T1", "t1-a", "app-t1", "t1-*", "t1-a-*", "t1.*", "app-*"];

#[derive(Debug, Clone)]
struct Grant {
    principal: &'static str,
    tenants: Vec<&'static str>,
    actions: Vec<Action>,
}

impl Grant {
    /// How often its words allow this, each pattern by itself.
    fn allowing(&self, principal: &Principal, tenant: &str, action: Action) -> usize {
        if !self.actions.contains(&action) {
            return 0;
        }
        if self.principal.contains("{tenant}") {
            return usize::from(is_of_template(self.principal, principal, tenant));
        }
        let is_covered = |pattern: &&&str| match pattern.strip_suffix('*') {
            Some(prefix) => tenant.starts_with(prefix) && tenant.len() > prefix.len(),
            None => **pattern == tenant,
        };
        let is_theirs = self.principal == principal.to_string();
        if is_theirs { self.tenants.iter().filter(is_covered).count() } else { 0 }
    }
}

/// Whether the template with this tenant in its place is the principal's name. A DNS name is of lower
/// case, and its tenant is one label.
fn is_of_template(template: &str, principal: &Principal, tenant: &str) -> bool {
    let is_dns = matches!(principal, Principal::Dns(_));
    let template = if is_dns { template.to_lowercase() } else { template.to_owned() };
    template.replace("{tenant}", tenant) == principal.to_string()
        && !(is_dns && tenant.contains('.'))
}

fn exact() -> impl Strategy<Value = Grant> {
    (select(PRINCIPALS), subsequence(PATTERNS, 1..3), actions())
        .prop_map(|(principal, tenants, actions)| Grant { principal, tenants, actions })
}

fn templates() -> impl Strategy<Value = Grant> {
    (select(TEMPLATES), actions()).prop_map(|(principal, actions)| Grant {
        principal,
        tenants: Vec::new(),
        actions,
    })
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    subsequence(Action::ALL.to_vec(), 1..3)
}

fn load(grants: &[Grant]) -> Option<Grants> {
    let grants: Vec<_> = grants
        .iter()
        .map(|grant| {
            let Grant { principal, tenants, actions } = grant;
            json!({"principal": principal, "tenants": tenants, "actions": actions})
        })
        .collect();
    let document = json!({"version": "1", "listener": "clients", "grants": grants,
        "assertionKeys": {"filterState": "a"}, "identity": {"istioPeer": {}}});
    match Policy::parse(document.to_string().as_bytes()).ok()?.listener {
        Listener::Clients { grants, .. } => Some(grants),
        Listener::Public { .. } => None,
    }
}

fn questions() -> Vec<(Principal, TenantId, Action)> {
    let of_templates = TEMPLATES.iter().flat_map(|template| {
        let name = |tenant: &&str| template.replace("{tenant}", tenant);
        TENANTS.iter().map(name).collect::<Vec<String>>()
    });
    let names = PRINCIPALS.iter().map(|name| (*name).to_owned()).chain(of_templates);
    let principals: std::collections::BTreeSet<Principal> =
        names.filter_map(|name| name.parse().ok()).collect();
    let of = |principal: Principal| {
        let tenants = TENANTS.iter().map(|tenant| tenant.parse::<TenantId>().unwrap());
        tenants.flat_map(move |tenant| {
            let principal = principal.clone();
            let ask = move |action| (principal.clone(), tenant.clone(), action);
            [Action::Connect, Action::Read, Action::Proxy].map(ask)
        })
    };
    principals.into_iter().flat_map(of).collect()
}

fn grants() -> impl Strategy<Value = Vec<Grant>> {
    vec(prop_oneof![exact(), templates()], 0..5)
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn what_is_granted_is_what_the_words_say_and_by_the_one_grant_that_says_it(grants in grants()) {
        let Some(loaded) = load(&grants) else { return Ok(()) };
        for (principal, tenant, action) in questions() {
            let allowing: Vec<usize> = grants
                .iter()
                .map(|grant| grant.allowing(&principal, tenant.as_str(), action))
                .collect();
            prop_assert!(allowing.iter().sum::<usize>() <= 1, "{principal} {tenant} {action}");
            let expected = allowing.iter().position(|times| *times == 1).map(GrantIndex);
            let found = loaded.find(&principal, &tenant, action);
            prop_assert_eq!(found, expected, "{} {} {}", principal, tenant, action);
        }
    }

    /// The tenant of a template need not be one that anybody thought of: every part of the name is tried.
    #[test]
    fn a_principal_has_some_grant_if_its_name_is_written_or_a_template_makes_it(
        grants in grants(),
        name in prop_oneof![
            select(PRINCIPALS).prop_map(str::to_owned),
            (select(TEMPLATES), "[a-z0-9.-]{0,4}")
                .prop_map(|(template, tenant)| template.replace("{tenant}", &tenant)),
        ],
    ) {
        let (Some(loaded), Ok(principal)) = (load(&grants), name.parse::<Principal>()) else {
            return Ok(());
        };
        let name = principal.to_string();
        let parts = (0..name.len()).flat_map(|from| (from..=name.len()).map(move |to| (from, to)));
        let tenants: Vec<&str> = parts.map(|(from, to)| &name[from..to]).collect();
        let is_theirs = |grant: &Grant| {
            grant.principal == name
                || grant.principal.contains("{tenant}")
                    && tenants.iter().any(|tenant| {
                        tenant.parse::<TenantId>().is_ok()
                            && is_of_template(grant.principal, &principal, tenant)
                    })
        };
        let expected = grants.iter().position(is_theirs).map(GrantIndex);
        prop_assert_eq!(loaded.find_any(&principal), expected, "{}", name);
    }

    /// Of templates more is refused than must be; of names and patterns nothing is.
    #[test]
    fn grants_without_templates_are_refused_if_two_patterns_allow_the_same(
        grants in vec(exact(), 0..4),
    ) {
        // Whatever two patterns cover, they cover what goes on after the longer one.
        let tenants = PATTERNS.iter().map(|pattern| pattern.replace('*', "witness"));
        let is_doubled = tenants.into_iter().any(|tenant| {
            PRINCIPALS.iter().any(|principal| {
                let principal = principal.parse().unwrap();
                Action::ALL.iter().any(|action| {
                    let times = grants.iter().map(|it| it.allowing(&principal, &tenant, *action));
                    times.sum::<usize>() > 1
                })
            })
        });
        prop_assert_eq!(load(&grants).is_none(), is_doubled);
    }
}
