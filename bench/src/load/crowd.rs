//! Clients and pods as processes of their own, which this one orders about in lines of JSON.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::process::{ChildStdin, ChildStdout, Stdio};

use anyhow::{Context as _, Result, bail};
use gateway_tests::process::Process;
use hdrhistogram::Histogram;
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use super::client::Client;
use super::{Run, Steps, Tally, pod};
use crate::topology::Network;
use crate::web::visitor::Visitors;
use crate::web::{self, Plan};

/// Where a stream goes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Target {
    pub(crate) to: SocketAddr,
    pub(crate) sandbox: String,
    /// Whether messages are WebSocket frames, because somebody on the way takes them apart.
    pub(crate) is_framed: bool,
}

/// What a client process is told.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Order {
    /// Streams, each with a seed.
    Open(Vec<(Target, u32)>),
    /// To be visitors from now on, instead of a client with streams.
    Visit(Plan),
    Run(Run),
}

/// What it answers.
#[derive(Debug, Serialize, Deserialize)]
enum Report {
    Opened(Opened),
    Ran(Tally),
    Failed(String),
}

/// What came of [`Order::Open`].
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Opened {
    /// How many were established.
    pub(crate) streams: usize,
    /// Why there are no more, if there are less than were asked for.
    pub(crate) refused: Option<String>,
}

/// A client process: obeys until its standard input ends.
pub(crate) fn obey() -> Result<()> {
    let mut client = Client::new()?;
    let mut visitors: Option<Visitors> = None;
    for line in io::stdin().lines() {
        let report = match serde_json::from_str(&line?)? {
            Order::Open(streams) => Ok(Report::Opened(open(&mut client, &streams))),
            Order::Visit(plan) => Visitors::new(plan).map(|all| {
                visitors = Some(all);
                Report::Opened(Opened::default())
            }),
            Order::Run(run) => match &mut visitors {
                Some(visitors) => visitors.run(&run).map(Report::Ran),
                None => client.run(&run).map(Report::Ran),
            },
        };
        let report = report.unwrap_or_else(|error| Report::Failed(format!("{error:#}")));
        writeln!(io::stdout(), "{}", serde_json::to_string(&report)?)?;
    }
    Ok(())
}

/// As many of the streams as there can be.
fn open(client: &mut Client, streams: &[(Target, u32)]) -> Opened {
    let mut opened = Opened::default();
    for (Target { to, sandbox, is_framed }, seed) in streams {
        let open = if *is_framed { Client::open_framed } else { Client::open };
        if let Err(error) = open(client, *to, sandbox, *seed) {
            opened.refused = Some(format!("{error:#}"));
            break;
        }
        opened.streams += 1;
    }
    opened
}

/// A pod process, for streams or for visitors: says where it listens, and serves.
pub(crate) fn be_pod(is_web: bool) -> Result<()> {
    let address: IpAddr = std::env::args().nth(2).context("a pod is told its address")?.parse()?;
    let listener = TcpListener::bind((address, 0))?;
    writeln!(io::stdout(), "{}", listener.local_addr()?)?;
    if is_web { web::pod::serve(&listener) } else { pod::serve(&listener) }
}

/// A process of this program in another role.
pub(crate) struct Helper {
    process: Process,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Helper {
    /// A client, on the clients' host.
    fn client(network: &Network) -> Result<Self> {
        Self::start(network.at_client(), &["client"])
    }

    /// A pod in the `role` of streams' or of visitors', on the pods' host; its first line is where it listens.
    pub(crate) fn pod(network: &Network, role: &str) -> Result<Self> {
        Self::start(network.at_pod(), &[role, &network.pod().to_string()])
    }

    fn start(mut words: Vec<String>, arguments: &[&str]) -> Result<Self> {
        words.push(std::env::current_exe()?.to_string_lossy().into_owned());
        let mut process = Process::spawn(&words[0], |command| {
            command.args(&words[1..]).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        })?;
        let child = process.child();
        let input = child.stdin.take().context("a pipe to the process")?;
        let output = BufReader::new(child.stdout.take().context("a pipe from the process")?);
        Ok(Self { process, input, output })
    }

    pub(crate) fn pid(&self) -> Pid {
        self.process.pid()
    }

    pub(crate) fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        Ok(line.trim().to_owned())
    }

    fn order(&mut self, order: &Order) -> Result<()> {
        Ok(writeln!(self.input, "{}", serde_json::to_string(order)?)?)
    }

