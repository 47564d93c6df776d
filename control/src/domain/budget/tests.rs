//! No minute of Nango's has more calls than it takes, whoever leases, dies or dawdles.
#![expect(clippy::arithmetic_side_effects, reason = "the numbers of a test are small")]

use super::*;
use proptest::prelude::*;

/// Nango counts a call when it arrives, up to so long after it was made.
const TRANSIT: TimeDelta = TimeDelta::seconds(2);

fn at(millis: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(1_795_340_000_000 + millis).unwrap()
}

fn limit(calls: u32) -> CallsPerMinute {
    calls.to_string().parse().unwrap()
}

fn full() -> Bucket {
    let filled_at = DateTime::UNIX_EPOCH;
    Bucket { level: 0, filled_at, promised_at: filled_at }
}

#[track_caller]
fn check_share(calls: u32, class: CallClass, capacity: u32, refill: u32) {
    let together = class.together();
    assert_eq!(Share::of(class, limit(calls)), Share { capacity, refill, together }, "{class:?}");
}

#[test]
fn each_class_has_its_share() {
    check_share(200, CallClass::Start, 25, 75);
    check_share(200, CallClass::Confirm, 12, 38);
    check_share(200, CallClass::Upkeep, 7, 23);
    check_share(200, CallClass::Profile, 5, 15);
    check_share(100_000, CallClass::Start, 12_500, 37_500);
    check_share(1, CallClass::Start, 1, 1);
    check_share(1, CallClass::Upkeep, 2, 1);
    assert_eq!(CallClass::ALL.map(CallClass::percent).iter().sum::<u32>(), 100);
    for percent in 20..1000 {
        let shares = CallClass::ALL.map(|class| Share::of(class, limit(percent)));
        let all: u32 = shares.iter().map(|share| share.capacity + share.refill).sum();
        assert!(all <= percent, "{percent} are shared out as {all}");
    }
}

#[test]
fn only_a_number_within_bounds_is_a_limit() {
    for text in ["1", "200", "100000"] {
        assert!(text.parse::<CallsPerMinute>().is_ok(), "{text}");
    }
    for text in ["0", "-1", "100001", "", "many", "1.5", "4294967297"] {
        assert!(text.parse::<CallsPerMinute>().is_err(), "{text}");
    }
}

fn want([least, most]: [u32; 2]) -> Wanted {
    Wanted { least, most, needs_slots: true }
}

#[track_caller]
fn check_lease(bucket: Bucket, wanted: [u32; 2], millis: i64, expected: Option<u32>) -> Bucket {
    let share = Share::of(CallClass::Start, limit(200));
    let (bucket, leased) = bucket.lease(share, want(wanted), at(millis));
    let calls = match leased {
        Leased::Calls(calls) => Some(calls),
        Leased::Nothing { .. } => None,
    };
    assert_eq!(calls, expected, "{wanted:?} after {millis} ms");
    bucket
}

#[test]
fn a_quarter_may_be_spent_at_once_and_the_rest_comes_in_over_the_minute() {
    let bucket = check_lease(full(), [1, 20], 0, Some(20));
    let bucket = check_lease(bucket, [1, 20], 0, Some(5));
    let bucket = check_lease(bucket, [1, 1], 0, None);
    // 65 s / 75 calls.
    let bucket = check_lease(bucket, [1, 1], 866, None);
    let bucket = check_lease(bucket, [1, 9], 867, Some(1));
    let bucket = check_lease(bucket, [2, 9], 1734, None);
    let bucket = check_lease(bucket, [2, 9], 2601, Some(2));
    check_lease(bucket, [1, 100], 600_000, Some(25));
}

#[test]
fn a_clock_that_is_behind_gains_nothing_and_one_that_was_ahead_starves_nobody() {
    let bucket = check_lease(full(), [1, 25], 6_000, Some(25));
    let bucket = check_lease(bucket, [1, 1], 0, None);
    let bucket = check_lease(bucket, [1, 1], 6_000, None);
    let ahead = check_lease(bucket, [1, 25], 3_600_000, Some(25));
    let bucket = check_lease(ahead, [1, 1], 31_000, None);
    check_lease(bucket, [1, 1], 32_000, Some(1));
}

