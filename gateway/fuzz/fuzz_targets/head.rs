//! The heads of requests and responses.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gateway::fuzz_entry::head(data));
