//! A client application and its users, as good ones are: they repeat what failed, with the same key, as
//! soon as they are told to and no sooner.

use super::script::{Script, Step};
use crate::{
    browser::{Browser, Decision, Page},
    client_app,
    pki::Pki,
    stack::INTEGRATION,
};
use anyhow::{Context as _, bail, ensure};
use reqwest::{Client, RequestBuilder, header::RETRY_AFTER};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::time::sleep;

/// Over HTTP/2 all calls of a client share a connection, which holds a hundred of them.
const CLIENTS: usize = 4;

/// How long one call may take before it is made again, beyond what it asked to wait.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a wait for a change asks for, in seconds.
const WAIT: u64 = 10;

/// The waits between two tries double between these.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// How often a user begins again before giving up.
const ROUNDS_MAX: usize = 20;

/// Everybody who calls, together.
#[derive(Debug)]
pub struct Callers {
    edge_url: String,
    clients: Vec<Client>,
    browser: Browser,
    counts: Counts,
    /// The connection of each script, as soon as its start was accepted.
    accepted: Mutex<BTreeMap<usize, String>>,
}

#[derive(Debug, Default)]
struct Counts {
    calls: AtomicUsize,
    retries: AtomicUsize,
    begun_again: AtomicUsize,
}

/// What the callers did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    pub calls: usize,
    /// Calls that were made again.
    pub retries: usize,
    /// Users who were sent to the provider again, because the answer to their callback was lost.
    pub begun_again: usize,
}

/// A connection as its client sees it.
struct Seen {
    status: String,
    version: i64,
}

impl Callers {
    pub fn new(pki: &Pki, edge_url: &str) -> anyhow::Result<Self> {
        let clients = (0..CLIENTS).map(|_| client_app::client(pki));
        Ok(Self {
            edge_url: edge_url.to_owned(),
            clients: clients.collect::<anyhow::Result<_>>()?,
            browser: Browser::new(pki)?,
            counts: Counts::default(),
            accepted: Mutex::default(),
        })
    }

    pub fn counted(&self) -> Counted {
        let Counts { calls, retries, begun_again } = &self.counts;
        let [calls, retries, begun_again] =
            [calls, retries, begun_again].map(|count| count.load(Ordering::Relaxed));
        Counted { calls, retries, begun_again }
    }

    /// The connection that a script's start was answered with, if it was.
    pub fn accepted(&self, number: usize) -> Option<String> {
        let accepted = self.accepted.lock().unwrap_or_else(PoisonError::into_inner);
        accepted.get(&number).cloned()
    }

    /// Lives one connection's life, to its end.
    pub async fn live(&self, tenant: &str, script: &Script) -> anyhow::Result<()> {
        let Script { number, steps } = script;
        let started = self.start(tenant, &format!("user-{number}")).await?;
        let connection = text(&started, "/connectionId")?.to_owned();
        {
            let mut accepted = self.accepted.lock().unwrap_or_else(PoisonError::into_inner);
            accepted.insert(*number, connection.clone());
        }
        let path = format!("/tenants/{tenant}/connections/{connection}");
        let mut url = text(&started, "/authorizationUrl")?.to_owned();
        for (round, step) in steps.iter().enumerate() {
            let key = format!("{connection}-{round}");
            match *step {
                Step::Authorize(decision) => {
                    self.authorize(&path, &key, &mut url, decision).await?;
                    let wanted = if decision == Decision::Allow { "active" } else { "failed" };
                    self.wait(&path, |seen| seen.status == wanted).await?;
                }
                Step::Reconnect(decision) => {
                    url = self.reconnect(&path, &key).await?;
                    let before = self.show(&path).await?;
                    self.authorize(&path, &key, &mut url, decision).await?;
                    self.wait(&path, |seen| {
                        seen.version > before.version && seen.status != "pending"
                    })
                    .await?;
                }
                Step::Delete => {
                    self.call(|http| http.delete(self.url(&path))).await?;
                    self.wait(&path, |seen| seen.status == "deleted").await?;
                }
            }
        }
        Ok(())
    }

    /// Starts a connection and has its user say no, which is told at once.
    pub async fn fail_one(&self, tenant: &str, user: &str) -> anyhow::Result<()> {
        let started = self.start(tenant, user).await?;
        let decided =
            self.browser.decide(text(&started, "/authorizationUrl")?, Decision::Deny).await?;
        self.come_back(decided.next()?).await.map(drop)
    }

    async fn start(&self, tenant: &str, user: &str) -> anyhow::Result<Value> {
        let key = format!("start-{tenant}-{user}");
        let body = json!({"sub": user, "provider": INTEGRATION});
        self.call(|http| {
            let url = self.url(&format!("/tenants/{tenant}/connections"));
            http.post(url).header("idempotency-key", &key).json(&body)
        })
        .await
    }

