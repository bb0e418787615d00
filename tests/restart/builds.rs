//! Gateways of another build, whose program for the kernel is another one.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use tempfile::TempDir;

use super::*;

/// A gateway with another program inside it.
pub(super) struct OtherBuild(TempDir);

impl OtherBuild {
    /// One number of the program is larger by one: how far an acknowledgement may lag behind. So it is another program
    /// for the kernel, and does the same to all packets that there are.
    pub(super) fn new() -> Self {
        /// The least bound, in bytes, that no acknowledgement may reach (`OLD_MAX` in gateway-ebpf), as an operand.
        const OPERAND: [u8; 4] = 0x0080_0001_u32.to_le_bytes();
        const OTHER: [u8; 4] = 0x0080_0002_u32.to_le_bytes();
        let mut gateway = fs::read(gateway_tests::gateway::program().unwrap()).unwrap();
        let object = Self::object(&gateway);
        // An instruction is eight bytes, the operand its second half.
        let operands = (object + 4..gateway.len() - 4).step_by(8);
        let found = operands.take(1 << 16).find(|&at| gateway[at..at + 4] == OPERAND).expect("the number is there");
        gateway[found..found + 4].copy_from_slice(&OTHER);
        let build = Self(TempDir::with_prefix("gateway-build-").unwrap());
        fs::write(build.program(), gateway).unwrap();
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(build.program(), executable).unwrap();
        build
    }

    /// Where the embedded object begins. It is aligned, since it is read in place.
    fn object(gateway: &[u8]) -> usize {
        /// `EM_BPF` of elf(5), behind the magic number, the class and so on, and the type.
        const MACHINE: [u8; 2] = 247_u16.to_le_bytes();
        let is_object = |at: &usize| gateway[*at..].starts_with(b"\x7fELF") && gateway[at + 18..at + 20] == MACHINE;
        (0..gateway.len() - 64).step_by(8).find(is_object).expect("a gateway has an object for the kernel")
    }

    pub(super) fn program(&self) -> PathBuf {
        self.0.path().join("gateway")
    }
}

/// What the talker goes by; it ends with the story, however that does.
struct Talk<'a>(&'a AtomicBool);

impl Drop for Talk<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// Under a stream that never falls silent. Each packet is rewritten by the one program or by the other.
#[test]
fn another_build_puts_its_program_in_the_place_of_the_one_before() {
    let Some(site) = Site::on_this_machine() else { return };
    let other = OtherBuild::new();
    let mut first = site.gateway(&[]);
    let mut ends = site.stream(&first);
    let is_talking = AtomicBool::new(true);
    let (second, rounds) = thread::scope(|scope| {
        let talk = Talk(&is_talking);
        let talker = scope.spawn(|| {
            let mut rounds = 0;
            while is_talking.load(Ordering::Relaxed) {
                exchange(&mut ends, rounds);
                rounds += 1;
            }
            rounds
        });
        let second = site.builder(&[]).program(other.program()).start().unwrap();
        let replaced = second.logged("that the program was replaced", PATIENCE, |line| {
            line["message"] == "the packet program on the interfaces was replaced by another one"
        });
        let replaced = replaced.unwrap();
        assert_ne!(replaced["old"], replaced["new"], "{replaced}");
        let mut new = site.stream(&second);
        exchange(&mut new, 7);
        part(new);
        drop(talk);
        (second, talker.join().unwrap())
    });
    kill(&mut first);
    exchange(&mut ends, 8);
    let line = until("the new one to have the stream", PATIENCE, || listed(&second, &ends)).unwrap();
    let bytes = [UP_BYTES, DOWN_BYTES].map(|bytes| (rounds + 1) * bytes as u64);
    assert_eq!((&line["bytes_up"], &line["bytes_down"]), (&bytes[0].into(), &bytes[1].into()), "{line}");
    part(ends);
}
