//! What the database is asked: nothing that a call needs is taken on trust.

use super::{finding::Finding, local, missing, sealed};
use crate::{
    cause::chain,
    clock::Clock,
    config,
    domain::{health::Database, sealing::Sealer},
    mint::Mint,
    startup::judge_pooling,
    store::{Store, StoreError},
};
use contract::keys::{KeyId, KeyRing};

const ACCESS: &str = "correct DATABASE_URL or DB_…, let its login in (pg_hba.conf, connection limits), and grant it \
    the roles connections_api and connections_worker";

pub(super) async fn examine(
    config::Database(options): config::Database,
    data_keys: Option<&KeyRing>,
    clock: &Clock,
) -> Vec<Finding> {
    let mint = Mint::new(clock.clone());
    let store = Store::new(options, mint.clone());
    let findings = look(&store, data_keys, (clock, &mint)).await;
    store.close().await;
    findings
}

async fn look(
    store: &Store,
    data_keys: Option<&KeyRing>,
    (clock, mint): (&Clock, &Mint),
) -> Vec<Finding> {
    const POOLING: &str = "database pooling";
    let away = |error: &StoreError| Finding::fail("database", chain(error), ACCESS);
    // Behind the wrong pooler no other answer is to be trusted.
    let pooling = match store.pooling().await.map(judge_pooling) {
        Ok(None) => Finding::ok(POOLING, "sessions are ours from beginning to end"),
        Ok(Some(unfit)) => {
            let mend = "in PgBouncer, set pool_mode = session for this database or user; elsewhere, use the \
                        address for session pooling, or PostgreSQL's own";
            return vec![Finding::fail(POOLING, unfit.to_string(), mend)];
        }
        Err(error) => return vec![away(&error)],
    };
    let at = clock.now();
    let [slot] = mint.bytes();
    let exercised = match store.exercise(slot, at).await {
        Ok(exercised) => exercised,
        Err(error) => return vec![away(&error), pooling],
    };
    let mut findings = vec![Finding::ok("database", "answers"), pooling];
    match exercised {
        Database::Unavailable | Database::NotMigrated => {
            findings.push(local::migrations(false));
            return findings;
        }
        Database::ReadOnly { is_standby } => {
            findings.push(local::migrations(true));
            findings.push(local::writes(Some(is_standby)));
        }
        Database::Ready(backlog) => {
            findings.push(local::migrations(true));
            findings.push(local::judge_backlog(backlog, at));
            findings.push(local::writes(None));
        }
    }
    findings.extend(store.clock_skew(clock).await.ok().map(local::database_clock));
    findings.extend(keys(store, data_keys).await);
    findings.extend(store.deletions_held().await.ok().map(missing::held));
    if let (Ok(orphans), Ok(as_of)) = (store.orphans().await, store.swept_at().await) {
        findings.push(missing::orphans(&orphans, as_of));
    }
    findings
}

/// What is kept with which key, and whether those keys are the ones that are set.
async fn keys(store: &Store, data_keys: Option<&KeyRing>) -> Vec<Finding> {
    let ids: Vec<&KeyId> = data_keys.into_iter().flat_map(KeyRing::iter).map(|it| &it.id).collect();
    let mut findings = Vec::new();
    if let Some(sealer) = data_keys.and_then(|keys| Sealer::new(keys).ok()) {
        findings.extend(store.replaced_keys(&sealer).await.ok().map(|it| sealed::replaced(&it)));
    }
    findings.extend(store.count_secrets().await.ok().map(|kept| sealed::secrets(&ids, &kept)));
    findings
}
