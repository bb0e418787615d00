//! The cache against the plainest model of it.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::directory::EndpointRules;
use crate::directory::record::RecordError;

const NEGATIVE_TTL: Duration = Duration::from_secs(1);

fn cache(entries_max: usize) -> Cache {
    Cache::new(entries_max, NEGATIVE_TTL, RandomState::default())
}

fn id(number: usize) -> SandboxId {
    number.to_string().parse().unwrap()
}

fn endpoint(port: u16) -> Endpoint {
    EndpointRules::default().check(([10, 0, 0, 1], port).into()).unwrap()
}

fn located(lookup: Lookup) -> Located {
    match lookup {
        Lookup::Fresh(Ok(located)) | Lookup::Revalidate(Ok(located)) => located,
        other => panic!("not located: {other:?}"),
    }
}

#[test]
fn a_stored_answer_is_fresh_until_the_next_push() {
    let (cache, now) = (cache(16), Instant::now());
    assert_eq!(cache.lookup(&id(1), now), Lookup::Miss);
    let stored = cache.store(&id(1), Some(Ok(endpoint(80))), cache.epoch(), now).unwrap();
    assert_eq!(cache.lookup(&id(1), now), Lookup::Fresh(stored));
    cache.invalidate_all();
    assert_eq!(cache.lookup(&id(1), now), Lookup::Revalidate(stored));
}

#[test]
fn an_answer_that_a_push_overtook_is_not_fresh() {
    let (cache, now) = (cache(16), Instant::now());
    let asked_in = cache.epoch();
    cache.invalidate_all();
    let stored = cache.store(&id(1), Some(Ok(endpoint(80))), asked_in, now).unwrap();
    assert_eq!(cache.lookup(&id(1), now), Lookup::Revalidate(stored));
    cache.store(&id(2), None, asked_in, now);
    assert_eq!(cache.lookup(&id(2), now), Lookup::Miss);
}

#[test]
fn an_earlier_question_never_replaces_the_answer_to_a_later_one() {
    let (cache, now) = (cache(16), Instant::now());
    let early = cache.epoch();
    cache.invalidate_all();
    let late = cache.store(&id(1), Some(Ok(endpoint(80))), cache.epoch(), now);
    assert_eq!(cache.store(&id(1), None, early, now), late);
    assert_eq!(cache.store(&id(1), Some(Ok(endpoint(81))), early, now), late);
    assert_eq!(cache.lookup(&id(1), now), Lookup::Fresh(late.unwrap()));

    cache.store(&id(2), None, cache.epoch(), now);
    assert_eq!(cache.store(&id(2), Some(Ok(endpoint(81))), early, now), None);
    assert_eq!(cache.lookup(&id(2), now), Lookup::FreshAbsent);
}

#[test]
fn absence_ends_with_its_time_or_with_a_push() {
    let (cache, now) = (cache(16), Instant::now());
    cache.store(&id(1), None, cache.epoch(), now);
    assert_eq!(cache.lookup(&id(1), now + NEGATIVE_TTL - Duration::from_nanos(1)), Lookup::FreshAbsent);
    assert_eq!(cache.lookup(&id(1), now + NEGATIVE_TTL), Lookup::Miss);
    cache.invalidate_all();
    assert_eq!(cache.lookup(&id(1), now), Lookup::Miss);
}

#[test]
fn a_generation_lasts_as_long_as_the_endpoint() {
    let (cache, now) = (cache(16), Instant::now());
    let store = |said| cache.store(&id(1), said, cache.epoch(), now);
    let first = store(Some(Ok(endpoint(80)))).unwrap().unwrap();
    cache.invalidate_all();
    assert_eq!(store(Some(Ok(endpoint(80)))), Some(Ok(first)));
    let moved = store(Some(Ok(endpoint(81)))).unwrap().unwrap();
    assert_ne!(moved.generation, first.generation);
    let back = store(Some(Ok(endpoint(80)))).unwrap().unwrap();
    assert!(back.generation != first.generation && back.generation != moved.generation);
    store(None);
    let returned = store(Some(Ok(endpoint(80)))).unwrap().unwrap();
    assert_ne!(returned.generation, back.generation);
}

