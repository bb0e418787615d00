//! How fast bytes get through when one packet in a hundred is lost on both cables: `packet` beside no gateway at all.
//!
//! `cargo run -p gateway-tests --example lossy [rounds]`, as root. Both take turns in each round, with the same loss; a
//! ratio is taken within a round, and the median of the ratios counts. How the gateway was built does not matter: its
//! program is compiled for the kernel, and the process has no part in a spliced stream.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::Instant;

use anyhow::{Context as _, Result};
use gateway_tests::bridge::{Bridge, Ends, Path};
use gateway_tests::hosts::{Family, Hosts};

const ONE_IN: u32 = 100;
const STREAMS: usize = 16;
const BYTES_PER_STREAM: usize = 4 << 20;
const ROUNDS: usize = 11;

fn main() -> Result<()> {
    let rounds = std::env::args().nth(1).map_or(Ok(ROUNDS), |word| word.parse()).context("a number of rounds")?;
    for family in [Family::V4, Family::V6] {
        let direct = Direct::start(family)?;
        let packet = Bridge::start_on(Path::on_hosts("packet", "uring", family), lossy(family)?, |gateway| gateway)?;
        let mut ratios = Vec::new();
        let mut speeds = [Vec::new(), Vec::new()];
        for round in 0..rounds {
            let mut measured = [0.0; 2];
            // Each round begins with the other one.
            for who in [round % 2, 1 - round % 2] {
                let streams = if who == 0 { direct.streams() } else { packet.streams(STREAMS) }?;
                measured[who] = megabytes_per_second(&streams)?;
                speeds[who].push(measured[who]);
            }
            ratios.push(measured[1] / measured[0]);
        }
        let [direct, packet] = speeds.map(median);
        let (least, greatest) = ratios.iter().fold((f64::MAX, 0.0_f64), |(a, b), &it| (a.min(it), b.max(it)));
        writeln!(
            std::io::stdout(),
            "{family:?}: packet {:.2} of direct ({least:.2} to {greatest:.2} in {rounds} rounds); \
             {packet:.0} and {direct:.0} MB/s",
            median(ratios),
        )?;
    }
    Ok(())
}

fn lossy(family: Family) -> Result<Hosts> {
    let hosts = Hosts::joined(family)?;
    hosts.as_on_a_wire()?;
    for host in [&hosts.client, &hosts.pod] {
        Hosts::lose(host, ONE_IN)?;
    }
    Ok(hosts)
}

/// Client and pod without a gateway; its host routes.
struct Direct {
    hosts: Hosts,
    pod: TcpListener,
}

impl Direct {
    fn start(family: Family) -> Result<Self> {
        let hosts = lossy(family)?;
        let pod = hosts.listen()?;
        Ok(Self { hosts, pod })
    }

    fn streams(&self) -> Result<Vec<Ends>> {
        let stream = |_| {
            let client = self.hosts.connect(self.pod.local_addr()?)?;
            Ok(Ends { client, pod: self.pod.accept()?.0 })
        };
        (0..STREAMS).map(stream).collect()
    }
}

/// All pods speak at once; until the last client has heard everything.
fn megabytes_per_second(streams: &[Ends]) -> Result<f64> {
    fn say(mut pod: &TcpStream) -> Result<()> {
        Ok(pod.write_all(&vec![7; BYTES_PER_STREAM])?)
    }
    fn hear(mut client: &TcpStream) -> Result<()> {
        Ok(client.read_exact(&mut vec![0; BYTES_PER_STREAM])?)
    }
    let began = Instant::now();
    std::thread::scope(|scope| {
        let parts: Vec<_> = streams
            .iter()
            .flat_map(|ends| [scope.spawn(|| say(&ends.pod)), scope.spawn(|| hear(&ends.client))])
            .collect();
        parts.into_iter().try_for_each(|part| part.join().expect("nobody panics"))
    })?;
    Ok((STREAMS * BYTES_PER_STREAM) as f64 / 1e6 / began.elapsed().as_secs_f64())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
