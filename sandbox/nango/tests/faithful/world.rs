//! A stand-in, the recordings, and a way to send the ones to the other.

use contract::keys::KeyRing;
use nango_stand_in::{Manners, Settings, StandIn};
use reqwest::{Client, StatusCode, header, redirect::Policy};
use serde_json::Value;
use std::{fs, path::PathBuf};
use url::Url;

/// The names in the recordings.
pub const RECORDED_KEY: &str = "df627d61-10c6-48ab-b94e-09c69dc796c1";
pub const RECORDED_CONNECTION: &str = "394066a6-b36f-4b79-9e98-6ffbcd393498";

pub const SECRET_KEY: &str = "11111111-1111-4111-8111-111111111111";
pub const PROFILE_KEY: &str = "22222222-2222-4222-8222-222222222222";

pub struct World {
    pub nango: StandIn,
    pub http: Client,
}

pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|header| header.0 == name).map(|header| header.1.as_str())
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or(Value::Null)
    }
}

pub fn recording(name: &str, part: &str) -> String {
    let folder = "../../contract/fixtures/nango-0.71.4/api";
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(folder);
    fs::read_to_string(path.join(format!("{name}.{part}.txt"))).unwrap()
}

pub fn recorded_answer(name: &str) -> Answer {
    let text = recording(name, "response");
    let (head, body) = text.split_once("\n\n").unwrap();
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers = lines.filter_map(|line| line.split_once(": "));
    let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()));
    Answer { status, headers: headers.collect(), body: body.to_owned() }
}

impl World {
    pub async fn start(enforces_cookie: bool) -> Self {
        let settings = Settings {
            secret_key: SECRET_KEY.to_owned(),
            profile_key: PROFILE_KEY.to_owned(),
            signing_keys: KeyRing::parse(b"41e7697b-0aa8-45ae-99cd-facb145c3e6d").unwrap(),
            callback_url: "http://127.0.0.1:3003/oauth/callback".to_owned(),
            integrations: vec!["github".to_owned(), "github-2".to_owned()],
            trusted_ca: None,
            enforces_cookie,
            manners: Manners::KIND,
        };
        let nango = StandIn::start(settings, 0).await.unwrap();
        let http = Client::builder().redirect(Policy::none()).build().unwrap();
        Self { nango, http }
    }

    /// Sends a recorded request, after replacing `names` in it.
    pub async fn replay(&self, name: &str, names: &[(&str, &str)]) -> Answer {
        let mut text = recording(name, "request").replace(RECORDED_KEY, SECRET_KEY);
        for (recorded, ours) in names {
            assert!(text.contains(recorded), "{name} does not say {recorded}");
            text = text.replace(recorded, ours);
        }
        let (head, body) = text.split_once("\n\n").unwrap();
        let mut lines = head.lines();
        let mut first = lines.next().unwrap().split(' ');
        let method = first.next().unwrap().parse().unwrap();
        let url = format!("{}{}", self.nango.url(), first.next().unwrap());
        let mut request = self.http.request(method, url).body(body.trim_end().to_owned());
        for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
            request = request.header(name, value);
        }
        let answer = request.send().await.unwrap();
        let headers = answer.headers().iter();
        Answer {
            status: answer.status().as_u16(),
            headers: headers
                .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
                .collect(),
            body: answer.text().await.unwrap(),
        }
    }

    /// A session's token.
    pub async fn session(&self) -> String {
        let answer = self.replay("20-connect-session-create", &[]).await;
        answer.json()["data"]["token"].as_str().unwrap().to_owned()
    }

    /// Where a new session is sent off to.
    pub async fn authorize_url(&self) -> Url {
        let token = self.session().await;
        let recorded = "nango_connect_session_b634adced658a71ac60da77c2fb71041f43ce1dfb3989aa1f44cd5c2fc19fd3c";
        let answer = self.replay("22-oauth-connect", &[(recorded, &token)]).await;
        answer.header("location").unwrap().parse().unwrap()
    }

    /// What the provider sends back after consent: its query.
    pub async fn consent(&self, decision: &str) -> String {
        let url = self.authorize_url().await;
        let answer = self.http.post(url).form(&[("decision", decision)]).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::SEE_OTHER);
        let location = answer.headers()[header::LOCATION].to_str().unwrap();
        Url::parse(location).unwrap().query().unwrap().to_owned()
    }

    /// Makes a connection and names it.
    pub async fn connect(&self) -> String {
        let query = self.consent("allow").await;
        let url = format!("{}/oauth/callback?{query}", self.nango.url());
        let answer = self.http.get(url).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        self.nango.connection_ids().pop().unwrap()
    }
}
