//! Steps one after the other, each with its title, its time and its verdict.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use crate::test::Tally;

/// One thing that is checked.
pub(super) struct Step {
    pub(super) name: &'static str,
    pub(super) run: fn() -> anyhow::Result<Outcome>,
}

/// How a step ended, if it came to its end.
pub(super) enum Outcome {
    Passed,
    /// It could not be taken, for this reason.
    Skipped(&'static str),
    /// It ran tests.
    Tests(Tally),
}

/// Takes all `steps`, prints what came of each, and as the last line the sum, which it returns.
pub(super) fn take(steps: &[Step], out: &mut impl Write) -> io::Result<Tally> {
    let mut sum = Tally::default();
    let mut table = String::new();
    for Step { name, run } in steps {
        writeln!(out, "\n=== {name}")?;
        let begun = Instant::now();
        let (verdict, tally) = judge(name, run());
        let line = line(name, begun.elapsed(), &verdict);
        writeln!(out, "=== {line}")?;
        table += &line;
        table.push('\n');
        sum += tally;
    }
    writeln!(out, "\n{table}")?;
    for name in sum.failures() {
        writeln!(out, "failed: {name}")?;
    }
    writeln!(out, "{sum}")?;
    Ok(sum)
}

/// A step that is no run of tests counts as one, so that the sum is bad whenever anything is.
fn judge(name: &str, result: anyhow::Result<Outcome>) -> (String, Tally) {
    match result {
        Ok(Outcome::Passed) => ("ok".to_owned(), Tally::passed()),
        Ok(Outcome::Skipped(why)) => (format!("skipped: {why}"), Tally::skipped()),
        Ok(Outcome::Tests(tally)) if tally == Tally::default() => {
            ("FAILED: no test ran".to_owned(), Tally::failed(name))
        }
        // Without the numbers: a line of them alone is the last line's.
        Ok(Outcome::Tests(tally)) => (if tally.is_good() { "ok" } else { "FAILED" }.to_owned(), tally),
        Err(error) => (format!("FAILED: {error:#}"), Tally::failed(name)),
    }
}

fn line(name: &str, time: Duration, verdict: &str) -> String {
    format!("{name:<14} {:>4} s  {verdict}", time.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_fails_makes_the_sum_bad() {
        let steps = [
            Step { name: "a", run: || Ok(Outcome::Passed) },
            Step { name: "b", run: || anyhow::bail!("broken") },
            Step { name: "c", run: || Ok(Outcome::Skipped("not here")) },
            Step { name: "d", run: || Ok(Outcome::Passed) },
        ];
        let mut shown = Vec::new();
        let sum = take(&steps, &mut shown).unwrap();
        assert_eq!(sum.to_string(), "2 passed, 1 failed, 1 skipped");
        assert_eq!(sum.failures(), ["b"]);
        assert!(!sum.is_good());
        let shown = String::from_utf8(shown).unwrap();
        assert!(shown.ends_with("\nfailed: b\n2 passed, 1 failed, 1 skipped\n"), "{shown}");
    }

    #[test]
    fn a_run_without_tests_is_a_failure() {
        let (verdict, tally) = judge("tests", Ok(Outcome::Tests(Tally::default())));
        assert_eq!(verdict, "FAILED: no test ran");
        assert_eq!(tally.failures(), ["tests"]);
    }
}
