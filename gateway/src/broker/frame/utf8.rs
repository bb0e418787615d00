//! Text in pieces: whether it is UTF-8 so far.

/// What a piece left over: the beginning of a character.
#[derive(Debug, Default)]
pub(super) struct Utf8 {
    begun: [u8; 4],
    len: usize,
}

impl Utf8 {
    /// Whether the text is UTF-8 up to the end of `piece`; `ends` says that nothing follows.
    pub(super) fn accepts(&mut self, mut piece: &[u8], ends: bool) -> bool {
        while self.len > 0 {
            let Some((&next, rest)) = piece.split_first() else { return !ends };
            self.begun[self.len] = next;
            self.len += 1;
            piece = rest;
            match std::str::from_utf8(&self.begun[..self.len]) {
                Ok(_) => self.len = 0,
                Err(error) if error.error_len().is_some() || self.len == self.begun.len() => return false,
                Err(_) => {}
            }
        }
        match std::str::from_utf8(piece) {
            Ok(_) => true,
            Err(error) if error.error_len().is_some() => false,
            Err(error) => {
                let tail = &piece[error.valid_up_to()..];
                self.begun[..tail.len()].copy_from_slice(tail);
                self.len = tail.len();
                !ends
            }
        }
    }
}
