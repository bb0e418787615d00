//! What crosses a host's cable, written down by tcpdump and read by tshark: an opinion on TCP that is not ours.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::hosts::DEVICE;
use crate::need::{Need, is_missing};
use crate::netns::Namespace;
use crate::process::Process;
use crate::wait::{PATIENCE, until};

/// A capture that runs. Dropping it ends it and forgets what was seen.
pub struct Capture {
    tcpdump: Process,
    directory: TempDir,
}

/// What a reader of the capture has to say. Each count is 0 on a cable that loses nothing, between ends that are right,
/// but for what a TCP repeated because an acknowledgement was slow.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Checksums, of IP or TCP, that are not those of the packet.
    pub bad_checksums: u64,
    /// Segments that had arrived before, or behind later ones.
    pub repeated: u64,
    /// Places at which a segment never came.
    pub gaps: u64,
    /// Acknowledgements of what was not seen.
    pub acked_unseen: u64,
    /// Bytes beyond the window that their receiver had offered.
    pub beyond_window: u64,
    /// Timestamps that go back, which their receiver's PAWS would refuse (RFC 7323, section 5).
    pub timestamps_back: u64,
    /// Echoes of timestamps that were never sent (RFC 7323, section 4).
    pub strange_echoes: u64,
}

/// What an end of a connection has said last.
#[derive(Debug, Clone, Copy)]
pub struct LastWord {
    /// The sequence number of what it says next.
    pub next: u32,
    /// The one that it waits for.
    pub acknowledged: u32,
}

/// A segment as tshark reads it.
struct Segment {
    sender: IpAddr,
    stream: u32,
    sequence: u32,
    /// Payload in bytes.
    length: u32,
    acknowledged: Option<u32>,
    /// In bytes, scaled.
    window: u32,
    timestamp: Option<(u32, u32)>,
    is_reset: bool,
}

/// What one end of a connection has said so far.
#[derive(Default)]
struct Said {
    timestamps: HashSet<u32>,
    last_timestamp: Option<u32>,
    /// The end of the window that it offers.
    window_end: Option<u32>,
}

const FIELDS: [&str; 16] = [
    "ip.src",
    "ipv6.src",
    "tcp.stream",
    "tcp.seq_raw",
    "tcp.len",
    "tcp.ack_raw",
    "tcp.window_size",
    "tcp.flags",
    "tcp.options.timestamp.tsval",
    "tcp.options.timestamp.tsecr",
    // Not their statuses: tshark calls 0xffff bad where 0 is right, and those are one number in ones' complement. The
    // kernel may write either (RFC 1624 section 3, `skb_checksum_help`).
    "tcp.checksum_bad.expert",
    "ip.checksum_bad.expert",
    "tcp.analysis.retransmission",
    "tcp.analysis.out_of_order",
    "tcp.analysis.lost_segment",
    "tcp.analysis.ack_lost_segment",
];

/// Bits of `tcp.flags`.
const RST: u32 = 0x04;
const ACK: u32 = 0x10;

impl Capture {
    /// Whether this machine has not the programs for it; the story says so then, and returns.
    pub fn is_missing() -> bool {
        is_missing(&[Need::Program("tcpdump"), Need::Program("tshark")])
    }

    /// Begins to write down the TCP on `host`'s cable; it has begun when this returns.
    pub fn start(host: &Namespace) -> Result<Self> {
        let directory = TempDir::with_prefix("gateway-capture-")?;
        let said = File::create(directory.path().join("said"))?;
        let into = directory.path().join("packets");
        let tcpdump = Process::spawn("nsenter", |command| {
            command.arg(format!("--net={}", host.path()));
            // As the user who started it; packet by packet, so that none waits in a buffer for more; and no more of
            // each than a wire carries, so that the buffer has room for many.
            command.args([
                "tcpdump",
                "-i",
                DEVICE,
                "-Z",
                "root",
                "--immediate-mode",
                "-U",
                "-B",
                "65536",
                "-s",
                "2048",
                "-w",
            ]);
            command.arg(into).arg("tcp").stdin(Stdio::null()).stdout(Stdio::null()).stderr(said);
        })?;
        let capture = Self { tcpdump, directory };
        until("tcpdump to listen", PATIENCE, || capture.said().ok()?.contains("listening on").then_some(()))?;
        Ok(capture)
    }

    /// Ends it, and has it read from the side of `reader`: only what others have sent is judged, since what this host
    /// sent itself was caught before it was finished.
    pub fn read(mut self, reader: IpAddr) -> Result<Reading> {
        self.end()?;
        let mut reading = Reading::default();
        let mut ends: HashMap<(u32, bool), Said> = HashMap::new();
        let mut segments = 0;
        for line in self.dissected()?.lines() {
            let words: Vec<&str> = line.split('\t').collect();
            ensure!(words.len() == FIELDS.len(), "tshark says {line}");
            let segment = Segment::parse(&words).with_context(|| format!("tshark says {line}"))?;
            let is_judged = segment.sender != reader;
            if is_judged {
                segments += 1;
                reading.opinions_of_tshark(&words);
                if let Some(other) = ends.get(&(segment.stream, false)) {
                    reading.against_the_reader(&segment, other);
                }
            }
            let said = ends.entry((segment.stream, is_judged)).or_default();
            reading.against_itself(&segment, said, is_judged);
            segment.keep(said);
        }
        ensure!(segments > 0, "nothing was sent to {reader}");
        Ok(reading)
    }

