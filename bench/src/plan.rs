//! How long a run may take, and how it keeps to that: rounds are as long as the time allows.
//!
//! Nothing here looks at a clock: how much time has passed comes in.

use std::time::Duration;

/// Rounds shorter than this measure little: a tick of `/proc/stat` would be several per cent of one.
const ROUND_MIN: Duration = Duration::from_millis(150);

/// How far an estimate is corrected by how long the steps so far took.
const CORRECTION: (f64, f64) = (0.5, 4.0);

/// One thing to be measured after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) name: String,
    /// Phases that last as long as a round.
    pub(crate) phases: u32,
    /// What it takes beside them: subjects start, and streams are established.
    pub(crate) beside: Duration,
}

/// What is left to be measured, and until when.
#[derive(Debug)]
pub(crate) struct Plan {
    steps: Vec<Step>,
    next: usize,
    /// From the beginning of the run; `None`: as long as it takes.
    budget: Option<Duration>,
    round_max: Duration,
    /// Of each phase beside its round.
    lead: Duration,
    /// What the steps so far were expected to take beside their rounds, and how long they took.
    expected: Duration,
    taken: Duration,
    begun: Duration,
    current: Option<Duration>,
}

/// What [`Plan::next`] gives out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Measure it, in rounds of this length.
    Measure(Duration),
    /// There is no time left for it.
    Skip,
}

impl Plan {
    /// A plan in which no round is longer than `round_max`, and each phase has its `lead`.
    pub(crate) fn new(steps: Vec<Step>, budget: Option<Duration>, (round_max, lead): (Duration, Duration)) -> Self {
        let (expected, taken, begun) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
        Self { steps, next: 0, budget, round_max, lead, expected, taken, begun, current: None }
    }

    /// What to do with the next step, at this time since the beginning of the run; `None` at the end.
    pub(crate) fn next(&mut self, now: Duration) -> Option<Turn> {
        self.note(now);
        let step = self.steps.get(self.next)?.clone();
        let round = self.round(now);
        self.next += 1;
        if round < ROUND_MIN && self.round_max >= ROUND_MIN {
            // It still has a place where the rest, if it is skipped, makes room for this one.
            let alone = self.beside(&step) + (ROUND_MIN + self.lead) * step.phases;
            if self.budget.is_some_and(|budget| now + alone > budget) {
                return Some(Turn::Skip);
            }
        }
        let round = round.max(ROUND_MIN.min(self.round_max));
        self.begun = now;
        self.current = Some(round);
        Some(Turn::Measure(round))
    }

    /// How long the rest will take, the step that has just begun included.
    pub(crate) fn left(&self, now: Duration) -> Duration {
        let round = self.current.map_or_else(|| self.round(now), |current| current.min(self.round_max));
        let since = if self.current.is_some() { now.saturating_sub(self.begun) } else { Duration::ZERO };
        let from = self.next - usize::from(self.current.is_some());
        let whole = |step: &Step| self.beside(step) + (round + self.lead) * step.phases;
        self.steps[from..].iter().map(whole).sum::<Duration>().saturating_sub(since)
    }

    /// The number of the step that has just begun, from 1 on, and how many there are.
    pub(crate) fn place(&self) -> (usize, usize) {
        (self.next, self.steps.len())
    }

    pub(crate) fn name(&self) -> &str {
        self.next.checked_sub(1).and_then(|index| self.steps.get(index)).map_or("", |step| &step.name)
    }

    /// The length of all rounds from now on with which the time is just used up.
    fn round(&self, now: Duration) -> Duration {
        let Some(budget) = self.budget else { return self.round_max };
        let rest = &self.steps[self.next..];
        let phases: u32 = rest.iter().map(|step| step.phases).sum();
        let beside: Duration = rest.iter().map(|step| self.beside(step)).sum::<Duration>() + self.lead * phases;
        let free = budget.saturating_sub(now).saturating_sub(beside);
        (free / phases.max(1)).min(self.round_max)
    }

