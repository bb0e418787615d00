//! When a silent end is asked whether it is there, and when it is given up. Numbers in, numbers out.

use std::time::Duration;

use crate::sys::TcpTuning;

/// The bits of a word that count; a tick of the clock is longer than what they are worth in nanoseconds.
const TIMES: u64 = 0xff;

/// When an end was last asked for a sign of life, and how often since it gave one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Asked {
    at_ns: u64,
    times: u8,
}

/// What is to be done about an end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Question {
    /// Nothing now.
    None,
    /// To ask, and to keep this in mind.
    Ask(Asked),
    /// To give it up: it was asked as often as it may be, and had its time to answer each time.
    Vain,
}

impl Asked {
    /// What stands in the maps.
    pub(super) const fn of(word: u64) -> Self {
        Self { at_ns: word & !TIMES, times: word.to_le_bytes()[0] }
    }

    /// What is to stand there.
    pub(super) const fn word(self) -> u64 {
        self.at_ns | self.times as u64
    }

    /// For an end that was heard last at `heard_ns`, and may be silent for `idle`. It is counted in questions and not
    /// in time: whatever has delayed us, each question has its interval to be answered.
    pub(super) fn next(self, now_ns: u64, heard_ns: u64, idle: Duration, keepalive: &TcpTuning) -> Question {
        let since = |then_ns: u64| {
            // Either may be a tick ahead of what was read before it.
            Duration::from_nanos(now_ns.wrapping_sub(then_ns).cast_signed().try_into().unwrap_or(0))
        };
        let ask = |times| Question::Ask(Self::of(now_ns & !TIMES | u64::from(times)));
        // An answer may come within the tick of its question.
        if self.times == 0 || heard_ns.wrapping_sub(self.at_ns).cast_signed() >= 0 {
            return if since(heard_ns) < idle { Question::None } else { ask(1) };
        }
        if since(self.at_ns) < keepalive.keepalive_interval {
            return Question::None;
        }
        match self.times.checked_add(1) {
            Some(times) if u32::from(times) <= keepalive.keepalive_probes => ask(times),
            _ => Question::Vain,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn keepalive(idle: u64, interval: u64, probes: u32) -> TcpTuning {
        TcpTuning {
            keepalive_idle: Duration::from_secs(idle),
            keepalive_interval: Duration::from_secs(interval),
            keepalive_probes: probes,
            user_timeout: Duration::ZERO,
            unsent_max: 0,
            unread_max: 0,
        }
    }

    /// An end that answers each question after `delay_ns` if at all, looked at in such intervals: how often it was
    /// asked, and when it was given up.
    fn watch(keepalive: &TcpTuning, delay_ns: Option<u64>, looks: &[u64]) -> (u32, Option<u64>) {
        let (mut now, mut heard, mut answer) = (100 * SECOND, 100 * SECOND, None);
        let (mut asked, mut questions) = (Asked::of(0), 0);
        for look in looks {
            now += look;
            if let Some(at) = answer.filter(|&at| at <= now) {
                (heard, answer) = (at, None);
            }
            match asked.next(now, heard, keepalive.keepalive_idle, keepalive) {
                Question::None => {}
                Question::Ask(next) => {
                    asked = Asked::of(next.word());
                    answer = answer.or_else(|| Some(now + delay_ns?));
                    questions += 1;
                }
                Question::Vain => return (questions, Some(now)),
            }
        }
        (questions, None)
    }

    #[test]
    fn an_end_that_answers_its_only_question_is_asked_for_ever() {
        let impatient = keepalive(1, 1, 1);
        let looks = [SECOND; 60];
        assert_eq!(watch(&impatient, Some(0), &looks).1, None);
        assert_eq!(watch(&impatient, Some(SECOND / 2), &looks).1, None);
        assert!(watch(&impatient, Some(0), &looks).0 >= 29);
    }

    #[test]
    fn an_end_that_is_gone_is_given_up_after_every_question_had_its_interval() {
        let looks = [SECOND; 100];
        assert_eq!(watch(&keepalive(30, 10, 3), None, &looks), (3, Some(160 * SECOND)));
        assert_eq!(watch(&keepalive(1, 1, 1), None, &looks), (1, Some(102 * SECOND)));
    }

    /// After two hours without a gateway.
    #[test]
    fn a_silence_that_nobody_watched_is_no_answer_missed() {
        let looks = [7200 * SECOND, SECOND, SECOND, SECOND, SECOND];
        assert_eq!(watch(&keepalive(30, 10, 3), None, &looks), (1, None));
    }

    proptest! {
        #[test]
        fn an_end_that_answers_within_the_interval_stays(
            idle in 1_u64..20, interval in 1_u64..20, probes in 1_u32..4, part in 0_u64..=1000,
            looks in proptest::collection::vec(1_u64..5 * SECOND, 1..300),
        ) {
            // The clock's last bits are not kept.
            let delay = (interval * SECOND * part / 1000).saturating_sub(TIMES + 1);
            prop_assert_eq!(watch(&keepalive(idle, interval, probes), Some(delay), &looks).1, None);
        }

        #[test]
        fn a_word_is_read_as_it_was_written(at_ns in any::<u64>(), times in any::<u8>()) {
            let asked = Asked { at_ns: at_ns & !TIMES, times };
            prop_assert_eq!(Asked::of(asked.word()), asked);
        }
    }
}
