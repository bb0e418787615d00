//! Network namespaces of a story's own: other hosts, joined by veth pairs that can be cut.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, ensure};
use nix::sched::{CloneFlags, setns};

use crate::interfaces;

/// A host without a cable. Dropping it removes it.
pub struct Namespace {
    name: String,
}

/// A host that is joined with this one. Dropping it removes the namespace, and the pair with it.
pub struct NetNs {
    namespace: Namespace,
    device: String,
    /// The first address of its /30.
    subnet: u32,
}

/// 10.213.0.0/16, cut into subnets of four addresses.
const NETWORK: u32 = u32::from_be_bytes([10, 213, 0, 0]);
const SUBNET_BITS: u32 = 0xfffc;

/// Numbers what this process makes, so that no two have one name.
static NEXT: AtomicU32 = AtomicU32::new(0);

impl Namespace {
    /// A host that can talk to nobody but itself.
    pub fn new() -> Result<Self> {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let namespace = Self { name: format!("sg{}-{number}", std::process::id()) };
        ip(&["netns", "add", &namespace.name])?;
        namespace.ip(&["link", "set", "lo", "up"])?;
        Ok(namespace)
    }

    /// Its name, as ip-netns(8) knows it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where the kernel shows it, for programs that enter it.
    pub fn path(&self) -> String {
        format!("/run/netns/{}", self.name)
    }

    /// Runs ip(8) there.
    pub fn ip(&self, arguments: &[&str]) -> Result<()> {
        ip(&[&["-n", &self.name], arguments].concat())
    }

    /// Does something there. A socket stays where it was made, and so does a program.
    pub fn there<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let namespace = fs::File::open(self.path()).context("open the namespace")?;
        // A thread of its own: only that thread changes its namespace, and it ends with the call.
        std::thread::scope(|scope| {
            let working = scope.spawn(move || {
                setns(namespace, CloneFlags::CLONE_NEWNET)?;
                work()
            });
            working.join().expect("the thread on the other host does not panic")
        })
    }

    /// Runs a program there to its end; what it printed.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        self.there(|| {
            let output = Command::new(program).args(arguments).output().with_context(|| format!("run {program}"))?;
            let complaint = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            ensure!(output.status.success(), "{program} {}: {complaint}", arguments.join(" "));
            Ok(String::from_utf8(output.stdout)?)
        })
    }

    /// Sets a parameter of its network, such as `ipv4/tcp_sack`.
    pub fn set(&self, parameter: &str, value: &str) -> Result<()> {
        let path = format!("/proc/sys/net/{parameter}");
        self.there(|| fs::write(&path, value).with_context(|| format!("write {path}")))
    }

    /// A counter of its network as nstat(8) names it, such as `TcpExtPAWSEstab` or `Icmp6InDestUnreachs`; an error
    /// where the kernel has none of this name.
    pub fn counter(&self, name: &str) -> Result<u64> {
        let text = self.there(|| {
            // Not /proc/net, which is that of the process's first thread.
            let of_thread = |table: &str| fs::read_to_string(format!("/proc/thread-self/net/{table}"));
            Ok((of_thread("netstat")? + &of_thread("snmp")?, of_thread("snmp6")?))
        })?;
        let (tables, lines) = text;
        counter(&tables, name)
            .or_else(|| line(&lines, name))
            .with_context(|| format!("the kernel has no counter {name}"))
    }
}

/// Each table of proc(5) is two lines: its names, then their values, both behind the name of the table.
fn counter(text: &str, wanted: &str) -> Option<u64> {
    let lines: Vec<&str> = text.lines().collect();
    lines.chunks_exact(2).find_map(|pair| {
        let (table, names) = pair[0].split_once(": ")?;
        let column = names.split(' ').position(|name| wanted.strip_prefix(table) == Some(name))?;
        pair[1].split(' ').nth(column + 1)?.parse().ok()
    })
}

