//! What test runners say about their tests, added up.

use std::collections::BTreeSet;
use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::ops::AddAssign;
use std::process::{Command, Stdio};
use std::thread;

use anyhow::Context as _;

/// Numbers of tests.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    passed: u64,
    failed: u64,
    skipped: u64,
    /// What is known by name of those that failed.
    failures: Vec<String>,
}

impl Tally {
    /// A check that is no test, and counts as one.
    pub(crate) fn passed() -> Self {
        Self { passed: 1, ..Self::default() }
    }

    /// The same, failed.
    pub(crate) fn failed(name: impl Into<String>) -> Self {
        Self { failed: 1, failures: vec![name.into()], ..Self::default() }
    }

    /// The same, not made.
    pub(crate) fn skipped() -> Self {
        Self { skipped: 1, ..Self::default() }
    }

    /// Names of what failed.
    pub(crate) fn failures(&self) -> &[String] {
        &self.failures
    }

    /// Whether something ran and nothing failed.
    pub(crate) fn is_good(&self) -> bool {
        self.failed == 0 && self.passed > 0
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        let Self { passed, failed, skipped, failures } = other;
        self.passed += passed;
        self.failed += failed;
        self.skipped += skipped;
        self.failures.extend(failures);
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { passed, failed, skipped, failures: _ } = self;
        write!(formatter, "{passed} passed, {failed} failed")?;
        if *skipped > 0 {
            write!(formatter, ", {skipped} skipped")?;
        }
        Ok(())
    }
}

/// Runs `cargo test`, copies what it prints to `out` and `err` as it comes, and counts.
///
/// # Errors
///
/// When it cannot be started or read. That it failed is in the tally, even if no test is known to have.
pub(super) fn follow(command: &mut Command, out: impl Write, err: impl Write + Send) -> anyhow::Result<Tally> {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().context("cannot run cargo")?;
    let stdout = child.stdout.take().expect("standard output is piped and was not taken yet");
    let stderr = child.stderr.take().expect("standard error is piped and was not taken yet");
    let (mut results, mut skips) = (Results::default(), Skips::default());
    let (from_stdout, from_stderr) = thread::scope(|scope| {
        let from_stderr = scope.spawn(|| show(stderr, err, |line| skips.read(line)));
        let from_stdout = show(stdout, out, |line| results.read(line));
        (from_stdout, from_stderr.join().expect("a reader does not panic"))
    });
    from_stdout.and(from_stderr).context("cannot read what the tests print")?;
    let status = child.wait()?;
    let mut tally = results.tally;
    let skipped = skips.tests.len().try_into().unwrap_or(u64::MAX).min(tally.passed);
    tally.passed -= skipped;
    tally.skipped += skipped;
    if !status.success() && tally.failed == 0 {
        // A runner was killed by a signal, or ended before its summary.
        tally += Tally::failed(format!("a test runner ({status})"));
    }
    Ok(tally)
}

/// Copies `from` to `to` line by line, and hands over each line without its end.
fn show(from: impl Read, mut to: impl Write, mut read: impl FnMut(&str)) -> io::Result<()> {
    let mut from = BufReader::new(from);
    let mut line = Vec::new();
    while from.read_until(b'\n', &mut line)? > 0 {
        to.write_all(&line)?;
        read(String::from_utf8_lossy(&line).trim_end());
        line.clear();
    }
    to.flush()
}

/// Reads libtest's lines about results.
#[derive(Default)]
struct Results {
    tally: Tally,
}

impl Results {
    fn read(&mut self, line: &str) {
        if let Some(name) = line.strip_prefix("test ").and_then(|test| test.strip_suffix(" ... FAILED")) {
            self.tally.failures.push(name.to_owned());
        }
        let Some(counts) = line.strip_prefix("test result: ").and_then(|result| result.split_once(". ")) else {
            return;
        };
        for count in counts.1.split("; ") {
            let Some((number, kind)) = count.split_once(' ') else { continue };
            let Ok(number) = number.parse::<u64>() else { continue };
            match kind {
                "passed" => self.tally.passed += number,
                "failed" => self.tally.failed += number,
                // Ignored is what another test runs, in a process of its own.
                _ => {}
            }
        }
    }
}

/// Collects the tests that say `skipped: TEST: WHY` past the capture of their runner, and then pass.
#[derive(Default)]
struct Skips {
    /// By name: a test that runs in several rounds says it in each.
    tests: BTreeSet<String>,
}

impl Skips {
    fn read(&mut self, line: &str) {
        if let Some((test, _)) = line.strip_prefix("skipped: ").and_then(|skip| skip.split_once(": ")) {
            self.tests.insert(test.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes of a shell script in place of the runner.
    fn followed(script: &str) -> Tally {
        // Not shown: the runner of this very test would be misunderstood.
        follow(Command::new("sh").args(["-c", script]), io::sink(), io::sink()).unwrap()
    }

    fn summary(passed: u64, failed: u64, ignored: u64) -> String {
        let verdict = if failed == 0 { "ok" } else { "FAILED" };
        format!(
            "echo 'test result: {verdict}. {passed} passed; {failed} failed; {ignored} ignored; 0 measured; \
             7 filtered out; finished in 0.01s'\n"
        )
    }

    #[test]
    fn runners_are_added_up() {
        let tally = followed(&[summary(3, 0, 0), summary(0, 0, 0), summary(20, 0, 1)].concat());
        assert_eq!(tally.to_string(), "23 passed, 0 failed");
        assert!(tally.is_good());
        assert_eq!(followed(&summary(2, 0, 0)).to_string(), "2 passed, 0 failed");
    }

    #[test]
    fn what_a_runner_prints_is_shown_unchanged() {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let script = "printf 'test a ... ok\n\n\\377 no end'; printf 'skipped: a: root\n' >&2";
        follow(Command::new("sh").args(["-c", script]), &mut out, &mut err).unwrap();
        assert_eq!((&out[..], &err[..]), (&b"test a ... ok\n\n\xff no end"[..], &b"skipped: a: root\n"[..]));
    }

    #[test]
    fn a_failed_test_is_named() {
        let tally =
            followed(&format!("echo 'test a::b ... ok'; echo 'test a::c ... FAILED'\n{}exit 101", summary(1, 1, 0)));
        assert_eq!((tally.to_string().as_str(), tally.failures()), ("1 passed, 1 failed", &["a::c".to_owned()][..]));
        assert!(!tally.is_good());
    }

    #[test]
    fn a_runner_without_a_summary_is_a_failure() {
        let tally = followed(&format!("{}exit 101", summary(5, 0, 0)));
        assert_eq!(tally.to_string(), "5 passed, 1 failed");
        assert_eq!(tally.failures(), ["a test runner (exit status: 101)"]);
    }

    #[test]
    fn a_test_that_says_it_was_skipped_has_not_passed() {
        let skips =
            "echo 'skipped: a::b: root' >&2; echo 'skipped: a::b: root' >&2; echo 'skipped: c: program ip' >&2\n";
        assert_eq!(followed(&[skips, &summary(5, 0, 0)].concat()).to_string(), "3 passed, 0 failed, 2 skipped");
    }

    #[test]
    fn the_captured_output_of_a_failed_test_is_not_a_skip() {
        let skip = "echo 'skipped: a: root'\n";
        assert_eq!(followed(&[skip, &summary(2, 1, 0)].concat()).to_string(), "2 passed, 1 failed");
    }

    #[test]
    fn nothing_is_not_good() {
        assert!(!followed(&summary(0, 0, 0)).is_good());
        assert!(!Tally::skipped().is_good());
    }
}
