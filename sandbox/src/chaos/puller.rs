//! A client application that pulls: it reads a tenant's feed page by page, and goes on from its cursor
//! whatever happens in between. The cursor is in a file, and nowhere else.

use reqwest::{Client, StatusCode};
use serde::Deserialize;
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{task::JoinHandle, time::sleep};

/// How long the feed may wait for something new, in seconds.
const WAIT: &str = "10";

/// How long one call may take, its wait included.
const PATIENCE: Duration = Duration::from_secs(30);

const AFTER_A_FAILURE: Duration = Duration::from_millis(200);

/// What was pulled.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pulled {
    /// The ids of the events, in the order of the feed.
    pub events: Vec<String>,
    pub pages: usize,
    /// Calls that failed and were made again from the same cursor.
    pub retries: usize,
    /// Why it cannot go on: an answer that no repeat would mend.
    pub ended: Option<String>,
}

/// A running puller. It ends when this is dropped.
#[derive(Debug)]
pub struct Puller {
    pulled: Arc<Mutex<Pulled>>,
    task: JoinHandle<()>,
}

/// A page of the feed.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    events: Vec<Event>,
    next_cursor: String,
    has_more: bool,
}

#[derive(Debug, Deserialize)]
struct Event {
    id: String,
}

impl Puller {
    /// Reads the feed at `url`, behind the cursor in a file; from its beginning, where there is none.
    pub fn start(http: Client, url: String, cursor: PathBuf) -> Self {
        let pulled = Arc::<Mutex<Pulled>>::default();
        let task = tokio::spawn(pull(http, url, cursor, Arc::clone(&pulled)));
        Self { pulled, task }
    }

    pub fn pulled(&self) -> Pulled {
        lock(&self.pulled).clone()
    }
}

impl Drop for Puller {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pull(http: Client, url: String, cursor: PathBuf, pulled: Arc<Mutex<Pulled>>) {
    // Behind what is known to go on, nobody waits.
    let mut has_more = true;
    loop {
        match next(&http, &url, &cursor, has_more).await {
            Ok(page) => {
                has_more = page.has_more;
                let mut pulled = lock(&pulled);
                pulled.pages = pulled.pages.saturating_add(1);
                pulled.events.extend(page.events.into_iter().map(|event| event.id));
            }
            Err(Failed::Passing) => {
                {
                    let mut pulled = lock(&pulled);
                    pulled.retries = pulled.retries.saturating_add(1);
                }
                sleep(AFTER_A_FAILURE).await;
            }
            Err(Failed::ForGood(why)) => {
                lock(&pulled).ended = Some(why);
                return;
            }
        }
    }
}

/// Why there is no page.
enum Failed {
    Passing,
    ForGood(String),
}

/// Reads the page behind the cursor, and moves the cursor behind it.
async fn next(http: &Client, url: &str, cursor: &Path, has_more: bool) -> Result<Page, Failed> {
    let after = kept(cursor).map_err(for_good)?;
    let mut query = Vec::new();
    query.extend((!has_more).then_some(("wait", WAIT)));
    query.extend(after.as_deref().map(|after| ("after", after)));
    let answer = http.get(url).query(&query).timeout(PATIENCE).send().await;
    let answer = answer.map_err(|_unreachable| Failed::Passing)?;
    let status = answer.status();
    let body = answer.bytes().await.map_err(|_cut_off| Failed::Passing)?;
    if status.is_success() {
        let page: Page = serde_json::from_slice(&body).map_err(for_good)?;
        fs::write(cursor, &page.next_cursor).map_err(for_good)?;
        return Ok(page);
    }
    if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
        return Err(Failed::Passing);
    }
    Err(Failed::ForGood(format!("{status}: {}", String::from_utf8_lossy(&body))))
}

fn kept(cursor: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(cursor) {
        Ok(cursor) => Ok(Some(cursor)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn for_good(error: impl ToString) -> Failed {
    Failed::ForGood(error.to_string())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::{
        Json, Router,
        extract::{Query, State},
        response::{IntoResponse as _, Response},
        routing::get,
    };
    use serde_json::json;
    use std::collections::{HashMap, VecDeque};
    use tokio::net::TcpListener;

    /// How a feed of five events, two a page, answers its next calls; after that it is well.
    type Moods = Arc<Mutex<VecDeque<u16>>>;

    async fn feed(
        State(moods): State<Moods>,
        Query(query): Query<HashMap<String, String>>,
    ) -> Response {
        let mood = moods.lock().unwrap().pop_front();
        if let Some(status) = mood.filter(|status| *status != 200) {
            return StatusCode::from_u16(status).unwrap().into_response();
        }
        let from: usize = query.get("after").map_or(0, |after| after.parse().unwrap());
        let to = from.saturating_add(2).min(5);
        // Whoever knows that there is more must not wait for it.
        assert_eq!(query.contains_key("wait"), from == 5);
        if from == to {
            // Nothing new comes.
            std::future::pending::<()>().await;
        }
        let events: Vec<_> = (from..to).map(|number| json!({"id": number.to_string()})).collect();
        let (next, has_more) = (to.to_string(), to < 5);
        Json(json!({"events": events, "nextCursor": next, "hasMore": has_more})).into_response()
    }

    async fn pulled_from(
        moods: &[u16],
        cursor: &Path,
        is_enough: impl Fn(&Pulled) -> bool,
    ) -> Pulled {
        let moods: Moods = Arc::new(Mutex::new(moods.iter().copied().collect()));
        let router = Router::new().route("/events", get(feed)).with_state(moods);
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}/events", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        let puller = Puller::start(Client::new(), url, cursor.to_owned());
        crate::process::wait_for("nothing is pulled", PATIENCE, || async {
            let pulled = puller.pulled();
            Ok(is_enough(&pulled).then_some(pulled))
        })
        .await
        .unwrap()
    }

    fn cursor() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let cursor = folder.path().join("cursor");
        (folder, cursor)
    }

    #[tokio::test]
    async fn every_event_is_pulled_once_whatever_fails_in_between() {
        let (_folder, cursor) = cursor();
        let moods = [503, 200, 500, 429, 200, 504];
        let pulled = pulled_from(&moods, &cursor, |pulled| pulled.events.len() >= 5).await;
        assert_eq!(pulled.events, ["0", "1", "2", "3", "4"]);
        assert_eq!((pulled.pages, pulled.retries, pulled.ended), (3, 4, None));
    }

    #[tokio::test]
    async fn what_no_repeat_would_mend_ends_it() {
        // No feed at all is one of these.
        for status in [404, 410] {
            let (_folder, cursor) = cursor();
            let ended = |pulled: &Pulled| pulled.ended.is_some();
            let pulled = pulled_from(&[200, status], &cursor, ended).await;
            assert_eq!(pulled.events, ["0", "1"]);
            assert!(pulled.ended.unwrap().starts_with(&status.to_string()));
        }
    }

    #[tokio::test]
    async fn who_begins_again_goes_on_behind_the_cursor_in_the_file() {
        let (_folder, cursor) = cursor();
        let ended = |pulled: &Pulled| pulled.ended.is_some();
        let first = pulled_from(&[200, 410], &cursor, ended).await;
        assert_eq!(first.events, ["0", "1"]);
        let second = pulled_from(&[], &cursor, |pulled| pulled.events.len() >= 3).await;
        assert_eq!(second.events, ["2", "3", "4"]);
    }
}
