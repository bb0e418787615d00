//! A client with many streams on one thread, which allocates nothing while it measures.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{ErrorKind, IoSlice, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use hdrhistogram::Histogram;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::time::TimeSpec;

use super::frame::{Frames, Head};
use super::pattern::{PIECE_BYTES, Pattern};
use super::size::{Sizes, mixed};
use super::{HEADER_BYTES, Run, Tally, UP_OFFSET, steps};

/// How long answers may be late after the end before the run has failed.
const LATE_MAX: Duration = Duration::from_secs(10);

/// How long a stream may take to be established.
const OPEN_MAX: Duration = Duration::from_secs(10);

/// What a histogram of latencies ends at.
const LATENCY_MAX: Duration = Duration::from_secs(60);

const EVENTS_AT_ONCE: usize = 256;

/// Nanoseconds between two reads of a stream that reads slowly.
const SLOW_READ_INTERVAL: u64 = 50_000_000;

pub(crate) struct Client {
    epoll: Epoll,
    streams: Vec<Stream>,
    pattern: Pattern,
    buffer: Vec<u8>,
    events: Vec<EpollEvent>,
    /// When a stream intends to send next, in an open loop.
    due: BinaryHeap<Reverse<(u64, usize)>>,
    latencies: Histogram<u64>,
}

/// The state of one stream. Counters of messages begin anew with each run.
struct Stream {
    socket: TcpStream,
    seed: u64,
    /// Those of the answers, where messages are frames.
    frames: Option<Frames>,
    /// Messages that were intended, sent in full, and answered.
    intended: u64,
    sent: u64,
    answered: u64,
    /// Bytes of the message that is being sent, the head of its frame included.
    out: usize,
    /// Bytes of the answer that is being received.
    into: usize,
    up_position: u64,
    down_position: u64,
    /// When the latest message was intended, in a closed loop.
    latest: u64,
}

/// A run in progress, in nanoseconds since its beginning.
struct Course {
    run: Run,
    sizes: Sizes,
    clock: Instant,
    begin: u64,
    end: u64,
    /// Between two messages of a stream, in an open loop.
    interval: u64,
    /// When slow readers read next; `None`: nobody reads slowly.
    next_read: Option<u64>,
    outstanding: u64,
    messages: u64,
}

