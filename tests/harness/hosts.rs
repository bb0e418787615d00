//! Three hosts in a row, client, gateway and pod, and a stranger: network namespaces with cables, for IPv4 and IPv6.
//!
//! ```text
//!            ours                     gateway                   pod
//!   this host (admin port) ------- eth "...p"
//!            client                     |
//!        10.214.1.2  eth -------- clients  10.214.1.1
//!                                    pods  10.214.2.1 -------- eth  10.214.2.2
//!            stranger                   |
//!        10.214.3.2  eth ------ strangers  10.214.3.1
//! ```
//!
//! On request, somebody in the middle of the client's and the pod's cable shuffles what comes by.
//!
//! The gateway's host routes between the two, so that the same stories can be told without a gateway. The addresses
//! are seen by nobody else, and so are the same in every story.

mod spare;

use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};

use anyhow::Result;

use crate::need::{Need, is_missing};
use crate::netns::{Namespace, NetNs};
use crate::shuffler::{self, Shuffler};
pub use spare::Route;

/// How the hosts speak with each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// One of the cables at the gateway's host, by its device there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cable {
    /// To the client.
    Clients,
    /// To the pod.
    Pods,
    /// To the stranger.
    Strangers,
}

/// The three. Dropping them removes everything.
pub struct Hosts {
    /// First, so that it goes first: its ends of the pairs take the others along.
    gateway: NetNs,
    /// Where clients are.
    pub client: Namespace,
    /// Where pods are.
    pub pod: Namespace,
    /// Where somebody is who has nothing to do with the stream.
    pub stranger: Namespace,
    family: Family,
    /// One for the client's cable and one for the pod's, where there are any.
    shufflers: Vec<Shuffler>,
}

/// The device of the client's and the pod's host.
pub const DEVICE: &str = "eth";

impl Cable {
    /// The name of its device at the gateway's host.
    #[must_use]
    pub fn device(self) -> &'static str {
        match self {
            Self::Clients => "clients",
            Self::Pods => "pods",
            Self::Strangers => "strangers",
        }
    }

    /// The address of its end: 1 is the gateway's, 2 the other.
    fn address(self, family: Family, end: u8) -> IpAddr {
        let network = match self {
            Self::Clients => 1,
            Self::Pods => 2,
            Self::Strangers => 3,
        };
        match family {
            Family::V4 => [10, 214, network, end].into(),
            Family::V6 => [0xfd00, 0x214, u16::from(network), 0, 0, 0, 0, u16::from(end)].into(),
        }
    }
}

impl Hosts {
    /// Whether this machine cannot have them; the story says so then, and returns.
    pub fn are_missing() -> bool {
        is_missing(&[Need::Root, Need::Program("ip"), Need::Program("nsenter"), Need::Program("ethtool")])
    }

    /// All three, up and joined.
    pub fn joined(family: Family) -> Result<Self> {
        Self::with_cables(family, None)
    }

    /// All three, and what crosses the client's and the pod's cable is shuffled.
    pub fn shuffled(family: Family, seed: u64) -> Result<Self> {
        Self::with_cables(family, Some(seed))
    }

    fn with_cables(family: Family, shuffled: Option<u64>) -> Result<Self> {
        let [client, pod, stranger] = [Namespace::new()?, Namespace::new()?, Namespace::new()?];
        let shufflers = Vec::new();
        let mut hosts = Self { gateway: NetNs::joined()?, client, pod, stranger, family, shufflers };
        // What this machine's own connections use is no part of a story; every kernel has this one, and allows it.
        for namespace in [&hosts.client, &hosts.pod, hosts.gateway()] {
            namespace.set("ipv4/tcp_congestion_control", "reno")?;
        }
        hosts.gateway().set("ipv4/ip_forward", "1")?;
        hosts.gateway().set("ipv6/conf/all/forwarding", "1")?;
        let mut shufflers = Vec::new();
        for (cable, other) in hosts.cables() {
            match shuffled {
                Some(seed) if cable != Cable::Strangers => {
                    let mut shuffler = Shuffler::new()?;
                    for (host, device, side) in
                        [(hosts.gateway(), cable.device(), shuffler::SIDES[0]), (other, DEVICE, shuffler::SIDES[1])]
                    {
                        plug((host, device), (shuffler.namespace(), side))?;
                    }
                    shuffler.start(seed + shufflers.len() as u64)?;
                    shufflers.push(shuffler);
                }
                _ => plug((hosts.gateway(), cable.device()), (other, DEVICE))?,
            }
            hosts.address(cable, other)?;
        }
        hosts.shufflers = shufflers;
        Ok(hosts)
    }

