//! A gateway is killed, and another one starts in its place.

use std::time::Duration;

use gateway_tests::http;
use socket2::SockRef;

use super::*;

/// All that `/streams` says but the times.
fn account(stream: &Value) -> Value {
    let mut stream = stream.clone();
    let fields = stream.as_object_mut().unwrap();
    fields.retain(|name, _| !name.ends_with("_seconds"));
    stream
}

#[test]
fn streams_and_their_accounts_outlive_a_gateway_that_is_killed() {
    let Some(site) = Site::on_this_machine() else { return };
    let mut first = site.gateway(&[]);
    let mut streams: Vec<Ends> = (0..3).map(|_| site.stream(&first)).collect();
    streams.iter_mut().for_each(|ends| exchange(ends, 1));
    let before: Vec<Value> = streams.iter().map(|ends| listed(&first, ends).unwrap()).collect();
    kill(&mut first);
    // Nobody is there but the kernel.
    streams.iter_mut().for_each(|ends| exchange(ends, 2));

    let mut second = site.gateway(&[]);
    for (ends, before) in streams.iter().zip(&before) {
        let mut expected = account(before);
        (expected["bytes_up"], expected["bytes_down"]) = ((2 * UP_BYTES).into(), (2 * DOWN_BYTES).into());
        let after = listed(&second, ends).unwrap();
        assert_eq!(account(&after), expected);
        assert!(after["age_seconds"].as_f64() >= before["age_seconds"].as_f64(), "{after}");
    }
    let metric = |name, labels: &[(&str, &str)]| second.metric(name, labels).unwrap();
    assert_eq!(metric("gateway_streams_adopted_total", &[]), 3.0);
    assert_eq!(metric("gateway_streams_open", &[("engine", "packet")]), 3.0);
    streams.iter_mut().for_each(|ends| exchange(ends, 3));
    // Nobody asked the first one for its counters, so all bytes are new to whoever asks.
    assert_eq!(metric("gateway_stream_bytes_total", &[("direction", "up")]), (3 * 3 * UP_BYTES) as f64);

    // New streams are as good as any, and share neither number nor port with those that were there.
    let mut new = site.stream(&second);
    exchange(&mut new, 4);
    let taken = |stream: &Ends| stream.pod.peer_addr().unwrap().port();
    assert!(streams.iter().all(|old| taken(old) != taken(&new)));
    let new_id = listed(&second, &new).unwrap()["id"].clone();
    assert!(before.iter().all(|old| old["id"] != new_id));

    let ids: Vec<Value> = before.iter().map(|stream| stream["id"].clone()).collect();
    let mut streams = streams.into_iter();
    part(streams.next().unwrap());
    let mut closed = streams.next().unwrap();
    http::send(second.admin(), "DELETE", &format!("/streams/{}", ids[1])).unwrap();
    both_are_reset(&mut closed);
    let Ends { client, mut pod } = streams.next().unwrap();
    SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
    drop(client);
    assert_eq!(pod.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    part(new);
    for (id, reason, rounds) in
        [(&ids[0], "fin", 3), (&ids[1], "operator", 3), (&ids[2], "rst", 3), (&new_id, "fin", 1)]
    {
        let line = close_line(&second, id);
        let told = (&line["reason"], &line["bytes_up"], &line["bytes_down"], &line["engine"]);
        let bytes = [rounds * UP_BYTES, rounds * DOWN_BYTES];
        assert_eq!(told, (&reason.into(), &bytes[0].into(), &bytes[1].into(), &"packet".into()), "{line}");
        assert_eq!(line["sandbox"], SANDBOX);
        assert!(!line["request_id"].as_str().unwrap().is_empty());
    }
    until("no stream to be left", PATIENCE, || second.streams().unwrap().is_empty().then_some(())).unwrap();
    stop(&mut second);
    assert!(!site.state.path().exists(), "{:?}", site.state.files());
}

#[test]
fn the_limits_of_the_new_gateway_hold_for_the_streams_of_the_old_one() {
    let Some(site) = Site::on_this_machine() else { return };
    for (limit, reason) in [("--stream-idle-timeout", "idle"), ("--stream-lifetime-max", "lifetime")] {
        let mut first = site.gateway(&[]);
        let mut ends = site.stream(&first);
        exchange(&mut ends, 1);
        let id = listed(&first, &ends).unwrap()["id"].clone();
        kill(&mut first);
        let second = site.gateway(&[limit, "1s"]);
        both_are_reset(&mut ends);
        let line = close_line(&second, &id);
        assert_eq!((&line["reason"], &line["side"]), (&reason.into(), &"gateway".into()), "{line}");
    }
}

/// The next gateway's clock is two hours ahead (time_namespaces(7)), as in a container that was restored elsewhere. The
/// program in the kernel goes by the kernel's, and so does whoever looks for silence.
#[test]
fn a_gateway_whose_clock_was_set_otherwise_is_as_patient_as_any() {
    const AHEAD: [&str; 4] = ["unshare", "--time", "--monotonic", "7200"];
    const IMPATIENT: [&str; 6] =
        ["--tcp-keepalive-idle", "1s", "--tcp-keepalive-interval", "1s", "--tcp-keepalive-probes", "1"];
    /// Several times as long as it takes to give up an end that does not answer.
    const SILENCE: Duration = Duration::from_secs(5);
    let Some(site) = Site::on_this_machine() else { return };
    if is_missing(&[Need::Program("unshare")]) {
        return;
    }
    let mut first = site.gateway(&IMPATIENT);
    let mut ends = site.stream(&first);
    exchange(&mut ends, 1);
    kill(&mut first);
    let second = site.builder(&IMPATIENT).through(AHEAD).start().unwrap();
    gateway_tests::wait::pause(SILENCE);
    let stream = listed(&second, &ends).unwrap();
    for name in ["age_seconds", "idle_seconds"] {
        assert!((4.0..3600.0).contains(&stream[name].as_f64().unwrap()), "{stream}");
    }
    exchange(&mut ends, 2);
    part(ends);
}

#[test]
fn a_sandbox_that_left_the_table_meanwhile_loses_its_streams() {
    let Some(site) = Site::on_this_machine() else { return };
    let mut first = site.gateway(&[]);
    let mut ends = site.stream(&first);
    let id = listed(&first, &ends).unwrap()["id"].clone();
    kill(&mut first);
    let other = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let second =
        Gateway::builder().sandbox("1", other).state(&site.state).args(["--engine", "packet"]).start().unwrap();
    both_are_reset(&mut ends);
    assert_eq!(close_line(&second, &id)["reason"], "sandbox_gone");
}

/// What the ends do while no gateway runs is found by the next one.
#[test]
fn a_stream_that_ended_meanwhile_is_closed_by_the_next_gateway() {
    let Some(site) = Site::on_this_machine() else { return };
    let mut first = site.gateway(&[]);
    let mut ends = site.stream(&first);
    exchange(&mut ends, 1);
    let id = listed(&first, &ends).unwrap()["id"].clone();
    kill(&mut first);
    part(ends);
    let second = site.gateway(&[]);
    let line = close_line(&second, &id);
    let told = (&line["reason"], &line["side"], &line["bytes_up"], &line["bytes_down"]);
    assert_eq!(told, (&"fin".into(), &"client".into(), &UP_BYTES.into(), &DOWN_BYTES.into()), "{line}");
}
