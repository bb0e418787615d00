//! The options about the packet engine.

use crate::config::kind::{bytes, count};
use crate::config::option::{Many, One, Setting};
use crate::config::packet;

pub(super) static PACKET: &[Setting] = &[
    option!(
        "state-dir",
        One(packet.state_dir, packet::DIRECTORY),
        "A directory of a BPF file system, in which streams without sockets outlive the gateway. Gateways that follow \
         each other share it."
    ),
    option!(
        "packet-streams-max",
        One(packet.streams_max, count::<u32, 1, { 1 << 20 }>()),
        "Streams that can be without sockets at one time; the kernel keeps 1 KiB for each from the start."
    ),
    option!(
        "packet-ports",
        One(packet.ports, packet::PORTS),
        "The ports from which streams dial their sandbox; one that finds none free keeps its sockets. They should lie \
         outside of net.ipv4.ip_local_port_range."
    ),
    option!(
        "packet-interface",
        Many(packet.interfaces, packet::INTERFACE),
        "An interface that clients or sandboxes are reached through, once it is there; without any, all that have \
         Ethernet headers, lo among them."
    ),
    option!(
        "packet-segment-max",
        One(packet.segment_max, bytes::<536, 65_535>()),
        "The longest TCP segments that clients are asked for, where it is at most 32767. Clients on this machine send \
         longer ones than sandboxes elsewhere take, and such streams keep their sockets."
    ),
];
