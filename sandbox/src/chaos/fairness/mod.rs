//! How much the receivers of two tenants that are ill slow down the other eighteen: the same load without
//! and with them, in turns, so that whatever else the machine does meets both.

mod figures;
mod receivers;

use self::receivers::{DEAD, HANGING, Receivers, TENANTS, tenant};
use super::{
    client::Callers,
    kept,
    receiver::Fate,
    world::{For, World},
};
use crate::{ports, process::wait_for, say, tools::Tools};
use anyhow::{Context as _, ensure};
use std::{path::Path, sync::Arc, time::Duration};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until},
};

pub use figures::{Figures, Latencies, Round};

/// How many rounds count. A phase goes before them: what is slow in it is that nothing is warm.
const ROUNDS: usize = 5;

/// What each of the two has to be told when a phase's load begins, and has all through it: more than a
/// replica gives a receiver places.
const BACKLOG: usize = 60;

/// Events of each tenant in a phase, and the time between two events of any. A phase is longer than a try
/// that hangs.
const EACH: usize = 16;
const PACE: Duration = Duration::from_millis(75);

/// Within which the last of the others' events must have arrived.
const ARRIVED_WITHIN: Duration = Duration::from_mins(2);

/// What is measured, while it is.
struct Measure {
    world: World,
    receivers: Receivers,
    callers: Arc<Callers>,
    /// How many events each of the two, and each of the others, was to be told so far.
    told: [usize; 2],
}

/// Measures it, with files and logs below `folder`.
pub async fn measure(tools: &Tools, folder: &Path) -> anyhow::Result<Figures> {
    let ports = ports::free::<TENANTS>()?;
    let wanted = For { granted: Some(receivers::all()), settings: receivers::settings(&ports) };
    let starting = Box::pin(World::start(tools, folder, wanted, Box::new(|_body| Fate::Takes)));
    let world = say::timed("starting everything, with two replicas of control", starting).await?;
    let stack = &world.stack;
    let secret = stack.control_settings.environment.get("NOTIFICATION_SIGNING_SECRET");
    let secret = secret.context("the stack has no signing secret")?;
    let receivers = Receivers::start(&ports, &stack.pki, secret).await?;
    receivers.put(stack, secret).await?;
    let callers = Arc::new(Callers::new(&stack.pki, &stack.coordinates.edge_url)?);
    let mut measure = Measure { world, receivers, callers, told: [0; 2] };
    let measured = Box::pin(measure.rounds()).await;
    measure.world.stop().await?;
    measured
}

impl Measure {
    async fn rounds(&mut self) -> anyhow::Result<Figures> {
        let mut rounds = Vec::new();
        self.phase(false).await?;
        for number in 1..=ROUNDS {
            let well = self.phase(false).await?;
            let ill = self.phase(true).await?;
            let round = Round { well, ill };
            say::doing(&format!("round {number}: {}", Figures(vec![round.clone()]).json()));
            rounds.push(round);
        }
        Ok(Figures(rounds))
    }

    async fn phase(&mut self, are_ill: bool) -> anyhow::Result<Latencies> {
        self.receivers.begin();
        self.receivers.turn(are_ill)?;
        let recorded = kept::failed_tries(&self.world.stack.database, &tenant(DEAD)).await?;
        let [backlog, steady] = self.told;
        self.tell_the_two(backlog).await?;
        self.tell_all(steady).await?;
        self.told = [backlog.saturating_add(BACKLOG), steady.saturating_add(EACH)];
        let expected = EACH.saturating_mul(DEAD.min(HANGING));
        let arrived = wait_for("events of the others are missing", ARRIVED_WITHIN, || async {
            let others = self.receivers.latencies()?;
            Ok((others.len() >= expected).then_some(others))
        })
        .await?;
        if are_ill {
            let now = kept::failed_tries(&self.world.stack.database, &tenant(DEAD)).await?;
            ensure!(now > recorded, "the dead one was not tried");
            ensure!(self.receivers.tries(HANGING) > 0, "the hanging one was not tried");
        }
        // The next phase begins with nothing left of this one.
        self.receivers.turn(false)?;
        let all = self.told.iter().sum::<usize>();
        wait_for("the two are not told when they are well again", ARRIVED_WITHIN, || async {
            let is_told = [DEAD, HANGING].iter().all(|index| self.receivers.taken(*index) >= all);
            Ok(is_told.then_some(()))
        })
        .await?;
        Ok(arrived.into_values().collect())
    }

    async fn tell_the_two(&self, first: usize) -> anyhow::Result<()> {
        let mut backlog = JoinSet::new();
        for tenant in [DEAD, HANGING].map(tenant) {
            let callers = Arc::clone(&self.callers);
            backlog.spawn(async move {
                for number in 0..BACKLOG {
                    let user = format!("backlog-{}", first.saturating_add(number));
                    callers.fail_one(&tenant, &user).await?;
                }
                anyhow::Ok(())
            });
        }
        backlog.join_all().await.into_iter().collect()
    }

    /// An event each [`PACE`], of every tenant in its turn.
    async fn tell_all(&self, first: usize) -> anyhow::Result<()> {
        let mut steady = JoinSet::new();
        let mut at = Instant::now();
        for number in 0..EACH {
            let user = format!("steady-{}", first.saturating_add(number));
            for tenant in (0..TENANTS).map(tenant) {
                at = at.checked_add(PACE).unwrap_or(at);
                sleep_until(at).await;
                let (callers, user) = (Arc::clone(&self.callers), user.clone());
                steady.spawn(async move { callers.fail_one(&tenant, &user).await });
            }
        }
        steady.join_all().await.into_iter().collect()
    }
}
