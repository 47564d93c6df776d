//! Tables of requests in tests have every operation that the edge has: one that is added there is missed here.

use crate::{random::generator, scenarios};
use filter::{policy::ListenerKind, route::Route};

/// Whether a path is of this template.
fn is_of(template: &str, target: &str) -> bool {
    let path = target.split('?').next().unwrap_or_default();
    let (template, path): (Vec<&str>, Vec<&str>) =
        (template.split('/').collect(), path.split('/').collect());
    template.len() == path.len()
        && template.iter().zip(path).all(|(part, given)| part.starts_with('{') || *part == given)
}

#[test]
fn every_operation_of_the_edge_is_in_each_table_of_requests() {
    for (table, requests) in
        [("scenarios", scenarios::requests()), ("random", generator::requests())]
    {
        for kind in [ListenerKind::Clients, ListenerKind::Public] {
            for route in Route::table(kind) {
                let method = route.methods.first().unwrap();
                let is_there = requests.iter().any(|(is_client, asked, target)| {
                    *is_client == (kind == ListenerKind::Clients)
                        && asked == method
                        && is_of(route.path, target)
                });
                assert!(is_there, "{table} lacks {method} {} ({})", route.path, route.name);
            }
        }
    }
}
