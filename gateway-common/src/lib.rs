//! What both sides of the kernel must agree on, and nothing else.
#![no_std]

/// Version of everything in this crate. The program refuses a loaded object that carries another one.
pub const ABI_VERSION: u32 = 1;
