//! The kernel's release, and the known bugs of socket maps that come with it.

use std::fmt;

use serde::{Serialize, Serializer};

/// `MAJOR.MINOR.PATCH` as `uname -r` begins with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Release(pub u16, pub u16, pub u16);

impl Release {
    /// Reads the numbers at the start of a release. What a distribution appends is skipped; no patch number means 0.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let mut numbers = text[..end].split('.');
        let mut next = || numbers.next().filter(|number| !number.is_empty());
        let (major, minor) = (next()?.parse().ok()?, next()?.parse().ok()?);
        Some(Self(major, minor, next().map_or(Some(0), |patch| patch.parse().ok())?))
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(major, minor, patch) = self;
        write!(f, "{major}.{minor}.{patch}")
    }
}

impl Serialize for Release {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A bug of the kernel's socket maps that somebody met.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct KnownBug {
    /// The CVE record, or the fix where there is none.
    pub reference: &'static str,
    /// What happens.
    pub effect: &'static str,
    /// What a program must use to meet it, where none of ours does.
    pub needs: Option<&'static str>,
    /// From which release (inclusive) to which (exclusive), in upstream's and the stable branches' numbers.
    #[serde(skip)]
    affected: &'static [(Release, Release)],
}

impl KnownBug {
    /// The bugs of `release`, judged by its number alone: a distribution may have the fix without the number.
    pub fn of(release: Release) -> impl Iterator<Item = &'static Self> {
        let within = move |&(from, to): &(Release, Release)| from <= release && release < to;
        KNOWN_BUGS.iter().filter(move |bug| bug.affected.iter().any(within))
    }
}

/// The ranges are those of the CVE records, except the first entry's, whose fixes came one by one to the stable
/// releases.
static KNOWN_BUGS: &[KnownBug] = &[
    KnownBug {
        reference: "commits e5c6de5fa025 to 901546fd8f9c (Linux 6.4)",
        effect: "socket maps stall, drop data and lose the end of a stream",
        needs: None,
        affected: &[(Release(0, 0, 0), Release(6, 4, 0))],
    },
    KnownBug {
        reference: "CVE-2025-38165 and the fixes that came with it",
        effect: "a kernel panic in skb_linearize; bytes lost or sent twice when the peer's buffer is full",
        needs: None,
        affected: &[
            (Release(6, 1, 54), Release(6, 1, 142)),
            (Release(6, 4, 0), Release(6, 6, 94)),
            (Release(6, 7, 0), Release(6, 12, 34)),
            (Release(6, 13, 0), Release(6, 15, 3)),
        ],
    },
    KnownBug {
        reference: "CVE-2025-38154",
        effect: "a use after free when a socket is closed while redirected data is on its way to it",
        needs: None,
        affected: &[
            (Release(5, 15, 162), Release(5, 15, 186)),
            (Release(6, 1, 95), Release(6, 1, 142)),
            (Release(6, 6, 35), Release(6, 6, 94)),
            (Release(6, 9, 6), Release(6, 12, 34)),
            (Release(6, 13, 0), Release(6, 15, 3)),
        ],
    },
    KnownBug {
        reference: "CVE-2026-43016",
        effect: "a use after free in the verdict's wake-up",
        needs: Some("AF_UNIX sockets in a socket map"),
        affected: &[
            (Release(5, 15, 0), Release(6, 6, 134)),
            (Release(6, 7, 0), Release(6, 12, 81)),
            (Release(6, 13, 0), Release(6, 18, 22)),
            (Release(6, 19, 0), Release(6, 19, 12)),
        ],
    },
    KnownBug {
        reference: "CVE-2026-68284",
        effect: "a use after free in tcp_bpf_sendmsg",
        needs: Some("bpf_msg_cork_bytes"),
        affected: &[
            (Release(4, 20, 0), Release(5, 10, 265)),
            (Release(5, 11, 0), Release(5, 15, 216)),
            (Release(5, 16, 0), Release(6, 1, 183)),
            (Release(6, 2, 0), Release(6, 6, 148)),
            (Release(6, 7, 0), Release(6, 12, 101)),
            (Release(6, 13, 0), Release(6, 18, 42)),
            (Release(6, 19, 0), Release(7, 1, 6)),
        ],
    },
    KnownBug {
        reference: "CVE-2026-74589",
        effect: "a use after free in tcp_bpf_send_verdict",
        needs: Some("bpf_msg_apply_bytes"),
        affected: &[
            (Release(4, 20, 0), Release(5, 10, 265)),
            (Release(5, 11, 0), Release(5, 15, 216)),
            (Release(5, 16, 0), Release(6, 1, 183)),
            (Release(6, 2, 0), Release(6, 6, 152)),
            (Release(6, 7, 0), Release(6, 12, 104)),
            (Release(6, 13, 0), Release(6, 18, 45)),
            (Release(6, 19, 0), Release(7, 1, 9)),
        ],
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    fn met(release: Release) -> Vec<&'static str> {
        KnownBug::of(release).filter(|bug| bug.needs.is_none()).map(|bug| bug.reference).collect()
    }

    #[test]
    fn releases_of_distributions_are_read() {
        for (text, release) in [
            ("6.18.44-fc-v669", Some(Release(6, 18, 44))),
            ("5.15.0-1050-aws", Some(Release(5, 15, 0))),
            ("6.1.0-18-amd64", Some(Release(6, 1, 0))),
            ("7.2", Some(Release(7, 2, 0))),
            ("6.16-rc1", Some(Release(6, 16, 0))),
            ("6.6.87.2-microsoft-standard-WSL2", Some(Release(6, 6, 87))),
            ("7.2.", Some(Release(7, 2, 0))),
            ("6", None),
            ("", None),
            ("generic", None),
            ("99999.1", None),
        ] {
            assert_eq!(Release::parse(text), release, "{text}");
        }
    }

    #[test]
    fn releases_compare_by_number_and_not_by_text() {
        assert!(Release(6, 6, 94) < Release(6, 12, 34));
        assert!(Release(6, 12, 104) > Release(6, 12, 34));
        assert!(Release(7, 0, 0) > Release(6, 18, 45));
    }

    #[test]
    fn a_fix_in_one_stable_branch_fixes_no_other() {
        assert_eq!(met(Release(6, 6, 93)).len(), 2);
        assert_eq!(met(Release(6, 6, 94)).len(), 0);
        assert_eq!(met(Release(6, 12, 33)).len(), 2);
        assert_eq!(met(Release(6, 14, 11)).len(), 2);
        assert_eq!(met(Release(6, 16, 0)).len(), 0);
    }

    #[test]
    fn what_no_program_of_ours_uses_is_still_told() {
        assert_eq!(met(Release(6, 18, 44)).len(), 0);
        let told: Vec<_> = KnownBug::of(Release(6, 18, 44)).map(|bug| bug.reference).collect();
        assert_eq!(told, ["CVE-2026-74589"]);
        assert_eq!(KnownBug::of(Release(6, 18, 45)).count(), 0);
        assert_eq!(KnownBug::of(Release(6, 12, 104)).count(), 0);
    }

    #[test]
    fn the_ranges_of_a_bug_are_in_order_and_apart() {
        for bug in KNOWN_BUGS {
            let bounds: Vec<_> = bug.affected.iter().flat_map(|&(from, to)| [from, to]).collect();
            assert!(bounds.is_sorted_by(|a, b| a < b), "{}", bug.reference);
        }
    }
}
