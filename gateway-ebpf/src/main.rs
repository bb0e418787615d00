//! The kernel side of the gateway: one file per engine, and the maps.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod maps;
mod packet;
mod sockmap;

use core::panic::PanicInfo;

/// Read by the user side before it hands the object to the kernel. No program refers to it, hence `used`.
#[used]
#[unsafe(no_mangle)]
#[unsafe(link_section = ".rodata.abi")]
static ABI_VERSION: u32 = gateway_common::ABI_VERSION;

/// The kernel offers most helpers to programs under a licence compatible with the GPL only.
#[used]
#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// A `no_std` program must have one. It is never linked, since nothing here can panic; the verifier would refuse the
/// loop.
#[panic_handler]
fn panic(_info: &PanicInfo<'_>) -> ! {
    loop {}
}
