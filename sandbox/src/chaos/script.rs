//! What each client does with its connection, drawn from a seed, and what must come of it.

use crate::browser::Decision;
use rand::{RngExt as _, rngs::StdRng};

/// One thing that a client wants, after the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The user is sent to the provider, and answers.
    Authorize(Decision),
    /// Another authorisation of the same connection, and the user's answer.
    Reconnect(Decision),
    Delete,
}

/// A connection's life as its client means it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    pub number: usize,
    pub steps: &'static [Step],
}

use Decision::{Allow, Deny};
use Step::{Authorize, Delete, Reconnect};

/// Lives, and how many of a hundred have them.
const LIVES: [(u32, &[Step]); 8] = [
    (58, &[Authorize(Allow)]),
    (10, &[Authorize(Deny)]),
    (8, &[Authorize(Deny), Reconnect(Allow)]),
    (8, &[Authorize(Allow), Reconnect(Allow)]),
    (4, &[Authorize(Allow), Reconnect(Deny)]),
    (8, &[Authorize(Allow), Delete]),
    (2, &[Authorize(Deny), Delete]),
    (2, &[Authorize(Allow), Reconnect(Allow), Delete]),
];

/// What a life leads to: the state that must be there in the end, and the events that must have been told
/// in this order. Others may be between them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    pub status: &'static str,
    pub events: Vec<&'static str>,
}

impl Script {
    pub fn draw(number: usize, rng: &mut StdRng) -> Self {
        let mut left = rng.random_range(0..100_u32);
        for (share, steps) in LIVES {
            if left < share {
                return Self { number, steps };
            }
            left = left.saturating_sub(share);
        }
        Self { number, steps: &[Authorize(Allow)] }
    }

    pub fn expected(&self) -> Expected {
        let mut status = "pending";
        let mut events = Vec::new();
        for step in self.steps {
            let (next, event) = match (step, status) {
                (Delete, _) => ("deleted", "connection.deleted"),
                (Authorize(Allow) | Reconnect(Allow), "active") => {
                    ("active", "connection.reauthorized")
                }
                (Authorize(Deny) | Reconnect(Deny), "active") => {
                    ("active", "connection.reauthorization_failed")
                }
                (Authorize(Allow) | Reconnect(Allow), _) => ("active", "connection.activated"),
                (Authorize(Deny) | Reconnect(Deny), _) => ("failed", "connection.failed"),
            };
            status = next;
            events.push(event);
        }
        Expected { status, events }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng as _;
    use std::collections::HashSet;

    #[test]
    fn the_lives_are_a_hundred_and_all_of_them_are_drawn() {
        assert_eq!(LIVES.iter().map(|(share, _)| share).sum::<u32>(), 100);
        let mut rng = StdRng::seed_from_u64(1);
        let drawn: HashSet<String> =
            (0..1000).map(|number| format!("{:?}", Script::draw(number, &mut rng).steps)).collect();
        assert_eq!(drawn.len(), LIVES.len());
    }

    #[test]
    fn each_life_leads_where_its_last_step_says() {
        let expected = |steps| Script { number: 0, steps }.expected();
        for (steps, status, events) in [
            (&[Authorize(Allow)][..], "active", vec!["connection.activated"]),
            (&[Authorize(Deny)], "failed", vec!["connection.failed"]),
            (
                &[Authorize(Deny), Reconnect(Allow)],
                "active",
                vec!["connection.failed", "connection.activated"],
            ),
            (
                &[Authorize(Allow), Reconnect(Deny)],
                "active",
                vec!["connection.activated", "connection.reauthorization_failed"],
            ),
            (
                &[Authorize(Allow), Reconnect(Allow), Delete],
                "deleted",
                vec!["connection.activated", "connection.reauthorized", "connection.deleted"],
            ),
        ] {
            assert_eq!(expected(steps), Expected { status, events }, "{steps:?}");
        }
    }
}
