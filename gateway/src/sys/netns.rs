//! Which network this process is in.

use std::io;

use socket2::{Domain, Socket, Type};

use super::tcp::option;

/// The number of this thread's network namespace, which no other ever gets (`SO_NETNS_COOKIE`, Linux 5.14).
///
/// # Errors
/// What `socket(2)` and `getsockopt(2)` say.
pub fn cookie() -> io::Result<u64> {
    /// include/uapi/asm-generic/socket.h; the crate does not name it.
    const SO_NETNS_COOKIE: libc::c_int = 71;
    let socket = Socket::new(Domain::UNIX, Type::DGRAM.cloexec(), None)?;
    option(&socket, libc::SOL_SOCKET, SO_NETNS_COOKIE)
}

#[cfg(test)]
mod tests {
    #[test]
    fn this_thread_is_somewhere_and_stays_there() {
        let here = super::cookie().unwrap();
        assert_ne!(here, 0);
        assert_eq!(super::cookie().unwrap(), here);
    }
}
