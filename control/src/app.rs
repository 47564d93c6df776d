//! The composition root: everything is built here once, started, and stopped in order.

use crate::{
    clock::Clock,
    config::Config,
    http::{self, AppState},
    mint::Mint,
    nango::NangoClient,
    notifier::Notifier,
    outbox::Outbox,
    store::Store,
    tls,
};
use axum::Router;
use axum_server::{Handle, tls_rustls::RustlsConfig};
use std::{io, net::SocketAddr, sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

/// How long requests and outbox may take to finish once the service is asked to stop. Orchestrators
/// kill after 30 s.
const GRACE: Duration = Duration::from_secs(20);

/// Why the service cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    #[error("cannot make the client of Nango")]
    Nango(#[source] reqwest::Error),
    #[error(transparent)]
    Tls(#[from] tls::Unusable),
    #[error("cannot serve")]
    Serve(#[source] io::Error),
}

/// Serves until `stop` is cancelled.
pub async fn run(config: Config, stop: CancellationToken) -> Result<(), AppError> {
    let Config {
        log: _,
        database,
        listen,
        admin_listen,
        assertion_keys,
        mtls,
        nango,
        catalogue,
        notifications,
    } = config;
    let clock = Clock::system();
    let mint = Mint::new(clock.clone());
    let store = Store::new(database.0, mint.clone());
    let nango = Arc::new(NangoClient::new(nango).map_err(AppError::Nango)?);
    let notifier = Arc::new(Notifier::new(notifications, mtls.as_ref())?);
    let tls = mtls.as_ref().map(tls::server).transpose()?;
    let state = AppState {
        store: store.clone(),
        nango: Arc::clone(&nango),
        catalogue: Arc::new(catalogue),
        assertion_keys: Arc::new(assertion_keys),
        clock: clock.clone(),
        mint: mint.clone(),
    };
    let outbox = Outbox { store: store.clone(), nango, notifier, clock, mint };
    let handle = Handle::new();
    let admin_handle = Handle::new();
    let servers = async {
        tokio::try_join!(
            serve(listen, tls, http::router(state), handle.clone()),
            serve(admin_listen, None, http::admin_router(store.clone()), admin_handle.clone()),
        )
    };
    let stopping = async {
        stop.cancelled().await;
        tracing::info!("stopping: requests and outbox have {} s to finish", GRACE.as_secs());
        handle.graceful_shutdown(Some(GRACE));
        admin_handle.graceful_shutdown(Some(GRACE));
    };
    tracing::info!(%listen, %admin_listen, mtls = mtls.is_some(), "control is listening on {listen}");
    let outbox = async {
        let working = outbox.run(stop.clone());
        tokio::pin!(working);
        tokio::select! {
            () = &mut working => {}
            // What is cut off here is leased, and done again by whoever comes next.
            () = async { stop.cancelled().await; tokio::time::sleep(GRACE).await } => {}
        }
    };
    let served = async {
        let served = servers.await;
        // A port that cannot be had ends the service; half of one serves nobody.
        stop.cancel();
        served
    };
    let ((), (), served) = tokio::join!(stopping, outbox, served);
    store.close().await;
    served.map(|_both| ()).map_err(AppError::Serve)
}

async fn serve(
    address: SocketAddr,
    tls: Option<rustls::ServerConfig>,
    router: Router,
    handle: Handle<SocketAddr>,
) -> io::Result<()> {
    let service = router.into_make_service();
    match tls {
        Some(tls) => {
            let tls = RustlsConfig::from_config(Arc::new(tls));
            axum_server::bind_rustls(address, tls).handle(handle).serve(service).await
        }
        None => axum_server::bind(address).handle(handle).serve(service).await,
    }
}