impl Client {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            streams: Vec::new(),
            pattern: Pattern::new(),
            buffer: vec![0; PIECE_BYTES],
            events: vec![EpollEvent::empty(); EVENTS_AT_ONCE],
            due: BinaryHeap::new(),
            latencies: Histogram::new_with_bounds(1, nanos(LATENCY_MAX), 3).expect("the bounds are valid"),
        })
    }

    /// Establishes one more stream, to `sandbox`; no other client process may use the same `seed`.
    pub(crate) fn open(&mut self, to: SocketAddr, sandbox: &str, seed: u32) -> Result<()> {
        self.establish(to, &format!("/vnc/{sandbox}/websockify"), seed, None)
    }

    /// The same through somebody who ends WebSocket: messages are frames, and the sandbox is a token.
    pub(crate) fn open_framed(&mut self, to: SocketAddr, sandbox: &str, seed: u32) -> Result<()> {
        self.establish(to, &format!("/websockify?token={sandbox}"), seed, Some(Frames::default()))
    }

    fn establish(&mut self, to: SocketAddr, target: &str, seed: u32, frames: Option<Frames>) -> Result<()> {
        let mut socket = TcpStream::connect_timeout(&to, OPEN_MAX).context("connect")?;
        socket.set_read_timeout(Some(OPEN_MAX))?;
        socket.set_nodelay(true)?;
        let request = format!(
            "GET {target} HTTP/1.1\r\nHost: {to}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        socket.write_all(request.as_bytes())?;
        let head = gateway_tests::bridge::read_head(&mut socket).context("no answer to an upgrade")?;
        ensure!(head.starts_with("HTTP/1.1 101 "), "no stream but {head}");
        socket.set_nonblocking(true)?;
        let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLET;
        self.epoll.add(&socket, EpollEvent::new(flags, self.streams.len() as u64))?;
        self.streams.push(Stream { frames, ..Stream::new(socket, u64::from(seed)) });
        self.due.reserve(self.streams.len());
        Ok(())
    }

    /// Lets all streams exchange messages.
    ///
    /// # Errors
    ///
    /// When a stream ends, a byte is wrong, or an answer does not come.
    pub(crate) fn run(&mut self, run: &Run) -> Result<Tally> {
        self.latencies.reset();
        self.due.clear();
        let taking_part = run.streams.unwrap_or(usize::MAX).min(self.streams.len());
        let mut course = Course::new(run, taking_part);
        for (index, stream) in self.streams[..taking_part].iter_mut().enumerate() {
            (stream.intended, stream.sent, stream.answered) = (0, 0, 0);
            if run.per_second.is_some() {
                self.due.push(Reverse((course.intended(stream, 0), index)));
            } else {
                stream.intend(&mut course);
                stream.send(&self.pattern, &course)?;
            }
        }
        loop {
            let now = course.now();
            self.send_due(&mut course, now)?;
            self.read_slowly(&mut course, now)?;
            if now >= course.end && course.outstanding == 0 {
                break;
            }
            if now >= course.end + nanos(LATE_MAX) {
                bail!("{} answers have not come {LATE_MAX:?} after the end", course.outstanding);
            }
            self.wait(&mut course, now)?;
        }
        Ok(Tally { messages: course.messages, latencies: steps(&self.latencies), stages: Vec::new() })
    }

    /// Sends what was intended for now or before.
    fn send_due(&mut self, course: &mut Course, now: u64) -> Result<()> {
        while let Some(Reverse((time, index))) = self.due.peek().copied() {
            if time > now {
                break;
            }
            self.due.pop();
            let stream = &mut self.streams[index];
            stream.intend(course);
            stream.send(&self.pattern, course)?;
            let next = course.intended(stream, stream.intended);
            if next < course.end {
                self.due.push(Reverse((next, index)));
            }
        }
        Ok(())
    }

    /// Lets slow readers take what they have earned since they last read.
    fn read_slowly(&mut self, course: &mut Course, now: u64) -> Result<()> {
        let (Some(rate), Some(next)) = (course.run.reads_per_second, course.next_read) else { return Ok(()) };
        if now < next {
            return Ok(());
        }
        course.next_read = Some(now + SLOW_READ_INTERVAL);
        let earned = u64::from(rate) * SLOW_READ_INTERVAL / 1_000_000_000;
        let most = if now < course.end { usize::try_from(earned)? } else { usize::MAX };
        for stream in &mut self.streams {
            stream.receive(&self.pattern, &mut self.buffer, most, course, &mut self.latencies)?;
            stream.send(&self.pattern, course)?;
        }
        Ok(())
    }

    /// Waits for answers until the next message is due.
    fn wait(&mut self, course: &mut Course, now: u64) -> Result<()> {
        let next = self.due.peek().map_or(course.end.max(now + 1_000_000), |Reverse((time, _))| *time);
        let next = course.next_read.map_or(next, |read| read.min(next));
        // To the nanosecond, which epoll_wait(2) cannot do; ppoll(2) can, and an epoll is readable when it has events.
        let left = TimeSpec::from_duration(Duration::from_nanos(next.saturating_sub(now)));
        match ppoll(&mut [PollFd::new(self.epoll.0.as_fd(), PollFlags::POLLIN)], Some(left), None) {
            Err(Errno::EINTR) => return Ok(()),
            ready => ready?,
        };
        let count = self.epoll.wait(&mut self.events, EpollTimeout::ZERO)?;
        for event in &self.events[..count] {
            let stream = &mut self.streams[usize::try_from(event.data())?];
            // Whoever reads slowly does not care that there is something to read.
            if course.next_read.is_none() {
                stream.receive(&self.pattern, &mut self.buffer, usize::MAX, course, &mut self.latencies)?;
            }
            stream.send(&self.pattern, course)?;
        }
        Ok(())
    }
}

impl Stream {
    fn new(socket: TcpStream, seed: u64) -> Self {
        Self {
            socket,
            seed,
            frames: None,
            intended: 0,
            sent: 0,
            answered: 0,
            out: 0,
            into: 0,
            up_position: 0,
            down_position: 0,
            latest: 0,
        }
    }

