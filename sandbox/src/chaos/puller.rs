//! A client application that pulls: it reads a tenant's feed page by page, and goes on from its cursor
//! whatever happens in between.

use reqwest::{Client, StatusCode};
use serde::Deserialize;
use std::{
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
    /// Whether there is no feed at all.
    pub is_missing: bool,
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
}

#[derive(Debug, Deserialize)]
struct Event {
    id: String,
}

impl Puller {
    /// Reads the feed at `url`, from its beginning.
    pub fn start(http: Client, url: String) -> Self {
        let pulled = Arc::<Mutex<Pulled>>::default();
        let task = tokio::spawn(pull(http, url, Arc::clone(&pulled)));
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

async fn pull(http: Client, url: String, pulled: Arc<Mutex<Pulled>>) {
    let mut cursor = None::<String>;
    loop {
        match next(&http, &url, cursor.as_deref()).await {
            Ok(Page { events, next_cursor }) => {
                cursor = Some(next_cursor);
                let mut pulled = lock(&pulled);
                pulled.pages = pulled.pages.saturating_add(1);
                pulled.events.extend(events.into_iter().map(|event| event.id));
            }
            Err(Failed::Passing) => {
                {
                    let mut pulled = lock(&pulled);
                    pulled.retries = pulled.retries.saturating_add(1);
                }
                sleep(AFTER_A_FAILURE).await;
            }
            Err(Failed::Missing) => {
                lock(&pulled).is_missing = true;
                return;
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
    Missing,
    ForGood(String),
}

async fn next(http: &Client, url: &str, after: Option<&str>) -> Result<Page, Failed> {
    let mut query = vec![("wait", WAIT)];
    query.extend(after.map(|after| ("after", after)));
    let answer = http.get(url).query(&query).timeout(PATIENCE).send().await;
    let answer = answer.map_err(|_unreachable| Failed::Passing)?;
    let status = answer.status();
    let body = answer.bytes().await.map_err(|_cut_off| Failed::Passing)?;
    if status.is_success() {
        return serde_json::from_slice(&body).map_err(|error| Failed::ForGood(error.to_string()));
    }
    if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
        return Err(Failed::Passing);
    }
    if status == StatusCode::NOT_FOUND {
        return Err(Failed::Missing);
    }
    Err(Failed::ForGood(format!("{status}: {}", String::from_utf8_lossy(&body))))
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
        if from == to {
            // Nothing new comes.
            std::future::pending::<()>().await;
        }
        let events: Vec<_> = (from..to).map(|number| json!({"id": number.to_string()})).collect();
        Json(json!({"events": events, "nextCursor": to.to_string()})).into_response()
    }

    async fn pulled_from(moods: &[u16], is_enough: impl Fn(&Pulled) -> bool) -> Pulled {
        let moods: Moods = Arc::new(Mutex::new(moods.iter().copied().collect()));
        let router = Router::new().route("/events", get(feed)).with_state(moods);
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}/events", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        let puller = Puller::start(Client::new(), url);
        crate::process::wait_for("nothing is pulled", PATIENCE, || async {
            let pulled = puller.pulled();
            Ok(is_enough(&pulled).then_some(pulled))
        })
        .await
        .unwrap()
    }

    #[tokio::test]
    async fn every_event_is_pulled_once_whatever_fails_in_between() {
        let pulled =
            pulled_from(&[503, 200, 500, 429, 200, 504], |pulled| pulled.events.len() >= 5);
        let pulled = pulled.await;
        assert_eq!(pulled.events, ["0", "1", "2", "3", "4"]);
        assert_eq!((pulled.pages, pulled.retries, pulled.ended), (3, 4, None));
    }

    #[tokio::test]
    async fn what_no_repeat_would_mend_ends_it() {
        let pulled = pulled_from(&[200, 410], |pulled| pulled.ended.is_some()).await;
        assert_eq!(pulled.events, ["0", "1"]);
        assert!(pulled.ended.unwrap().starts_with("410"));
    }

    #[tokio::test]
    async fn a_build_without_a_feed_is_told_from_an_empty_one() {
        let pulled = pulled_from(&[404], |pulled| pulled.is_missing).await;
        assert_eq!(pulled, Pulled { is_missing: true, ..Pulled::default() });
    }
}
