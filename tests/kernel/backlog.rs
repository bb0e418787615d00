//! Ends behind bytes that the kernel still carries.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::Duration;

use gateway_tests::bridge::Ends;
use gateway_tests::pattern::Pattern;
use gateway_tests::wait::pause;

use super::{SOCKMAP, bytes_by, is_unavailable, start, until_no_stream};

/// The writer closes at once, and nobody reads before: an end that overtook what the kernel redirects would cost its
/// tail. The sizes are within the credit, so that the kernel carries everything.
#[test]
fn an_end_never_overtakes_what_the_kernel_carries() {
    const ROUNDS: u64 = 120;
    const BYTES_MAX: usize = 300_000;
    if is_unavailable() {
        return;
    }
    let bridge = start(SOCKMAP);
    let mut sum = 0;
    for seed in 0..ROUNDS {
        let mut dice = Pattern::new(!seed);
        let bytes = 1 + dice.below(BYTES_MAX);
        let piece_max = [bytes, 10_000][dice.below(2)];
        let Ends { client: mut writer, pod: mut reader } = either(bridge.stream().unwrap(), seed);
        Pattern::new(seed).write(&mut writer, bytes, piece_max, &mut dice).unwrap();
        if dice.below(2) == 0 {
            drop(writer);
        } else {
            writer.shutdown(Shutdown::Write).unwrap();
        }
        Pattern::new(seed).read_to_end(&mut reader, bytes).unwrap();
        sum += bytes;
    }
    until_no_stream(&bridge);
    let (kernel, user) = (bytes_by(&bridge, "sockmap"), bytes_by(&bridge, "copy"));
    assert_eq!(kernel + user, sum as f64);
    // What arrives together with the end may still find the way to the kernel closed.
    assert!(kernel > 0.9 * sum as f64, "the kernel carried {kernel} of {sum} bytes");
}

/// Much more than the credit: the stream changes its way in the middle, and the end comes behind all of it.
#[test]
fn a_close_behind_eight_megabytes_for_a_slow_reader_is_clean() {
    const BYTES: usize = 8 << 20;
    const IN_KERNEL_MIN: f64 = 100_000.0;
    if is_unavailable() {
        return;
    }
    for seed in [0, 1] {
        let bridge = start(SOCKMAP);
        let Ends { client: mut writer, pod: mut reader } = either(bridge.stream().unwrap(), seed);
        thread::scope(|scope| {
            scope.spawn(move || {
                Pattern::new(seed).write(&mut writer, BYTES, 100_000, &mut Pattern::new(!seed)).unwrap();
                drop(writer);
            });
            let mut pattern = Pattern::new(seed);
            for _ in 0..64 {
                pattern.read(&mut reader, BYTES / 64).unwrap();
                pause(Duration::from_millis(5));
            }
            assert_eq!(reader.read(&mut [0]).unwrap(), 0, "a clean end after the last byte");
        });
        drop(reader);
        until_no_stream(&bridge);
        let (kernel, user) = (bytes_by(&bridge, "sockmap"), bytes_by(&bridge, "copy"));
        assert_eq!(kernel + user, BYTES as f64);
        assert!(kernel > IN_KERNEL_MIN, "the kernel carried {kernel} bytes");
    }
}

/// A pod that closes while its client still talks, on a stream of which the kernel has carried every byte.
#[test]
fn a_half_closed_stream_goes_on_after_the_kernel_has_carried_it() {
    if is_unavailable() {
        return;
    }
    for seed in [0, 1] {
        let bridge = start(SOCKMAP);
        let Ends { client: mut finished, pod: mut talking } = either(bridge.stream().unwrap(), seed);
        exchange(&mut finished, &mut talking, b"through the kernel");
        exchange(&mut talking, &mut finished, b"and back");
        assert_eq!((bytes_by(&bridge, "sockmap"), bytes_by(&bridge, "copy")), (26.0, 0.0));
        finished.shutdown(Shutdown::Write).unwrap();
        assert_eq!(talking.read(&mut [0]).unwrap(), 0);
        exchange(&mut talking, &mut finished, b"as good as ever");
        drop(talking);
        assert_eq!(finished.read(&mut [0]).unwrap(), 0);
        until_no_stream(&bridge);
    }
}

fn exchange(from: &mut TcpStream, to: &mut TcpStream, words: &[u8]) {
    from.write_all(words).unwrap();
    let mut heard = vec![0; words.len()];
    to.read_exact(&mut heard).unwrap();
    assert_eq!(heard, words);
}

/// One way round or the other.
fn either(ends: Ends, seed: u64) -> Ends {
    if seed.is_multiple_of(2) { ends } else { ends.swapped() }
}
