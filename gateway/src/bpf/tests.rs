//! The object as it is committed, what is refused before the kernel, and what the kernel does with the rest.

use std::env;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;
use std::time::Duration;

use aya::maps::{Map, MapData, MapType, SockHash};
use gateway_tests::need;

use super::*;

/// The embedded object, or the one that `cargo xtask build-ebpf --check` wants tried.
fn object() -> Vec<u8> {
    match env::var_os("GATEWAY_TEST_BPF_OBJECT") {
        Some(file) => fs::read(file).unwrap(),
        None => OBJECT.to_vec(),
    }
}

/// `None` where this machine does not let the test load programs, which CI must.
fn loaded() -> Option<Programs> {
    match load_object(&object()) {
        Ok(programs) => Some(programs),
        Err(error @ (LoadError::Capability { .. } | LoadError::Forbidden | LoadError::NoBpf)) => {
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
    assert!(matches!(load_object(b"#!/bin/sh\n"), Err(LoadError::Damaged(_))));
}

#[test]
fn a_missing_capability_is_named() {
    let missing = vec![Capability::Bpf, Capability::NetAdmin];
    assert_eq!(LoadError::Capability { missing }.to_string(), "CAP_BPF and CAP_NET_ADMIN missing (or CAP_SYS_ADMIN)");
}

#[test]
fn the_kernel_takes_the_embedded_object() {
    let Some(programs) = loaded() else { return };
    assert_eq!(programs.passed().unwrap(), Passed::default());
}

#[test]
fn the_verdict_program_passes_every_byte_and_counts_it() {
    let Some(mut programs) = loaded() else { return };
    let mut sockets = socket_hash();
    let verdict: &mut SkSkb = programs.ebpf.program_mut(SOCKMAP_VERDICT).unwrap().try_into().unwrap();
    verdict.attach(&sockets.fd().try_clone().unwrap()).unwrap();

    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let mut sender = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut receiver, _) = listener.accept().unwrap();
    receiver.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    sockets.insert(0, receiver.as_raw_fd(), 0).unwrap();

    let sent: Vec<u8> = (0..100_000_u32).map(|at| (at % 251) as u8).collect();
    sender.write_all(&sent).unwrap();
    drop(sender);
    let mut received = Vec::new();
    receiver.read_to_end(&mut received).unwrap();

    assert!(received == sent, "{} bytes arrived of {}, or not the same ones", received.len(), sent.len());
    let passed = programs.passed().unwrap();
    assert_eq!(passed.bytes, 100_000);
    assert!(passed.skbs > 0);
}

fn socket_hash() -> SockHash<MapData, u32> {
    let (key_bytes, value_bytes, entries, flags) = (4, 4, 1, 0);
    let parameters = aya_obj::Map::new_from_params(MapType::SockHash as u32, key_bytes, value_bytes, entries, flags);
    let map = MapData::create(parameters, "test_sockets", None).unwrap();
    SockHash::try_from(Map::SockHash(map)).unwrap()
}