#[test]
fn a_promise_of_a_clock_that_was_ahead_puts_nobody_off() {
    let share = Share::of(CallClass::Start, limit(200));
    let (bucket, _) = full().lease(share, want([1, 25]), at(0));
    for (promised_at, expected) in
        [(0, 867), (300_000, 300_000), (600_000, 600_000), (3_600_000, 867)]
    {
        let bucket = Bucket { promised_at: at(promised_at), ..bucket };
        let (bucket, leased) = bucket.lease(share, want([1, 1]), at(0));
        let Leased::Nothing { mut slots, .. } = leased else { panic!("{leased:?}") };
        let first = slots.next().unwrap();
        assert!((first - at(expected)).abs() < TimeDelta::milliseconds(1), "{first} {promised_at}");
        assert!(bucket.promised_at <= at(610_000), "{promised_at}");
    }
}

#[test]
fn those_who_are_sent_away_come_back_one_after_the_other() {
    let share = Share::of(CallClass::Start, limit(200));
    let (mut bucket, _) = full().lease(share, want([1, 25]), at(0));
    let mut slots = Vec::new();
    for _ in 0..200 {
        let (next, leased) = bucket.lease(share, want([1, 1]), at(0));
        bucket = next;
        let Leased::Nothing { refill_at, slots: more } = leased else { panic!("{leased:?}") };
        assert!(at(866) < refill_at && refill_at < at(867));
        slots.extend(more);
    }
    assert!(slots.is_sorted());
    assert!(at(866) < slots[0] && slots[0] < at(867), "{:?}", slots[0]);
    // A hundredth call would have come in by then, and the hundredth is asked to come then.
    assert!(at(86_666) < slots[99] && slots[99] < at(86_668), "{:?}", slots[99]);
    assert_eq!(slots.last(), Some(&at(600_000)), "nobody is put off for longer than ten minutes");
    // Nor where each call takes more than a minute to come in.
    let share = Share::of(CallClass::Start, limit(1));
    let (mut bucket, _) = full().lease(share, want([1, 1]), at(0));
    for expected in (1..=9).map(|number| number * 65_000).chain([600_000, 600_000]) {
        let (next, leased) = bucket.lease(share, want([1, 1]), at(0));
        bucket = next;
        let Leased::Nothing { mut slots, .. } = leased else { panic!("{leased:?}") };
        assert_eq!(slots.next(), Some(at(expected)));
    }
}

/// Two replicas; the upkeep of one of them needs one call, and that of the other is put off by it.
#[test]
fn a_replica_reserves_no_more_than_seconds_from_the_others() {
    for (class, calls) in CallClass::ALL
        .into_iter()
        .flat_map(|class| [1, 60, 200, 10_000].map(|calls| (class, calls)))
    {
        let share = Share::of(class, limit(calls));
        let least = class.together();
        let (bucket, _) = full().lease(share, want([least, share.capacity()]), at(0));
        let (bucket, mine) = bucket.lease(share, want([least, least]), at(0));
        let (_, theirs) = bucket.lease(share, want([least, least]), at(0));
        let [mine, theirs] = [mine, theirs].map(|leased| match leased {
            Leased::Nothing { refill_at, mut slots } => {
                let each = refill_at - at(0);
                (slots.next().unwrap(), each)
            }
            Leased::Calls(_) => panic!("{class:?} {calls}: {leased:?}"),
        });
        let (first, each) = mine;
        let bound = TimeDelta::seconds(5).max(each) + each;
        assert!(theirs.0 - first <= bound, "{class:?} {calls}: {first} {}", theirs.0);
    }
}

#[test]
fn a_purse_of_a_clock_that_was_set_back_leases_anew() {
    let mut purse = Purse::new(CallClass::Start, limit(1000));
    purse.put(Leased::Calls(9), 1, at(3_600_000));
    assert!(matches!(purse.take(1, at(3_600_001)), Taken::Spent(_)));
    assert!(matches!(purse.take(1, at(0)), Taken::Lease(_)), "its calls were another minute's");
    let nothing = |refill| Leased::Nothing { refill_at: at(refill), slots: Slots::NONE };
    let sent_away = purse.put(nothing(3_600_000), 1, at(3_599_000));
    assert_eq!(sent_away, Taken::ComeBackAt(at(3_600_000)));
    assert!(matches!(purse.take(1, at(0)), Taken::Lease(_)), "nobody is put off for an hour");
}

#[test]
fn a_purse_leases_more_while_it_is_used_up_and_less_when_some_lapses() {
    let mut purse = Purse::new(CallClass::Start, limit(1000));
    let mut asked = Vec::new();
    for millis in 0..40 {
        if let Taken::Lease(wanted) = purse.take(1, at(millis)) {
            asked.push(wanted.most);
            purse.put(Leased::Calls(wanted.most), 1, at(millis));
        }
    }
    assert_eq!(asked, [1, 2, 4, 8, 16, 31]);
    assert_eq!(purse.take(1, at(3031)), Taken::Lease(want([1, 9])), "31 had lapsed");
}

