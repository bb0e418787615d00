//! Pipes for splice(2): what lies in one never enters this process's memory.
//!
//! A worker's pipes are shared by all its streams. A direction takes one when its socket has something to read, and
//! gives it back as soon as it is empty again.

use std::cell::{Cell, RefCell};
use std::io::{self, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::rc::Rc;

use nix::errno::Errno;
use nix::fcntl::{OFlag, SpliceFFlags, splice};
use nix::unistd::{pipe2, read};

/// Pipes that a worker has at most, in use and idle. Without `CAP_SYS_RESOURCE` the kernel gives a user 1,024 pipes of
/// full size (`fs.pipe-user-pages-soft` is 16,384 pages, a pipe has 16) and makes the others tiny; this is what
/// 16 workers may have of them.
const PIPES_MAX: usize = 64;

/// Bytes that a direction has in a pipe at most: what a pipe of ordinary size holds where each page is full. The kernel
/// counts pages and not bytes, so a pipe may hold less, and could hold more.
const PIPE_BYTES_MAX: usize = 64 << 10;

/// A worker's pipes.
#[derive(Default)]
pub struct Pipes {
    /// Empty, and free for anybody.
    idle: RefCell<Vec<Ends>>,
    in_use: Cell<usize>,
    /// How many were idle all the time since the last sweep.
    never_used: Cell<usize>,
}

struct Ends {
    read: OwnedFd,
    write: OwnedFd,
}

impl Pipes {
    /// An empty pipe.
    ///
    /// # Errors
    /// What `pipe2(2)` says, such as `EMFILE`.
    pub fn take(self: &Rc<Self>) -> io::Result<Pipe> {
        let idle = self.idle.borrow_mut().pop();
        let ends = match idle {
            Some(ends) => ends,
            None => {
                let (read, write) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
                Ends { read, write }
            }
        };
        self.in_use.set(self.in_use.get() + 1);
        self.never_used.set(self.never_used.get().min(self.idle.borrow().len()));
        Ok(Pipe { ends: Some(ends), bytes: 0, pipes: Rc::clone(self) })
    }

    /// Closes the pipes that nobody has used since this was last called.
    pub fn sweep(&self) {
        let mut idle = self.idle.borrow_mut();
        // The one that was given back last is taken first, so those that nobody needed lie at the beginning.
        idle.drain(..self.never_used.get());
        self.never_used.set(idle.len());
    }
}

/// A pipe in use. Dropping it gives it back.
pub struct Pipe {
    /// `None` only while it is dropped.
    ends: Option<Ends>,
    bytes: usize,
    pipes: Rc<Pipes>,
}

/// What an attempt to move bytes came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moved {
    /// That many.
    Bytes(usize),
    /// There are none now, or there is no room for them.
    Nothing,
    /// The peer's end of stream.
    End,
}

impl Pipe {
    /// Whether it may be kept while its holder waits: as long as there is another one for everybody else.
    #[must_use]
    pub fn may_wait(&self) -> bool {
        self.pipes.in_use.get() < PIPES_MAX
    }

    /// Bytes in it.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    fn ends(&self) -> &Ends {
        self.ends.as_ref().expect("taken in `drop` alone")
    }

    /// Moves into the empty pipe what `socket`, which does not wait (`O_NONBLOCK`), has received.
    ///
    /// # Errors
    /// What `splice(2)` says.
    pub fn fill(&mut self, socket: &impl AsFd) -> io::Result<Moved> {
        debug_assert_eq!(self.bytes, 0, "a full pipe looks like an empty socket");
        let moved = moved(|| splice(socket, None, &self.ends().write, None, PIPE_BYTES_MAX, FLAGS))?;
        if let Moved::Bytes(bytes) = moved {
            self.bytes = bytes;
        }
        Ok(moved)
    }

    /// Moves out of the pipe what `socket`, which does not wait (`O_NONBLOCK`), has room for.
    ///
    /// # Errors
    /// What `splice(2)` says. `SIGPIPE` comes with an `EPIPE` here, for splice(2) cannot be told not to send it; Rust's
    /// runtime has it ignored.
    pub fn empty_into(&mut self, socket: &impl AsFd) -> io::Result<Moved> {
        let moved = moved(|| splice(&self.ends().read, None, socket, None, self.bytes, FLAGS))?;
        if let Moved::Bytes(bytes) = moved {
            self.bytes -= bytes;
        }
        Ok(moved)
    }

    /// Takes what is left into memory.
    ///
    /// # Errors
    /// What `read(2)` says, which has no reason to.
    pub fn into_bytes(mut self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; self.bytes];
        let mut taken = 0;
        while taken < bytes.len() {
            match read(&self.ends().read, &mut bytes[taken..]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => taken += count,
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.bytes = 0;
        Ok(bytes)
    }
}

