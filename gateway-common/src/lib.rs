//! What both sides of the kernel must agree on, and nothing else.
//!
//! The types are laid out by hand: `repr(C)`, padding written out, sizes asserted. The kernel copies their bytes and
//! does not know what they mean, so a difference between the two compilers would show only as wrong numbers.
#![no_std]

/// Version of everything in this crate. The program refuses a loaded object that carries another one.
pub const ABI_VERSION: u32 = 1;

/// Section of the object that holds [`ABI_VERSION`] in the kernel's byte order, and nothing else.
///
/// The name begins with `.rodata` because loaders hand out the content of such sections under their own name.
pub const ABI_SECTION: &str = ".rodata.abi";

/// What a verdict program has let through to user space: the one value of each CPU in the map `PASSED`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// Payload bytes.
    pub bytes: u64,
    /// Socket buffers, among them the empty ones that carry a FIN.
    pub skbs: u64,
}

const _: () = assert!(size_of::<Passed>() == 16);

#[cfg(feature = "user")]
mod user {
    // SAFETY: `repr(C)`, two `u64` without padding, and every bit pattern is a valid value.
    #[expect(unsafe_code, reason = "Pod is what lets the map API copy the value's bytes")]
    unsafe impl aya::Pod for super::Passed {}
}
