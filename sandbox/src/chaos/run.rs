//! One run: clients live their connections' lives while everything else fails, and then the accounts of
//! all who saw it are compared.

use super::{
    client::Callers,
    kept,
    oracle::{Entry, Recording, violations},
    puller::{Pulled, Puller},
    receiver,
    report::Report,
    script::Script,
    timeline::{Dose, Fault, draw},
    world::{For, World},
};
use crate::{client_app, say, stack::TENANT, tools::Tools};
use anyhow::Context as _;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use std::{path::Path, sync::Arc, time::Duration};
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, sleep, sleep_until, timeout_at},
};

/// What a run is to be.
#[derive(Debug, Clone)]
pub struct Size {
    pub seed: u64,
    pub connections: usize,
    pub dose: Dose,
    /// Within which all of it must have ended.
    pub bound: Duration,
}

/// How many connections are under way at most: a rush is the load tests' affair.
const UNDER_WAY: usize = 200;

/// For how long nothing new may come before it is believed that all is settled.
const QUIET: Duration = Duration::from_secs(3);

const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// Runs it with files and logs below `folder`.
pub async fn run(tools: &Tools, folder: &Path, size: &Size) -> anyhow::Result<Report> {
    let mut rng = StdRng::seed_from_u64(size.seed);
    let timeline = draw(&size.dose, &mut rng);
    let scripts: Vec<Script> =
        (0..size.connections).map(|number| Script::draw(number, &mut rng)).collect();
    let judge = receiver::by_lot(StdRng::seed_from_u64(rng.random()));
    let starting = Box::pin(World::start(tools, folder, For::default(), judge));
    let mut world =
        say::timed("starting everything, with two replicas of control", starting).await?;
    let ended = Box::pin(suffer((&mut world, folder), size, timeline, scripts)).await;
    world.stop().await?;
    ended
}

async fn suffer(
    (world, folder): (&mut World, &Path),
    size: &Size,
    timeline: Vec<(Duration, Fault)>,
    scripts: Vec<Script>,
) -> anyhow::Result<Report> {
    let from = Instant::now();
    let deadline = from.checked_add(size.bound).context("the bound is too long")?;
    let feed = world.stack.edge(&format!("/tenants/{TENANT}/events"));
    let puller = Puller::start(client_app::client(&world.stack.pki)?, feed, folder.join("cursor"));
    let callers = Arc::new(Callers::new(&world.stack.pki, &world.stack.coordinates.edge_url)?);
    let period = size.dose.period;
    let living = tokio::spawn(live(Arc::clone(&callers), scripts.clone(), period, deadline));
    say::doing(&format!("{} faults in {} s", timeline.len(), period.as_secs()));
    let mut log = Vec::new();
    for (at, fault) in timeline {
        sleep_until(from.checked_add(at).unwrap_or(from)).await;
        world.suffer(fault).await.with_context(|| format!("{fault:?}"))?;
        let ended = from.elapsed().as_secs_f64();
        log.push(format!("{ended:7.2} s, meant at {:7.2} s: {fault:?}\n", at.as_secs_f64()));
    }
    std::fs::write(folder.join("faults.log"), log.concat())?;
    say::doing("the faults are over, but for the receiver's; waiting for the clients");
    let gave_up = living.await.context("the clients ended early")?;
    say::doing("the clients are done; waiting until all is settled");
    world.receiver.be_judged_by(Box::new(|_body| receiver::Fate::Takes));
    let pulled = settle(world, &puller, deadline).await?;
    let took = from.elapsed();
    let database = &world.stack.database;
    let ledger = scripts.iter().zip(gave_up).map(|(script, gave_up)| Entry {
        number: script.number,
        connection: callers.accepted(script.number),
        expected: script.expected(),
        gave_up,
    });
    let Pulled { events, retries, ended, .. } = pulled;
    let recording = Recording {
        events: kept::events(database).await?,
        connections: kept::connections(database).await?,
        ledger: ledger.collect(),
        arrivals: world.receiver.arrivals(),
        pulled: events,
        feed_ended: ended,
    };
    Ok(Report {
        seed: size.seed,
        done: world.done,
        counted: callers.counted(),
        pull_retries: retries,
        violations: violations(&recording),
        recording,
        dose: size.dose.clone(),
        took,
    })
}

/// All clients, one after the other over the period, each to its end: why each gave up, if it did.
async fn live(
    callers: Arc<Callers>,
    scripts: Vec<Script>,
    period: Duration,
    deadline: Instant,
) -> Vec<Option<String>> {
    let from = Instant::now();
    let places = Arc::new(Semaphore::new(UNDER_WAY));
    let count = u32::try_from(scripts.len()).unwrap_or(u32::MAX);
    let pace = period.checked_div(count).unwrap_or_default();
    let mut lives = JoinSet::new();
    let mut ends = vec![Some("it never began".to_owned()); scripts.len()];
    for (turn, script) in (0_u32..).zip(scripts) {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { break };
        sleep_until(from.checked_add(pace.saturating_mul(turn)).unwrap_or(from)).await;
        let callers = Arc::clone(&callers);
        lives.spawn(async move {
            let _place = place;
            let lived = timeout_at(deadline, callers.live(TENANT, &script)).await;
            let gave_up = match lived {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(format!("{error:#}")),
                Err(_elapsed) => Some("it was not done at the end".to_owned()),
            };
            (script.number, gave_up)
        });
    }
    while let Some(lived) = lives.join_next().await {
        if let Ok((number, gave_up)) = lived
            && let Some(end) = ends.get_mut(number)
        {
            *end = gave_up;
        }
    }
    ends
}

/// Waits until nothing is under way: all events have arrived, the feed has told all of them, and none was
/// new for a while. What has not come at the deadline is missing, and the accounts say so.
async fn settle(world: &World, puller: &Puller, deadline: Instant) -> anyhow::Result<Pulled> {
    let mut quiet_since = Instant::now();
    let mut before = None;
    loop {
        let rows = kept::rows(&world.stack.database).await?;
        let events = usize::try_from(rows.events).unwrap_or_default();
        let pulled = puller.pulled();
        let is_fed = pulled.ended.is_some() || pulled.events.len() >= events;
        let is_settled = is_fed && world.receiver.taken() >= events;
        if before != Some(rows) || !is_settled {
            quiet_since = Instant::now();
            before = Some(rows);
        }
        if quiet_since.elapsed() >= QUIET || Instant::now() >= deadline {
            return Ok(pulled);
        }
        sleep(LOOK_AGAIN).await;
    }
}
