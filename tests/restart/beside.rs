//! A new gateway starts beside the old one, which then ends.

use super::*;

#[test]
fn a_gateway_that_ends_leaves_its_streams_to_the_one_beside_it() {
    let Some(site) = Site::on_this_machine() else { return };
    let mut old = site.gateway(&["--drain-timeout", "1h"]);
    let mut streams = vec![site.stream(&old), site.stream(&old)];
    let mut new = site.gateway(&[]);
    streams.push(site.stream(&new));
    streams.iter_mut().for_each(|ends| exchange(ends, 1));
    // Each has its own.
    assert_eq!((old.streams().unwrap().len(), new.streams().unwrap().len()), (2, 1));
    stop(&mut old);
    let all = || Some(new.streams().unwrap()).filter(|streams| streams.len() == 3);
    let listed_now = until("the new one to have all streams", PATIENCE, all).unwrap();
    let mut ids: Vec<u64> = listed_now.iter().map(|stream| stream["id"].as_u64().unwrap()).collect();
    ids.dedup();
    assert_eq!(ids.len(), 3, "two streams have one number");
    streams.iter_mut().for_each(|ends| exchange(ends, 2));
    for ends in streams {
        let id = listed(&new, &ends).unwrap()["id"].clone();
        part(ends);
        let line = close_line(&new, &id);
        let told = (&line["reason"], &line["bytes_up"], &line["bytes_down"]);
        assert_eq!(told, (&"fin".into(), &(2 * UP_BYTES).into(), &(2 * DOWN_BYTES).into()), "{line}");
    }
    assert!(old.log().iter().all(|line| !line.contains("stream closed")));
    stop(&mut new);
    assert!(!site.state.path().exists(), "{:?}", site.state.files());
}

#[test]
fn a_gateway_beside_one_that_is_killed_takes_its_streams() {
    let Some(site) = Site::on_this_machine() else { return };
    let mut killed = site.gateway(&[]);
    let mut ends = site.stream(&killed);
    let other = site.gateway(&[]);
    kill(&mut killed);
    exchange(&mut ends, 1);
    until("the other one to have the stream", PATIENCE, || listed(&other, &ends)).unwrap();
    let id = listed(&other, &ends).unwrap()["id"].clone();
    part(ends);
    assert_eq!(close_line(&other, &id)["reason"], "fin");
}
