//! The composition root: everything is built here once, started, and stopped in order.

use crate::{
    budget::Budget,
    cause::chain,
    clock::Clock,
    config::{CallbackMode, Config, MtlsFiles, NangoConfig},
    doctor,
    domain::{
        budget::CallsPerMinute, delivery::Schedule, probing::ProbeInterval, retention::Retention,
    },
    http::{self, AppState, Probed},
    hub::Hub,
    metrics::Metrics,
    mint::Mint,
    nango::NangoClient,
    notifier::Notifier,
    outbox::Outbox,
    readiness::Readiness,
    rehearsal::Rehearsal,
    sampler::Sampler,
    startup::{self, Checked, Unfit},
    store::Store,
    tls,
};
use axum::Router;
use axum_server::{Handle, tls_rustls::RustlsConfig};
use std::{future::Future, io, net::SocketAddr, sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

/// How long requests and outbox may take to finish once the service is asked to stop. Orchestrators
/// kill after 30 s.
const GRACE: Duration = Duration::from_secs(20);

/// Between two comparisons of the clocks at the start, while the database is away or the clock is not trusted.
const COMPARE_AGAIN: Duration = Duration::from_secs(1);

/// Why the service cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    #[error("cannot make the client of Nango")]
    Nango(#[source] reqwest::Error),
    #[error("MTLS_CERT_PATH, MTLS_KEY_PATH and MTLS_CA_PATH")]
    Tls(#[from] tls::Unusable),
    #[error(transparent)]
    Unfit(#[from] Unfit),
    #[error("cannot serve on {1}")]
    Serve(#[source] io::Error, SocketAddr),
}

/// Everything that runs.
struct App {
    router: Router,
    admin_router: Router,
    outbox: Outbox,
    sampler: Sampler,
    hub: Hub,
    clock: Clock,
    store: Store,
    identity: Option<Arc<tls::Watched>>,
    callbacks: Arc<CallbackMode>,
    /// For the edge, and for probes.
    listens: (SocketAddr, SocketAddr),
}

/// Serves until `stop` is cancelled: requests are finished first, then the outbox, and probes are
/// answered to the end.
pub async fn run(config: Config, stop: CancellationToken) -> Result<(), AppError> {
    let App {
        router,
        admin_router,
        outbox,
        sampler,
        hub,
        clock,
        store,
        identity,
        callbacks,
        listens: (listen, admin_listen),
    } = App::build(config, stop.clone())?;
    let checked = startup::check(&store, outbox.sealer.as_ref()).await;
    if let Checked::Unfit(unfit) = checked {
        return Err(unfit.into());
    }
    let tls = identity.as_ref().map(|identity| server_tls(identity));
    let handle = Handle::new();
    let admin_handle = Handle::new();
    let serving = async {
        let served = serve(listen, tls.clone(), router, handle.clone()).await;
        // A port that cannot be had ends the service; half of one serves nobody.
        stop.cancel();
        served
    };
    let stopping = async {
        stop.cancelled().await;
        tracing::info!("stopping: requests and outbox have {} s to finish", GRACE.as_secs());
        handle.graceful_shutdown(Some(GRACE));
    };
    let working = async {
        until_fit(checked, &outbox, &stop).await?;
        // Whoever works writes times: first it must be known what time it is.
        until_clock_follows(&store, &stop).await;
        Box::pin(outbox.run(stop.clone())).await;
        Ok(())
    };
    let working = within_grace(working, &stop);
    let all_but_probes = async {
        let (served, (), (), worked, (), (), (), ()) = tokio::join!(
            serving,
            keep_identity(identity.as_ref(), tls.as_ref(), &stop),
            stopping,
            working,
            warn_at_start(&outbox, &callbacks, &stop),
            hub.run(&store, &clock),
            sampler.run(stop.clone()),
            say_when_listening(&handle),
        );
        admin_handle.shutdown();
        served.and(worked.map_err(AppError::from))
    };
    let probing = async {
        let probed = serve(admin_listen, None, admin_router, admin_handle.clone()).await;
        stop.cancel();
        probed
    };
    let (served, probed) = tokio::join!(all_but_probes, probing);
    store.close().await;
    served.and(probed)
}

impl App {
    fn build(config: Config, stop: CancellationToken) -> Result<Self, AppError> {
        let Config {
            log: _,
            traces: _,
            database,
            listen,
            admin_listen,
            assertion_keys,
            mtls,
            nango,
            catalogue,
            notifications,
            may_change_account,
            callbacks,
            probe_interval,
            retention,
            schedule,
            sealer,
        } = config;
        warn_if_plain(mtls.as_ref());
        let clock = Clock::database();
        let mint = Mint::new(clock.clone());
        let metrics = Metrics::new(clock.clone());
        let store = Store::new(database.0, mint.clone()).measured(metrics.clone());
        let limit = nango.calls_per_minute;
        let nango = nango_client(nango, &store, (clock.clone(), mint.clone()), metrics.clone())?;
        let identity = mtls.map(tls::Watched::open).transpose()?.map(Arc::new);
        let egress = Arc::new(notifications.egress.clone());
        let notifier = Arc::new(Notifier::new(notifications, identity.clone()));
        let state = AppState {
            store: store.clone(),
            nango,
            catalogue: Arc::new(catalogue),
            callbacks: Arc::new(callbacks),
            assertion_keys: Arc::new(assertion_keys),
            clock: clock.clone(),
            mint: mint.clone(),
            hub: Hub::new(stop.clone()),
            sealer,
            egress,
            callers: identity.clone().map(tls::Callers::new).map(Arc::new),
            rehearsal: Rehearsal::new(Arc::clone(&notifier), clock.clone(), mint),
            metrics,
        };
        let sampler = sampler(&state, limit, identity.clone());
        let rules = (may_change_account, probe_interval, retention, schedule);
        let probed = probed(&state, sampler.clone(), identity.clone(), stop);
        Ok(Self {
            callbacks: Arc::clone(&state.callbacks),
            hub: state.hub.clone(),
            outbox: outbox(&state, notifier, rules),
            router: http::router(state),
            admin_router: http::admin_router(probed),
            sampler,
            clock,
            store,
            identity,
            listens: (listen, admin_listen),
        })
    }
}

fn nango_client(
    nango: NangoConfig,
    store: &Store,
    (clock, mint): (Clock, Mint),
    metrics: Metrics,
) -> Result<Arc<NangoClient>, AppError> {
    let budget = Budget::new(store.clone(), nango.calls_per_minute, clock.clone(), mint.clone());
    let client = NangoClient::new(nango, Some(Arc::new(budget)), (clock, mint), metrics);
    client.map(Arc::new).map_err(AppError::Nango)
}

fn outbox(
    state: &AppState,
    notifier: Arc<Notifier>,
    (may_change_account, probe_interval, retention, schedule): (
        bool,
        ProbeInterval,
        Retention,
        Schedule,
    ),
) -> Outbox {
    Outbox {
        store: state.store.clone(),
        nango: Arc::clone(&state.nango),
        catalogue: Arc::clone(&state.catalogue),
        notifier,
        clock: state.clock.clone(),
        mint: state.mint.clone(),
        may_change_account,
        probe_interval,
        last_page: Arc::default(),
        retention,
        schedule,
        seats: Arc::default(),
        wakeups: Arc::default(),
        sealer: state.sealer.clone(),
        metrics: state.metrics.clone(),
    }
}

fn probed(
    state: &AppState,
    sampler: Sampler,
    identity: Option<Arc<tls::Watched>>,
    stop: CancellationToken,
) -> Probed {
    Probed {
        store: state.store.clone(),
        nango: Arc::clone(&state.nango),
        clock: state.clock.clone(),
        identity,
        sampler,
        stop,
    }
}

fn warn_if_plain(mtls: Option<&MtlsFiles>) {
    if mtls.is_none() {
        tracing::warn!(
            "without MTLS_… the hop from the edge is plain; it must be loopback's or the mesh's"
        );
    }
}

fn sampler(
    state: &AppState,
    limit: CallsPerMinute,
    identity: Option<Arc<tls::Watched>>,
) -> Sampler {
    Sampler {
        store: state.store.clone(),
        hub: state.hub.clone(),
        clock: state.clock.clone(),
        metrics: state.metrics.clone(),
        calls_per_minute: limit,
        identity,
        readiness: Readiness::new(state.store.clone(), &state.mint),
    }
}

async fn warn_at_start(outbox: &Outbox, mode: &CallbackMode, stop: &CancellationToken) {
    let warning = doctor::warn_at_start(&outbox.nango, &outbox.catalogue, mode);
    until_stopped(warning, stop).await;
}

/// Looks at a database that could not be looked at before the start, and ends the service that must not go on with it.
async fn until_fit(
    checked: Checked,
    outbox: &Outbox,
    stop: &CancellationToken,
) -> Result<(), Unfit> {
    match checked {
        Checked::Fit => Ok(()),
        Checked::Unfit(_) | Checked::NotYet(_) => {
            let known = startup::until_known(&outbox.store, outbox.sealer.as_ref(), stop).await;
            if known.is_err() {
                stop.cancel();
            }
            known
        }
    }
}

async fn until_stopped(work: impl Future<Output = ()>, stop: &CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = work => {}
    }
}

/// Compares our clock with the database's until it may be written by. From then on, every transaction compares them.
async fn until_clock_follows(store: &Store, stop: &CancellationToken) {
    let comparing = async {
        while let Err(error) = store.compare_clocks().await {
            tracing::warn!(error = chain(&error), "no work is begun yet: the clock is not trusted");
            tokio::time::sleep(COMPARE_AGAIN).await;
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = comparing => {}
    }
}

/// What is cut off when the grace ends is leased, and done again by whoever comes next.
async fn within_grace(
    working: impl Future<Output = Result<(), Unfit>>,
    stop: &CancellationToken,
) -> Result<(), Unfit> {
    tokio::select! {
        worked = working => worked,
        () = async { stop.cancelled().await; tokio::time::sleep(GRACE).await } => Ok(()),
    }
}

async fn say_when_listening(handle: &Handle<SocketAddr>) {
    if let Some(address) = handle.listening().await {
        tracing::info!(%address, "control is listening on {address}");
    }
}

fn server_tls(identity: &tls::Watched) -> RustlsConfig {
    RustlsConfig::from_config(identity.server())
}

/// Looks at the certificate files until the end; the server takes over what is new.
async fn keep_identity(
    identity: Option<&Arc<tls::Watched>>,
    server: Option<&RustlsConfig>,
    stop: &CancellationToken,
) {
    let (Some(identity), Some(server)) = (identity, server) else { return };
    let mut renewed = identity.follow();
    let follow = async {
        while renewed.changed().await.is_ok() {
            renewed.mark_unchanged();
            server.reload_from_config(identity.server());
        }
    };
    tokio::select! {
        () = Arc::clone(identity).run(stop.clone()) => {}
        () = follow => {}
    }
}

async fn serve(
    address: SocketAddr,
    tls: Option<RustlsConfig>,
    router: Router,
    handle: Handle<SocketAddr>,
) -> Result<(), AppError> {
    let service = router.into_make_service();
    let served = match tls {
        Some(tls) => axum_server::bind_rustls(address, tls).handle(handle).serve(service).await,
        None => axum_server::bind(address).handle(handle).serve(service).await,
    };
    served.map_err(|error| AppError::Serve(error, address))
}