    fn intend(&mut self, course: &mut Course) {
        self.latest = course.now();
        self.intended += 1;
        course.outstanding += 1;
    }

    /// Sends what is intended, as far as the socket takes it.
    fn send(&mut self, pattern: &Pattern, course: &Course) -> Result<()> {
        let up = course.run.up as usize;
        let frame = self.frames.as_ref().map_or(Head::NONE, |_| Head::of(course.run.up));
        let frame = frame.as_slice();
        while self.sent < self.intended && !(course.run.is_pull && self.sent > self.answered) {
            let seed = u32::try_from(self.seed)?;
            let mut header = [0; HEADER_BYTES];
            for (field, number) in
                header.chunks_mut(4).zip([course.run.up, course.sizes.at(self.seed, self.sent), seed])
            {
                field.copy_from_slice(&number.to_be_bytes());
            }
            let (before, out) = (&frame[self.out.min(frame.len())..], self.out.saturating_sub(frame.len()));
            let header = &header[out.min(HEADER_BYTES)..];
            let body = pattern.at(self.seed + UP_OFFSET + self.up_position, up - out.max(HEADER_BYTES));
            match self.socket.write_vectored(&[IoSlice::new(before), IoSlice::new(header), IoSlice::new(body)]) {
                Ok(count) => {
                    self.up_position += count.saturating_sub(before.len() + header.len()) as u64;
                    self.out += count;
                    if self.out == frame.len() + up {
                        self.out = 0;
                        self.sent += 1;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error).context("send"),
            }
        }
        Ok(())
    }

    /// Receives what has come, but at most about `most` bytes.
    fn receive(
        &mut self,
        pattern: &Pattern,
        buffer: &mut [u8],
        most: usize,
        course: &mut Course,
        latencies: &mut Histogram<u64>,
    ) -> Result<()> {
        let asked = buffer.len().min(most);
        let mut left = most;
        while left > 0 {
            let count = match self.socket.read(&mut buffer[..asked]) {
                Ok(0) => bail!("a stream has ended"),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error).context("receive"),
            };
            let bytes = match &mut self.frames {
                None => count,
                Some(frames) => frames.strip(&mut buffer[..count])?,
            };
            ensure!(pattern.matches(self.seed + self.down_position, &buffer[..bytes]), "a wrong byte in an answer");
            self.down_position += bytes as u64;
            self.into += bytes;
            left = left.saturating_sub(count);
            let now = course.now();
            loop {
                let answer = course.sizes.at(self.seed, self.answered) as usize;
                if self.into < answer {
                    break;
                }
                ensure!(self.answered < self.sent, "more answers than messages");
                self.into -= answer;
                course.answer(self, now, latencies);
                self.answered += 1;
                if course.run.per_second.is_none() && now < course.end {
                    self.intend(course);
                }
            }
            if count < asked {
                break;
            }
        }
        Ok(())
    }
}

impl Course {
    fn new(run: &Run, streams: usize) -> Self {
        let begin = run.lead_millis * 1_000_000;
        let interval = run.per_second.map_or(0, |rate| nanos(Duration::from_secs_f64(streams as f64 / rate)));
        Self {
            run: run.clone(),
            sizes: Sizes::of(run.down),
            clock: Instant::now(),
            begin,
            end: begin + run.millis * 1_000_000,
            interval,
            next_read: run.reads_per_second.map(|_| 0),
            outstanding: 0,
            messages: 0,
        }
    }

    fn now(&self) -> u64 {
        nanos(self.clock.elapsed())
    }

    /// When the stream's message with that number is to be sent: somewhere in its interval, so that streams neither
    /// march in step nor keep the same distance.
    fn intended(&self, stream: &Stream, number: u64) -> u64 {
        if self.run.per_second.is_none() {
            return stream.latest;
        }
        let place = mixed(stream.seed << 32 | number) >> 16;
        number * self.interval + place % self.interval.max(1)
    }

    fn answer(&mut self, stream: &Stream, now: u64, latencies: &mut Histogram<u64>) {
        self.outstanding -= 1;
        if (self.begin..self.end).contains(&now) {
            self.messages += 1;
        }
        let intended = self.intended(stream, stream.answered);
        if (self.begin..self.end).contains(&intended) {
            latencies.saturating_record(now - intended);
        }
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
