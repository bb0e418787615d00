//! Routers that say they are congested (RFC 3168), and ends that cannot hear it.

use gateway_tests::bridge::{Bridge, Path};
use gateway_tests::hosts::{DEVICE, Family, Hosts};
use gateway_tests::need::{Need, is_missing};
use gateway_tests::netns::Namespace;

use super::{converse, part};

const BYTES: usize = 1 << 20;

/// Which of the two connections has ECN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Capable {
    Client,
    Pod,
    Both,
}

/// What leaves a host as capable of ECN is marked, one packet in ten; what arrives that is capable, or says something
/// of congestion, is counted.
fn watch(host: &Namespace, family: Family) {
    let ip = if family == Family::V4 { "ip" } else { "ip6" };
    let rules = format!(
        "table netdev congestion {{ \
         counter marked {{ }}; counter capable {{ }}; counter told {{ }}; \
         chain leaving {{ type filter hook egress device {DEVICE} priority 0; \
         {ip} ecn ect0 numgen random mod 10 == 0 {ip} ecn set ce counter name marked; }}; \
         chain arriving {{ type filter hook ingress device {DEVICE} priority 0; \
         {ip} ecn != not-ect counter name capable; tcp flags & (ecn | cwr) != 0 counter name told; }}; }}"
    );
    host.run("nft", &[&rules]).unwrap();
}

fn counted(host: &Namespace, name: &str) -> u64 {
    let text = host.run("nft", &["list", "counter", "netdev", "congestion", name]).unwrap();
    text.split_whitespace().skip_while(|&word| word != "packets").nth(1).unwrap().parse().unwrap()
}

/// An end hears of congestion, whoever its peer is: by the mark, or, where the peer could not pass it on, by the loss
/// of the packet. And no end is told what it cannot understand.
#[test]
fn congestion_is_told_to_whoever_sends() {
    if is_missing(&[Need::Program("nft")]) {
        return;
    }
    for family in [Family::V4, Family::V6] {
        let path = Path::on_hosts("packet", "uring", family);
        if path.is_missing() {
            return;
        }
        for capable in [Capable::Client, Capable::Pod, Capable::Both] {
            let hosts = Hosts::joined(family).unwrap();
            hosts.as_on_a_wire().unwrap();
            // Who begins a connection asks for it; who is asked agrees (`tcp_ecn` is 2 everywhere).
            if capable != Capable::Pod {
                hosts.client.set("ipv4/tcp_ecn", "1").unwrap();
            }
            if capable != Capable::Client {
                hosts.gateway().set("ipv4/tcp_ecn", "1").unwrap();
            }
            let bridge = Bridge::start_on(path, hosts, |gateway| gateway).unwrap();
            let (ends, hosts) = (bridge.stream().unwrap(), bridge.hosts());
            [&hosts.client, &hosts.pod].iter().for_each(|host| watch(host, family));
            converse(&ends, 71, BYTES);
            part(ends);
            let dropped = bridge.gateway.metric("gateway_packets_unspliced_total", &[("reason", "congested")]).unwrap();
            let marked = [&hosts.client, &hosts.pod].map(|host| counted(host, "marked"));
            let [capable_at_client, capable_at_pod] = [&hosts.client, &hosts.pod].map(|host| counted(host, "capable"));
            let told: u64 = [&hosts.client, &hosts.pod].map(|host| counted(host, "told")).iter().sum();
            let seen = format!(
                "{family:?}, {capable:?}: {marked:?} marked, {capable_at_client} and {capable_at_pod} capable, {told} \
                 told, {dropped} dropped"
            );
            assert!(marked.iter().sum::<u64>() > 0, "{seen}");
            if capable == Capable::Both {
                assert!(dropped == 0.0 && capable_at_client > 0 && capable_at_pod > 0 && told > 0, "{seen}");
            } else {
                assert!(dropped > 0.0, "{seen}");
                assert_eq!((capable_at_client, capable_at_pod, told), (0, 0, 0), "{seen}");
            }
        }
    }
}

/// Counts of marks are of one connection alone (RFC 9768).
#[test]
fn connections_that_may_count_their_marks_keep_their_sockets() {
    let path = Path::on_hosts("packet", "uring", Family::V4);
    if path.is_missing() {
        return;
    }
    let hosts = Hosts::joined(Family::V4).unwrap();
    // Older kernels know no such mode.
    if hosts.gateway().set("ipv4/tcp_ecn", "3").is_err() {
        return;
    }
    hosts.client.set("ipv4/tcp_ecn", "3").unwrap();
    let bridge = Bridge::start_on(path, hosts, |gateway| gateway).unwrap();
    let ends = bridge.stream_refused("options").unwrap();
    converse(&ends, 72, BYTES);
    part(ends);
}
