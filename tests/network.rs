//! Streams between three hosts, and what cables, options and strangers do to them. Each story is also told without a
//! gateway, where it says what two ends make of it by themselves.

mod attacked;
mod captured;
mod congested;
mod errors;
mod forged;
mod hours;
mod lossy;
mod mixed;
mod options;
mod reborn;
mod rerouted;
mod shuffled;
mod stalled;
mod under_way;

use std::net::{Shutdown, TcpListener};
use std::thread;

use gateway_tests::bridge::{Bridge, Ends, Path};
use gateway_tests::hosts::{Family, Hosts};
use gateway_tests::pattern::Pattern;
use gateway_tests::wait::PATIENCE;

/// How client and pod are joined.
#[derive(Debug, Clone, Copy)]
enum Way {
    /// The gateway's host routes, and no gateway runs.
    Direct(Family),
    Gateway(Path),
}

const WAYS: [Way; 7] = [
    Way::Direct(Family::V4),
    Way::Direct(Family::V6),
    Way::Gateway(Path::on_hosts("copy", "uring", Family::V4)),
    Way::Gateway(Path::on_hosts("copy", "uring", Family::V6)),
    Way::Gateway(Path::on_hosts("sockmap", "uring", Family::V4)),
    Way::Gateway(Path::on_hosts("packet", "uring", Family::V4)),
    Way::Gateway(Path::on_hosts("packet", "uring", Family::V6)),
];

/// Client and pod, joined in some way.
enum World {
    Direct(Hosts, TcpListener),
    Gateway(Bridge),
}

/// The ways that this machine has.
fn ways() -> impl Iterator<Item = Way> {
    WAYS.into_iter().filter(|way| match way {
        Way::Direct(_) => !Hosts::are_missing(),
        Way::Gateway(path) => !path.is_missing(),
    })
}

impl Way {
    /// Starts it on hosts that `prepare` has changed.
    fn start(self, prepare: impl FnOnce(&Hosts)) -> World {
        let hosts = Hosts::joined(self.family()).unwrap();
        prepare(&hosts);
        self.start_on(hosts)
    }

    fn start_on(self, hosts: Hosts) -> World {
        match self {
            Self::Direct(_) => {
                let pod = hosts.listen().unwrap();
                World::Direct(hosts, pod)
            }
            Self::Gateway(path) => World::Gateway(Bridge::start_on(path, hosts, |gateway| gateway).unwrap()),
        }
    }

    /// Whether its ends speak TCP with each other.
    fn is_end_to_end(self) -> bool {
        matches!(self, Self::Direct(_) | Self::Gateway(Path { engine: "packet", .. }))
    }

    fn family(self) -> Family {
        match self {
            Self::Direct(family) => family,
            Self::Gateway(path) => path.hosts.expect("every way of these stories is one on hosts"),
        }
    }
}

impl World {
    fn hosts(&self) -> &Hosts {
        match self {
            Self::Direct(hosts, _) => hosts,
            Self::Gateway(bridge) => bridge.hosts(),
        }
    }

    fn stream(&self) -> Ends {
        match self {
            Self::Direct(..) => self.stream_at_once(),
            Self::Gateway(bridge) => bridge.stream().unwrap(),
        }
    }

    /// Which goes into the kernel when it will.
    fn stream_at_once(&self) -> Ends {
        match self {
            Self::Direct(hosts, listener) => {
                let client = hosts.connect(listener.local_addr().unwrap()).unwrap();
                let (pod, _) = listener.accept().unwrap();
                for end in [&client, &pod] {
                    end.set_read_timeout(Some(PATIENCE)).unwrap();
                }
                Ends { client, pod }
            }
            Self::Gateway(bridge) => bridge.stream_at_once().unwrap(),
        }
    }

    /// Packets that were dropped while their stream was taken over.
    fn held(&self) -> f64 {
        match self {
            Self::Gateway(bridge) if bridge.path().engine == "packet" => {
                bridge.gateway.metric("gateway_packets_unspliced_total", &[("reason", "held")]).unwrap()
            }
            _ => 0.0,
        }
    }

    /// The sum of a TCP counter over the ends' hosts.
    fn counted_at_ends(&self, name: &str) -> u64 {
        let hosts = self.hosts();
        [&hosts.client, &hosts.pod].map(|host| host.counter(name).unwrap()).iter().sum()
    }

    /// A stream of which the two connections do not fit together, for this reason: only `packet` makes one of them.
    fn stream_refused(&self, reason: &str) -> Ends {
        match self {
            Self::Gateway(bridge) if bridge.path().engine == "packet" => bridge.stream_refused(reason).unwrap(),
            _ => self.stream(),
        }
    }

    /// The sum of a TCP counter over the hosts.
    fn counted(&self, name: &str) -> u64 {
        let hosts = self.hosts();
        [&hosts.client, hosts.gateway(), &hosts.pod].map(|host| host.counter(name).unwrap()).iter().sum()
    }
}

/// Both ends say `bytes` to each other at the same time, in pieces of random size, and hear them.
fn converse(ends: &Ends, seed: u64, bytes: usize) {
    const PIECE_MAX: usize = 20_000;
    thread::scope(|scope| {
        for (one, other, seed) in [(&ends.client, &ends.pod, 2 * seed), (&ends.pod, &ends.client, 2 * seed + 1)] {
            let (mut writer, mut reader) = (one.try_clone().unwrap(), other.try_clone().unwrap());
            scope.spawn(move || {
                Pattern::new(seed).write(&mut writer, bytes, PIECE_MAX, &mut Pattern::new(!seed)).unwrap();
            });
            scope.spawn(move || Pattern::new(seed).read(&mut reader, bytes).unwrap());
        }
    });
}

/// Both have said everything, and hear each other's end.
fn part(mut ends: Ends) {
    use std::io::Read as _;
    for end in [&ends.client, &ends.pod] {
        end.shutdown(Shutdown::Write).unwrap();
    }
    for end in [&mut ends.client, &mut ends.pod] {
        assert_eq!(end.read(&mut [0]).unwrap(), 0, "bytes behind the last one");
    }
}
