//! An end user's browser, as far as an OAuth flow needs one: it follows redirects and presses a button.

use crate::{client_app, pki::Pki};
use anyhow::Context as _;
use reqwest::{
    Client,
    header::{LOCATION, SET_COOKIE},
};

/// What the user answers at the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    Allow,
    Deny,
}

/// A page as the browser got it.
#[derive(Debug)]
pub struct Page {
    pub url: String,
    pub status: u16,
    /// Where it sends the browser.
    pub location: Option<String>,
    pub sets_cookie: bool,
    pub body: String,
}

/// A browser without any certificate of its own.
#[derive(Debug)]
pub struct Browser {
    http: Client,
}

impl Browser {
    pub fn new(pki: &Pki) -> anyhow::Result<Self> {
        Ok(Self { http: client_app::client_as(pki, None)? })
    }

    /// Opens a page, and follows nothing.
    pub async fn open(&self, url: &str) -> anyhow::Result<Page> {
        Self::page(url, self.http.get(url)).await
    }

    /// Presses a button on the provider's consent page.
    pub async fn decide(&self, url: &str, decision: Decision) -> anyhow::Result<Page> {
        let decision = match decision {
            Decision::Allow => "allow",
            Decision::Deny => "deny",
        };
        Self::page(url, self.http.post(url).form(&[("decision", decision)])).await
    }

    async fn page(url: &str, request: reqwest::RequestBuilder) -> anyhow::Result<Page> {
        let answer =
            request.send().await.with_context(|| format!("the browser cannot open {url}"))?;
        let header = |name| answer.headers().get(name).and_then(|value| value.to_str().ok());
        Ok(Page {
            url: url.to_owned(),
            status: answer.status().as_u16(),
            location: header(LOCATION).map(str::to_owned),
            sets_cookie: header(SET_COOKIE).is_some(),
            body: answer.text().await?,
        })
    }
}

impl Page {
    /// Where a redirect leads.
    pub fn next(&self) -> anyhow::Result<&str> {
        let context = || format!("{} answered {} and sends nowhere", self.url, self.status);
        self.location.as_deref().with_context(context)
    }
}
