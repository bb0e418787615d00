//! A network namespace of a story's own, joined with this one by a veth pair: another host, that can be cut off.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, ensure};
use nix::sched::{CloneFlags, setns};

/// The other host. Dropping it removes the namespace, and the pair with it.
pub struct NetNs {
    name: String,
    device: String,
    /// The first address of its /30.
    subnet: u32,
}

/// 10.213.0.0/16, cut into subnets of four addresses.
const NETWORK: u32 = u32::from_be_bytes([10, 213, 0, 0]);
const SUBNET_BITS: u32 = 0xfffc;

impl NetNs {
    /// A namespace that can talk to this one.
    pub fn joined() -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let id = std::process::id();
        // Another run of the stories at the same time has other names and, but for a rare chance, other addresses.
        let subnet = NETWORK | ((id.wrapping_mul(16) + number) << 2) & SUBNET_BITS;
        let world = Self { name: format!("sg{id}-{number}"), device: format!("sg{}v{number}", id % 100_000), subnet };
        let Self { name, device, .. } = &world;
        let peer = format!("{device}p");
        ip(&["netns", "add", name])?;
        ip(&["link", "add", device, "type", "veth", "peer", "name", &peer, "netns", name])?;
        ip(&["address", "add", &format!("{}/30", world.host_address()), "dev", device])?;
        ip(&["link", "set", device, "up"])?;
        ip(&["-n", name, "address", "add", &format!("{}/30", world.other_address()), "dev", &peer])?;
        ip(&["-n", name, "link", "set", &peer, "up"])?;
        Ok(world)
    }

    /// This side's address.
    pub fn host_address(&self) -> IpAddr {
        Ipv4Addr::from(self.subnet + 1).into()
    }

    fn other_address(&self) -> IpAddr {
        Ipv4Addr::from(self.subnet + 2).into()
    }

    /// Connects from the other host.
    pub fn connect(&self, to: SocketAddr) -> Result<TcpStream> {
        self.there(move || Ok(TcpStream::connect(to)?))
    }

    /// Listens on the other host, on a port of the kernel's choice.
    pub fn listen(&self) -> Result<TcpListener> {
        let address = self.other_address();
        self.there(move || Ok(TcpListener::bind((address, 0))?))
    }

    /// Does something on the other host. A socket stays where it was made.
    fn there<T: Send + 'static>(&self, work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
        let namespace = std::fs::File::open(format!("/run/netns/{}", self.name)).context("open the namespace")?;
        // A thread of its own: only that thread changes its namespace, and it ends with the call.
        let working = std::thread::spawn(move || {
            setns(namespace, CloneFlags::CLONE_NEWNET)?;
            work()
        });
        working.join().expect("the thread on the other host does not panic")
    }

    /// Cuts the cable: packets are lost, and nobody is told.
    pub fn cut(&self) -> Result<()> {
        ip(&["-n", &self.name, "link", "set", &format!("{}p", self.device), "down"])?;
        // The near end stays up without a carrier, so that sending fails silently as it would behind a switch.
        ip(&[
            "neighbour",
            "replace",
            &self.other_address().to_string(),
            "lladdr",
            "02:00:00:00:00:01",
            "dev",
            &self.device,
        ])
    }
}

impl Drop for NetNs {
    fn drop(&mut self) {
        // The pair by itself, since a namespace outlives its name for as long as a socket in it does: with the cable
        // cut, a connection that was never told of its end keeps it for minutes.
        for removal in [["link", "delete", &self.device], ["netns", "delete", &self.name]] {
            if let Err(error) = ip(&removal) {
                eprintln!("the namespace {} stays: {error:#}", self.name);
            }
        }
    }
}

fn ip(arguments: &[&str]) -> Result<()> {
    let output = Command::new("ip").args(arguments).output().context("run ip")?;
    ensure!(output.status.success(), "ip {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}
