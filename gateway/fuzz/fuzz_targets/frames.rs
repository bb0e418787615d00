//! The broker's frames.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gateway::fuzz_entry::frames(data));
