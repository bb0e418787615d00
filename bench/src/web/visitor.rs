//! Visitors on one thread: each loads what its [`Kind`] says, and begins anew when it has got all of it.

use std::fmt::Write as _;
use std::io::{ErrorKind, Read, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use hdrhistogram::Histogram;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::pod::FIRST_FRAME;
use super::step::{Got, Next, Step};
use super::{ASSET_BYTES, Kind, PAGE_BYTES, Plan, SESSION_ASSETS, STAGES};
use crate::load::pattern::Pattern;
use crate::load::{Run, Tally, steps};
use crate::subject::sandbox_id;

/// How long a connection may take, and how long an answer may be late after the end before the run has failed.
const LATE_MAX: Duration = Duration::from_secs(10);

const LATENCY_MAX_NANOS: u64 = 60_000_000_000;
const EVENTS_AT_ONCE: usize = 256;

/// The longest response head, with the body behind it.
const ANSWER_BYTES_MAX: usize = PAGE_BYTES + (4 << 10);

/// Redirects that a page may have: the gateway's own hint, and one more.
const REDIRECTS_MAX: u32 = 2;

/// Connections that a request may lose before its answer. One is what happens; who loses more has a server that does
/// not answer.
const REPEATS_MAX: u32 = 2;

pub(crate) struct Visitors {
    plan: Plan,
    epoll: Epoll,
    visitors: Vec<Visitor>,
    pattern: Pattern,
    /// Chooses sandboxes: the state of an xorshift64*.
    random: u64,
}

struct Visitor {
    socket: TcpStream,
    /// The stream of a session, beside its connection for HTTP.
    stream: Option<TcpStream>,
    sandbox: usize,
    step: Step,
    redirects: u32,
    /// How often the current request was sent again on a new connection.
    repeats: u32,
    request: String,
    answer: Vec<u8>,
    /// Nanoseconds since the run's beginning at which the whole, and its current step, began.
    began: u64,
    step_began: u64,
}

/// A run in progress.
struct Course {
    clock: Instant,
    begin: u64,
    end: u64,
    messages: u64,
    latencies: Histogram<u64>,
    stages: [Histogram<u64>; STAGES.len()],
}

impl Course {
    fn now(&self) -> u64 {
        u64::try_from(self.clock.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn counts(&self, now: u64) -> bool {
        (self.begin..self.end).contains(&now)
    }
}

impl Visitors {
    /// Connects all visitors.
    pub(crate) fn new(plan: Plan) -> Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let random = plan.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut all = Self { plan, epoll, visitors: Vec::new(), pattern: Pattern::new(), random };
        for index in 0..all.plan.visitors {
            let sandbox = all.choose();
            let socket = all.connect(sandbox, index)?;
            all.visitors.push(Visitor {
                socket,
                stream: None,
                sandbox,
                step: Step::Page,
                redirects: 0,
                repeats: 0,
                request: String::with_capacity(1 << 10),
                answer: Vec::with_capacity(ANSWER_BYTES_MAX),
                began: 0,
                step_began: 0,
            });
        }
        Ok(all)
    }

    /// Lets everybody visit. What is under way at the end is waited for, and not counted.
    ///
    /// # Errors
    ///
    /// When a connection ends, a byte or a pod is the wrong one, or an answer does not come.
    pub(crate) fn run(&mut self, run: &Run) -> Result<Tally> {
        let histogram = || Histogram::new_with_bounds(1, LATENCY_MAX_NANOS, 3).expect("the bounds are valid");
        let begin = run.lead_millis * 1_000_000;
        let mut course = Course {
            clock: Instant::now(),
            begin,
            end: begin + run.millis * 1_000_000,
            messages: 0,
            latencies: histogram(),
            stages: std::array::from_fn(|_| histogram()),
        };
        for index in 0..self.visitors.len() {
            self.begin(index, &course)?;
        }
        let mut under_way = self.visitors.len();
        let mut events = vec![EpollEvent::empty(); EVENTS_AT_ONCE];
        while under_way > 0 {
            let count = match self.epoll.wait(&mut events, EpollTimeout::try_from(LATE_MAX)?) {
                Err(nix::errno::Errno::EINTR) => continue,
                count => count?,
            };
            ensure!(count > 0, "no answer within {LATE_MAX:?}");
            for event in &events[..count] {
                let index = usize::try_from(event.data())?;
                if self.receive(index, &mut course)? {
                    continue;
                }
                under_way -= 1;
            }
        }
        Ok(Tally {
            messages: course.messages,
            latencies: steps(&course.latencies),
            stages: course.stages.iter().map(steps).collect(),
        })
    }

    /// Begins a visitor's next page, or asset.
    fn begin(&mut self, index: usize, course: &Course) -> Result<()> {
        let visitor = &mut self.visitors[index];
        visitor.began = course.now();
        visitor.redirects = 0;
        visitor.step = match self.plan.kind {
            Kind::Session => Step::Page,
            Kind::Assets => Step::Asset(visitor.began % SESSION_ASSETS),
        };
        visitor.ask(self.plan.kind, course)
    }

    /// Takes what has come for a visitor. False when it has nothing more to do in this run.
    fn receive(&mut self, index: usize, course: &mut Course) -> Result<bool> {
        loop {
            let visitor = &mut self.visitors[index];
            match visitor.read()? {
                Got::Nothing => return Ok(true),
                Got::End => {
                    let sandbox = visitor.sandbox;
                    let socket = self.connect(sandbox, index)?;
                    let visitor = &mut self.visitors[index];
                    visitor.socket = socket;
                    visitor.send()?;
                    return Ok(true);
                }
                Got::Bytes => {}
            }
            let Some(next) = visitor.answered(&self.plan, &self.pattern, course)? else { continue };
            match next {
                Next::Ask(step) => {
                    visitor.step = step;
                    visitor.ask(self.plan.kind, course)?;
                }
                Next::Wait(step) => visitor.step = step,
                Next::Stream => {
                    let (sandbox, to) = (visitor.sandbox, index);
                    let stream = self.connect(sandbox, to)?;
                    let visitor = &mut self.visitors[index];
                    visitor.stream = Some(stream);
                    visitor.step = Step::Upgrade;
                    visitor.ask(self.plan.kind, course)?;
                    return Ok(true);
                }
                Next::Done => return self.done(index, course),
            }
        }
    }

    /// Counts what is done, and begins the next one if there is time.
    fn done(&mut self, index: usize, course: &mut Course) -> Result<bool> {
        let now = course.now();
        let visitor = &mut self.visitors[index];
        if course.counts(now) {
            course.messages += 1;
            course.latencies.saturating_record(now - visitor.began);
        }
        if self.plan.kind == Kind::Session {
            visitor.stream = None;
            let sandbox = self.choose();
            let socket = self.connect(sandbox, index)?;
            let visitor = &mut self.visitors[index];
            (visitor.socket, visitor.sandbox) = (socket, sandbox);
        }
        if now >= course.end {
            return Ok(false);
        }
        self.begin(index, course)?;
        Ok(true)
    }

    /// A connection by which `sandbox` is reached, watched for the visitor.
    fn connect(&self, sandbox: usize, visitor: usize) -> Result<TcpStream> {
        let to = self.plan.addresses[sandbox % self.plan.pods.len() % self.plan.addresses.len()];
        let socket = TcpStream::connect_timeout(&to, LATE_MAX).context("connect")?;
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
        self.epoll.add(&socket, EpollEvent::new(EpollFlags::EPOLLIN, visitor as u64))?;
        Ok(socket)
    }

    fn choose(&mut self) -> usize {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        let random = self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16;
        usize::try_from(random).unwrap_or(usize::MAX) % self.plan.sandboxes
    }
}

impl Visitor {
    /// Sends the request of the current step.
    fn ask(&mut self, kind: Kind, course: &Course) -> Result<()> {
        self.step_began = course.now();
        self.repeats = 0;
        let id = sandbox_id(self.sandbox);
        let host = self.socket.peer_addr()?;
        self.request.clear();
        match self.step {
            Step::Page => write!(self.request, "GET /vnc/{id}/ HTTP/1.1\r\nSec-Fetch-Mode: navigate\r\n")?,
            // A session's assets are found by its cookie, as the pages of the first VNC gateways had it.
            Step::Asset(number) if kind == Kind::Session => write!(
                self.request,
                "GET /vnc/app/{number} HTTP/1.1\r\nSec-Fetch-Mode: cors\r\nCookie: vnc_session_id={id}\r\n"
            )?,
            Step::Asset(number) => write!(self.request, "GET /vnc/{id}/app/{number} HTTP/1.1\r\n")?,
            Step::Upgrade | Step::FirstFrame => write!(
                self.request,
                "GET /vnc/{id}/websockify HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            )?,
        }
        write!(self.request, "Host: {host}\r\nAccept: text/html,*/*\r\n\r\n")?;
        self.send()
    }

    /// The page once more, under the URL that a redirect names.
    fn follow(&mut self, location: &str, host: SocketAddr) -> Result<()> {
        self.redirects += 1;
        ensure!(self.redirects <= REDIRECTS_MAX, "redirected for ever, now to {location}");
        self.request.clear();
        write!(
            self.request,
            "GET {location} HTTP/1.1\r\nHost: {host}\r\nSec-Fetch-Mode: navigate\r\nAccept: text/html,*/*\r\n\r\n"
        )?;
        self.send()
    }

    /// A request is small, and its socket has nothing to send: it takes all of it. One that was closed meanwhile says
    /// so when it is read.
    fn send(&mut self) -> Result<()> {
        let mut socket = self.stream.as_ref().unwrap_or(&self.socket);
        match socket.write_all(self.request.as_bytes()) {
            Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => Ok(()),
            sent => sent.context("send a request"),
        }
    }

    /// Appends what has come to the answer.
    fn read(&mut self) -> Result<Got> {
        let mut socket = self.stream.as_ref().unwrap_or(&self.socket);
        let mut buffer = [0; ANSWER_BYTES_MAX];
        let ended = match socket.read(&mut buffer) {
            Ok(0) => None,
            Ok(count) => {
                self.answer.extend_from_slice(&buffer[..count]);
                ensure!(self.answer.len() <= ANSWER_BYTES_MAX, "an answer of more than {ANSWER_BYTES_MAX} bytes");
                return Ok(Got::Bytes);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Got::Nothing),
            Err(error) => Some(error),
        };
        // A kept connection may end at any time between two answers, such as when nginx reads its table anew. What was
        // asked for is asked for once more then, as browsers do (RFC 9112 section 9.3.1).
        if self.stream.is_none() && self.answer.is_empty() && self.repeats < REPEATS_MAX {
            self.repeats += 1;
            return Ok(Got::End);
        }
        let why = ended.map_or_else(String::new, |error| format!(" ({error})"));
        bail!("a connection has ended{why} at {:?} after {:?}", self.step, lossy(&self.answer))
    }

    /// Looks whether the answer is complete, and checks it. `None` while it is not.
    fn answered(&mut self, plan: &Plan, pattern: &Pattern, course: &mut Course) -> Result<Option<Next>> {
        if self.step == Step::FirstFrame {
            return self.first_frame(course);
        }
        let mut fields = [httparse::EMPTY_HEADER; 64];
        let mut response = httparse::Response::new(&mut fields);
        let httparse::Status::Complete(head) = response.parse(&self.answer)? else { return Ok(None) };
        let field = |name: &str| {
            let field = response.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name));
            field.map_or("", |field| std::str::from_utf8(field.value).unwrap_or_default())
        };
        let body: usize = field("content-length").parse().unwrap_or(0);
        match (response.code, self.step) {
            (Some(101), Step::Upgrade) => {
                self.answer.drain(..head);
                self.passed(course);
                self.step = Step::FirstFrame;
                return Ok(self.first_frame(course)?.or(Some(Next::Wait(Step::FirstFrame))));
            }
            _ if self.answer.len() < head + body => return Ok(None),
            (Some(302), Step::Page) => {
                let location = field("location").to_owned();
                self.answer.clear();
                let host = self.socket.peer_addr()?;
                self.follow(&location, host)?;
                return Ok(None);
            }
            (Some(200), Step::Page | Step::Asset(_)) => {}
            _ => bail!("no answer to {:?}: {:?}", self.step, lossy(&self.answer)),
        }
        let pod = plan.pods[self.sandbox % plan.pods.len()];
        ensure!(field("x-pod") == pod.to_string(), "an answer of another pod: {:?}", lossy(&self.answer[..head]));
        let (bytes, position) = match self.step {
            Step::Asset(number) => (ASSET_BYTES, number * ASSET_BYTES as u64),
            _ => (PAGE_BYTES, 0),
        };
        ensure!(body == bytes && pattern.matches(position, &self.answer[head..]), "a wrong byte in an answer");
        self.answer.clear();
        self.passed(course);
        Ok(Some(match (plan.kind, self.step) {
            (Kind::Assets, _) => Next::Done,
            (Kind::Session, Step::Asset(number)) if number + 1 < SESSION_ASSETS => Next::Ask(Step::Asset(number + 1)),
            (Kind::Session, Step::Page) => Next::Ask(Step::Asset(0)),
            (Kind::Session, _) => Next::Stream,
        }))
    }

    fn first_frame(&mut self, course: &mut Course) -> Result<Option<Next>> {
        if self.answer.len() < FIRST_FRAME.len() {
            return Ok(None);
        }
        ensure!(self.answer == FIRST_FRAME, "a wrong byte in the first frame");
        self.answer.clear();
        self.passed(course);
        Ok(Some(Next::Done))
    }

    /// Records the time of a step: that of the first frame counts from the upgrade's request on.
    fn passed(&self, course: &mut Course) {
        let now = course.now();
        if course.counts(now) {
            course.stages[self.step.stage()].saturating_record(now - self.step_began);
        }
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(300)]).into_owned()
}
