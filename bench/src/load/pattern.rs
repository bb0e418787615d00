//! Bytes that prove themselves, at the price of a comparison.

/// Bytes after which the pattern repeats: a prime, so that no usual size of a buffer is a multiple of it.
const PERIOD: u64 = 262_147;

/// The most bytes that [`Pattern::at`] gives at once.
pub(crate) const PIECE_BYTES: usize = 64 << 10;

/// One sequence that every client and pod has.
pub(crate) struct Pattern {
    /// The period, and once more its beginning, so that every piece is contiguous.
    bytes: Vec<u8>,
}

impl Pattern {
    pub(crate) fn new() -> Self {
        // xorshift64*; any start but 0 will do.
        let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut byte = || {
            state ^= state >> 12;
            state ^= state << 25;
            state ^= state >> 27;
            state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_be_bytes()[0]
        };
        let mut bytes: Vec<u8> = (0..PERIOD).map(|_| byte()).collect();
        bytes.extend_from_within(..PIECE_BYTES);
        Self { bytes }
    }

    /// The bytes from `position` on: `wanted`, but at most [`PIECE_BYTES`].
    pub(crate) fn at(&self, position: u64, wanted: usize) -> &[u8] {
        let start = usize::try_from(position % PERIOD).expect("the period fits");
        &self.bytes[start..start + wanted.min(PIECE_BYTES)]
    }

    /// Whether `bytes` are those from `position` on.
    pub(crate) fn matches(&self, position: u64, bytes: &[u8]) -> bool {
        let mut position = position;
        bytes.chunks(PIECE_BYTES).all(|piece| {
            let expected = self.at(position, piece.len());
            position += piece.len() as u64;
            piece == expected
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_a_lost_and_a_moved_byte_are_seen() {
        let pattern = Pattern::new();
        let mut bytes = pattern.at(PERIOD - 100, 300).to_vec();
        assert!(pattern.matches(PERIOD - 100, &bytes));
        assert!(!pattern.matches(PERIOD - 99, &bytes));
        bytes[250] ^= 1;
        assert!(!pattern.matches(PERIOD - 100, &bytes));
        bytes.remove(250);
        assert!(!pattern.matches(PERIOD - 100, &bytes));
    }
}