/// Never `SPLICE_F_MORE`: it holds the last bytes back like `TCP_CORK`, for up to 200 ms.
const FLAGS: SpliceFFlags = SpliceFFlags::SPLICE_F_NONBLOCK;

fn moved(attempt: impl Fn() -> nix::Result<usize>) -> io::Result<Moved> {
    loop {
        match attempt() {
            Ok(0) => return Ok(Moved::End),
            Ok(bytes) => return Ok(Moved::Bytes(bytes)),
            Err(Errno::EAGAIN) => return Ok(Moved::Nothing),
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Whether this process may move bytes so: a seccomp profile may know no splice(2).
///
/// # Errors
/// What the system refuses.
pub fn check() -> io::Result<()> {
    let (one, other) = UnixStream::pair()?;
    let mut pipe = Rc::<Pipes>::default().take()?;
    (&one).write_all(&[0])?;
    pipe.fill(&other)?;
    pipe.empty_into(&other).map(drop)
}

impl Drop for Pipe {
    fn drop(&mut self) {
        self.pipes.in_use.set(self.pipes.in_use.get() - 1);
        // What is in it belongs to a stream that is given up.
        if self.bytes == 0 {
            self.pipes.idle.borrow_mut().extend(self.ends.take());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn sockets() -> (UnixStream, UnixStream) {
        let (one, other) = UnixStream::pair().unwrap();
        one.set_nonblocking(true).unwrap();
        other.set_nonblocking(true).unwrap();
        (one, other)
    }

    #[test]
    fn bytes_pass_through_in_order_and_the_end_is_told() {
        let ((mut client, from), (to, mut pod)) = (sockets(), sockets());
        let mut pipe = Rc::<Pipes>::default().take().unwrap();
        assert_eq!(pipe.fill(&from).unwrap(), Moved::Nothing);
        client.write_all(b"some bytes").unwrap();
        assert_eq!(pipe.fill(&from).unwrap(), Moved::Bytes(10));
        assert_eq!(pipe.empty_into(&to).unwrap(), Moved::Bytes(10));
        assert_eq!(pipe.bytes(), 0);
        let mut heard = [0; 10];
        pod.read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"some bytes");
        drop(client);
        assert_eq!(pipe.fill(&from).unwrap(), Moved::End);
    }

    #[test]
    fn what_nobody_takes_can_be_had_as_memory() {
        let ((mut client, from), (to, pod)) = (sockets(), sockets());
        while (&to).write(&[0; 4096]).is_ok() {}
        let pipes = Rc::<Pipes>::default();
        let mut pipe = pipes.take().unwrap();
        client.write_all(b"stuck").unwrap();
        pipe.fill(&from).unwrap();
        assert_eq!(pipe.empty_into(&to).unwrap(), Moved::Nothing);
        assert_eq!(pipe.into_bytes().unwrap(), b"stuck");
        assert_eq!(pipes.idle.borrow().len(), 1);
        drop(pod);
    }

    #[test]
    fn a_pipe_is_used_again_only_if_it_is_empty() {
        let (mut client, from) = sockets();
        let pipes = Rc::<Pipes>::default();
        drop(pipes.take().unwrap());
        assert_eq!(pipes.idle.borrow().len(), 1);
        let mut pipe = pipes.take().unwrap();
        client.write_all(b"of a stream that is given up").unwrap();
        pipe.fill(&from).unwrap();
        drop(pipe);
        assert_eq!((pipes.idle.borrow().len(), pipes.in_use.get()), (0, 0));
    }

    #[test]
    fn the_last_one_is_not_for_those_who_wait() {
        let pipes = Rc::<Pipes>::default();
        let held: Vec<Pipe> = (1..PIPES_MAX).map(|_| pipes.take().unwrap()).collect();
        assert!(held.iter().all(Pipe::may_wait));
        let last = pipes.take().unwrap();
        assert!(!last.may_wait());
        drop(held);
        assert!(last.may_wait());
    }

    #[test]
    fn pipes_that_were_not_needed_for_a_while_are_closed() {
        let pipes = Rc::<Pipes>::default();
        let held: Vec<Pipe> = (0..3).map(|_| pipes.take().unwrap()).collect();
        drop(held);
        pipes.sweep();
        assert_eq!(pipes.idle.borrow().len(), 3);
        drop((pipes.take().unwrap(), pipes.take().unwrap()));
        pipes.sweep();
        assert_eq!(pipes.idle.borrow().len(), 2);
        pipes.sweep();
        assert_eq!(pipes.idle.borrow().len(), 0);
    }

    #[test]
    fn this_machine_can_splice() {
        check().unwrap();
    }
}