    /// Ends it: what `speaker` has said last in it, in the only connection that it has there.
    pub fn last_word_of(mut self, speaker: IpAddr) -> Result<LastWord> {
        self.end()?;
        let mut last = None;
        for line in self.dissected()?.lines() {
            let segment = Segment::parse(&line.split('\t').collect::<Vec<_>>())?;
            if let (true, Some(acknowledged)) = (segment.sender == speaker, segment.acknowledged) {
                last = Some(LastWord { next: segment.sequence.wrapping_add(segment.length), acknowledged });
            }
        }
        last.with_context(|| format!("{speaker} has said nothing"))
    }

    /// Ends it, when all that has arrived is written down.
    fn end(&mut self) -> Result<()> {
        let told_before = self.counts()?.len();
        until("tcpdump to write down what it has seen", PATIENCE, || {
            self.tcpdump.signal(Signal::SIGUSR1).ok()?;
            let counts = self.counts().ok()?;
            let &(written, seen) = counts.get(told_before..)?.last()?;
            (written == seen).then_some(())
        })?;
        self.tcpdump.signal(Signal::SIGTERM)?;
        self.tcpdump.wait(PATIENCE)?;
        let said = self.said()?;
        ensure!(said.contains("\n0 packets dropped by kernel"), "tcpdump has not seen all: {said}");
        Ok(())
    }

    /// A line per segment, a column per field.
    fn dissected(&self) -> Result<String> {
        let mut command = Command::new("tshark");
        command.arg("-r").arg(self.packets());
        command.args(["-o", "tcp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE", "-T", "fields"]);
        command.args(["-E", "occurrence=f"]);
        for field in FIELDS {
            command.args(["-e", field]);
        }
        let output = command.stderr(Stdio::piped()).output().context("run tshark")?;
        ensure!(output.status.success(), "tshark: {}", String::from_utf8_lossy(&output.stderr).trim());
        Ok(String::from_utf8(output.stdout)?)
    }

    /// What tcpdump has told of its progress, each time that it was asked: packets written down, and packets seen.
    fn counts(&self) -> Result<Vec<(u64, u64)>> {
        let said = self.said()?;
        let told = said.lines().filter_map(|line| {
            let (written, rest) = line.strip_prefix("tcpdump: ")?.split_once(" captured, ")?;
            let (seen, _) = rest.split_once(" received by filter")?;
            let number = |words: &str| words.split(' ').next()?.parse().ok();
            Some((number(written)?, number(seen)?))
        });
        Ok(told.collect())
    }

    fn packets(&self) -> PathBuf {
        self.directory.path().join("packets")
    }

    fn said(&self) -> Result<String> {
        Ok(fs::read_to_string(self.directory.path().join("said"))?)
    }
}

impl Reading {
    fn opinions_of_tshark(&mut self, words: &[&str]) {
        self.bad_checksums += u64::from(!words[10].is_empty() || !words[11].is_empty());
        self.repeated += u64::from(!words[12].is_empty() || !words[13].is_empty());
        self.gaps += u64::from(!words[14].is_empty());
        self.acked_unseen += u64::from(!words[15].is_empty());
    }

    /// Whether what arrives fits what the reader has said.
    fn against_the_reader(&mut self, segment: &Segment, reader: &Said) {
        let end = segment.sequence.wrapping_add(segment.length);
        // A FIN is no byte: Linux lets it follow the last one that fits (`tcp_mss_split_point`).
        let is_beyond = |window_end| segment.length > 0 && is_before(window_end, end);
        self.beyond_window += u64::from(reader.window_end.is_some_and(is_beyond));
        // A segment without ACK echoes nothing (RFC 7323 section 3.2), such as a SYN that was sent twice; and Linux
        // takes zero for no echo (`tcp_ack_update_rtt`).
        let has_echo = segment.acknowledged.is_some() && !segment.is_reset;
        let is_strange = |(_, echo)| has_echo && echo != 0 && !reader.timestamps.contains(&echo);
        self.strange_echoes += u64::from(segment.timestamp.is_some_and(is_strange));
    }

    /// Whether it fits what its own sender has said.
    fn against_itself(&mut self, segment: &Segment, said: &Said, is_judged: bool) {
        if let (true, Some((now, _)), Some(last)) = (is_judged, segment.timestamp, said.last_timestamp) {
            self.timestamps_back += u64::from(is_before(now, last));
        }
    }
}

impl Segment {
    fn parse(words: &[&str]) -> Result<Self> {
        let number = |index: usize| words[index].parse::<u32>();
        let flags = u32::from_str_radix(words[7].trim_start_matches("0x"), 16)?;
        let timestamp = if words[8].is_empty() { None } else { Some((number(8)?, number(9)?)) };
        Ok(Self {
            sender: if words[0].is_empty() { words[1] } else { words[0] }.parse()?,
            stream: number(2)?,
            sequence: number(3)?,
            length: number(4)?,
            acknowledged: if flags & ACK > 0 { Some(number(5)?) } else { None },
            window: number(6)?,
            timestamp,
            is_reset: flags & RST > 0,
        })
    }

    fn keep(&self, said: &mut Said) {
        if let Some((now, _)) = self.timestamp {
            said.timestamps.insert(now);
            said.last_timestamp = Some(now);
        }
        if let (Some(acknowledged), false) = (self.acknowledged, self.is_reset) {
            let end = acknowledged.wrapping_add(self.window);
            // A window that was offered holds, whatever is offered later.
            if said.window_end.is_none_or(|known| is_before(known, end)) {
                said.window_end = Some(end);
            }
        }
    }
}

/// In the arithmetic of RFC 9293, section 3.4.
fn is_before(one: u32, other: u32) -> bool {
    one.wrapping_sub(other).cast_signed() < 0
}

#[cfg(test)]
mod tests {
    use super::is_before;

    #[test]
    fn sequence_numbers_wrap() {
        assert!(is_before(u32::MAX, 0) && !is_before(0, u32::MAX));
        assert!(!is_before(7, 7));
    }
}
