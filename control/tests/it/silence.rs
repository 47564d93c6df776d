//! A database that vanishes: its connections stay open, and nobody says a word on them ever again.

use contract::id::ConnectionId;
use control::{
    clock::Clock,
    mint::Mint,
    store::{Store, StoreError},
};
use futures::future::join_all;
use sqlx::{PgPool, postgres::PgConnectOptions};
use std::{future::pending, time::Duration};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
    time::timeout,
};

/// How long the store waits here; the tests wait for as long.
const LIMIT: Duration = Duration::from_millis(300);

/// Whatever takes longer never ends.
const EVER: Duration = Duration::from_secs(20);

/// As many as the store has connections at once.
const ALL: usize = 16;

/// A wire to the database. What is open when it is cut stays so, and is dead.
struct Wire {
    options: PgConnectOptions,
    cuts: watch::Sender<u32>,
}

impl Wire {
    async fn to(pool: &PgPool) -> Self {
        let options: PgConnectOptions = (*pool.connect_options()).clone();
        let target = (options.get_host().to_owned(), options.get_port());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let options = options.host("127.0.0.1").port(listener.local_addr().unwrap().port());
        let (cuts, watched) = watch::channel(0);
        tokio::spawn(async move {
            while let Ok((mut caller, _)) = listener.accept().await {
                let (target, mut cuts) = (target.clone(), watched.clone());
                let born = *cuts.borrow_and_update();
                tokio::spawn(async move {
                    let mut target = TcpStream::connect(target).await.unwrap();
                    tokio::select! {
                        () = async { drop(cuts.wait_for(|cuts| *cuts != born).await) } => pending().await,
                        _ = copy_bidirectional(&mut caller, &mut target) => {}
                    }
                });
            }
        });
        Self { options, cuts }
    }

    fn store(&self) -> Store {
        Store::new(self.options.clone(), Mint::new(Clock::system())).patient_for(LIMIT)
    }

    fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }
}

async fn ask(store: Store) -> Result<(), StoreError> {
    let id: ConnectionId = "0195f2a1-0000-7000-8000-000000000001".parse().unwrap();
    store.tenant_of(id).await.map(|tenant| assert_eq!(tenant, None))
}

/// Until so many wait for a lock.
async fn until_waiting(pool: &PgPool, wanted: i64) {
    let waiting = "SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock'";
    while sqlx::query_scalar::<_, i64>(waiting).fetch_one(pool).await.unwrap() < wanted {}
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_database_that_vanishes_is_missed_in_time_and_holds_no_place_in_the_pool(pool: PgPool) {
    let wire = Wire::to(&pool).await;
    let store = wire.store();
    let mut lock = pool.begin().await.unwrap();
    sqlx::query("LOCK connections").execute(&mut *lock).await.unwrap();
    let mut asking: Vec<_> = (0..ALL).map(|_| tokio::spawn(ask(store.clone()))).collect();
    until_waiting(&pool, 1).await;
    wire.cut();
    // Some whom nobody waits for any more, as when a caller hangs up.
    for gone in asking.split_off(ALL / 2) {
        gone.abort();
    }
    for asking in timeout(EVER, join_all(asking)).await.unwrap() {
        assert!(matches!(asking.unwrap(), Err(StoreError::Unavailable(_))));
    }
    lock.rollback().await.unwrap();
    let freed = async {
        while store.pool_state().1 > 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(EVER, freed).await.expect("a connection that nobody answers on keeps its place");
    for asked in join_all((0..ALL).map(|_| ask(store.clone()))).await {
        asked.unwrap();
    }
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn connections_that_died_idle_are_replaced_by_whoever_finds_them(pool: PgPool) {
    let wire = Wire::to(&pool).await;
    let store = wire.store();
    for asked in join_all((0..ALL).map(|_| ask(store.clone()))).await {
        asked.unwrap();
    }
    wire.cut();
    for _ in 0..2 {
        timeout(EVER, ask(store.clone())).await.unwrap().unwrap();
    }
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_listener_knows_silence_from_death(pool: PgPool) {
    let wire = Wire::to(&pool).await;
    let store = wire.store();
    let mut listener = store.listen().await.unwrap();
    // However long nothing is told, it goes on listening.
    assert!(timeout(LIMIT * 4, listener.heard()).await.is_err());
    let tell = || sqlx::query("NOTIFY connections_outbox").execute(&pool);
    tell().await.unwrap();
    timeout(EVER, listener.heard()).await.unwrap().unwrap();
    wire.cut();
    let ended = timeout(EVER, listener.heard()).await.expect("it listens to nobody");
    assert!(matches!(ended, Err(StoreError::Unavailable(_))));
    let mut listener = store.listen().await.unwrap();
    tell().await.unwrap();
    timeout(EVER, listener.heard()).await.unwrap().unwrap();
}