    /// What a step takes beside its rounds, as the ones so far teach.
    fn beside(&self, step: &Step) -> Duration {
        let learnt = if self.expected.is_zero() {
            1.0
        } else {
            (self.taken.as_secs_f64() / self.expected.as_secs_f64()).clamp(CORRECTION.0, CORRECTION.1)
        };
        step.beside.mul_f64(learnt)
    }

    /// Learns from the step that has ended.
    fn note(&mut self, now: Duration) {
        if let Some(round) = self.current.take() {
            let step = &self.steps[self.next - 1];
            self.expected += step.beside;
            self.taken += now.saturating_sub(self.begun).saturating_sub((round + self.lead) * step.phases);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const LONG: Duration = Duration::from_millis(1500);
    const LEAD: Duration = Duration::from_millis(100);

    fn steps(count: usize) -> Vec<Step> {
        (0..count).map(|number| Step { name: format!("step {number}"), phases: 100, beside: 5 * SECOND }).collect()
    }

    /// Takes all steps as they are planned, each of which takes `factor` times what was expected beside its rounds.
    /// When it ends, and how long rounds were.
    fn take(mut plan: Plan, factor: f64) -> (Duration, Vec<Option<Duration>>) {
        let mut now = Duration::ZERO;
        let mut rounds = Vec::new();
        while let Some(turn) = plan.next(now) {
            if let Turn::Measure(round) = turn {
                now += (round + LEAD) * 100 + (5 * SECOND).mul_f64(factor);
                rounds.push(Some(round));
            } else {
                rounds.push(None);
            }
        }
        (now, rounds)
    }

    #[test]
    fn rounds_are_as_long_as_the_time_allows() {
        let (end, rounds) = take(Plan::new(steps(6), Some(300 * SECOND), (LONG, LEAD)), 1.0);
        // 300 s less 30 s beside the rounds, and 600 phases with their leads.
        assert!(rounds.iter().all(|round| *round == Some(Duration::from_millis(350))), "{rounds:?}");
        assert_eq!(end, 300 * SECOND);
    }

    #[test]
    fn no_round_is_longer_than_it_need_be() {
        let (end, rounds) = take(Plan::new(steps(2), Some(3600 * SECOND), (LONG, LEAD)), 1.0);
        assert!(rounds.iter().all(|round| *round == Some(LONG)) && end == 330 * SECOND, "{rounds:?}");
        let (_, rounds) = take(Plan::new(steps(2), None, (LONG, LEAD)), 1.0);
        assert!(rounds.iter().all(|round| *round == Some(LONG)), "{rounds:?}");
    }

    #[test]
    fn what_takes_longer_than_expected_shortens_the_later_rounds() {
        let (end, rounds) = take(Plan::new(steps(6), Some(300 * SECOND), (LONG, LEAD)), 3.0);
        assert!(rounds[5] < rounds[0] && rounds[5] >= Some(ROUND_MIN), "{rounds:?}");
        assert!(end <= 300 * SECOND, "{end:?}");
    }

    #[test]
    fn what_there_is_no_time_for_is_skipped() {
        let (end, rounds) = take(Plan::new(steps(6), Some(70 * SECOND), (LONG, LEAD)), 1.0);
        assert_eq!(rounds, [Some(ROUND_MIN), Some(ROUND_MIN), None, None, None, None]);
        assert!(end <= 70 * SECOND, "{end:?}");
    }

    #[test]
    fn what_is_left_counts_down() {
        let mut plan = Plan::new(steps(2), None, (SECOND, LEAD));
        assert_eq!(plan.left(Duration::ZERO), 230 * SECOND);
        plan.next(Duration::ZERO);
        assert_eq!((plan.left(15 * SECOND), plan.place(), plan.name()), (215 * SECOND, (1, 2), "step 0"));
        plan.next(115 * SECOND);
        assert_eq!(plan.left(115 * SECOND), 115 * SECOND);
        assert_eq!(plan.next(230 * SECOND), None);
        assert_eq!(plan.left(230 * SECOND), Duration::ZERO);
    }
}
