//! Who gets which places, claim by claim.

use super::*;

fn tenant(number: usize) -> TenantId {
    format!("t{number:03}").parse().unwrap()
}

fn due(number: usize, deliveries: usize) -> Due {
    Due { tenant: tenant(number), deliveries, is_probe: false, is_operators: false }
}

fn now() -> DateTime<Utc> {
    DateTime::UNIX_EPOCH
}

fn whole(due: Vec<Due>) -> Walk {
    Walk { due, came_to: None }
}

fn counts(shares: &Shares) -> Vec<(usize, usize)> {
    let number = |due: &Due| due.tenant.as_str().trim_start_matches('t').parse().unwrap();
    shares.shares.iter().map(|(due, share)| (number(due), *share)).collect()
}

fn occupy(places: &mut Places, number: usize, count: usize) {
    for _ in 0..count {
        places.take(&tenant(number), false);
    }
}

const DELIVERED: Outcome = Outcome::Delivered { status: 204 };
const TIMEOUT: Outcome = Outcome::NoAnswer(NoAnswer::Timeout);

fn end(places: &mut Places, number: usize, outcome: Outcome) {
    end_at(places, number, outcome, now());
}

fn end_at(places: &mut Places, number: usize, outcome: Outcome, at: DateTime<Utc>) {
    places.learn(&tenant(number), outcome, at);
    places.give_back(&tenant(number), false, at);
}

#[test]
fn everybody_has_one_before_anybody_has_two() {
    let mut places = Places::default();
    let shares = places.share(whole(vec![due(1, 32), due(2, 1), due(3, 2)]), now());
    assert_eq!(counts(&shares), [(1, 4), (2, 1), (3, 2)]);
    // The first has more, and no place for it.
    assert_eq!(shares.next, Next::WithAPlace);
    let shares = places.share(whole(vec![due(2, 1), due(3, 2)]), now());
    assert_eq!(shares.next, Next::WhenWoken);
    assert_eq!(
        places.share(whole(vec![]), now()),
        Shares { shares: vec![], next: Next::WhenWoken }
    );
}

#[test]
fn a_claim_that_is_full_is_gone_on_with_after_the_last_one_that_it_served() {
    let mut places = Places::default();
    let all: Vec<Due> = (0..100).map(|number| due(number, 2)).collect();
    let shares = places.share(whole(all.clone()), now());
    assert_eq!(counts(&shares), (0..64).map(|number| (number, 1)).collect::<Vec<_>>());
    assert_eq!((shares.next, places.goes_on_after()), (Next::AtOnce, Some(Some(&tenant(63)))));
    let shares = places.share(whole(all[64..].to_vec()), now());
    assert_eq!(counts(&shares)[..2], [(64, 2), (65, 2)]);
    // On this round some were left with one, so that another round begins at once.
    assert_eq!((shares.next, places.goes_on_after()), (Next::AtOnce, Some(None)));
    assert_eq!(places.share(whole(vec![due(0, 1)]), now()).next, Next::WhenWoken);
}

#[test]
fn a_round_that_finds_nothing_ends_however_long_it_is() {
    let mut places = Places::default();
    let part = |came_to| Walk { due: vec![], came_to };
    assert_eq!(places.share(part(Some(tenant(255))), now()).next, Next::AtOnce);
    assert_eq!(places.goes_on_after(), Some(Some(&tenant(255))));
    assert_eq!(places.share(part(None), now()).next, Next::WhenWoken);
    assert_eq!(places.goes_on_after(), Some(None));
}

#[test]
fn a_receiver_that_fails_keeps_one_place_and_earns_more_by_taking() {
    let mut places = Places::default();
    let cap = |places: &Places| places.tenants.get(&tenant(1)).map_or(0, |place| place.cap);
    occupy(&mut places, 1, 4);
    assert_eq!(places.share(whole(vec![due(1, 9)]), now()).shares, []);
    for expected in [2, 1, 1] {
        end(&mut places, 1, TIMEOUT);
        assert_eq!(cap(&places), expected);
    }
    // One is still under way, and one is its cap.
    let shares = places.share(whole(vec![due(1, 9), due(2, 1)]), now());
    assert_eq!((counts(&shares), shares.next), (vec![(2, 1)], Next::WithAPlace));
    end(&mut places, 1, Outcome::NoAnswer(NoAnswer::OurLimits));
    assert_eq!(counts(&places.share(whole(vec![due(1, 9)]), now() + REST)), [(1, 1)]);
    for expected in 2..=PLACES_MAX {
        occupy(&mut places, 1, 2);
        end(&mut places, 1, DELIVERED);
        assert_eq!(cap(&places), expected);
    }
    end(&mut places, 1, DELIVERED);
    assert_eq!(cap(&places), PLACES_MAX, "no more than that");
}

