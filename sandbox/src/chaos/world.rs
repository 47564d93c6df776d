//! Everything as a stack has it, but with two replicas of control, and with wires between its parts that
//! can be cut.
//!
//! Envoy's configuration stays as it is: where it has control's one address, a wire listens that leads to
//! whichever replica is there.

use super::{
    receiver::{self, Judge, Receiver},
    relay::Relay,
    timeline::{Fault, Shutdown, Wire},
};
use crate::{
    control::{Control, Settings},
    envoy::{Envoy, configuration},
    ports,
    stack::{Choices, Stack, WhichDatabase},
    tools::Tools,
};
use anyhow::Context as _;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::Arc,
};
use url::Url;

/// The setting of control that a run in minutes needs: a try that failed is made again within seconds. It is
/// as long as it is so that no receiver is given up on that is cut off for half a minute.
const SETTINGS: [(&str, &str); 1] = [("DELIVERY_SCHEDULE", SCHEDULE)];
/// A run in minutes makes more calls than Nango takes by default.
const CALLS_PER_MINUTE: u32 = 100_000;
const SCHEDULE: &str = "1s,1s,2s,2s,3s,3s,5s,5s,5s,5s,5s,5s,5s,5s,5s,5s,5s,5s,5s,5s";

/// What a run wants besides.
#[derive(Debug, Default)]
pub struct For {
    /// The client application gets a grant for these tenants, too: a name, or a prefix and `*`.
    pub granted: Option<String>,
    /// Settings of control.
    pub settings: Vec<(&'static str, String)>,
}

/// The running world.
#[derive(Debug)]
pub struct World {
    pub stack: Stack,
    pub receiver: Receiver,
    replicas: Vec<Replica>,
    to_database: Relay,
    to_receiver: Arc<Relay>,
    /// Listens where the edge has control.
    _to_control: Relay,
    pub done: Done,
}

/// Faults that were carried out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Done {
    pub kills: u32,
    pub restarts: u32,
    pub cuts: u32,
}

#[derive(Debug)]
struct Replica {
    settings: Settings,
    control: Option<Control>,
}

impl World {
    /// Starts everything, with its files and logs below `folder`.
    pub async fn start(
        tools: &Tools,
        folder: &Path,
        wanted: For,
        judge: Judge,
    ) -> anyhow::Result<Self> {
        let choices = Choices {
            database: WhichDatabase::OwnServer,
            nango_calls_per_minute: Some(CALLS_PER_MINUTE),
            ..Choices::default()
        };
        let mut stack = Box::pin(Stack::start(tools, folder, choices)).await?;
        if let Some(control) = stack.control.take() {
            control.stop().await?;
        }
        let mut database = Url::parse(&stack.database.url)?;
        let port = database.port().context("the database's URL has no port")?;
        let to_database = Relay::start((Ipv4Addr::LOCALHOST, port).into()).await?;
        let wired = database.set_port(Some(to_database.address().port()));
        wired.map_err(|()| anyhow::anyhow!("the database's URL takes no port"))?;
        let listener = receiver::listen()?;
        let to_receiver = Arc::new(Relay::start(listener.local_addr()?).await?);
        let secret = stack.control_settings.environment.get("NOTIFICATION_SIGNING_SECRET");
        let secret = secret.context("the stack has no signing secret")?.clone();
        let wire = Arc::clone(&to_receiver);
        let receiver = Receiver::start(listener, wire, &stack.pki, &secret, judge)?;
        let receiver_url = format!("https://{}", to_receiver.address());
        let [one, other, admin_of_one, admin_of_other] = ports::free()?;
        let mut replicas = Vec::new();
        for (number, port, admin) in [(1, one, admin_of_one), (2, other, admin_of_other)] {
            let mut settings = stack.control_settings.clone();
            let own = [
                ("PORT", port.to_string()),
                ("ADMIN_PORT", admin.to_string()),
                ("DATABASE_URL", database.to_string()),
                ("CLIENT_API_URL", receiver_url.clone()),
            ];
            let common = SETTINGS.map(|(name, value)| (name, value.to_owned()));
            let all = own.into_iter().chain(common).chain(wanted.settings.clone());
            settings.environment.extend(all.map(|(name, value)| (name.to_owned(), value)));
            settings.admin = loopback(admin);
            settings.log = folder.join(format!("control-{number}.log"));
            let control = Some(settings.start().await?);
            replicas.push(Replica { settings, control });
        }
        let addresses = stack.envoy.addresses;
        let targets = vec![loopback(one), loopback(other)];
        let to_control = Relay::start_at(addresses.control, targets).await?;
        let envoy_folder = stack.envoy.folder.clone();
        stack.envoy.stop().await?;
        configuration::adjust(&envoy_folder, configuration::raise_limits)?;
        if let Some(tenants) = &wanted.granted {
            grant(&envoy_folder, tenants)?;
        }
        stack.envoy = Envoy::start(&tools.envoy, &envoy_folder, addresses, &[]).await?;
        Ok(Self {
            stack,
            receiver,
            replicas,
            to_database,
            to_receiver,
            _to_control: to_control,
            done: Done::default(),
        })
    }

    /// Carries a fault out.
    pub async fn suffer(&mut self, fault: Fault) -> anyhow::Result<()> {
        match fault {
            Fault::Kill { replica } => {
                let replica = self.replicas.get_mut(replica).context("there is no such replica")?;
                if let Some(control) = replica.control.take() {
                    control.kill().await?;
                    self.done.kills = self.done.kills.saturating_add(1);
                }
                // It need not become ready before it is killed again, nor while its database is away.
                replica.control = Some(replica.settings.spawn()?);
            }
            Fault::RestartPostgres(how) => {
                let signal = match how {
                    Shutdown::Fast => Signal::SIGINT,
                    Shutdown::Immediate => Signal::SIGQUIT,
                };
                self.stack.database.restart(signal).await?;
                self.done.restarts = self.done.restarts.saturating_add(1);
            }
            Fault::Cut(wire, cut) => {
                self.wire(wire).cut(Some(cut));
                self.done.cuts = self.done.cuts.saturating_add(1);
            }
            Fault::Mend(wire) => self.wire(wire).cut(None),
        }
        Ok(())
    }

    fn wire(&self, wire: Wire) -> &Relay {
        match wire {
            Wire::ToDatabase => &self.to_database,
            Wire::ToReceiver => &self.to_receiver,
        }
    }

    /// Ends everything, callers first.
    pub async fn stop(self) -> anyhow::Result<()> {
        let Self { mut stack, replicas, .. } = self;
        for replica in replicas {
            if let Some(control) = replica.control {
                // A last word is not needed: its work is done by now.
                control.kill().await?;
            }
        }
        stack.control = None;
        stack.stop().await
    }
}

/// Grants the demo client application these tenants as well, as an operator would.
fn grant(envoy_folder: &Path, tenants: &str) -> anyhow::Result<()> {
    let mut policy: Value = serde_json::from_str(&configuration::policy(envoy_folder, "clients")?)?;
    let granted = policy.pointer_mut("/grants/0/tenants").and_then(Value::as_array_mut);
    granted.context("the policy's first grant has no tenants")?.push(json!(tenants));
    configuration::replace_policy(envoy_folder, "clients", &policy.to_string())
}

fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}
