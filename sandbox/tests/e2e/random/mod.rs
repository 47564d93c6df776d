//! A hundred thousand requests that nobody thought of, through the real Envoy.

pub mod generator;
mod oracle;

use self::generator::{Caller, Request};
use crate::{
    scenarios::{FilterBlock, worlds::World},
    support::{Edge, Http},
    wire::{self, Message, Wire},
};
use rand::{SeedableRng as _, rngs::StdRng};
use sandbox::{envoy::configuration, pki::Identity, say};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    env,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    task::JoinSet,
    time::timeout,
};

const REQUESTS: u64 = 100_000;
const TASKS: u64 = 16;

/// Nothing may take longer, under whatever load.
const PATIENCE: Duration = Duration::from_secs(30);

/// What became of the requests of one task.
#[derive(Debug, Default)]
struct Tally {
    /// By status; 0 where the stream or the connection ended without an answer.
    answers: BTreeMap<u16, u64>,
    /// Requests that were answered with a 5xx, or not in time.
    wrong: Vec<String>,
    signed: HashSet<Vec<u8>>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_random_request_breaks_the_filter_or_gets_past_it() {
    // Another seed is another hundred thousand.
    #[expect(clippy::disallowed_methods, reason = "whoever runs the test is its main function")]
    let seed = env::var("SANDBOX_SEED").map_or(1, |seed| seed.parse().unwrap());
    let edge = World::Shipped.prepare(FilterBlock::Wasm).await;
    edge.adjust(configuration::raise_limits);
    let edge = Arc::new(edge.start().await);
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let random = StdRng::seed_from_u64(seed ^ (task << 32));
        tasks.spawn(send_many(Arc::clone(&edge), random));
    }
    let mut all = Tally::default();
    // It takes one or two minutes; whatever takes ten is stuck.
    let end = began + Duration::from_mins(10);
    while let Some(tally) = tokio::time::timeout_at(end.into(), tasks.join_next()).await.unwrap() {
        let Tally { answers, wrong, signed } = tally.unwrap();
        for (status, count) in answers {
            *all.answers.entry(status).or_default() += count;
        }
        all.wrong.extend(wrong);
        all.signed.extend(signed);
    }
    let seconds = began.elapsed().as_secs_f64();
    let seen = edge.recorder.records();
    let filtered = edge.counted("connections_edge_requests").await;
    let sent: u64 = all.answers.values().sum();
    say::line(&format!(
        "seed {seed}: {sent} requests in {seconds:.0} s, {filtered} reached the filter, {} control; by status {:?}",
        seen.len(),
        all.answers,
    ));
    assert_eq!(all.wrong, [] as [String; 0]);
    assert_eq!(edge.counted("vm_reload").await, 0, "a VM crashed");
    for recorded in &seen {
        let checked = oracle::check(&edge, &all.signed, recorded);
        checked.unwrap_or_else(|error| panic!("{error:#}: {recorded:?}"));
    }
    // It proves something only if most requests reach the filter, and many control.
    assert!(filtered > sent / 2, "only {filtered} reached the filter");
    let webhooks = seen.iter().filter(|seen| seen.target.starts_with("/webhooks/")).count();
    assert!(seen.len() > 10_000 && webhooks > 1_000, "only {} reached control", seen.len());
}

async fn send_many(edge: Arc<Edge>, mut random: StdRng) -> Tally {
    let mut tally = Tally::default();
    let mut sender = Sender { edge: &edge, open: HashMap::new(), identities: HashMap::new() };
    for _ in 0..REQUESTS / TASKS {
        let mut request = generator::request(&mut random);
        let body = request.message.body.as_ref().map(|body| body.1.clone()).unwrap_or_default();
        for (name, value) in request.signature.headers(&edge, &body) {
            request.message = request.message.header(name, value);
        }
        let what = format!("{request:.300?}");
        let may_become_good = request.damage.is_some() && request.signature.may_become_good();
        if request.signature.is_good() || may_become_good {
            tally.signed.insert(body);
        }
        let status = match timeout(PATIENCE, sender.send(request, &mut random)).await {
            Ok(status) => status.unwrap_or(0),
            Err(_) => 999,
        };
        *tally.answers.entry(status).or_default() += 1;
        if status >= 500 {
            tally.wrong.push(format!("{status}: {what}"));
        }
    }
    tally
}

/// Keeps the connections of one task.
struct Sender<'a> {
    edge: &'a Edge,
    open: HashMap<(Caller, Http), Wire>,
    identities: HashMap<Caller, Option<Identity>>,
}

impl Sender<'_> {
    /// The status of the answer, if one comes.
    async fn send(&mut self, request: Request, random: &mut StdRng) -> anyhow::Result<u16> {
        let Request { caller, http, message, damage, .. } = request;
        let addresses = self.edge.envoy.addresses;
        let address = if caller == Caller::Anybody { addresses.public } else { addresses.clients };
        let identity = self
            .identities
            .entry(caller)
            .or_insert_with(|| caller.who().and_then(|who| who.identity(&self.edge.pki)))
            .as_ref();
        // What a client library would not send is sent as bytes.
        if damage.is_some() || !message.is_sendable(http) {
            let mut bytes = as_bytes(&message);
            generator::damage(&mut bytes, damage.unwrap_or_default(), random);
            let mut stream = wire::tls(&self.edge.pki, address, &[], identity).await?;
            stream.write_all(&bytes).await?;
            let mut head = [0; 12];
            // A request that Envoy waits for the rest of gets no answer, and that is one.
            timeout(Duration::from_millis(300), stream.read_exact(&mut head)).await??;
            return Ok(str::from_utf8(&head)?.split(' ').nth(1).unwrap_or_default().parse()?);
        }
        let mut wire = match self.open.remove(&(caller, http)) {
            Some(wire) => wire,
            None => Wire::connect(&self.edge.pki, address, http, identity).await?,
        };
        let answer = wire.send(&message).await?;
        if answer.headers.get("connection").is_none() {
            self.open.insert((caller, http), wire);
        }
        Ok(answer.status)
    }
}

fn as_bytes(message: &Message) -> Vec<u8> {
    let head = format!("{} {} HTTP/1.1\r\nhost: edge\r\n", message.method, message.target);
    let mut bytes = head.into_bytes();
    for (name, value) in &message.headers {
        bytes.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
    }
    let body = message.body.as_ref().map(|body| body.1.as_slice()).unwrap_or_default();
    bytes.extend(format!("content-length: {}\r\n\r\n", body.len()).into_bytes());
    bytes.extend(body);
    bytes
}