    fn report(&mut self) -> Result<Report> {
        match serde_json::from_str(&self.line()?).context("a load process ended")? {
            Report::Failed(why) => bail!("the load failed: {why}"),
            report => Ok(report),
        }
    }
}

/// Streams through one subject, spread over client processes.
pub(crate) struct Crowd {
    clients: Vec<Helper>,
    seed: u32,
}

/// What all clients did together.
pub(crate) struct Total {
    pub(crate) messages: u64,
    pub(crate) latencies: Histogram<u64>,
    /// The same for each stage, where messages have stages.
    pub(crate) stages: Vec<Histogram<u64>>,
}

impl Default for Total {
    fn default() -> Self {
        Self { messages: 0, latencies: Histogram::new(3).expect("three digits are valid"), stages: Vec::new() }
    }
}

impl Total {
    pub(crate) fn add(&mut self, other: &Self) -> Result<()> {
        self.messages += other.messages;
        self.latencies.add(&other.latencies)?;
        if self.stages.is_empty() {
            self.stages.clone_from(&other.stages);
            return Ok(());
        }
        self.stages.iter_mut().zip(&other.stages).try_for_each(|(stage, other)| Ok(stage.add(other)?))
    }
}

impl Crowd {
    pub(crate) fn start(network: &Network, clients: usize) -> Result<Self> {
        let clients = (0..clients).map(|_| Helper::client(network)).collect::<Result<_>>()?;
        Ok(Self { clients, seed: 0 })
    }

    pub(crate) fn pids(&self) -> impl Iterator<Item = Pid> {
        self.clients.iter().map(Helper::pid)
    }

    /// Establishes `count` more streams; the n-th goes where `target` says for n.
    pub(crate) fn open(&mut self, count: usize, target: impl Fn(usize) -> Target) -> Result<()> {
        match self.open_most(count, target)?.refused {
            None => Ok(()),
            Some(why) => bail!("the load failed: {why}"),
        }
    }

    /// The same, and where not all can be had, as many as there are.
    pub(crate) fn open_most(&mut self, count: usize, target: impl Fn(usize) -> Target) -> Result<Opened> {
        let mut shares: Vec<Vec<_>> = self.clients.iter().map(|_| Vec::new()).collect();
        let clients = shares.len();
        for index in 0..count {
            self.seed += 1;
            shares[index % clients].push((target(index), self.seed));
        }
        for (client, share) in self.clients.iter_mut().zip(shares) {
            client.order(&Order::Open(share))?;
        }
        let mut all = Opened::default();
        for client in &mut self.clients {
            let Report::Opened(opened) = client.report()? else { bail!("a client answered something else") };
            all.streams += opened.streams;
            all.refused = all.refused.or(opened.refused);
        }
        Ok(all)
    }

    /// Makes visitors of all clients; the n-th process gets the n-th plan.
    pub(crate) fn visit(&mut self, plan: impl Fn(usize) -> Plan) -> Result<()> {
        for (index, client) in self.clients.iter_mut().enumerate() {
            client.order(&Order::Visit(plan(index)))?;
        }
        self.clients.iter_mut().try_for_each(|client| client.report().map(drop))
    }

    /// Begins a run; `per_second` of it is all clients' together.
    pub(crate) fn begin(&mut self, run: &Run) -> Result<()> {
        let share = self.clients.len() as f64;
        let run = Run { per_second: run.per_second.map(|rate| rate / share), ..run.clone() };
        self.clients.iter_mut().try_for_each(|client| client.order(&Order::Run(run.clone())))
    }

    /// Waits for its end.
    pub(crate) fn end(&mut self) -> Result<Total> {
        let mut total = Total::default();
        for client in &mut self.clients {
            let Report::Ran(tally) = client.report()? else { bail!("a client answered something else") };
            total.messages += tally.messages;
            record(&mut total.latencies, tally.latencies)?;
            for (index, steps) in tally.stages.into_iter().enumerate() {
                if index == total.stages.len() {
                    total.stages.push(Histogram::new(3)?);
                }
                record(&mut total.stages[index], steps)?;
            }
        }
        Ok(total)
    }
}

fn record(histogram: &mut Histogram<u64>, steps: Steps) -> Result<()> {
    Ok(steps.into_iter().try_for_each(|(value, count)| histogram.record_n(value, count))?)
}