#[test]
fn a_purse_that_is_empty_asks_nobody_until_there_is_more() {
    let mut purse = Purse::new(CallClass::Start, limit(200));
    let slots = Slots { next: at(900), each: TimeDelta::milliseconds(900), left: 3 };
    let leased = Leased::Nothing { refill_at: at(800), slots };
    assert_eq!(purse.put(leased, 1, at(0)), Taken::ComeBackAt(at(900)));
    assert_eq!(purse.take(1, at(1)), Taken::ComeBackAt(at(1800)));
    let keeps_slots = Wanted { needs_slots: false, ..want([1, 1]) };
    assert_eq!(purse.take(1, at(800)), Taken::Lease(keeps_slots), "there may be more");
    let leased = Leased::Nothing { refill_at: at(2600), slots: Slots::NONE };
    assert_eq!(purse.put(leased, 1, at(800)), Taken::ComeBackAt(at(2700)));
    assert_eq!(purse.take(1, at(801)), Taken::Lease(want([1, 1])), "the slots are used up");
}

/// A replica wants calls at a time, makes them after a while, and Nango counts them later still.
#[derive(Debug, Clone)]
struct Wish {
    after_millis: i64,
    replica: usize,
    calls: u32,
    dawdles_millis: i64,
    under_way_millis: i64,
}

fn wish() -> impl Strategy<Value = Wish> {
    let after = prop_oneof![3 => 0..200_i64, 1 => 0..5_000_i64, 1 => 0..70_000_i64];
    (after, 0..3_usize, 1..=3_u32, 0..3_000_i64, 0..=TRANSIT.num_milliseconds()).prop_map(
        |(after_millis, replica, calls, dawdles_millis, under_way_millis)| Wish {
            after_millis,
            replica,
            calls,
            dawdles_millis,
            under_way_millis,
        },
    )
}

proptest! {
    #[test]
    fn no_sixty_seconds_have_more_calls_than_the_share(
        calls in prop_oneof![1..=30_u32, Just(200), 1..=2000_u32],
        class in prop::sample::select(&CallClass::ALL[..]),
        wishes in prop::collection::vec(wish(), 1..400),
    ) {
        let share = Share::of(class, limit(calls));
        let mut bucket = full();
        let mut purses = vec![Purse::new(class, limit(calls)); 3];
        let mut now = 0;
        let mut arrived = Vec::new();
        for wish in wishes {
            now += wish.after_millis;
            let wanted = wish.calls.min(share.capacity);
            let purse = &mut purses[wish.replica];
            let mut taken = purse.take(wanted, at(now));
            if let Taken::Lease(lacking) = taken {
                let (next, leased) = bucket.lease(share, lacking, at(now));
                bucket = next;
                taken = purse.put(leased, wanted, at(now));
            }
            match taken {
                Taken::Spent(before) => {
                    prop_assert!(at(now) < before);
                    let made_at = at(now + wish.dawdles_millis);
                    // Who dawdles beyond the lease makes no call.
                    if made_at < before {
                        let arrived_at = made_at + TimeDelta::milliseconds(wish.under_way_millis);
                        arrived.extend(vec![arrived_at; usize::try_from(wanted).unwrap()]);
                    }
                }
                Taken::ComeBackAt(slot) => prop_assert!(at(now) < slot && slot <= at(now) + HORIZON),
                Taken::Lease(_) => prop_assert!(false, "a purse is asked once"),
            }
        }
        arrived.sort();
        let most = usize::try_from(share.capacity + share.refill).unwrap();
        for (first, &from) in arrived.iter().enumerate() {
            let until = from + TimeDelta::seconds(60);
            let within = arrived[first..].iter().take_while(|&&it| it < until).count();
            prop_assert!(within <= most, "{within} within a minute of {from}");
        }
    }
}

#[test]
fn a_bucket_says_how_many_calls_are_in_it() {
    let share = Share::of(CallClass::Start, "200".parse().unwrap());
    let epoch = DateTime::UNIX_EPOCH;
    let at = epoch + TimeDelta::days(1);
    let full = Bucket { level: 0, filled_at: epoch, promised_at: epoch };
    assert_eq!((full.calls(share, at), share.capacity()), (25, 25));
    let wanted = Wanted { least: 3, most: 3, needs_slots: false };
    let (left, leased) = full.lease(share, wanted, at);
    assert_eq!((left.calls(share, at), leased), (22, Leased::Calls(3)));
}
