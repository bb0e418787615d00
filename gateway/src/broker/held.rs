//! What a client has sent while its session has no upstream, for the next one.

/// Frames that wait, up to a bound.
#[derive(Debug)]
pub struct Held {
    frames: Vec<u8>,
    bytes_max: usize,
}

impl Held {
    /// Room for `bytes_max` bytes, and for what one receive brings beyond them.
    #[must_use]
    pub const fn new(bytes_max: usize) -> Self {
        Self { frames: Vec::new(), bytes_max }
    }

    /// Takes frames over, behind those that are there; none of them where the room is used up. Whoever has sent them
    /// is then not to be read until there is an upstream: what is refused here must come before anything later.
    #[must_use]
    pub fn takes(&mut self, frames: &mut Vec<u8>) -> bool {
        let fits = self.frames.len() < self.bytes_max;
        if fits {
            self.frames.append(frames);
        }
        fits || frames.is_empty()
    }

    /// Everything, for an upstream that is there. No memory is kept.
    #[must_use]
    pub fn release(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.frames)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_room_is_bounded_and_what_is_refused_stays_with_its_owner() {
        let mut held = Held::new(4);
        assert!(held.takes(&mut vec![1, 2, 3]) && held.takes(&mut vec![4, 5]));
        let mut refused = vec![6];
        assert!(!held.takes(&mut refused) && held.takes(&mut Vec::new()));
        assert_eq!((held.release(), refused), (vec![1, 2, 3, 4, 5], vec![6]));
        assert!(held.takes(&mut vec![6]));
        assert_eq!(held.release(), [6]);
    }
}
