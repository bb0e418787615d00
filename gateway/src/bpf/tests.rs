//! The object as it is committed, what is refused before the kernel, and what the kernel does with the rest.

use std::env;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use gateway_common::{CREDIT, Flow, PASSING, charge};
use gateway_tests::{need, wait};
use tracing::level_filters::LevelFilter;

use super::offload::{EnterError, Offload, Place, StartError};
use super::*;
use crate::sys::tcp;

/// The embedded object, or the one that `cargo xtask build-ebpf --check` wants tried.
fn object() -> Vec<u8> {
    match env::var_os("GATEWAY_TEST_BPF_OBJECT") {
        Some(file) => fs::read(file).unwrap(),
        None => OBJECT.to_vec(),
    }
}

/// `None` where this machine does not let the test load programs, which CI must.
fn started() -> Option<Rc<Offload>> {
    match Offload::start_object(&object(), 4, LevelFilter::OFF) {
        Ok((offload, _reports)) => Some(offload),
        Err(StartError::Load(error @ (LoadError::Capability { .. } | LoadError::Forbidden | LoadError::NoBpf))) => {
            need::skip(&error.to_string());
            None
        }
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn the_embedded_object_has_our_abi_version() {
    check_abi(&object()).unwrap();
}

#[test]
fn another_abi_version_is_refused() {
    let mut object = object();
    let parsed = aya_obj::Object::parse(&object).unwrap();
    let section = parsed.maps[ABI_SECTION].data().to_owned();
    let other = (ABI_VERSION + 1).to_ne_bytes();
    let places: Vec<usize> = (0..object.len() - 4).filter(|&at| object[at..at + 4] == section).collect();
    // The section's four bytes occur elsewhere too, so each place is changed in turn; only the right one changes the
    // ABI.
    let found = places.into_iter().find_map(|at| {
        object[at..at + 4].copy_from_slice(&other);
        let result = check_abi(&object);
        object[at..at + 4].copy_from_slice(&section);
        match result {
            Err(LoadError::Abi { found }) => found,
            _ => None,
        }
    });
    assert_eq!(found, Some(ABI_VERSION + 1));
}

#[test]
fn an_object_that_is_none_is_refused() {
    assert!(matches!(load(b"#!/bin/sh\n", NonZeroU32::MIN, 0), Err(LoadError::Damaged(_))));
}

#[test]
fn a_missing_capability_is_named() {
    let missing = vec![Capability::Bpf, Capability::NetAdmin];
    assert_eq!(LoadError::Capability { missing }.to_string(), "CAP_BPF and CAP_NET_ADMIN missing (or CAP_SYS_ADMIN)");
}

/// A stream in the maps: the far ends of its two connections, and its place.
struct Scene {
    client: TcpStream,
    pod: TcpStream,
    near: [TcpStream; 2],
    place: Place,
}

impl Scene {
    fn new(offload: &Rc<Offload>) -> Self {
        let (client, near_client) = connection();
        let (pod, near_upstream) = connection();
        let near = [near_client, near_upstream];
        let sockets = near.each_ref().map(|socket| (socket, tcp::cookie(socket).unwrap()));
        let place = offload.enter(sockets).unwrap();
        Self { client, pod, near, place }
    }

    /// Lets the program redirect what the client sends, for `credit` bytes.
    fn allow(&self, credit: u64) {
        let flow = self.up();
        flow.limit.store(flow.charged.load(Ordering::Relaxed) + credit, Ordering::Relaxed);
        flow.offload.store(1, Ordering::SeqCst);
    }

    fn up(&self) -> &Flow<AtomicU64> {
        self.place.flow(0)
    }

    /// Bytes that went up and bytes that were redirected.
    fn counts(&self) -> (u64, u64) {
        let load = |word: &AtomicU64| word.load(Ordering::Acquire);
        (load(&self.up().passed), load(&self.up().redirected))
    }
}

/// Both ends.
fn connection() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let far = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (near, _) = listener.accept().unwrap();
    for end in [&far, &near] {
        end.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    }
    (far, near)
}

fn expect(from: &mut TcpStream, wanted: &[u8]) {
    let mut bytes = vec![0; wanted.len()];
    from.read_exact(&mut bytes).unwrap();
    assert!(bytes == wanted, "other bytes, or in another order");
}

fn sequence(len: u32) -> Vec<u8> {
    (0..len).map(|at| (at % 251) as u8).collect()
}

#[test]
fn everything_goes_up_until_redirecting_is_allowed() {
    let Some(offload) = started() else { return };
    let mut scene = Scene::new(&offload);
    scene.client.write_all(&sequence(100_000)).unwrap();
    expect(&mut scene.near[0], &sequence(100_000));
    assert_eq!(scene.counts(), (100_000, 0));
}

#[test]
fn what_is_allowed_goes_to_the_peer_and_nothing_goes_up() {
    let Some(offload) = started() else { return };
    let mut scene = Scene::new(&offload);
    scene.allow(CREDIT);
    scene.client.write_all(&sequence(100_000)).unwrap();
    expect(&mut scene.pod, &sequence(100_000));
    assert_eq!(scene.counts(), (0, 100_000));
    assert!(scene.up().skbs.load(Ordering::Relaxed) > 0);
    assert!(scene.up().active_ns.load(Ordering::Relaxed) > 0);
}

#[test]
fn bytes_that_went_up_are_never_overtaken() {
    let Some(offload) = started() else { return };
    let mut scene = Scene::new(&offload);
    scene.client.write_all(b"first").unwrap();
    expect(&mut scene.near[0], b"first");
    // Allowed, but what went up has not been written to the pod yet.
    scene.allow(CREDIT);
    scene.client.write_all(b"second").unwrap();
    expect(&mut scene.near[0], b"second");
    assert_eq!(scene.counts(), (11, 0));
    scene.up().forwarded.store(11, Ordering::SeqCst);
    scene.client.write_all(b"third").unwrap();
    expect(&mut scene.pod, b"third");
    assert_eq!(scene.counts(), (11, 5));
}

#[test]
fn beyond_the_credit_everything_goes_up() {
    let Some(offload) = started() else { return };
    let mut scene = Scene::new(&offload);
    scene.allow(2 * charge(1000));
    let mut sent = 0;
    // One buffer each: the next is sent when the one before has been counted.
    for _ in 0..4 {
        scene.client.write_all(&[7; 1000]).unwrap();
        sent += 1000;
        let counted = || {
            let (passed, redirected) = scene.counts();
            (passed + redirected == sent).then_some(())
        };
        wait::until("the program to have run", wait::PATIENCE, counted).unwrap();
    }
    assert_eq!(scene.counts(), (2000, 2000));
    assert_eq!(scene.up().state.load(Ordering::Relaxed), PASSING);
    expect(&mut scene.pod, &[7; 2000]);
    expect(&mut scene.near[0], &[7; 2000]);
}

#[test]
fn an_end_goes_up_even_where_bytes_do_not() {
    let Some(offload) = started() else { return };
    let mut scene = Scene::new(&offload);
    scene.allow(CREDIT);
    scene.client.write_all(b"last words").unwrap();
    scene.client.shutdown(Shutdown::Write).unwrap();
    expect(&mut scene.pod, b"last words");
    assert_eq!(scene.near[0].read(&mut [0]).unwrap(), 0);
    // The peer is as good as before.
    scene.near[1].write_all(b"more").unwrap();
    expect(&mut scene.pod, b"more");
}

#[test]
fn a_socket_that_was_forgotten_passes_and_counts_nothing() {
    let Some(offload) = started() else { return };
    let mut scene = Scene::new(&offload);
    scene.allow(CREDIT);
    scene.place.forget();
    scene.client.write_all(b"for us").unwrap();
    expect(&mut scene.near[0], b"for us");
    assert_eq!(scene.counts(), (0, 0));
}

#[test]
fn places_are_limited_and_come_back() {
    let Some(offload) = started() else { return };
    let scenes: Vec<Scene> = (0..4).map(|_| Scene::new(&offload)).collect();
    let (_far, near) = connection();
    let again = || offload.enter([(&near, 1), (&near, 2)]).map(drop);
    assert!(matches!(again(), Err(EnterError::Full(4))));
    drop(scenes);
    let indices = Scene::new(&offload).place.indices();
    assert!(indices.iter().all(|&index| index < 8));
}