#[test]
fn a_refused_record_is_remembered_like_an_endpoint() {
    let (cache, now) = (cache(16), Instant::now());
    cache.store(&id(1), Some(Err(NoEndpoint::Unusable(RecordError::Malformed))), cache.epoch(), now);
    assert_eq!(cache.lookup(&id(1), now), Lookup::Fresh(Err(NoEndpoint::Unusable(RecordError::Malformed))));
    let repaired = cache.store(&id(1), Some(Ok(endpoint(80))), cache.epoch(), now).unwrap();
    assert_eq!(cache.lookup(&id(1), now), Lookup::Fresh(repaired));
}

#[test]
fn distrust_hits_only_the_endpoint_that_failed() {
    let (cache, now) = (cache(16), Instant::now());
    cache.store(&id(1), Some(Ok(endpoint(81))), cache.epoch(), now);
    let before = located(cache.lookup(&id(1), now));
    assert!(!cache.distrust(&id(1), endpoint(80)), "the entry holds another endpoint");
    assert_eq!(cache.lookup(&id(1), now), Lookup::Fresh(Ok(before)));
    assert!(!cache.distrust(&id(2), endpoint(80)), "there is no entry");

    assert!(cache.distrust(&id(1), endpoint(81)));
    let Lookup::Revalidate(Ok(after)) = cache.lookup(&id(1), now) else { panic!("still fresh") };
    assert_eq!(after.endpoint, before.endpoint);
    assert_ne!(after.generation, before.generation);
    assert_eq!(cache.store(&id(1), Some(Ok(endpoint(81))), cache.epoch(), now), Some(Ok(after)));
}

#[test]
fn what_was_heard_is_counted_from_an_epoch() {
    let (cache, now) = (cache(16), Instant::now());
    cache.store(&id(1), Some(Ok(endpoint(80))), cache.epoch(), now);
    cache.invalidate_all();
    let since = cache.epoch();
    assert!(!cache.heard_since(&id(1), since));
    cache.store(&id(1), Some(Ok(endpoint(80))), since, now);
    cache.store(&id(2), None, since, now);
    cache.invalidate_all();
    assert!(cache.heard_since(&id(1), since));
    assert!(cache.heard_since(&id(2), since));
    assert!(!cache.heard_since(&id(3), since));
}

#[test]
fn a_scan_for_unknown_sandboxes_displaces_no_route() {
    let (cache, now) = (cache(80), Instant::now());
    for number in 0..70 {
        cache.store(&id(number), Some(Ok(endpoint(80))), cache.epoch(), now);
    }
    for number in 1000..9000 {
        cache.store(&id(number), None, cache.epoch(), now);
    }
    assert_eq!(cache.known(), 70);
    assert!((0..70).all(|number| matches!(cache.lookup(&id(number), now), Lookup::Fresh(Ok(_)))));
    let absent = (1000..9000).filter(|number| cache.lookup(&id(*number), now) == Lookup::FreshAbsent);
    assert_eq!(absent.count(), 10);
}

#[test]
fn a_full_cache_keeps_what_is_asked_for() {
    let (cache, now) = (cache(80), Instant::now());
    for number in 0..2000 {
        cache.store(&id(number), Some(Ok(endpoint(80))), cache.epoch(), now);
        assert!(matches!(cache.lookup(&id(0), now), Lookup::Fresh(Ok(_))), "lost at {number}");
    }
    assert_eq!(cache.known(), 70);
}

#[test]
fn a_sharded_cache_stays_within_its_bound() {
    let (cache, now) = (cache(SHARDED_FROM), Instant::now());
    for number in 0..10_000 {
        cache.store(&id(number), Some(Ok(endpoint(80))), cache.epoch(), now);
    }
    assert_eq!(cache.shards.len(), SHARDS);
    assert_eq!(cache.known(), SHARDED_FROM - SHARDED_FROM / ABSENT_SHARE);
}