/// Those of IPv6 have a line each.
fn line(text: &str, wanted: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.split_once(char::is_whitespace));
    lines.find(|(name, _)| *name == wanted)?.1.trim().parse().ok()
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Err(error) = ip(&["netns", "delete", &self.name]) {
            eprintln!("the namespace {} stays: {error:#}", self.name);
        }
    }
}

impl NetNs {
    /// A namespace that can talk to this one.
    pub fn joined() -> Result<Self> {
        let namespace = Namespace::new()?;
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let id = std::process::id();
        // Another run of the stories at the same time has other names and, but for a rare chance, other addresses.
        let subnet = NETWORK | ((id.wrapping_mul(16) + number) << 2) & SUBNET_BITS;
        let world = Self { namespace, device: format!("sg{}v{number}", id % 100_000), subnet };
        let Self { namespace, device, .. } = &world;
        let peer = format!("{device}p");
        let _guard = interfaces::change();
        ip(&["link", "add", device, "type", "veth", "peer", "name", &peer, "netns", namespace.name()])?;
        ip(&["address", "add", &format!("{}/30", world.host_address()), "dev", device])?;
        ip(&["link", "set", device, "up"])?;
        namespace.ip(&["address", "add", &format!("{}/30", world.other_address()), "dev", &peer])?;
        namespace.ip(&["link", "set", &peer, "up"])?;
        Ok(world)
    }

    /// The other host.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// This side's address.
    pub fn host_address(&self) -> IpAddr {
        Ipv4Addr::from(self.subnet + 1).into()
    }

    /// The other side's.
    pub fn other_address(&self) -> IpAddr {
        Ipv4Addr::from(self.subnet + 2).into()
    }

    /// Connects from the other host.
    pub fn connect(&self, to: SocketAddr) -> Result<TcpStream> {
        self.namespace.there(move || Ok(TcpStream::connect(to)?))
    }

    /// Listens on the other host, on a port of the kernel's choice.
    pub fn listen(&self) -> Result<TcpListener> {
        let address = self.other_address();
        self.namespace.there(move || Ok(TcpListener::bind((address, 0))?))
    }

    /// Cuts the cable: packets are lost, and nobody is told.
    pub fn cut(&self) -> Result<()> {
        let _guard = interfaces::change();
        self.namespace.ip(&["link", "set", &format!("{}p", self.device), "down"])?;
        // The near end stays up without a carrier, so that sending fails silently as it would behind a switch.
        let other = self.other_address().to_string();
        ip(&["neighbour", "replace", &other, "lladdr", "02:00:00:00:00:01", "dev", &self.device])
    }
}

impl Drop for NetNs {
    fn drop(&mut self) {
        // The pair by itself, since a namespace outlives its name for as long as a socket in it does: with the cable
        // cut, a connection that was never told of its end keeps it for minutes.
        let _guard = interfaces::change();
        if let Err(error) = ip(&["link", "delete", &self.device]) {
            eprintln!("the pair of {} stays: {error:#}", self.namespace.name);
        }
    }
}

fn ip(arguments: &[&str]) -> Result<()> {
    let output = Command::new("ip").args(arguments).output().context("run ip")?;
    ensure!(output.status.success(), "ip {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{counter, line};

    #[test]
    fn a_counter_is_found_below_its_name() {
        let text = "TcpExt: SyncookiesSent PAWSEstab\nTcpExt: 0 7\nTcp: InErrs InCsumErrors\nTcp: 1 2\n";
        assert_eq!(counter(text, "TcpExtPAWSEstab"), Some(7));
        assert_eq!(counter(text, "TcpInCsumErrors"), Some(2));
        assert_eq!(counter(text, "TcpExtInErrs"), None);
        let text = "Ip6InReceives                   \t7\nIcmp6InDestUnreachs             \t3\n";
        assert_eq!((line(text, "Icmp6InDestUnreachs"), line(text, "Icmp6InErrors")), (Some(3), None));
    }
}
