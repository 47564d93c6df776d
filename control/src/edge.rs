//! The edge as an operator sees it: what its Envoy says of itself, and how it takes a webhook. Only the doctor asks.

use crate::cause::chain;
use contract::{keys::KeyRing, signature};
use reqwest::{Certificate, Client, Response, redirect::Policy};
use serde::Deserialize;
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use url::Url;

const TIMEOUT: Duration = Duration::from_secs(8);
/// The whole configuration of an edge is some hundred KiB, and that of a mesh's gateway some MiB.
const ANSWER_BYTES_MAX: usize = 32 << 20;
/// What is read of its statistics.
const STATS: &str = "^(server\\.(static|dynamic)_unknown_fields|wasm\\..*active|.*edge_signature_(mismatch|missing|malformed).*)$";

/// A webhook of which nothing follows: control keeps its receipt.
const NOTHING: &str = "{}";

/// What an Envoy says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Such as 1.40.0.
    pub version: String,
    pub stats: BTreeMap<String, u64>,
    /// What each of its Wasm filters with a list is allowed.
    pub allowed: Vec<BTreeSet<String>>,
}

/// Asks the admin page of one Envoy.
pub async fn server(admin: &Url) -> Result<Server, String> {
    let http = client(&[])?;
    let info = get(&http, admin, "server_info", &[]).await?;
    let info: Info = serde_json::from_slice(&info)
        .map_err(|_other| "something answers that is no Envoy".to_owned())?;
    let query = [("filter", STATS)];
    let stats = get(&http, admin, "stats", &query).await?;
    let dump = get(&http, admin, "config_dump", &[]).await?;
    let dump: Value = serde_json::from_slice(&dump)
        .map_err(|_other| "its configuration is not readable".to_owned())?;
    let stats = read(&String::from_utf8_lossy(&stats));
    let mut allowed = Vec::new();
    collect_allowed(&dump, &mut allowed);
    Ok(Server { version: info.number(), stats, allowed })
}

/// The lists of capabilities, wherever a filter is configured.
fn collect_allowed(dump: &Value, found: &mut Vec<BTreeSet<String>>) {
    match dump {
        Value::Object(members) => {
            if let Some(Value::Object(list)) = members.get("allowed_capabilities") {
                found.push(list.keys().cloned().collect());
            }
            members.values().for_each(|member| collect_allowed(member, found));
        }
        Value::Array(items) => items.iter().for_each(|item| collect_allowed(item, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Sends a webhook that is signed with the first of these keys to the public listener, and says the status.
pub async fn send_webhook(public_url: &Url, keys: &KeyRing, ca: &[u8]) -> Result<u16, String> {
    let http = client(ca)?;
    let url = public_url.join("/webhooks/nango").map_err(|error| error.to_string())?;
    let request = http
        .post(url)
        .header("content-type", "application/json")
        .header("x-nango-hmac-sha256", signature::sign(keys, NOTHING.as_bytes()))
        .body(NOTHING);
    let answer = request.send().await.map_err(|error| chain(&error.without_url()))?;
    Ok(answer.status().as_u16())
}

/// One that believes the system's authorities and these.
fn client(ca: &[u8]) -> Result<Client, String> {
    let told = |error: reqwest::Error| chain(&error);
    let ours = Certificate::from_pem_bundle(ca).map_err(told)?;
    let client = Client::builder()
        .no_proxy()
        .redirect(Policy::none())
        .timeout(TIMEOUT)
        .tls_certs_merge(ours)
        .build();
    client.map_err(told)
}

async fn get(
    http: &Client,
    admin: &Url,
    page: &str,
    query: &[(&str, &str)],
) -> Result<Vec<u8>, String> {
    let url = admin.join(page).map_err(|error| error.to_string())?;
    let answer = http.get(url).query(query).send().await;
    let answer = answer.map_err(|error| chain(&error.without_url()))?;
    if !answer.status().is_success() {
        return Err(format!("something answers {}", answer.status().as_u16()));
    }
    body(answer).await
}

async fn body(mut answer: Response) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    let broken = |error: reqwest::Error| chain(&error.without_url());
    while let Some(chunk) = answer.chunk().await.map_err(broken)? {
        body.extend_from_slice(&chunk);
        if body.len() > ANSWER_BYTES_MAX {
            return Err("an answer without end".to_owned());
        }
    }
    Ok(body)
}

#[derive(Debug, Deserialize)]
struct Info {
    /// `commit/1.40.0/Clean/RELEASE/BoringSSL`.
    version: String,
}

impl Info {
    fn number(&self) -> String {
        self.version.split('/').nth(1).unwrap_or(&self.version).to_owned()
    }
}

/// Lines of `name: value`, of those that are numbers.
fn read(stats: &str) -> BTreeMap<String, u64> {
    let lines = stats.lines().filter_map(|line| line.split_once(": "));
    lines.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_the_number_in_what_envoy_says() {
        let number = |version: &str| Info { version: version.to_owned() }.number();
        assert_eq!(number("5b07a1a/1.40.0/Clean/RELEASE/BoringSSL"), "1.40.0");
        assert_eq!(number("1.38.3"), "1.38.3");
    }

    #[test]
    fn lists_of_capabilities_are_found_wherever_they_stand() {
        let list = serde_json::json!({"allowed_capabilities": {"proxy_log": {}}});
        let dump = serde_json::json!({"configs": [{"a": {"capability_restriction_config": list}}, list, 1]});
        let mut found = Vec::new();
        collect_allowed(&dump, &mut found);
        assert_eq!(found, vec![BTreeSet::from(["proxy_log".to_owned()]); 2]);
    }

    #[test]
    fn statistics_are_read_by_name_and_histograms_left_out() {
        let stats =
            read("server.static_unknown_fields: 0\nhistogram: P0(1,1) P50\nwasm.x.active: 3\n");
        let expected =
            [("server.static_unknown_fields".to_owned(), 0), ("wasm.x.active".to_owned(), 3)];
        assert_eq!(stats, expected.into());
    }
}
