//! Three hosts instead of one: client, gateway and pod in network namespaces of their own, joined by veth pairs.
//!
//! Loopback spares a packet the device and its queues, and some engines more than others. The gateway's host forwards,
//! so that a stream without a gateway takes the same two cables.
//!
//! ```text
//!   client 10.0.1.2 ------ 10.0.1.1 gateway 10.0.2.1 ------ 10.0.2.2 pod
//! ```

pub(crate) mod keeper;
pub(crate) mod venue;

use std::fmt;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::thread;

use anyhow::{Context as _, Result, ensure};
use nix::sched::{CloneFlags, setns};
use nix::unistd::Uid;

/// Where the kernel keeps the names of namespaces (ip-netns(8)).
const NAMES: &str = "/run/netns";

/// What all our namespaces begin with; the process id and the role follow.
const PREFIX: &str = "sgbench";

const CONGESTION_CONTROL: &str = "/proc/sys/net/ipv4/tcp_congestion_control";

const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 2);
const GATEWAY_TO_CLIENT: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 1);
const GATEWAY_TO_POD: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 1);
const POD: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);

/// Where clients, subjects and pods are. The suite itself is always where the subjects are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Network {
    /// All on this machine's loopback.
    Loopback,
    /// On the three hosts whose names begin like this.
    ThreeHosts(String),
}

impl Network {
    /// Where subjects listen for clients.
    pub(crate) fn gateway(&self) -> IpAddr {
        match self {
            Self::Loopback => Ipv4Addr::LOCALHOST.into(),
            Self::ThreeHosts(_) => GATEWAY_TO_CLIENT.into(),
        }
    }

    /// Where pods listen for subjects.
    pub(crate) fn pod(&self) -> IpAddr {
        match self {
            Self::Loopback => Ipv4Addr::LOCALHOST.into(),
            Self::ThreeHosts(_) => POD.into(),
        }
    }

    /// The words that start a program among the clients, where those are not here.
    pub(crate) fn at_client(&self) -> Vec<String> {
        self.at("client")
    }

    /// The same among the pods.
    pub(crate) fn at_pod(&self) -> Vec<String> {
        self.at("pod")
    }

    fn at(&self, role: &str) -> Vec<String> {
        match self {
            Self::Loopback => Vec::new(),
            Self::ThreeHosts(prefix) => at(&name(prefix, role)).into(),
        }
    }

    /// For the head of a report.
    pub(crate) fn describe(&self) -> &'static str {
        match self {
            Self::Loopback => "clients, gateway and pods on one loopback",
            Self::ThreeHosts(_) => "clients, gateway and pods on three hosts (network namespaces) joined by veth",
        }
    }
}

/// As the command line of the suite has it.
impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Loopback => LOOPBACK,
            Self::ThreeHosts(prefix) => prefix,
        })
    }
}

impl From<&str> for Network {
    fn from(text: &str) -> Self {
        if text == LOOPBACK { Self::Loopback } else { Self::ThreeHosts(text.to_owned()) }
    }
}

const LOOPBACK: &str = "loopback";

fn name(prefix: &str, role: &str) -> String {
    format!("{prefix}-{role}")
}

/// The words that start a program in a network namespace, and leave all else to it as it is here: ip-netns(8) would
/// mount another /sys.
fn at(name: &str) -> [String; 2] {
    ["nsenter".to_owned(), format!("--net={NAMES}/{name}")]
}

/// A network namespace, and its address towards the others.
pub(crate) struct Host {
    name: String,
    address: IpAddr,
}

/// Dropping it removes all three.
pub(crate) struct ThreeHosts {
    prefix: String,
    client: Host,
    gateway: Host,
    pod: Host,
}

impl ThreeHosts {
    /// Builds them, after removing those of suites that did not come to it. Several of one process have names.
    ///
    /// # Errors
    ///
    /// Without the right to (root, that is), and without iproute2.
    pub(crate) fn new(called: &str) -> Result<Self> {
        remove_stale()?;
        let prefix = format!("{PREFIX}-{}{}{called}", std::process::id(), if called.is_empty() { "" } else { "-" });
        let host = |role: &str, address: Ipv4Addr| Host { name: name(&prefix, role), address: address.into() };
        let (client, gateway, pod) = (host("client", CLIENT), host("gateway", GATEWAY_TO_CLIENT), host("pod", POD));
        // From here on dropping it removes what is there already.
        let hosts = Self { prefix, client, gateway, pod };
        let congestion_control = fs::read_to_string(CONGESTION_CONTROL)?;
        for host in hosts.all() {
            ip(&["netns", "add", &host.name])?;
            ip(&["-n", &host.name, "link", "set", "lo", "up"])?;
            // A new namespace has the machine's first choice, which need not be that of this process's own namespace.
            let congestion_control = congestion_control.clone();
            host.there(move || Ok(fs::write(CONGESTION_CONTROL, congestion_control)?))?;
        }
        join((&hosts.client, CLIENT), (&hosts.gateway, GATEWAY_TO_CLIENT), "left")?;
        join((&hosts.pod, POD), (&hosts.gateway, GATEWAY_TO_POD), "right")?;
        for (host, gateway) in [(&hosts.client, GATEWAY_TO_CLIENT), (&hosts.pod, GATEWAY_TO_POD)] {
            ip(&["-n", &host.name, "route", "add", "default", "via", &gateway.to_string()])?;
        }
        // The kernel shows a thread the settings of its own namespace.
        hosts.gateway.there(|| Ok(fs::write("/proc/sys/net/ipv4/ip_forward", "1")?))?;
        Ok(hosts)
    }