#[test]
fn who_fails_in_its_last_place_rests_and_who_takes_again_does_not() {
    let mut places = Places::default();
    let mut try_one = |at: DateTime<Utc>, is_taken| {
        let shares = places.share(whole(vec![due(1, 9), due(2, 1)]), at);
        let count = counts(&shares)[0];
        if count.0 == 1 {
            occupy(&mut places, 1, count.1);
            let outcome = if is_taken { DELIVERED } else { TIMEOUT };
            (0..count.1).for_each(|_| end_at(&mut places, 1, outcome, at));
        }
        count
    };
    let after = |seconds| now() + TimeDelta::seconds(seconds);
    assert_eq!(try_one(now(), false), (1, 4), "the last of them fails in the last place");
    assert_eq!(try_one(now(), false), (2, 1), "only the other one has a turn");
    assert_eq!(try_one(after(1), true), (1, 1));
    assert_eq!(try_one(after(1), true), (1, 2), "it takes, and is not slowed down");
}

#[test]
fn a_place_is_room_for_whoever_is_short_of_one() {
    let mut places = Places::default();
    occupy(&mut places, 1, 4);
    occupy(&mut places, 2, 2);
    assert_eq!(places.share(whole(vec![due(1, 9)]), now()).next, Next::WithAPlace);
    end(&mut places, 2, DELIVERED);
    assert!(!places.has_room(), "the second has nothing more");
    end(&mut places, 1, DELIVERED);
    assert!(places.has_room());
    assert!(!places.has_room(), "that is one claim");
    // Who rests has no room either.
    assert_eq!(counts(&places.share(whole(vec![due(1, 9)]), now())), [(1, 2)]);
    for _ in 0..3 {
        end(&mut places, 1, TIMEOUT);
    }
    places.has_room();
    assert_eq!(counts(&places.share(whole(vec![due(1, 9)]), now())), []);
}

#[test]
fn any_place_is_room_when_all_were_taken() {
    let mut places = Places::default();
    for number in 0..64 {
        occupy(&mut places, number, 4);
    }
    assert_eq!(places.goes_on_after(), None);
    end(&mut places, 1, Outcome::NoAnswer(NoAnswer::OurLimits));
    assert!(places.has_room());
}

#[test]
fn what_is_idle_and_well_is_forgotten() {
    let mut places = Places::default();
    occupy(&mut places, 1, 1);
    occupy(&mut places, 2, 1);
    end(&mut places, 1, DELIVERED);
    end(&mut places, 2, TIMEOUT);
    assert_eq!(places.tenants.keys().collect::<Vec<_>>(), [&tenant(2)]);
}

#[test]
fn a_paused_destination_has_its_probe_and_no_more() {
    let mut places = Places::default();
    occupy(&mut places, 1, 4);
    let probe = Due { is_probe: true, ..due(1, 32) };
    let shares = places.share(whole(vec![probe]), now());
    assert_eq!((counts(&shares), shares.next), (vec![(1, 1)], Next::WhenWoken));
}

#[test]
fn no_more_are_under_way_than_there_are_places() {
    let mut places = Places::default();
    for number in 0..63 {
        occupy(&mut places, number, 4);
    }
    assert_eq!(places.goes_on_after(), Some(None));
    let shares = places.share(whole(vec![due(100, 9), due(101, 9)]), now());
    assert_eq!((counts(&shares), shares.next), (vec![(100, 2), (101, 2)], Next::AtOnce));
    occupy(&mut places, 100, 4);
    assert_eq!(places.goes_on_after(), None);
}

