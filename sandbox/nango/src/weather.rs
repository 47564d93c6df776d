//! Bad weather: a Nango that at random answers late, refuses, talks nonsense, breaks off and never answers.
//!
//! What happens is drawn from a seed, call by call. Fair spells have answers that are late or wrong; in the
//! foul ones between them, which are short, nearly nothing is answered at all.

use crate::{
    answer::{self, Answer},
    vault::now,
};
use axum::{
    body::Body,
    http::{Response, StatusCode, header},
};
use chrono::{DateTime, TimeDelta, Utc};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::json;
use std::{collections::BTreeMap, io, time::Duration};
use tokio::time::sleep;

/// What a call meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Meets {
    /// The answer, at once.
    Answer,
    /// The answer, after a part of a second.
    LateAnswer,
    /// The answer, after seconds.
    SlowAnswer,
    /// 400 in Nango's envelope.
    Refusal,
    /// 200, and a page.
    Page,
    /// 404, and a page.
    PageOfNothing,
    /// 200, and the half of a JSON.
    HalfJson,
    /// 503.
    Unavailable,
    /// 500, and a page.
    Failing,
    /// 429.
    Limit,
    /// 200, and an end in the middle of the body.
    BrokenBody,
    /// Nothing, for longer than anybody waits.
    Silence,
}

/// In a hundred calls.
const FAIR: [(Meets, u32); 7] = [
    (Meets::Answer, 60),
    (Meets::LateAnswer, 24),
    (Meets::SlowAnswer, 2),
    (Meets::Refusal, 5),
    (Meets::Page, 3),
    (Meets::PageOfNothing, 3),
    (Meets::HalfJson, 3),
];
const FOUL: [(Meets, u32); 6] = [
    (Meets::Unavailable, 27),
    (Meets::BrokenBody, 20),
    (Meets::Silence, 20),
    (Meets::LateAnswer, 15),
    (Meets::Failing, 12),
    (Meets::Limit, 6),
];

/// Whoever is left alone must not find a foul spell again that has waited for him.
const FOUL_FOR: TimeDelta = TimeDelta::seconds(1);
const SILENCE: Duration = Duration::from_mins(1);

/// The weather, and how often each thing was met.
#[derive(Debug)]
pub(crate) struct Weather {
    random: StdRng,
    /// How many calls are left of a fair spell, or when a foul one ends.
    spell: Spell,
    met: BTreeMap<Meets, usize>,
}

#[derive(Debug)]
enum Spell {
    Fair { calls_left: u32 },
    Foul { until: DateTime<Utc> },
}

/// What one call meets, and after how long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Gust {
    meets: Meets,
    wait: Duration,
    retry_after: u16,
}

impl Weather {
    pub(crate) fn new(seed: u64) -> Self {
        let spell = Spell::Fair { calls_left: 1500 };
        Self { random: StdRng::seed_from_u64(seed), spell, met: BTreeMap::new() }
    }

    pub(crate) fn met(&self) -> BTreeMap<Meets, usize> {
        self.met.clone()
    }

    pub(crate) fn next(&mut self) -> Gust {
        let now = now();
        match &mut self.spell {
            Spell::Fair { calls_left: 0 } => {
                let until = now.checked_add_signed(FOUL_FOR).unwrap_or(now);
                self.spell = Spell::Foul { until };
            }
            Spell::Fair { calls_left } => *calls_left = calls_left.saturating_sub(1),
            Spell::Foul { until } if now >= *until => {
                self.spell = Spell::Fair { calls_left: self.random.random_range(4000..7000) };
            }
            Spell::Foul { .. } => {}
        }
        let is_foul = matches!(self.spell, Spell::Foul { .. });
        let meets = draw(if is_foul { &FOUL } else { &FAIR }, self.random.random_range(0..100));
        let millis = match meets {
            Meets::LateAnswer => self.random.random_range(20..400),
            Meets::SlowAnswer => self.random.random_range(1000..2500),
            // So that many have asked before the first of them knows.
            Meets::Unavailable | Meets::Failing | Meets::Limit | Meets::BrokenBody => {
                self.random.random_range(200..600)
            }
            Meets::Answer
            | Meets::Refusal
            | Meets::Page
            | Meets::PageOfNothing
            | Meets::HalfJson
            | Meets::Silence => 0,
        };
        let count = self.met.entry(meets).or_default();
        *count = count.saturating_add(1);
        let retry_after = self.random.random_range(0..3);
        Gust { meets, wait: Duration::from_millis(millis), retry_after }
    }
}

fn draw(of_a_hundred: &[(Meets, u32)], drawn: u32) -> Meets {
    let mut below = 0_u32;
    let found = of_a_hundred.iter().find(|(_, share)| {
        below = below.saturating_add(*share);
        drawn < below
    });
    found.map_or(Meets::Answer, |(meets, _)| *meets)
}

impl Gust {
    /// Waits, and says what the call is answered instead of its answer.
    pub(crate) async fn blow(self) -> Result<(), Answer> {
        sleep(self.wait).await;
        Err(match self.meets {
            Meets::Answer | Meets::LateAnswer | Meets::SlowAnswer => return Ok(()),
            Meets::Refusal => {
                answer::refused(StatusCode::BAD_REQUEST, json!({"code": "invalid_body"}))
            }
            Meets::Page => answer::page_instead(StatusCode::OK),
            Meets::PageOfNothing => answer::page_instead(StatusCode::NOT_FOUND),
            Meets::HalfJson => json_of(Body::from(HALF)),
            Meets::Unavailable => answer::unavailable(),
            Meets::Failing => answer::page_instead(StatusCode::INTERNAL_SERVER_ERROR),
            Meets::Limit => answer::rate_limited(self.retry_after),
            Meets::BrokenBody => {
                let end = Err(io::Error::other("broken off on purpose"));
                json_of(Body::from_stream(futures::stream::iter([Ok(HALF), end])))
            }
            Meets::Silence => {
                sleep(SILENCE).await;
                answer::unavailable()
            }
        })
    }
}

const HALF: &str = r#"{"data": {"token": "nango_connect"#;

fn json_of(body: Body) -> Answer {
    let mut answer = Response::new(body);
    let json = header::HeaderValue::from_static("application/json; charset=utf-8");
    answer.headers_mut().insert(header::CONTENT_TYPE, json);
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_can_be_met_makes_a_hundred() {
        for spell in [&FAIR[..], &FOUL[..]] {
            assert_eq!(spell.iter().map(|(_, share)| share).sum::<u32>(), 100);
            for (meets, share) in spell {
                let drawn = (0..100).filter(|&drawn| draw(spell, drawn) == *meets).count();
                assert_eq!(u32::try_from(drawn), Ok(*share), "{meets:?}");
            }
        }
    }
}
