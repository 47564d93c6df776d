//! Our identity as it is now: the files are looked at every few seconds, and what is usable is taken over.
//!
//! Files that cannot be used change nothing but what is said of them: the last usable ones serve on.

use super::{Identity, Unusable, identity::Contents};
use crate::{config::MtlsFiles, domain::health::Certificate};
use chrono::{DateTime, Utc};
use rustls::ServerConfig;
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

const LOOK_EVERY: Duration = Duration::from_secs(2);

/// The files, and the last usable content of them.
#[derive(Debug)]
pub struct Watched {
    files: MtlsFiles,
    current: watch::Sender<Arc<Identity>>,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    digest: [u8; 32],
    /// Why what was seen last is not used.
    trouble: Option<String>,
}

/// What a look at the files found.
#[derive(Debug)]
pub enum Look {
    Same,
    Renewed,
    /// What is there now cannot be used, and it was not so before.
    Broken(String),
}

impl Watched {
    /// Reads the files, which must be usable.
    pub fn open(files: MtlsFiles) -> Result<Self, Unusable> {
        let contents = Contents::read(&files)?;
        let identity = Identity::of(&files, &contents)?;
        let seen = Seen { digest: contents.digest(), trouble: None };
        let current = watch::Sender::new(Arc::new(identity));
        Ok(Self { files, current, seen: Mutex::new(seen) })
    }

    pub fn current(&self) -> Arc<Identity> {
        Arc::clone(&self.current.borrow())
    }

    /// The server that the files make, as they are now.
    pub fn server(&self) -> Arc<ServerConfig> {
        Arc::new(self.current().server())
    }

    /// Tells of every identity that follows.
    pub fn follow(&self) -> watch::Receiver<Arc<Identity>> {
        self.current.subscribe()
    }

    /// Looks at the files once, and takes over what is usable.
    pub fn look(&self) -> Look {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let contents = Contents::read(&self.files);
        // What cannot be read has no digest, so that it is looked at when it is back.
        let digest = contents.as_ref().map_or([0; 32], Contents::digest);
        let is_same = contents.is_ok() && digest == seen.digest;
        seen.digest = digest;
        let read = contents.and_then(|contents| {
            if is_same { Ok(None) } else { Identity::of(&self.files, &contents).map(Some) }
        });
        match read {
            Ok(None) => Look::Same,
            Ok(Some(identity)) => {
                seen.trouble = None;
                self.current.send_replace(Arc::new(identity));
                Look::Renewed
            }
            Err(unusable) => {
                let trouble = unusable.to_string();
                if seen.trouble.as_ref() == Some(&trouble) {
                    return Look::Same;
                }
                seen.trouble = Some(trouble.clone());
                Look::Broken(trouble)
            }
        }
    }

    /// Looks until `stop` is cancelled.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            let looking = Arc::clone(&self);
            // A file may be on a network.
            match tokio::task::spawn_blocking(move || looking.look()).await {
                Ok(Look::Renewed) => {
                    let until = self.current().life().until;
                    tracing::info!(%until, "our certificate files changed, and are used from now on");
                }
                Ok(Look::Broken(why)) => tracing::error!(
                    error = why,
                    "our certificate files changed and are unusable; the ones before serve on"
                ),
                Ok(Look::Same) | Err(_) => {}
            }
        }
    }

    /// Until when our certificate serves, and what is wrong with the files.
    pub fn state(&self) -> Certificate {
        let life = self.current().life();
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        Certificate { from: life.from, until: life.until, trouble: seen.trouble.clone() }
    }

    /// Whole days until our certificate expires; negative, when it has.
    pub fn days_left(&self, at: DateTime<Utc>) -> i64 {
        self.current().life().until.signed_duration_since(at).num_days()
    }
}
