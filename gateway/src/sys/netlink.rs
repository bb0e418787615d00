//! The kernel's routing: where packets go, and when that may have changed (rtnetlink(7)).

mod message;

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::{Mutex, PoisonError};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, NetlinkAddr, bind, recv};
use socket2::{Domain, Protocol, Socket, Type};

use message::Answer;

/// What a change of can move a route: interfaces, addresses, routes, rules, and next hops that routes share
/// (`RTNLGRP_*` of include/uapi/linux/rtnetlink.h).
const GROUPS: [u32; 8] = [1, 5, 7, 8, 9, 11, 19, 32];

/// Changes that are taken in one go: more than a socket's buffer holds at a time.
const TAKEN_MAX: usize = 4096;

/// Where packets go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Towards {
    /// To this machine itself.
    Here,
    /// Out through the interface with this number.
    Device(u32),
    /// Nowhere: there is no route, or one that says so.
    Nowhere,
}

/// Asks for routes.
pub struct Routes(Mutex<Questions>);

struct Questions {
    socket: Socket,
    /// The number of the last question.
    number: u32,
}

fn socket() -> io::Result<Socket> {
    Socket::new(Domain::from(libc::AF_NETLINK), Type::RAW.nonblocking(), Some(Protocol::from(libc::NETLINK_ROUTE)))
}

impl Routes {
    /// Opens its socket.
    ///
    /// # Errors
    /// What `socket(2)` says.
    pub fn open() -> io::Result<Self> {
        Ok(Self(Mutex::new(Questions { socket: socket()?, number: 0 })))
    }

    /// Where packets from `source`, an address of this machine, to `destination` go.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub fn find(&self, source: IpAddr, destination: IpAddr) -> io::Result<Towards> {
        // Nothing is left half-done that the next question would not begin anew.
        self.0.lock().unwrap_or_else(PoisonError::into_inner).ask(source, destination)
    }
}

impl Questions {
    fn ask(&mut self, source: IpAddr, destination: IpAddr) -> io::Result<Towards> {
        /// Room for an answer: a route and its attributes.
        const ANSWER_BYTES: usize = 4096;
        /// Answers to questions before, that nobody took.
        const OLD_MAX: usize = 16;
        self.number = self.number.wrapping_add(1);
        self.socket.send(&message::question(self.number, source, destination))?;
        let mut bytes = [0; ANSWER_BYTES];
        // The kernel answers before it returns from the question.
        for _ in 0..OLD_MAX {
            let len = recv(self.socket.as_raw_fd(), &mut bytes, MsgFlags::empty())?;
            let Some(answer) = message::answer(self.number, &bytes[..len]) else { continue };
            return match answer {
                Answer::Route { kind: libc::RTN_LOCAL, .. } => Ok(Towards::Here),
                Answer::Route { kind: libc::RTN_UNICAST, device } if device != 0 => Ok(Towards::Device(device)),
                Answer::Route { .. } => Ok(Towards::Nowhere),
                Answer::Error(error) => refusal(error),
            };
        }
        Err(io::ErrorKind::InvalidData.into())
    }
}

/// What errors mean for the way to a peer.
fn refusal(error: i32) -> io::Result<Towards> {
    match error {
        // No route, one that refuses or swallows, or the source is no address of this machine any more.
        libc::ENETUNREACH | libc::EHOSTUNREACH | libc::EACCES | libc::EINVAL | libc::ENODEV | libc::ENETDOWN => {
            Ok(Towards::Nowhere)
        }
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// A socket that is readable when interfaces, addresses, routes or rules have changed.
///
/// # Errors
/// What `socket(2)` and `bind(2)` say.
pub fn changes() -> io::Result<OwnedFd> {
    let socket = socket()?;
    let groups = GROUPS.iter().fold(0, |groups, group| groups | 1 << (group - 1));
    bind(socket.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
    Ok(socket.into())
}

/// Takes what has been told so far; false where that was nothing. What it was does not matter to whoever looks at
/// everything again, and so neither does it how much was lost for want of room (`ENOBUFS`).
///
/// # Errors
/// When the socket is broken.
pub fn take_changes(socket: &OwnedFd) -> io::Result<bool> {
    for taken in 0..TAKEN_MAX {
        // The rest of a message goes with what was read of it.
        match recv(socket.as_raw_fd(), &mut [0], MsgFlags::empty()) {
            Ok(_) | Err(Errno::ENOBUFS | Errno::EINTR) => {}
            Err(Errno::EAGAIN) => return Ok(taken > 0),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_this_machine_is_here() {
        let routes = Routes::open().unwrap();
        for address in ["127.0.0.1", "127.1.2.3"] {
            let address = address.parse().unwrap();
            assert_eq!(routes.find(address, address).unwrap(), Towards::Here);
        }
    }

    #[test]
    fn an_address_that_is_not_ours_leads_nowhere() {
        let [foreign, own] = ["192.0.2.1", "127.0.0.1"].map(|address| address.parse().unwrap());
        assert_eq!(Routes::open().unwrap().find(foreign, own).unwrap(), Towards::Nowhere);
    }
}
