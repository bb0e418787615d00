//! Bytes that prove themselves: a seeded sequence in which no byte can be lost, doubled or moved without being noticed.

use std::io::{self, Read, Write};

use anyhow::{Result, ensure};

/// A seeded pseudo-random sequence (xorshift64*), the same on both ends.
#[derive(Debug, Clone)]
pub struct Pattern {
    state: u64,
    pending: [u8; 8],
    used: usize,
}

impl Pattern {
    /// The sequence of `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1, pending: [0; 8], used: 8 }
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.number() % limit as u64).expect("below a usize")
    }

    /// Fills `bytes` with what comes next.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            if self.used == 8 {
                self.pending = self.number().to_le_bytes();
                self.used = 0;
            }
            *byte = self.pending[self.used];
            self.used += 1;
        }
    }

    /// The next `count` bytes.
    #[must_use]
    pub fn take(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.fill(&mut bytes);
        bytes
    }

    /// Writes the next `count` bytes in pieces of random size up to `piece_max`, chosen by `sizes`.
    pub fn write(&mut self, to: &mut impl Write, count: usize, piece_max: usize, sizes: &mut Self) -> io::Result<()> {
        let mut left = count;
        while left > 0 {
            let piece = (1 + sizes.below(piece_max)).min(left);
            to.write_all(&self.take(piece))?;
            left -= piece;
        }
        Ok(())
    }

    /// Checks bytes that were read at position `position` of the sequence.
    pub fn check(&mut self, bytes: &[u8], position: usize) -> Result<()> {
        let wanted = self.take(bytes.len());
        let wrong = bytes.iter().zip(&wanted).position(|(got, wanted)| got != wanted);
        ensure!(wrong.is_none(), "byte {} is not the one that was sent", position + wrong.unwrap_or(0));
        Ok(())
    }

    /// Reads and checks exactly `count` bytes.
    pub fn read(&mut self, from: &mut impl Read, count: usize) -> Result<()> {
        let mut buffer = vec![0; 64 << 10];
        let mut done = 0;
        while done < count {
            let limit = buffer.len().min(count - done);
            let bytes = from.read(&mut buffer[..limit])?;
            ensure!(bytes > 0, "the stream ended after {done} of {count} bytes");
            self.check(&buffer[..bytes], done)?;
            done += bytes;
        }
        Ok(())
    }

    /// Reads and checks `count` bytes and then the end of the stream.
    pub fn read_to_end(&mut self, from: &mut impl Read, count: usize) -> Result<()> {
        self.read(from, count)?;
        ensure!(from.read(&mut [0])? == 0, "bytes after the last one");
        Ok(())
    }
}
