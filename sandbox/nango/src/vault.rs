//! What the stand-in keeps: sessions, pending authorisations, connections with their credentials.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use uuid::{Builder, Uuid};

/// Tags of a connection, with lower-case names.
pub(crate) type Tags = BTreeMap<String, String>;

/// A connect session.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    pub(crate) tags: Tags,
    pub(crate) end_user_id: Option<String>,
    pub(crate) allowed_integrations: Vec<String>,
    pub(crate) scopes_override: Option<String>,
    /// What is added to the authorization request.
    pub(crate) authorization_params: BTreeMap<String, String>,
    /// The connection that is to be renewed.
    pub(crate) reconnects: Option<String>,
    pub(crate) is_expired: bool,
}

/// An authorisation that a browser was sent off with.
#[derive(Debug, Clone)]
pub(crate) struct Pending {
    pub(crate) session: Session,
    pub(crate) integration: String,
    pub(crate) connection_id: String,
    pub(crate) code_verifier: String,
}

/// A connection with its credential, which leaves the stand-in only towards the provider.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    pub(crate) number: u64,
    pub(crate) connection_id: String,
    pub(crate) integration: String,
    pub(crate) tags: Tags,
    pub(crate) end_user_id: Option<String>,
    pub(crate) access_token: String,
    /// Whether Nango could not refresh it last.
    pub(crate) fails_to_refresh: bool,
    pub(crate) created: DateTime<Utc>,
    /// Whether it waits for the owner of an organization to approve an installation.
    pub(crate) awaits_installation: bool,
    pub(crate) installation: Option<String>,
}

#[derive(Debug, Default)]
pub(crate) struct Vault {
    sessions: HashMap<String, Session>,
    pending: HashMap<String, Pending>,
    connections: Vec<Kept>,
    /// Those of an environment that the key is not for.
    hidden: Vec<Kept>,
    made: u64,
    sent_off: usize,
}

impl Vault {
    /// How many sessions were opened, and with how many of them a browser was sent off.
    pub(crate) fn sessions(&self) -> (usize, usize) {
        (self.sessions.len(), self.sent_off)
    }

    pub(crate) fn open_session(&mut self, session: Session) -> String {
        let token = format!("nango_connect_session_{}{}", hex(), hex());
        self.sessions.insert(token.clone(), session);
        token
    }

    /// A session that has not expired.
    pub(crate) fn session(&self, token: &str) -> Option<&Session> {
        self.sessions.get(token).filter(|session| !session.is_expired)
    }

    pub(crate) fn expire_sessions(&mut self) {
        self.sessions.values_mut().for_each(|session| session.is_expired = true);
    }

    /// Remembers an authorisation under a new state.
    pub(crate) fn await_callback(&mut self, pending: Pending) -> String {
        let state = random_uuid().to_string();
        self.sent_off = self.sent_off.saturating_add(1);
        self.pending.insert(state.clone(), pending);
        state
    }

    /// Takes the authorisation of a state; each state is good for one callback, whatever comes of it.
    pub(crate) fn take_pending(&mut self, state: &str) -> Option<Pending> {
        self.pending.remove(state)
    }

    /// A new connection, or the renewed one.
    pub(crate) fn keep(&mut self, pending: &Pending, access_token: String) -> Kept {
        let id = pending.session.reconnects.as_ref();
        let known = self.connections.iter_mut().find(|kept| Some(&kept.connection_id) == id);
        if let Some(known) = known {
            known.tags.clone_from(&pending.session.tags);
            known.access_token = access_token;
            known.fails_to_refresh = false;
            return known.clone();
        }
        self.made = self.made.saturating_add(1);
        let kept = Kept {
            number: self.made,
            connection_id: pending.connection_id.clone(),
            integration: pending.integration.clone(),
            tags: pending.session.tags.clone(),
            end_user_id: pending.session.end_user_id.clone(),
            access_token,
            fails_to_refresh: false,
            created: now(),
            awaits_installation: false,
            installation: None,
        };
        self.connections.push(kept.clone());
        kept
    }

    /// An owner has to approve, or has.
    pub(crate) fn install(
        &mut self,
        connection_id: &str,
        installation: Option<&str>,
    ) -> Option<Kept> {
        let known = self.connections.iter_mut().find(|kept| kept.connection_id == connection_id)?;
        known.awaits_installation = true;
        known.installation = installation.map(str::to_owned);
        Some(known.clone())
    }

    /// What was kept, and whether it was failing before.
    pub(crate) fn fail_refresh(
        &mut self,
        connection_id: &str,
        fails: bool,
    ) -> Option<(Kept, bool)> {
        let known = self.connections.iter_mut().find(|kept| kept.connection_id == connection_id)?;
        let was_failing = std::mem::replace(&mut known.fails_to_refresh, fails);
        Some((known.clone(), was_failing))
    }

    /// What comes of a session that is used twice: another connection with the same tags.
    pub(crate) fn copy(&mut self, connection_id: &str) -> Option<String> {
        let kept = self.connections.iter().find(|kept| kept.connection_id == connection_id)?;
        let copy =
            Kept { connection_id: random_uuid().to_string(), created: now(), ..kept.clone() };
        let copied = copy.connection_id.clone();
        self.connections.push(copy);
        Some(copied)
    }

    pub(crate) fn find(&self, integration: &str, connection_id: &str) -> Option<&Kept> {
        self.connections
            .iter()
            .find(|kept| kept.integration == integration && kept.connection_id == connection_id)
    }

    /// The newest first, as Nango lists them.
    pub(crate) fn list(&self) -> impl Iterator<Item = &Kept> {
        self.connections.iter().rev()
    }

    /// Swaps what is kept for what another environment has, which is nothing.
    pub(crate) fn hide(&mut self, are_hidden: bool) {
        let (from, to) = if are_hidden {
            (&mut self.connections, &mut self.hidden)
        } else {
            (&mut self.hidden, &mut self.connections)
        };
        to.append(from);
    }

    /// What was kept under that name.
    pub(crate) fn delete(&mut self, connection_id: &str) -> Option<Kept> {
        let index = self.connections.iter().position(|kept| kept.connection_id == connection_id)?;
        Some(self.connections.remove(index))
    }

    pub(crate) fn connection_ids(&self) -> Vec<String> {
        self.connections.iter().map(|kept| kept.connection_id.clone()).collect()
    }
}

impl Kept {
    pub(crate) fn end_user(&self) -> Value {
        self.end_user_id.as_ref().map_or(Value::Null, |id| {
            json!({"id": id, "display_name": null, "email": null, "tags": null, "organization": null})
        })
    }
}

#[expect(clippy::disallowed_methods, reason = "a stand-in lives in real time")]
pub(crate) fn now() -> DateTime<Utc> {
    Utc::now()
}

pub(crate) fn random_uuid() -> Uuid {
    Builder::from_random_bytes(rand::random()).into_uuid()
}

/// 32 random hex digits.
pub(crate) fn hex() -> String {
    hex::encode(rand::random::<[u8; 16]>())
}
