//! Paths and routes: `<listener><method> <path>` leads to a row by which the path is written, or
//! nowhere.
#![no_main]

use filter::{
    denial::Denial,
    head::{Head, RawHeader},
    policy::ListenerKind,
    route::{Found, Route, find},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let (listener, rest) = match text.split_at_checked(1) {
        Some(("c", rest)) => (ListenerKind::Clients, rest),
        Some((_, rest)) => (ListenerKind::Public, rest),
        None => return,
    };
    let Some((method, target)) = rest.split_once(' ') else { return };
    // Routing must be right of any path; that the head is clean is one more thing.
    check(listener, method, target);
    let raw: [RawHeader<'_>; 2] = [(b":method", method.as_bytes()), (b":path", target.as_bytes())];
    if let Ok(head) = Head::read(&raw) {
        check(listener, head.method, head.path);
    }
});

fn check(listener: ListenerKind, method: &str, path: &str) {
    match find(listener, method, path) {
        Ok(Found::Route { route, tenant }) => {
            assert!(route.methods.contains(&method));
            assert!(Route::table(listener).contains(route));
            assert_eq!(tenant.is_some(), route.path.contains("{tenant}"));
            let id = route.path.split('/').position(|segment| segment == "{id}");
            let id = id.and_then(|at| path.split('/').nth(at)).unwrap_or_default();
            let tenant = tenant.map(String::from).unwrap_or_default();
            assert_eq!(route.path.replace("{tenant}", &tenant).replace("{id}", id), path);
        }
        Ok(Found::Options { allow }) => assert!(method == "OPTIONS" && allow.ends_with(method)),
        Err(Denial::MethodNotAllowed { allow }) => {
            assert!(!allow.split(", ").any(|allowed| allowed == method));
            let allowed = allow.split(", ").next().unwrap();
            assert!(matches!(find(listener, allowed, path), Ok(Found::Route { .. })));
        }
        Err(denial) => assert_eq!(denial, Denial::NoRoute),
    }
}