    /// Every cable, and the host at its other end.
    fn cables(&self) -> [(Cable, &Namespace); 3] {
        [(Cable::Clients, &self.client), (Cable::Pods, &self.pod), (Cable::Strangers, &self.stranger)]
    }

    /// Gives both ends of a cable their addresses.
    fn address(&self, cable: Cable, other: &Namespace) -> Result<()> {
        let (gateway, device) = (self.gateway(), cable.device());
        for family in [Family::V4, Family::V6] {
            let (flag, bits) = if family == Family::V4 { ("-4", 24) } else { ("-6", 64) };
            for (end, host, device) in [(1, gateway, device), (2, other, DEVICE)] {
                let address = format!("{}/{bits}", cable.address(family, end));
                // Nobody else could have the address, and looking for him takes a second.
                let quickly: &[&str] = if family == Family::V6 { &["nodad"] } else { &[] };
                host.ip(&[&[flag, "address", "add", &address, "dev", device], quickly].concat())?;
                host.ip(&["link", "set", device, "up"])?;
            }
            let via = cable.address(family, 1).to_string();
            other.ip(&[flag, "route", "add", "default", "via", &via])?;
        }
        Ok(())
    }

    /// Who shuffles, on the client's cable and on the pod's.
    pub fn shufflers(&self) -> &[Shuffler] {
        &self.shufflers
    }

    /// Where the gateway runs.
    pub fn gateway(&self) -> &Namespace {
        self.gateway.namespace()
    }

    /// Where clients reach the gateway.
    pub fn gateway_address(&self) -> IpAddr {
        Cable::Clients.address(self.family, 1)
    }

    /// Where the gateway's admin port is reached from this host.
    pub fn admin_address(&self) -> IpAddr {
        self.gateway.other_address()
    }

    /// The client's own address.
    pub fn client_address(&self) -> IpAddr {
        Cable::Clients.address(self.family, 2)
    }

    /// The pod's own address.
    pub fn pod_address(&self) -> IpAddr {
        Cable::Pods.address(self.family, 2)
    }

    /// The words that start a program on the gateway's host.
    pub fn at_gateway(&self) -> [String; 2] {
        ["nsenter".to_owned(), format!("--net={}", self.gateway().path())]
    }

    /// Connects from the client's host.
    pub fn connect(&self, to: SocketAddr) -> Result<TcpStream> {
        self.client.there(move || Ok(TcpStream::connect(to)?))
    }

    /// Listens on the pod's host, on a port of the kernel's choice.
    pub fn listen(&self) -> Result<TcpListener> {
        let address = Cable::Pods.address(self.family, 2);
        self.pod.there(move || Ok(TcpListener::bind((address, 0))?))
    }

    /// Listens on the gateway's own host, at one of its addresses.
    pub fn listen_at_gateway(&self, address: IpAddr) -> Result<TcpListener> {
        self.gateway().there(move || Ok(TcpListener::bind((address, 0))?))
    }

    /// Connects from the gateway's own host.
    pub fn connect_at_gateway(&self, to: SocketAddr) -> Result<TcpStream> {
        self.gateway().there(move || Ok(TcpStream::connect(to)?))
    }

