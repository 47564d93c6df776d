//! Routing: a path leads to the one row that it is written by, and its tenant is the one that stands in
//! it.

use crate::{config, near};
use contract::id::TenantId;
use filter::{
    denial::Denial,
    policy::ListenerKind,
    route::{Found, Route, find},
};
use proptest::{prelude::*, sample::select};

const METHODS: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "get"];

fn listeners() -> impl Strategy<Value = ListenerKind> {
    select(vec![ListenerKind::Clients, ListenerKind::Public])
}

/// Any row of any table, its places filled in.
fn paths() -> impl Strategy<Value = String> {
    let tables = [ListenerKind::Clients, ListenerKind::Public].map(Route::table);
    let rows: Vec<&'static str> = tables.into_iter().flatten().map(|route| route.path).collect();
    let id = prop_oneof!["[a-z0-9-]{1,8}", Just("redeliver".to_owned()), Just("a/b".to_owned())];
    (select(rows), "[a-zA-Z0-9._-]{0,8}", id)
        .prop_map(|(path, tenant, id)| path.replace("{tenant}", &tenant).replace("{id}", &id))
}

/// Whether `path` is written by `pattern`, and for which tenant, if for one: the path is made again from
/// what stands in it.
fn written_by(pattern: &str, path: &str) -> Option<Vec<TenantId>> {
    let segments: Vec<&str> = path.split('/').collect();
    let at = |name: &str| pattern.split('/').position(|segment| segment == name);
    let captured = |name: &str| at(name).map(|at| segments.get(at).copied().unwrap_or_default());
    let (tenant, id) = (captured("{tenant}"), captured("{id}"));
    let made = pattern
        .replace("{tenant}", tenant.unwrap_or_default())
        .replace("{id}", id.unwrap_or_default());
    let tenant = tenant.map(str::parse::<TenantId>);
    let is_written = made == path && id != Some("") && !matches!(tenant, Some(Err(_)));
    is_written.then(|| tenant.into_iter().filter_map(Result::ok).collect())
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_path_leads_to_the_row_that_it_is_written_by_and_to_no_other(
        listener in listeners(),
        path in near(paths()),
        method in select(METHODS.to_vec()),
    ) {
        let rows: Vec<(&Route, Vec<TenantId>)> = Route::table(listener)
            .iter()
            .filter_map(|route| Some((route, written_by(route.path, &path)?)))
            .collect();
        let of_method: Vec<_> =
            rows.iter().filter(|(route, _)| route.methods.contains(&method)).collect();
        prop_assert!(of_method.len() <= 1, "{} {} leads to two rows", method, path);
        match find(listener, method, &path) {
            Ok(Found::Route { route, tenant }) => {
                let (expected, expected_tenant) = of_method[0];
                let tenant: Vec<TenantId> = tenant.into_iter().collect();
                prop_assert_eq!((route, &tenant), (*expected, expected_tenant));
            }
            Ok(Found::Options { allow }) => {
                prop_assert_eq!(method, "OPTIONS");
                prop_assert_eq!(allow, methods(&rows));
            }
            Err(Denial::NoRoute) => prop_assert!(rows.is_empty(), "{} is a route", path),
            Err(Denial::MethodNotAllowed { allow }) => {
                prop_assert!(!rows.is_empty() && of_method.is_empty() && method != "OPTIONS");
                prop_assert_eq!(allow, methods(&rows));
            }
            Err(denial) => prop_assert!(false, "{denial:?}"),
        }
    }

    #[test]
    fn every_row_with_a_tenant_is_found_for_every_tenant_and_asks_for_a_grant(
        tenant in "[a-zA-Z0-9][a-zA-Z0-9._-]{0,62}",
        id in "[a-zA-Z0-9._~-]{1,40}",
    ) {
        let listener = ListenerKind::Clients;
        let table = Route::table(listener).iter();
        for row in table.filter(|row| row.path.contains("{tenant}")) {
            let path = row.path.replace("{tenant}", &tenant).replace("{id}", &id);
            for method in row.methods {
                let found = find(listener, method, &path);
                let Ok(Found::Route { route, tenant: found }) = found else { panic!("{found:?}") };
                prop_assert_eq!(route, row);
                prop_assert_eq!(found.map(String::from), Some(tenant.clone()));
                prop_assert!(matches!(route.requirement, filter::route::Requirement::Grant(_)));
            }
            prop_assert_eq!(find(ListenerKind::Public, "GET", &path), Err(Denial::NoRoute));
        }
    }
}

fn methods(rows: &[(&Route, Vec<TenantId>)]) -> String {
    let of_rows = rows.iter().flat_map(|(route, _)| route.methods.iter().copied());
    of_rows.chain(["OPTIONS"]).collect::<Vec<_>>().join(", ")
}
