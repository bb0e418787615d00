//! Many streams, in processes of their own: one process may not have the descriptors for all of them.
//!
//! A crowd is the test program once more, as a second process that has a pod and the clients of that pod. It does what
//! it is told by lines on its standard input, and answers each on its standard output.

use std::io::{BufRead, BufReader, Lines, Read, Write, stdin, stdout};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{ChildStdin, ChildStdout, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::bridge::{Ends, establish};
use crate::memory;
use crate::pattern::Pattern;
use crate::process::Process;

/// Enough for thousands of streams on a busy machine.
const STEP_LIMIT: Duration = Duration::from_secs(120);

/// What an answer begins with; the test program prints other lines besides.
const MARK: &str = "crowd: ";

/// The answer to an order that was carried out.
const DONE: &str = "done";

/// Of this many streams one is active at a time: about 3 in 100.
const ONE_ACTIVE_IN: usize = 33;

/// Each direction of a round trip, in bytes.
const UP_BYTES: usize = 700;
const DOWN_BYTES: usize = 1500;

/// A crowd, seen by the story.
pub struct Crowd {
    process: Process,
    orders: ChildStdin,
    answers: Receiver<String>,
    /// Its sandbox.
    pub sandbox: String,
    /// Where its pod listens.
    pub pod: SocketAddr,
}

impl Crowd {
    /// Starts one. `entry` is the full name of the ignored test that calls [`attend`].
    pub fn start(entry: &str, sandbox: &str) -> Result<Self> {
        let program = std::env::current_exe()?;
        let mut process = Process::spawn(&program.to_string_lossy(), |command| {
            command.args(["--ignored", "--exact", entry, "--nocapture"]);
            command.stdin(Stdio::piped()).stdout(Stdio::piped());
        })?;
        let orders = process.child().stdin.take().context("the crowd has a standard input")?;
        let answers = follow(process.child().stdout.take().context("the crowd has a standard output")?);
        let pod = answer(&answers)?.parse().context("the crowd's first answer is its pod's address")?;
        Ok(Self { process, orders, answers, sandbox: sandbox.to_owned(), pod })
    }

    /// Gives an order without waiting for its end, so that several crowds work at the same time.
    pub fn order(&mut self, order: &str) -> Result<()> {
        Ok(writeln!(self.orders, "{order}")?)
    }

    /// Waits until the last order has been carried out.
    pub fn done(&mut self) -> Result<()> {
        let said = answer(&self.answers)?;
        ensure!(said == DONE, "the crowd {} said {said}", self.process.pid());
        Ok(())
    }
}

/// On a thread of its own, so that a crowd that says nothing fails the story instead of hanging it.
fn follow(output: ChildStdout) -> Receiver<String> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let lines = BufReader::new(output).lines().map_while(Result::ok);
        for said in lines.filter_map(|line| line.split_once(MARK).map(|(_, said)| said.to_owned())) {
            if sender.send(said).is_err() {
                return;
            }
        }
    });
    receiver
}

fn answer(answers: &Receiver<String>) -> Result<String> {
    answers.recv_timeout(STEP_LIMIT).context("a crowd did not answer")
}

/// The crowd's own process: carries orders out until its standard input ends.
pub fn attend() -> Result<()> {
    memory::raise_descriptor_limit()?;
    let pod = TcpListener::bind("127.0.0.1:0")?;
    say(&pod.local_addr()?.to_string())?;
    let mut streams = Vec::new();
    let mut orders: Lines<_> = stdin().lock().lines();
    while let Some(order) = orders.next().transpose()? {
        let words: Vec<&str> = order.split(' ').collect();
        let carried_out = match words[..] {
            ["open", gateway, sandbox, count] => open(&pod, gateway.parse()?, sandbox, count.parse()?, &mut streams),
            ["exchange", rounds] => exchange(&mut streams, rounds.parse()?),
            ["close"] => close(&mut streams),
            _ => bail!("the order {order} is not known"),
        };
        say(&carried_out.map_or_else(|error| format!("failed: {error:#}"), |()| DONE.to_owned()))?;
    }
    Ok(())
}

fn say(text: &str) -> Result<()> {
    let mut output = stdout();
    writeln!(output, "{MARK}{text}")?;
    Ok(output.flush()?)
}

fn open(pod: &TcpListener, gateway: SocketAddr, sandbox: &str, count: usize, streams: &mut Vec<Ends>) -> Result<()> {
    for number in 0..count {
        let client = TcpStream::connect(gateway)?;
        let ends = establish(client, pod, gateway, sandbox, b"", b"").with_context(|| format!("stream {number}"))?;
        streams.push(ends);
    }
    Ok(())
}

/// In each round another thirty-third of the streams exchanges messages, all of them at the same time.
fn exchange(streams: &mut [Ends], rounds: usize) -> Result<()> {
    for round in 0..rounds {
        let seed = |index: usize| (index * rounds + round) as u64;
        let active = |index: &usize| index % ONE_ACTIVE_IN == round % ONE_ACTIVE_IN;
        for index in (0..streams.len()).filter(active) {
            let Ends { client, pod } = &mut streams[index];
            client.write_all(&Pattern::new(seed(index)).take(UP_BYTES))?;
            pod.write_all(&Pattern::new(!seed(index)).take(DOWN_BYTES))?;
        }
        for index in (0..streams.len()).filter(active) {
            let Ends { client, pod } = &mut streams[index];
            Pattern::new(seed(index)).read(pod, UP_BYTES)?;
            Pattern::new(!seed(index)).read(client, DOWN_BYTES)?;
        }
    }
    Ok(())
}

/// The bytes, both directions together, that `streams` streams carry in so many rounds, one exchange after the other.
pub fn exchanged(streams: usize, rounds: &[usize]) -> u64 {
    let active = |round: usize| (0..streams).filter(|index| index % ONE_ACTIVE_IN == round % ONE_ACTIVE_IN).count();
    let turns: usize = rounds.iter().flat_map(|&rounds| (0..rounds).map(active)).sum();
    (turns * (UP_BYTES + DOWN_BYTES)) as u64
}

/// Every second stream is ended by its pod.
fn close(streams: &mut Vec<Ends>) -> Result<()> {
    for (index, Ends { client, pod }) in streams.drain(..).enumerate() {
        let (first, mut second) = if index % 2 == 0 { (client, pod) } else { (pod, client) };
        drop(first);
        ensure!(second.read(&mut [0])? == 0, "bytes after the last one");
    }
    Ok(())
}