    /// Sends the user to the provider, and again where the way back was lost: only the first callback of
    /// a state is sent on.
    async fn authorize(
        &self,
        path: &str,
        key: &str,
        url: &mut String,
        decision: Decision,
    ) -> anyhow::Result<()> {
        for round in 0..ROUNDS_MAX {
            let decided = self.browser.decide(url, decision).await?;
            let page = self.come_back(decided.next()?).await?;
            if decision == Decision::Deny {
                return Ok(());
            }
            if page.status == 308 {
                // Nango is not ours to disturb; its own answer is its user's.
                let finished = self.browser.open(page.next()?).await?;
                ensure!(finished.status == 200, "Nango answered {}", finished.status);
                return Ok(());
            }
            self.counts.begun_again.fetch_add(1, Ordering::Relaxed);
            *url = self.reconnect(path, &format!("{key}-again-{round}")).await?;
        }
        bail!("no callback was answered in {ROUNDS_MAX} rounds")
    }

    async fn reconnect(&self, path: &str, key: &str) -> anyhow::Result<String> {
        let key = format!("reconnect-{key}");
        let answer = self
            .call(|http| {
                let url = self.url(&format!("{path}/reconnect"));
                http.post(url).header("idempotency-key", &key).json(&json!({}))
            })
            .await?;
        Ok(text(&answer, "/authorizationUrl")?.to_owned())
    }

    /// A browser at our callback, whose user reloads what is no page of ours.
    async fn come_back(&self, url: &str) -> anyhow::Result<Page> {
        let mut wait = FIRST_WAIT;
        loop {
            match tokio::time::timeout(PATIENCE, self.browser.open(url)).await {
                Ok(Ok(page)) if page.status < 500 && page.status != 429 => return Ok(page),
                Ok(Ok(_) | Err(_)) | Err(_) => {}
            }
            self.counts.retries.fetch_add(1, Ordering::Relaxed);
            sleep(wait).await;
            wait = longer(wait);
        }
    }

    async fn show(&self, path: &str) -> anyhow::Result<Seen> {
        seen(&self.call(|http| http.get(self.url(path))).await?)
    }

    /// Waits for as long as it takes; whoever runs this has a deadline.
    async fn wait(&self, path: &str, is_it: impl Fn(&Seen) -> bool) -> anyhow::Result<()> {
        let mut now = self.show(path).await?;
        while !is_it(&now) {
            let version = now.version;
            let url = self.url(&format!("{path}?wait={WAIT}&version={version}"));
            now = seen(&self.call(|http| http.get(&url)).await?)?;
        }
        Ok(())
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.edge_url)
    }

    /// Makes a call until it is answered with a success, or with something that a repeat would not mend.
    async fn call(&self, make: impl Fn(&Client) -> RequestBuilder) -> anyhow::Result<Value> {
        let turn = self.counts.calls.fetch_add(1, Ordering::Relaxed);
        let index = turn.checked_rem(CLIENTS).unwrap_or_default();
        let http = self.clients.get(index).context("there is no client")?;
        let mut wait = FIRST_WAIT;
        loop {
            let patience = PATIENCE.saturating_add(Duration::from_secs(WAIT));
            let mut asked_to_wait = None;
            if let Ok(answer) = make(http).timeout(patience).send().await {
                let status = answer.status().as_u16();
                asked_to_wait = answer
                    .headers()
                    .get(RETRY_AFTER)
                    .and_then(|value| value.to_str().ok()?.parse().ok())
                    .map(Duration::from_secs);
                let body = answer.bytes().await;
                match (status, body) {
                    (200..=299, Ok(body)) => return Ok(serde_json::from_slice(&body)?),
                    // In use by the call before, which may have been cut off; too much; our trouble.
                    (409 | 429 | 500..=599, _) | (_, Err(_)) => {}
                    (status, Ok(body)) => {
                        bail!("answered {status}: {}", String::from_utf8_lossy(&body))
                    }
                }
            }
            self.counts.retries.fetch_add(1, Ordering::Relaxed);
            sleep(asked_to_wait.unwrap_or(wait)).await;
            wait = longer(wait);
        }
    }
}

fn longer(wait: Duration) -> Duration {
    wait.saturating_mul(2).min(LONGEST_WAIT)
}

fn seen(shown: &Value) -> anyhow::Result<Seen> {
    let version = shown.pointer("/version").and_then(Value::as_i64);
    let version = version.with_context(|| format!("there is no version in {shown}"))?;
    Ok(Seen { status: text(shown, "/status")?.to_owned(), version })
}

fn text<'a>(value: &'a Value, pointer: &str) -> anyhow::Result<&'a str> {
    let text = value.pointer(pointer).and_then(Value::as_str);
    text.with_context(|| format!("there is no {pointer} in {value}"))
}
