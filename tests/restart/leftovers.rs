//! What gateways leave in the kernel, and how it goes.

use std::fs;

use super::builds::OtherBuild;
use super::*;

#[test]
fn a_gateway_that_ends_alone_ends_its_streams_and_leaves_nothing() {
    let Some(site) = Site::on_this_machine() else { return };
    let mut gateway = site.gateway(&["--drain-timeout", "1s"]);
    let mut ends = site.stream(&gateway);
    exchange(&mut ends, 1);
    let id = listed(&gateway, &ends).unwrap()["id"].clone();
    let files = site.state.files().len();
    // Five maps, the program, and a link for each interface.
    assert!(files >= 7, "{:?}", site.state.files());
    stop(&mut gateway);
    both_are_reset(&mut ends);
    let line = close_line(&gateway, &id);
    assert_eq!((&line["reason"], &line["bytes_up"]), (&"drain".into(), &UP_BYTES.into()), "{line}");
    assert!(!site.state.path().exists(), "{:?}", site.state.files());
}

#[test]
fn flush_takes_everything_out_and_says_so() {
    let Some(site) = Site::on_this_machine() else { return };
    let (done, said) = site.command(&["flush"]);
    assert!(done && said.starts_with("nothing to remove in "), "{said}");
    let mut gateway = site.gateway(&[]);
    let mut ends = site.stream(&gateway);
    exchange(&mut ends, 1);
    let (done, said) = site.command(&["flush"]);
    assert!(!done && said.contains("a running gateway keeps its streams in "), "{said}");
    exchange(&mut ends, 2);
    kill(&mut gateway);
    exchange(&mut ends, 3);
    let files = site.state.files();
    let (done, said) = site.command(&["flush"]);
    assert!(done, "{said}");
    for (name, count) in [("link", files.len() - 6), ("program", 1), ("map", 5)] {
        assert_eq!(said.matches(&format!("removed {name} ")).count(), count, "{said}");
    }
    assert!(said.ends_with(&format!("{} files, 1 streams\n", files.len())), "{said}");
    assert!(!site.state.path().exists());
    // Nobody rewrites the packets any more, and the host knows no such connection.
    ends.client.write_all(b"is anybody there").unwrap();
    assert_eq!(ends.client.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
}

/// A gateway of another version has laid its maps out otherwise, and has another program: its directory is renamed
/// here, since there is one layout in this repository, but its program is really another one. Both are on the
/// interface.
#[test]
fn streams_of_another_version_go_on_beside_those_of_this_one() {
    let Some(site) = Site::on_this_machine() else { return };
    let build = OtherBuild::new();
    let mut old = site.builder(&[]).program(build.program()).start().unwrap();
    let mut streams = [site.stream(&old)];
    exchange(&mut streams[0], 1);
    kill(&mut old);
    let layout = |path: &std::path::Path| fs::read_dir(path).unwrap().next().unwrap().unwrap().path();
    let network = layout(site.state.path());
    fs::rename(layout(&network), network.join("abi-9999")).unwrap();

    let new = site.gateway(&[]);
    new.logged("what was found", PATIENCE, |line| {
        line["message"].as_str().is_some_and(|text| text.starts_with("streams of a gateway of another version"))
            && line["path"].as_str().is_some_and(|path| path.ends_with("abi-9999"))
    })
    .unwrap();
    assert_eq!(new.metric("gateway_streams_adopted_total", &[]).unwrap(), 0.0);
    let mut ours = site.stream(&new);
    exchange(&mut ours, 2);
    exchange(&mut streams[0], 3);
    assert_eq!(new.streams().unwrap().len(), 1);
    drop(new);
    let (done, said) = site.command(&["flush"]);
    assert!(done && said.ends_with(", 2 streams\n"), "{said}");
}

#[test]
fn maps_of_another_size_are_kept_while_they_are_in_use() {
    let Some(site) = Site::on_this_machine() else { return };
    let mut first = site.gateway(&["--packet-streams-max", "100"]);
    let mut ends = site.stream(&first);
    kill(&mut first);
    let mut second = site.gateway(&["--packet-streams-max", "200"]);
    second.logged("that they are kept", PATIENCE, |line| line["room"] == 100 && line["wanted"] == 200).unwrap();
    exchange(&mut ends, 1);
    part(ends);
    until("no stream to be left", PATIENCE, || second.streams().unwrap().is_empty().then_some(())).unwrap();
    kill(&mut second);
    let third = site.gateway(&["--packet-streams-max", "200"]);
    assert!(third.log().iter().all(|line| !line.contains("maps are in use")));
    let mut ends = site.stream(&third);
    exchange(&mut ends, 2);
}

#[test]
fn ports_that_others_may_get_are_told_at_the_start() {
    let Some(site) = Site::on_this_machine() else { return };
    let gateway = site.gateway(&["--packet-ports", "40000-40009", "--packet-interface", "lo"]);
    gateway
        .logged("the warning", PATIENCE, |line| {
            let text = line["message"].as_str().unwrap_or_default();
            text.starts_with("10 of the ports 40000-40009 lie in net.ipv4.ip_local_port_range")
        })
        .unwrap();
    let ends = site.stream(&gateway);
    assert!((40_000..40_010).contains(&ends.pod.peer_addr().unwrap().port()));
    assert_eq!(site.state.files().len(), 7, "{:?}", site.state.files());
}

/// A pod that has more streams than there are ports to dial it from: the others keep their sockets.
#[test]
fn streams_beyond_the_ports_are_carried_as_well() {
    const PORTS: usize = 2;
    const MORE: usize = 3;
    let Some(site) = Site::on_this_machine() else { return };
    let gateway = site.gateway(&["--packet-ports", "61000-61001"]);
    let mut ends: Vec<Ends> = (0..PORTS).map(|_| site.stream(&gateway)).collect();
    for _ in 0..MORE {
        let client = TcpStream::connect(gateway.addr()).unwrap();
        ends.push(establish(client, &site.pod, gateway.addr(), SANDBOX, b"", b"").unwrap());
    }
    let refused = || gateway.metric("gateway_stream_promotions_refused_total", &[("reason", "port")]).unwrap();
    until("the others to be refused", PATIENCE, || (refused() == MORE as f64).then_some(())).unwrap();
    ends.iter_mut().for_each(|ends| exchange(ends, 1));
    assert_eq!(gateway.metric("gateway_streams_open", &[("engine", "packet")]).unwrap(), PORTS as f64);
}

/// Gateways that share the ports and not what is known of them: a pod does not answer a SYN on a connection that it
/// has.
#[test]
fn ports_of_a_gateway_with_another_folder_cost_all_attempts_but_the_last() {
    const PORTS: [&str; 2] = ["--packet-ports", "61002-61003"];
    let Some(site) = Site::on_this_machine() else { return };
    let first = site.gateway(&PORTS);
    let mut theirs = [site.stream(&first), site.stream(&first)];
    let other = Site { pod: site.pod.try_clone().unwrap(), state: Arc::default() };
    let second = other.gateway(&PORTS);
    let client = TcpStream::connect(second.addr()).unwrap();
    let mut ours = establish(client, &site.pod, second.addr(), SANDBOX, b"", b"").unwrap();
    let dials = |outcome| second.metric("gateway_upstream_dials_total", &[("outcome", outcome)]).unwrap();
    assert_eq!((dials("timeout"), dials("connected")), (2.0, 1.0));
    exchange(&mut ours, 1);
    theirs.iter_mut().for_each(|ends| exchange(ends, 2));
}
