//! The unsafe directory: safe functions over system calls and the kernel's rings.
//!
//! Everything below is safe to call. What makes it so is stated where it is kept: an operation that the kernel still
//! works on owns its buffer and its socket (`ring`), a chunk of pool memory has one owner at a time (`pool`).
#![expect(unsafe_code, reason = "the one module that may: system calls, rings and the memory shared with them")]

pub mod cpu;
pub mod descriptors;
pub mod driver;
pub mod flows;
pub mod heap;
pub mod netlink;
pub mod netns;
pub mod pipe;
mod pool;
pub mod raw;
pub mod repair;
mod ring;
pub mod socket;
pub mod tcp;

pub(crate) use driver::registered;
pub use driver::{Backend, Driver, Listener};
pub use flows::FlowArray;
pub use pipe::{Moved, Pipe};
pub use pool::{Chunk, ChunkSize};
pub use socket::{Received, Socket};
pub use tcp::TcpTuning;
