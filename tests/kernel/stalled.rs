//! Clients that never read. What is redirected in the kernel is charged to nobody, so here is what it really costs.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use gateway_tests::bridge::Bridge;
use gateway_tests::memory;
use gateway_tests::need::{Need, is_missing};
use gateway_tests::pattern::Pattern;
use gateway_tests::wait::{PATIENCE, pause, until};
use socket2::{Domain, SockRef, Socket, Type};

use super::talk::Talk;
use super::{SOCKMAP, closing_line, demotions, id, is_unavailable, listed, start, until_engine};

const CLIENTS: u64 = 50;

/// What all of them together may cost this machine.
const COST_MAX: u64 = 100 << 20;

/// Every byte that a pod got rid of and no client has read is in memory somewhere: in the gateway, in a socket, or in
/// the kernel between two of them. That sum is exact, whatever else the machine does. Its overhead is what the kernel
/// charges to the sockets.
#[test]
fn clients_that_never_read_cost_a_bounded_amount_and_get_every_byte_in_the_end() {
    if is_unavailable() || is_missing(&[Need::Program("ss")]) {
        return;
    }
    let bridge = start(SOCKMAP);
    let mut other = Talk::small(bridge.stream().unwrap(), CLIENTS);
    let other_id = id(&bridge, &other.ends);
    let mut stalled: Vec<Talk> = (0..CLIENTS).map(|seed| stalled(&bridge, seed)).collect();
    let ports = [bridge.gateway.addr().port(), stalled[0].ends.pod.local_addr().unwrap().port()];
    let charged_before = memory::of_sockets(&ports).unwrap();
    let available_before = memory::available().unwrap();

    let (mut dice, mut buffer) = (Pattern::new(1), vec![0; 64 << 10]);
    hold_back(&mut stalled, || small_talk(&mut other, &mut dice, &mut buffer));
    let charged = memory::of_sockets(&ports).unwrap() - charged_before;
    let held = on_the_way(&stalled);
    let missing = available_before.saturating_sub(memory::available().unwrap());
    eprintln!("{held} bytes held, {charged} bytes charged, {missing} bytes gone on the whole machine");
    assert!(charged < COST_MAX, "{charged} bytes are charged to the sockets, for {held} bytes that were written");

    // The other stream never noticed.
    assert_eq!(listed(&bridge, &other.ends).unwrap()["engine"], "sockmap");
    small_talk(&mut other, &mut dice, &mut buffer);
    let said = other.sent();
    drop(other.end(&mut buffer));
    let line = closing_line(&bridge, other_id);
    assert_eq!((&line["promotions"], &line["kernel_bytes"]), (&1.into(), &said.into()), "{line}");

    // The credit of one that said nothing but small things may have run out before its client's buffers were full.
    assert!(demotions(&bridge, "pressure") > 0.0);
    assert!(demotions(&bridge, "pressure") + demotions(&bridge, "late") >= CLIENTS as f64);
    for talk in stalled {
        assert_eq!(listed(&bridge, &talk.ends).unwrap()["engine"], "copy");
        drop(talk.end(&mut buffer));
    }
    super::until_no_stream(&bridge);
}

/// A stream whose client takes little before it is full, and whose pod is on another machine, which this one does not
/// pay for.
fn stalled(bridge: &Bridge, seed: u64) -> Talk {
    const POD_UNSENT_BYTES: usize = 32 << 10;
    let ends = bridge.stream_from(small_client(bridge.gateway.addr()), b"", b"").unwrap();
    SockRef::from(&ends.pod).set_send_buffer_size(POD_UNSENT_BYTES).unwrap();
    until_engine(bridge, id(bridge, &ends), "sockmap");
    Talk::new(ends, seed)
}

fn small_client(gateway: SocketAddr) -> TcpStream {
    const UNREAD_BYTES: usize = 4 << 10;
    let socket = Socket::new(Domain::for_address(gateway), Type::STREAM, None).unwrap();
    // Before the connection is made: the window that it offers depends on it.
    socket.set_recv_buffer_size(UNREAD_BYTES).unwrap();
    socket.connect(&gateway.into()).unwrap();
    socket.into()
}

/// The pods say what they can until none of them can say anything for a second; `meanwhile` is done all the time.
fn hold_back(stalled: &mut [Talk], mut meanwhile: impl FnMut()) {
    const QUIET_ROUNDS: u32 = 20;
    let mut quiet_rounds = 0;
    until("the pods to be held back", PATIENCE, || {
        let mut said = false;
        for talk in &mut *stalled {
            while talk.pod_says() {
                said = true;
                assert!(talk.on_the_way() < 16 << 20, "one client that does not read takes {}", talk.on_the_way());
            }
        }
        meanwhile();
        let held = on_the_way(stalled);
        assert!(held < COST_MAX, "{held} bytes are held for clients that do not read");
        quiet_rounds = if said { 0 } else { quiet_rounds + 1 };
        pause(Duration::from_millis(50));
        (quiet_rounds == QUIET_ROUNDS).then_some(())
    })
    .unwrap();
}

fn on_the_way(talks: &[Talk]) -> u64 {
    talks.iter().map(|talk| talk.on_the_way() as u64).sum()
}

fn small_talk(talk: &mut Talk, dice: &mut Pattern, buffer: &mut [u8]) {
    for _ in 0..20 {
        talk.step(dice, buffer);
    }
    talk.hear_out(buffer);
}