    /// What the names of the three begin with.
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The words that start a program on the gateway's host.
    pub(crate) fn at_gateway(&self) -> [String; 2] {
        at(&self.gateway.name)
    }

    fn all(&self) -> [&Host; 3] {
        [&self.client, &self.gateway, &self.pod]
    }
}

impl Drop for ThreeHosts {
    fn drop(&mut self) {
        for host in self.all().into_iter().filter(|host| Path::new(NAMES).join(&host.name).exists()) {
            if let Err(error) = remove(&host.name) {
                let _unheard = writeln!(io::stderr(), "the namespace {} stays: {error:#}", host.name).is_err();
            }
        }
    }
}

impl Host {
    fn namespace(&self) -> Result<fs::File> {
        fs::File::open(Path::new(NAMES).join(&self.name)).context("open the namespace")
    }

    /// Does something on this host. A socket stays where it was made.
    pub(crate) fn there<T: Send + 'static>(&self, work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
        let namespace = self.namespace()?;
        // A thread of its own: only that thread changes its namespace, and it ends with the call.
        let working = thread::spawn(move || {
            setns(namespace, CloneFlags::CLONE_NEWNET)?;
            work()
        });
        working.join().expect("the thread on another host does not panic")
    }
}

/// Shows that a byte gets through the three hosts and back, that a program runs on the gateway's, and that nothing of
/// them is left.
pub(crate) fn check() -> Result<String> {
    if !Uid::effective().is_root() {
        return Ok("skipped: only root may make network namespaces".to_owned());
    }
    let hosts = ThreeHosts::new("")?;
    let address = hosts.pod.address;
    let listener = hosts.pod.there(move || Ok(TcpListener::bind((address, 0))?))?;
    let pod = listener.local_addr()?;
    let mut client = hosts.client.there(move || Ok(TcpStream::connect(pod)?))?;
    let (mut accepted, peer) = listener.accept()?;
    ensure!(peer.ip() == hosts.client.address, "the pod sees {peer}");
    exchange(&mut client, &mut accepted)?;
    exchange(&mut accepted, &mut client)?;
    let [nsenter, namespace] = hosts.at_gateway();
    let shown =
        Command::new(nsenter).args([&namespace, "ip", "-4", "-o", "address"]).output().context("run nsenter")?;
    let shown = String::from_utf8(shown.stdout)?;
    ensure!(shown.contains("10.0.1.1/30") && shown.contains("10.0.2.1/30"), "the gateway's host has {shown}");
    let names = hosts.all().map(|host| host.name.clone());
    drop(hosts);
    for name in names {
        ensure!(!Path::new(NAMES).join(&name).exists(), "{name} is still there");
    }
    stale_ones_go()?;
    Ok("a byte goes both ways through the gateway's host; nothing is left".to_owned())
}

fn exchange(from: &mut TcpStream, to: &mut TcpStream) -> Result<()> {
    from.write_all(b"x")?;
    let mut byte = [0];
    to.read_exact(&mut byte)?;
    ensure!(&byte == b"x", "another byte came");
    Ok(())
}

/// A namespace that is named after a process that has ended is removed by the next suite.
fn stale_ones_go() -> Result<()> {
    let mut ended = Command::new("true").spawn()?;
    let name = format!("{PREFIX}-{}-pod", ended.id());
    ended.wait()?;
    ip(&["netns", "add", &name])?;
    remove_stale()?;
    ensure!(!Path::new(NAMES).join(&name).exists(), "{name}, which nobody owns, is still there");
    Ok(())
}

/// A cable between two hosts, which have the names of its ends in themselves alone.
fn join((a, a_address): (&Host, Ipv4Addr), (b, b_address): (&Host, Ipv4Addr), device: &str) -> Result<()> {
    ip(&["-n", &a.name, "link", "add", device, "type", "veth", "peer", "name", device, "netns", &b.name])?;
    for (host, address) in [(a, a_address), (b, b_address)] {
        ip(&["-n", &host.name, "address", "add", &format!("{address}/30"), "dev", device])?;
        ip(&["-n", &host.name, "link", "set", device, "up"])?;
    }
    Ok(())
}

pub(crate) fn remove_stale() -> Result<()> {
    let Ok(names) = fs::read_dir(NAMES) else { return Ok(()) };
    for name in names.filter_map(|entry| entry.ok()?.file_name().into_string().ok()) {
        if owner(&name).is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            remove(&name)?;
        }
    }
    Ok(())
}

/// The process id in a name of ours.
fn owner(name: &str) -> Option<&str> {
    let (pid, _) = name.strip_prefix(PREFIX)?.strip_prefix('-')?.split_once('-')?;
    (!pid.is_empty() && pid.bytes().all(|byte| byte.is_ascii_digit())).then_some(pid)
}

/// A namespace outlives its name for as long as a socket in it does, so the cables go by themselves.
fn remove(name: &str) -> Result<()> {
    for device in ["left", "right"] {
        let _absent = ip(&["-n", name, "link", "delete", device]).is_err();
    }
    ip(&["netns", "delete", name])
}

fn ip(arguments: &[&str]) -> Result<()> {
    let output = Command::new("ip").args(arguments).output().context("run ip")?;
    ensure!(output.status.success(), "ip {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_ours_have_an_owner() {
        assert_eq!(owner("sgbench-4711-client"), Some("4711"));
        assert_eq!(owner("sgbench-4711-packet-client"), Some("4711"));
        assert_eq!(owner("sgbench-x-client"), None);
        assert_eq!(owner("sgbench--client"), None);
        assert_eq!(owner("sg4711-0"), None);
    }
}