#[test]
fn a_name_that_our_resolver_does_not_know_has_one_place() {
    let mut places = Places::default();
    occupy(&mut places, 1, 32);
    for _ in 0..2 {
        end(&mut places, 1, Outcome::NoAnswer(NoAnswer::OurResolver));
    }
    assert_eq!(places.tenants.get(&tenant(1)).map(|place| place.cap), Some(1));
    for outcome in [NoAnswer::OurIdentity, NoAnswer::OurLimits].map(Outcome::NoAnswer) {
        assert_eq!(is_taken(outcome), None, "{outcome:?} says nothing of it");
    }
}

#[test]
fn what_was_learnt_counts_before_the_place_is_given_back() {
    let mut places = Places::default();
    occupy(&mut places, 1, 4);
    places.learn(&tenant(1), TIMEOUT, now());
    places.give_back(&tenant(1), false, now());
    assert_eq!(
        places.share(whole(vec![due(1, 9)]), now()).shares,
        [],
        "three are under way, and two its cap"
    );
}

fn operators(number: usize, deliveries: usize) -> Due {
    Due { is_operators: true, ..due(number, deliveries) }
}

/// Takes what is shared out; whose that was.
fn claim(places: &mut Places, due: Vec<Due>) -> (Vec<(usize, usize)>, Next) {
    let shares = places.share(whole(due), now());
    for (due, share) in &shares.shares {
        for _ in 0..*share {
            places.take(&due.tenant, due.is_operators);
        }
    }
    (counts(&shares), shares.next)
}

#[test]
fn an_operators_destination_that_hangs_leaves_places_for_all_others() {
    let mut places = Places::default();
    let all: Vec<Due> = (0..100).map(|number| operators(number, 32)).collect();
    let mut claimed = 0;
    for _ in 0..9 {
        claimed += claim(&mut places, all.clone()).0.iter().map(|(_, share)| share).sum::<usize>();
    }
    assert_eq!(claimed, 128);
    assert_eq!(claim(&mut places, all.clone()), (vec![], Next::WithAPlace));
    let probe = Due { is_probe: true, ..operators(200, 1) };
    assert_eq!(claim(&mut places, vec![probe]), (vec![], Next::WithAPlace));
    let with_own = all.into_iter().chain([due(300, 9)]).collect();
    assert_eq!(claim(&mut places, with_own), (vec![(300, 4)], Next::WithAPlace));
}

#[test]
fn the_places_of_the_operators_destination_go_round() {
    let mut places = Places::default();
    let all: Vec<Due> = (0..130).map(|number| operators(number, 1)).collect();
    let (mut first, mut second) = (Vec::new(), Vec::new());
    for _ in 0..2 {
        let after = places.goes_on_after().unwrap().cloned();
        let due = all.iter().filter(|due| Some(&due.tenant) > after.as_ref()).cloned();
        let due = due.filter(|due| !first.contains(&due.tenant)).collect();
        for (number, share) in claim(&mut places, due).0 {
            assert_eq!(share, 1);
            first.push(tenant(number));
        }
    }
    assert_eq!(first, (0..128).map(tenant).collect::<Vec<_>>());
    // Three are free again, and those who had them have more.
    for number in 0..3 {
        places.give_back(&tenant(number), true, now());
    }
    let waiting = [0, 1, 2, 128, 129].map(|number| operators(number, 1)).to_vec();
    second.extend(claim(&mut places, waiting).0);
    assert_eq!(second, [(0, 1), (128, 1), (129, 1)]);
}

proptest::proptest! {
    /// Whatever comes and ends, nobody who is due is passed over twice while another is served.
    #[test]
    fn everybody_has_a_turn_in_two_claims(deliveries in proptest::collection::vec(1_usize..40, 1..120)) {
        let mut places = Places::default();
        let mut served = BTreeSet::new();
        for _ in 0..2 {
            let after = places.goes_on_after().unwrap().cloned();
            let all = deliveries.iter().enumerate().map(|(number, count)| due(number, *count));
            let due = all.filter(|due| Some(&due.tenant) > after.as_ref()).collect();
            let shares = places.share(whole(due), now()).shares;
            proptest::prop_assert!(shares.iter().map(|(_, share)| share).sum::<usize>() <= BATCH);
            served.extend(shares.into_iter().map(|(due, _)| due.tenant));
        }
        proptest::prop_assert_eq!(served.len(), deliveries.len());
    }
}
