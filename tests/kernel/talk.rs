//! Both ends of a stream that say seeded bytes to each other, piece by piece and without ever waiting.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use gateway_tests::bridge::Ends;
use gateway_tests::pattern::Pattern;
use gateway_tests::wait::{PATIENCE, pause, until};

/// One direction.
struct Course {
    says: Pattern,
    sizes: Pattern,
    /// Cut off the sequence, and not yet taken by the socket.
    pending: Vec<u8>,
    sent: usize,
    hears: Pattern,
    heard: usize,
    /// Nothing but small messages.
    is_small: bool,
}

/// A stream of which both ends are ours.
pub(super) struct Talk {
    pub(super) ends: Ends,
    /// From the client to the pod, and back.
    courses: [Course; 2],
}

impl Course {
    fn new(seed: u64, is_small: bool) -> Self {
        let (says, hears) = (Pattern::new(seed), Pattern::new(seed));
        Self { says, sizes: Pattern::new(!seed), pending: Vec::new(), sent: 0, hears, heard: 0, is_small }
    }

    fn next_size(&mut self) -> usize {
        let most = match self.sizes.below(10) {
            _ if self.is_small => 200,
            0..6 => 200,
            6..9 => 5_000,
            _ => 60_000,
        };
        1 + self.sizes.below(most)
    }

    /// Writes a piece, or what was left of the last one; false when the socket takes nothing.
    fn write(&mut self, mut to: &TcpStream) -> bool {
        if self.pending.is_empty() {
            let size = self.next_size();
            self.pending = self.says.take(size);
        }
        match to.write(&self.pending) {
            Ok(bytes) => {
                self.sent += bytes;
                self.pending.drain(..bytes);
                true
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => false,
            Err(error) => panic!("written {} bytes: {error}", self.sent),
        }
    }

    /// Reads and checks what is there; false when there is nothing.
    fn read(&mut self, mut from: &TcpStream, buffer: &mut [u8]) -> bool {
        match from.read(buffer) {
            Ok(0) => panic!("the stream ended after {} of {} bytes", self.heard, self.sent),
            Ok(bytes) => {
                self.hears.check(&buffer[..bytes], self.heard).unwrap();
                self.heard += bytes;
                true
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => false,
            Err(error) => panic!("read {} of {} bytes: {error}", self.heard, self.sent),
        }
    }
}

impl Talk {
    /// Mostly small messages, some larger than what a client reads at a time.
    pub(super) fn new(ends: Ends, seed: u64) -> Self {
        Self::with(ends, seed, false)
    }

    /// Only small messages, which are never too much for anybody.
    pub(super) fn small(ends: Ends, seed: u64) -> Self {
        Self::with(ends, seed, true)
    }

    fn with(ends: Ends, seed: u64, is_small: bool) -> Self {
        for end in [&ends.client, &ends.pod] {
            end.set_nonblocking(true).unwrap();
        }
        Self { ends, courses: [2 * seed, 2 * seed + 1].map(|seed| Course::new(seed, is_small)) }
    }

    /// Either end, or both, or none says something, and both hear what there is.
    pub(super) fn step(&mut self, dice: &mut Pattern, buffer: &mut [u8]) {
        for index in [0, 1] {
            if dice.below(2) == 0 {
                let _held_back = !self.write(index);
            }
            while self.read(index, buffer) {}
        }
    }

    /// The pod says a piece; false when it is held back.
    pub(super) fn pod_says(&mut self) -> bool {
        self.write(1)
    }

    /// Bytes that the sockets of both ends have taken.
    pub(super) fn sent(&self) -> usize {
        self.courses.iter().map(|course| course.sent).sum()
    }

    /// Bytes that are neither with the one who said them nor with the one who is to hear them.
    pub(super) fn on_the_way(&self) -> usize {
        self.courses.iter().map(|course| course.sent - course.heard).sum()
    }

    /// Both hear out what was said, and nothing more is said.
    pub(super) fn hear_out(&mut self, buffer: &mut [u8]) {
        until("everything to be heard", PATIENCE, || {
            for index in [0, 1] {
                while !self.courses[index].pending.is_empty() && self.write(index) {}
                while self.read(index, buffer) {}
            }
            let is_said = self.courses.iter().all(|course| course.pending.is_empty());
            (is_said && self.on_the_way() == 0).then_some(())
        })
        .unwrap();
    }

    /// Both hear out what was said, and then each other's end.
    pub(super) fn end(mut self, buffer: &mut [u8]) -> Ends {
        self.hear_out(buffer);
        let Ends { client, pod } = &self.ends;
        for end in [client, pod] {
            end.set_nonblocking(false).unwrap();
            end.shutdown(Shutdown::Write).unwrap();
        }
        for mut end in [client, pod] {
            assert_eq!(end.read(buffer).unwrap(), 0, "bytes behind the last one");
        }
        self.ends
    }

    fn write(&mut self, index: usize) -> bool {
        let to = if index == 0 { &self.ends.client } else { &self.ends.pod };
        self.courses[index].write(to)
    }

    fn read(&mut self, index: usize, buffer: &mut [u8]) -> bool {
        let from = if index == 0 { &self.ends.pod } else { &self.ends.client };
        self.courses[index].read(from, buffer)
    }
}

/// A breath between two messages.
pub(super) fn breathe(dice: &mut Pattern) {
    pause(Duration::from_micros(500 + dice.below(3000) as u64));
}
