//! Thousands of streams that never stop talking, and a gateway that is killed under them.

use std::time::{Duration, Instant};

use gateway_tests::crowd::{self, Crowd};

use super::*;

/// Processes that have both ends of their streams.
const CROWDS: usize = 2;
const STREAMS: usize = 5_000;
const STREAMS_EACH: usize = STREAMS / CROWDS;

/// Rounds of one order: more than it takes for each stream to have had its turn.
const ROUNDS: usize = 40;

/// How long there is no gateway.
const ABSENCE: Duration = Duration::from_secs(10);

/// For what thousands of streams need on a busy machine.
const LIMIT: Duration = Duration::from_secs(120);

#[test]
fn five_thousand_streams_outlive_their_gateway() {
    if is_missing(&[Need::Engine("packet"), Need::Root]) {
        return;
    }
    let state = Arc::<StateDir>::default();
    let mut crowds: Vec<Crowd> = (0..CROWDS)
        .map(|number| Crowd::start("restart::crowded::process", &(number + 1).to_string()).unwrap())
        .collect();
    let start = |crowds: &[Crowd]| {
        let builder = Gateway::builder().state(&state).args(["--engine", "packet", "--workers", "2"]);
        crowds.iter().fold(builder, |builder, crowd| builder.sandbox(&crowd.sandbox, crowd.pod)).start().unwrap()
    };
    let mut first = start(&crowds);
    let address = first.addr();
    all(&mut crowds, |crowd| format!("open {address} {} {STREAMS_EACH}", crowd.sandbox));
    let open = |gateway: &Gateway| gateway.metric("gateway_streams_open", &[("engine", "packet")]).unwrap();
    until("all streams to be spliced", LIMIT, || (open(&first) == STREAMS as f64).then_some(())).unwrap();

    tell(&mut crowds, |_| format!("exchange {ROUNDS}"));
    let moved = |gateway: &Gateway| gateway.metric("gateway_stream_bytes_total", &[("engine", "packet")]).unwrap();
    until("the streams to talk", LIMIT, || (moved(&first) > 0.0).then_some(())).unwrap();
    let counted_before = moved(&first);
    kill(&mut first);
    let killed = Instant::now();
    let mut orders = 1;
    // Every byte that is said is heard, again and again, while nobody is there but the kernel.
    while killed.elapsed() < ABSENCE {
        done(&mut crowds);
        tell(&mut crowds, |_| format!("exchange {ROUNDS}"));
        orders += 1;
    }
    let mut second = start(&crowds);
    assert_eq!(second.metric("gateway_streams_adopted_total", &[]).unwrap(), STREAMS as f64);
    done(&mut crowds);
    all(&mut crowds, |_| format!("exchange {ROUNDS}"));
    orders += 1;

    let expected = CROWDS as u64 * crowd::exchanged(STREAMS_EACH, &vec![ROUNDS; orders]);
    let streams = second.streams().unwrap();
    assert_eq!((streams.len(), sum(&streams)), (STREAMS, expected));
    assert_eq!(moved(&second) + counted_before, expected as f64, "bytes are counted once by one of the two");
    all(&mut crowds, |_| "close".to_owned());
    until("every stream to be closed", LIMIT, || (open(&second) == 0.0).then_some(())).unwrap();
    assert_eq!(second.metric("gateway_streams_closed_total", &[("reason", "fin")]).unwrap(), STREAMS as f64);
    let lines: Vec<Value> = second.log().iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let lines: Vec<Value> = lines.into_iter().filter(|line| line["message"] == "stream closed").collect();
    assert_eq!((lines.len(), sum(&lines)), (STREAMS, expected));

    let address = second.addr();
    all(&mut crowds, |crowd| format!("open {address} {} 10", crowd.sandbox));
    all(&mut crowds, |_| format!("exchange {ROUNDS}"));
    all(&mut crowds, |_| "close".to_owned());
    let begun = Instant::now();
    stop(&mut second);
    assert!(begun.elapsed() < LIMIT);
    assert!(!state.path().exists(), "{:?}", state.files());
}

#[test]
#[ignore = "the other processes of five_thousand_streams_outlive_their_gateway"]
fn process() {
    crowd::attend().unwrap();
}

fn sum(accounts: &[Value]) -> u64 {
    let bytes = |account: &Value| ["bytes_up", "bytes_down"].map(|name| account[name].as_u64().unwrap());
    accounts.iter().flat_map(bytes).sum()
}

fn all(crowds: &mut [Crowd], order: impl Fn(&Crowd) -> String) {
    tell(crowds, order);
    done(crowds);
}

fn tell(crowds: &mut [Crowd], order: impl Fn(&Crowd) -> String) {
    for crowd in crowds {
        let order = order(crowd);
        crowd.order(&order).unwrap();
    }
}

fn done(crowds: &mut [Crowd]) {
    crowds.iter_mut().for_each(|crowd| crowd.done().unwrap());
}