    /// Both ends of the client's and the pod's cable.
    fn plugs(&self) -> [(&Namespace, &'static str); 4] {
        let [clients, pods] = [Cable::Clients, Cable::Pods].map(|cable| (self.gateway(), cable.device()));
        [(&self.client, DEVICE), clients, pods, (&self.pod, DEVICE)]
    }

    /// Everything on the cables is a packet as a wire carries it: with all of its checksum, and no longer than the
    /// device's MTU. Without this a packet of 64 KiB may cross whole, its checksum left for a device to finish. And as
    /// on a wire the packets of a stream arrive in their order; a veth pair hands each to the core that sent it, and
    /// those overtake each other when a sender changes its core.
    pub fn as_on_a_wire(&self) -> Result<()> {
        for (host, device) in self.plugs() {
            // Segmentation needs the device to finish checksums, so it goes with it.
            host.run("ethtool", &["--offload", device, "tx", "off", "gso", "off", "gro", "off"])?;
            // Receive packet steering, which keeps a flow on one core; the devices of a namespace are in its own sysfs.
            let steer = format!("echo 1 > /sys/class/net/{device}/queues/rx-0/rps_cpus");
            host.run("ip", &["netns", "exec", host.name(), "sh", "-c", &steer])?;
        }
        Ok(())
    }

    /// Nobody looks at whether a sender's address fits the cable that a packet came by, not even where it is an address
    /// of the gateway's own host.
    pub fn admit_strangers(&self) -> Result<()> {
        let devices = [Cable::Clients, Cable::Pods, Cable::Strangers].map(Cable::device);
        for scope in devices.into_iter().chain(["all"]) {
            self.gateway().set(&format!("ipv4/conf/{scope}/rp_filter"), "0")?;
        }
        self.gateway().set(&format!("ipv4/conf/{}/accept_local", Cable::Strangers.device()), "1")
    }

    /// Cuts the client's cable: packets are lost, and nobody is told.
    pub fn cut_client(&self) -> Result<()> {
        self.client.ip(&["link", "set", DEVICE, "down"])?;
        // Sending goes on without a carrier, as it would behind a switch.
        let (client, device) = (self.client_address().to_string(), Cable::Clients.device());
        self.gateway().ip(&["neighbour", "replace", &client, "lladdr", "02:00:00:00:00:01", "dev", device])
    }

    /// Loses packets that arrive at this host from its cable, one in `one_in` at random.
    pub fn lose(host: &Namespace, one_in: u32) -> Result<()> {
        Self::lose_what(host, &format!("meta l4proto tcp numgen random mod {one_in} == 0"))
    }

    /// Loses packets that arrive at this host from its cable and match a rule of nft(8).
    pub fn lose_what(host: &Namespace, rule: &str) -> Result<()> {
        let rules = format!(
            "table netdev loss {{ chain arriving {{ type filter hook ingress device {DEVICE} priority 0; \
             {rule} counter drop; }}; }}"
        );
        host.run("nft", &[&rules]).map(drop)
    }

    /// Loses nothing there any more.
    pub fn lose_nothing(host: &Namespace) -> Result<()> {
        host.run("nft", &["delete", "table", "netdev", "loss"]).map(drop)
    }

    /// How many packets found no room at the other end of the client's and the pod's cable: the queue between the two
    /// is the processor's (`net.core.netdev_max_backlog`), and everybody on this machine uses it.
    pub fn overflowed(&self) -> Result<u64> {
        let mut packets = 0;
        for (host, device) in self.plugs() {
            let path = format!("/sys/class/net/{device}/statistics/tx_dropped");
            packets += host.run("ip", &["netns", "exec", host.name(), "cat", &path])?.trim().parse::<u64>()?;
        }
        Ok(packets)
    }

    /// Keeps what the host says about the end of its connections to the host.
    pub fn mute(host: &Namespace) -> Result<()> {
        let rules = "table inet mute { chain leaving { type filter hook output priority 0; \
                     tcp flags & (fin | rst) != 0 drop; }; }";
        host.run("nft", &[rules]).map(drop)
    }

    /// Lets it speak again.
    pub fn unmute(host: &Namespace) -> Result<()> {
        host.run("nft", &["delete", "table", "inet", "mute"]).map(drop)
    }

    /// How many packets were lost there.
    pub fn lost(host: &Namespace) -> Result<u64> {
        let rules = host.run("nft", &["list", "table", "netdev", "loss"])?;
        let mut words = rules.split_whitespace().skip_while(|&word| word != "packets");
        Ok(words.nth(1).unwrap_or_default().parse()?)
    }
}

/// A cable between two hosts, by its devices there.
fn plug((one, one_device): (&Namespace, &str), (other, other_device): (&Namespace, &str)) -> Result<()> {
    one.ip(&["link", "add", one_device, "type", "veth", "peer", "name", other_device, "netns", other.name()])
}

impl Drop for Hosts {
    fn drop(&mut self) {
        self.shufflers.clear();
        // A namespace outlives its name for as long as a socket in it does; the cables do not wait for that.
        for (cable, _) in self.cables() {
            if let Err(error) = self.gateway().ip(&["link", "delete", cable.device()]) {
                eprintln!("a cable of {} stays: {error:#}", self.gateway().name());
            }
        }
    }
}
