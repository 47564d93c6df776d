//! Policy documents: one that loads says what its JSON says, and one of its grants answers every
//! question that is answered with yes.
#![no_main]

use contract::{action::Action, id::TenantId, principal::Principal};
use filter::policy::{GrantIndex, Grants, Listener, Policy};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|json: &[u8]| {
    let policy = match Policy::parse(json) {
        Ok(policy) => policy,
        Err(unusable) => return assert!(!unusable.0.is_empty()),
    };
    let document: Value = serde_json::from_slice(json).unwrap();
    assert_eq!(document["version"], policy.version.as_str());
    assert!((1..=64).contains(&policy.version.len()));
    assert_eq!(document["listener"], policy.listener.kind().as_str());
    match &policy.listener {
        Listener::Public { webhook } => {
            assert!(webhook.max_body_bytes > 0);
            assert_eq!(document["webhook"]["maxBodyBytes"], webhook.max_body_bytes);
        }
        Listener::Clients { grants, dry_run, .. } => {
            ask(grants, &document["grants"]);
            dry_run.iter().for_each(|dry_run| ask(dry_run, &document["dryRun"]["grants"]));
        }
    }
});

/// Asks for every pair of principal and tenant that the document's words suggest.
fn ask(grants: &Grants, rows: &Value) {
    let rows = rows.as_array().unwrap();
    let mut tenants = vec!["t".to_owned(), "acme".to_owned()];
    for row in rows {
        let listed = row["tenants"].as_array().into_iter().flatten();
        tenants.extend(listed.filter_map(Value::as_str).map(|tenant| tenant.replace('*', "t")));
    }
    let tenants: Vec<TenantId> = tenants.iter().filter_map(|it| it.parse().ok()).take(8).collect();
    for row in rows.iter().take(8) {
        let pattern = row["principal"].as_str().unwrap();
        for tenant in &tenants {
            let name = pattern.replace("{tenant}", tenant.as_str());
            let Ok(principal) = name.parse::<Principal>() else { continue };
            for action in Action::ALL {
                let Some(GrantIndex(index)) = grants.find(&principal, tenant, action) else {
                    continue;
                };
                assert!(grants.find_any(&principal).is_some());
                let words = rows[index]["actions"].as_array().unwrap();
                assert!(words.iter().any(|word| word == action.as_str()));
                let pattern = rows[index]["principal"].as_str().unwrap();
                let made = pattern.replace("{tenant}", tenant.as_str());
                assert!(made.eq_ignore_ascii_case(&principal.to_string()), "{made} {principal}");
            }
        }
    }
}