#[derive(Debug, Clone)]
enum Step {
    Push,
    Store { id: usize, port: Option<u16>, age: u64 },
    Distrust { id: usize, port: u16 },
    Wait { milliseconds: u64 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        2 => Just(Step::Push),
        6 => (0..6_usize, proptest::option::weighted(0.7, 1..4_u16), 0..3_u64)
            .prop_map(|(id, port, age)| Step::Store { id, port, age }),
        1 => (0..6_usize, 1..4_u16).prop_map(|(id, port)| Step::Distrust { id, port }),
        1 => (0..1500_u64).prop_map(|milliseconds| Step::Wait { milliseconds }),
    ];
    proptest::collection::vec(step, 0..80)
}

/// The last word on one sandbox.
#[derive(Clone, Copy)]
struct Word {
    port: Option<u16>,
    asked_in: u64,
    at: Instant,
}

proptest! {
    #[test]
    fn the_cache_never_says_more_than_it_was_told(steps in steps()) {
        let cache = cache(64);
        let mut now = Instant::now();
        let mut words: HashMap<usize, Word> = HashMap::new();
        let mut generations: HashMap<u64, (usize, u16)> = HashMap::new();
        for step in steps {
            match step {
                Step::Push => cache.invalidate_all(),
                Step::Wait { milliseconds } => now += Duration::from_millis(milliseconds),
                Step::Distrust { id: number, port } => {
                    let word = words.get_mut(&number).filter(|word| word.port == Some(port));
                    prop_assert_eq!(cache.distrust(&id(number), endpoint(port)), word.is_some());
                    if let Some(word) = word {
                        word.asked_in = NEVER;
                    }
                }
                Step::Store { id: number, port, age } => {
                    let asked_in = cache.epoch().saturating_sub(age).max(NEVER + 1);
                    cache.store(&id(number), port.map(|port| Ok(endpoint(port))), asked_in, now);
                    if words.get(&number).is_none_or(|word| word.asked_in <= asked_in) {
                        words.insert(number, Word { port, asked_in, at: now });
                    }
                }
            }
            for number in 0..6 {
                let lookup = cache.lookup(&id(number), now);
                if let Lookup::Fresh(Ok(located)) | Lookup::Revalidate(Ok(located)) = lookup {
                    let meaning = (number, located.endpoint.address().port());
                    prop_assert_eq!(*generations.entry(located.generation).or_insert(meaning), meaning);
                }
                let Some(word) = words.get(&number) else {
                    prop_assert_eq!(lookup, Lookup::Miss);
                    continue;
                };
                let current = word.asked_in == cache.epoch();
                match word.port {
                    Some(port) => {
                        prop_assert_eq!(located(lookup).endpoint, endpoint(port));
                        prop_assert_eq!(matches!(lookup, Lookup::Fresh(_)), current);
                    }
                    None if current && now < word.at + NEGATIVE_TTL => prop_assert_eq!(lookup, Lookup::FreshAbsent),
                    None => prop_assert_eq!(lookup, Lookup::Miss),
                }
            }
        }
    }

    #[test]
    fn a_clock_holds_what_was_put_last(
        capacity in 1..8_usize, steps in proptest::collection::vec((0..3_u8, 0..12_usize), 0..200),
    ) {
        // Few hash values, so that entries collide.
        let hash = |number: usize| (number % 3) as u64;
        let mut clock = Clock::new(capacity);
        let mut puts: HashMap<usize, usize> = HashMap::new();
        for (round, (action, number)) in steps.into_iter().enumerate() {
            match action {
                0 => {
                    clock.put(hash(number), &id(number), round);
                    puts.insert(number, round);
                    prop_assert_eq!(clock.get(hash(number), &id(number)).copied(), Some(round));
                }
                1 => {
                    clock.remove(hash(number), &id(number));
                    puts.remove(&number);
                    prop_assert_eq!(clock.get(hash(number), &id(number)), None);
                }
                _ => if let Some(value) = clock.get(hash(number), &id(number)).copied() {
                    prop_assert_eq!(puts.get(&number), Some(&value));
                },
            }
            let held = (0..12).filter(|number| clock.get(hash(*number), &id(*number)).is_some()).count();
            prop_assert_eq!(held, clock.len());
            prop_assert_eq!(held, puts.len().min(capacity));
            puts.retain(|number, _| clock.get(hash(*number), &id(*number)).is_some());
        }
    }
}
