//! More streams than one table of descriptors holds, on every engine: 18,000 on two workers, 3 in 100 active.

use std::time::Duration;

use gateway_tests::bridge::Path;
use gateway_tests::crowd::{self, Crowd};
use gateway_tests::gateway::Gateway;
use gateway_tests::memory;
use gateway_tests::wait::until;

use crate::engine_contract::PATHS;

/// Processes that have both ends of their streams: 9,000 descriptors each.
const CROWDS: usize = 4;
const STREAMS_EACH: usize = 4_500;
const STREAMS: usize = CROWDS * STREAMS_EACH;

/// Each active stream's turn comes at least once.
const ROUNDS: usize = 40;

/// For what thousands of streams need on a busy machine.
const LIMIT: Duration = Duration::from_secs(120);

#[test]
fn eighteen_thousand_streams_on_two_workers() {
    for path in PATHS {
        if !path.is_missing() {
            carry(path);
        }
    }
}

#[test]
#[ignore = "the other processes of eighteen_thousand_streams_on_two_workers"]
fn crowd_process() {
    crowd::attend().unwrap();
}

fn carry(path: Path) {
    let mut crowds: Vec<Crowd> = (0..CROWDS)
        .map(|number| Crowd::start("many_streams::crowd_process", &(number + 1).to_string()).unwrap())
        .collect();
    let builder = Gateway::builder().args(["--engine", path.engine, "--io", path.io, "--workers", "2"]);
    let builder = builder.args(["--log-level", "warn,gateway::serve=info"]);
    // By default there are hardly more ports than streams to each pod, and other stories take some.
    let builder = builder.args(["--packet-ports", "10000-32767"]);
    let builder = crowds.iter().fold(builder, |builder, crowd| builder.sandbox(&crowd.sandbox, crowd.pod));
    let gateway = builder.start().unwrap();
    let address = gateway.addr();
    all(&mut crowds, |crowd| format!("open {address} {} {STREAMS_EACH}", crowd.sandbox));
    let metric = |name: &str, labels: &[(&str, &str)]| gateway.metric(name, labels).unwrap();
    assert_eq!(metric("gateway_streams_open", &[]), STREAMS as f64);
    if path.is_kernel() {
        let promoted = || metric("gateway_streams_open", &[("engine", path.engine)]);
        until("all streams to be in the kernel", LIMIT, || (promoted() == STREAMS as f64).then_some(())).unwrap();
    }
    all(&mut crowds, |_| format!("exchange {ROUNDS}"));
    assert_eq!(metric("gateway_streams_open", &[]), STREAMS as f64);
    all(&mut crowds, |_| "close".to_owned());
    let open = || metric("gateway_connections_open", &[]) + metric("gateway_streams_open", &[]);
    until("every stream to be gone", LIMIT, || (open() == 0.0).then_some(())).unwrap();
    let sockets = || memory::sockets_by_worker(gateway.pid()).unwrap().into_iter().sum::<usize>();
    // Listeners, and what the runtimes have.
    const OTHERS_MAX: usize = 24;
    until("the sockets to be closed", LIMIT, || (sockets() <= OTHERS_MAX).then_some(())).unwrap();
    let bytes = metric("gateway_stream_bytes_total", &[("engine", path.engine)]);
    assert!(bytes > 0.0, "no byte went by {path:?}");
}

/// Gives every crowd its order, and waits for all.
fn all(crowds: &mut [Crowd], order: impl Fn(&Crowd) -> String) {
    for crowd in &mut *crowds {
        let order = order(crowd);
        crowd.order(&order).unwrap();
    }
    for crowd in crowds {
        crowd.done().unwrap();
    }
}
