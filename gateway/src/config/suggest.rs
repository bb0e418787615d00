//! Which name was probably meant.

/// How many edits a name may be away from what was written, as a share of its length: a third.
const LENGTH_PER_EDIT: usize = 3;

/// The candidate that is the fewest edits away, if it is near enough to be the one that was meant.
pub(super) fn nearest(written: &str, candidates: impl Iterator<Item = String>) -> Option<String> {
    candidates
        .map(|candidate| (edits(written, &candidate), candidate))
        .filter(|(edits, candidate)| edits * LENGTH_PER_EDIT <= candidate.len())
        .min()
        .map(|(_, candidate)| candidate)
}

/// The Levenshtein distance in bytes, by the method of Wagner and Fischer with one row.
fn edits(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, from_byte) in from.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to_byte) in to.bytes().enumerate() {
            let replaced = diagonal + usize::from(from_byte != to_byte);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_edits() {
        for (from, to, count) in
            [("", "", 0), ("abc", "abc", 0), ("", "abc", 3), ("kitten", "sitting", 3), ("ab", "ba", 2)]
        {
            assert_eq!(edits(from, to), count, "{from} -> {to}");
            assert_eq!(edits(to, from), count, "{to} -> {from}");
        }
    }

    #[test]
    fn suggests_only_what_is_near() {
        let names = || ["listen", "log", "log_level"].map(str::to_owned).into_iter();
        assert_eq!(nearest("lisen", names()), Some("listen".to_owned()));
        assert_eq!(nearest("log-level", names()), Some("log_level".to_owned()));
        assert_eq!(nearest("colour", names()), None);
    }
}
