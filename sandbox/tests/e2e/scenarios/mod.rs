//! The rules of the edge as a table: each row is a request, what becomes of it, and the rule that says
//! so. Every row runs against the real Envoy, over every version of HTTP that can carry it.

#![expect(clippy::too_many_lines, reason = "a table reads best in one piece")]

mod grants;
mod heads;
mod identity;
pub mod judge;
mod routes;
pub mod signatures;
mod table;
mod verification;
pub mod worlds;

use self::{table::Row, worlds::World};

/// What carries the pipeline inside Envoy. A native module would be a second one, with the same table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FilterBlock {
    Wasm,
}

fn rows() -> Vec<Row> {
    [identity::rows(), grants::rows(), routes::rows(), heads::rows(), verification::rows()].concat()
}

/// What each row asks for: whether at the clients listener, the method, and the target.
pub fn requests() -> Vec<(bool, &'static str, String)> {
    let rows = rows().into_iter();
    rows.map(|row| (row.who.is_some(), row.message.method, row.message.target)).collect()
}

#[tokio::test]
async fn every_rule_holds_over_both_versions_of_http() {
    let rows = rows();
    let mut rules: Vec<&str> = rows.iter().map(|row| row.rule).collect();
    rules.sort_unstable();
    for pair in rules.windows(2) {
        assert_ne!(pair[0], pair[1], "a rule stands in two rows");
    }
    assert!(rows.len() >= 190, "rows are missing");
    sandbox::say::line(&format!("{} rules of the edge", rows.len()));
    let mut broken = Vec::new();
    for world in World::ALL {
        let of_world: Vec<&Row> = rows.iter().filter(|row| row.world == world).collect();
        broken.extend(judge::run(FilterBlock::Wasm, world, &of_world).await);
    }
    assert!(broken.is_empty(), "{} broken:\n{}", broken.len(), broken.join("\n"));
}
