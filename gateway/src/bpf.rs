//! The kernel programs: the embedded object, its check, and its way into the kernel.
//!
//! The object is built from `gateway-ebpf` by `cargo xtask build-ebpf` and committed, so that building the gateway
//! needs no BPF toolchain.

pub mod capability;
pub mod offload;
pub mod splicer;

use std::error::Error;
use std::io;
use std::num::NonZeroU32;
use std::path::PathBuf;

use aya::maps::MapError;
use aya::programs::{ProgramError, SchedClassifier, SkSkb};
use aya::util::KernelVersion;
use aya::{Ebpf, EbpfError, EbpfLoader};
use gateway_common::{ABI_SECTION, ABI_VERSION};
use nix::errno::Errno;
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};

use capability::{Capabilities, Capability};

/// Whether the kernel takes the embedded programs; the verifier has the last word. Nothing stays behind.
///
/// # Errors
/// Names what is missing, as far as the kernel's answer and this process's own state tell.
pub fn check() -> Result<(), LoadError> {
    load(OBJECT, NonZeroU32::MIN, 0).map(drop)?;
    load_splicer(OBJECT, NonZeroU32::MIN, &[]).map(drop)
}

/// Why the kernel programs are not in the kernel.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The object cannot be read at all. Only a broken build has such a one.
    #[error("the embedded object is damaged: {0}")]
    Damaged(#[from] aya_obj::ParseError),
    /// The object was built from another state of `gateway-common`.
    #[error(
        "the embedded object has ABI version {found:?} where {ABI_VERSION} is wanted; run `cargo xtask build-ebpf`"
    )]
    Abi {
        /// What its ABI section says, if it has one of the right size.
        found: Option<u32>,
    },
    /// This thread may not load programs.
    #[error("{} missing (or CAP_SYS_ADMIN)", capability::names(.missing))]
    Capability {
        /// What it would take.
        missing: Vec<Capability>,
    },
    /// The kernel charges maps to RLIMIT_MEMLOCK, as it did before Linux 5.11.
    #[error("RLIMIT_MEMLOCK is {limit_bytes} bytes, and this kernel charges BPF maps to it (until Linux 5.11)")]
    Memlock {
        /// The soft limit.
        limit_bytes: u64,
    },
    /// `EPERM` in spite of the capabilities.
    #[error(
        "bpf(2) is forbidden in spite of the capabilities: by a seccomp profile, a user namespace or kernel lockdown"
    )]
    Forbidden,
    /// The kernel was built without BPF.
    #[error("this kernel has no bpf(2)")]
    NoBpf,
    /// The kernel does not know a map type, or has no memory for it.
    #[error("the kernel refuses the map {name}: {source}")]
    Map {
        /// The map's name in `gateway-ebpf/src/maps.rs`.
        name: String,
        /// What `BPF_MAP_CREATE` said.
        source: io::Error,
    },
    /// The verifier does not accept a program, or the kernel does not know its type.
    #[error("the kernel refuses the program {name}: {source}")]
    Program {
        /// The program's name in `gateway-ebpf`.
        name: &'static str,
        /// With the verifier's log.
        source: ProgramError,
    },
    /// Anything else that the loader reports.
    #[error("the kernel programs cannot be loaded: {0}")]
    Other(#[source] EbpfError),
}

/// Aligned, because the ELF reader works on the bytes in place.
static OBJECT: &[u8] = aya::include_bytes_aligned!("../../gateway-ebpf/gateway.bpf.o");

/// `gateway-ebpf/src/sockmap.rs`
const SOCKMAP_VERDICT: &str = "sockmap_verdict";

/// `gateway-ebpf/src/packet.rs`
const PACKET_INGRESS: &str = "packet_ingress";

/// Loads `object` with room for `sockets` sockets. Nothing is attached yet. Messages of the programs up to `log_level`
/// reach the log, 0 is none.
fn load(object: &[u8], sockets: NonZeroU32, log_level: u8) -> Result<Ebpf, LoadError> {
    let mut ebpf = open(object, &[offload::INDICES, offload::PEERS, offload::FLOWS], sockets, log_level, &[])?;
    let verdict: &mut SkSkb = verdict(&mut ebpf);
    verdict.load().map_err(|error| refused(EbpfError::ProgramError(error), SOCKMAP_VERDICT))?;
    Ok(ebpf)
}

/// Loads `object` with room for `ways` directions of spliced connections. Nothing is attached yet. Of the maps in
/// `pins` those are taken that are there, whatever their size.
fn load_splicer(object: &[u8], ways: NonZeroU32, pins: &[(&str, PathBuf)]) -> Result<Ebpf, LoadError> {
    let mut ebpf = open(object, &[splicer::WAY_INDICES, splicer::WAYS], ways, 0, pins)?;
    let ingress: &mut SchedClassifier = ingress(&mut ebpf);
    ingress.load().map_err(|error| refused(EbpfError::ProgramError(error), PACKET_INGRESS))?;
    Ok(ebpf)
}

/// The object with its maps, of which `sized` have room for `entries`; those in `pins` are there or outlive the
/// process. No program is in the kernel yet.
fn open(
    object: &[u8],
    sized: &[&str],
    entries: NonZeroU32,
    log_level: u8,
    pins: &[(&str, PathBuf)],
) -> Result<Ebpf, LoadError> {
    check_abi(object)?;
    let mut loader = EbpfLoader::new();
    // No program of ours is relocated to the kernel's types. The loader has read them by now all the same.
    loader.btf(None);
    loader.override_global(aya_log::LEVEL, &log_level, true);
    for (map, path) in pins {
        loader.map_pin_path(map, path);
    }
    for map in sized {
        loader.map_max_entries(map, entries.get());
    }
    loader.load(object).map_err(|error| refused(error, ""))
}

fn verdict(ebpf: &mut Ebpf) -> &mut SkSkb {
    let verdict = ebpf.program_mut(SOCKMAP_VERDICT).expect("the ABI version vouches for the programs");
    verdict.try_into().expect("the ABI version vouches for the programs' types")
}

fn ingress(ebpf: &mut Ebpf) -> &mut SchedClassifier {
    let ingress = ebpf.program_mut(PACKET_INGRESS).expect("the ABI version vouches for the programs");
    ingress.try_into().expect("the ABI version vouches for the programs' types")
}

/// Needs no privilege, and comes first: with another ABI the kernel might take the object and count nonsense.
fn check_abi(object: &[u8]) -> Result<(), LoadError> {
    let object = aya_obj::Object::parse(object)?;
    let section = object.maps.get(ABI_SECTION).map(aya_obj::Map::data);
    let found = section.and_then(|bytes| bytes.try_into().ok()).map(u32::from_ne_bytes);
    if found != Some(ABI_VERSION) {
        return Err(LoadError::Abi { found });
    }
    Ok(())
}

/// Finds the reason behind the loader's error: `bpf(2)` says `EPERM` for several.
fn refused(error: EbpfError, name: &'static str) -> LoadError {
    match errno(&error) {
        Some(Errno::EPERM) => forbidden(),
        Some(Errno::ENOSYS) => LoadError::NoBpf,
        _ => match error {
            EbpfError::MapError(MapError::CreateError { name, io_error }) => LoadError::Map { name, source: io_error },
            EbpfError::ProgramError(source) => LoadError::Program { name, source },
            error => LoadError::Other(error),
        },
    }
}

fn forbidden() -> LoadError {
    let missing = Capabilities::effective().map(Capabilities::missing_for_programs).unwrap_or_default();
    if !missing.is_empty() {
        return LoadError::Capability { missing };
    }
    let charged = KernelVersion::current().is_ok_and(|kernel| kernel < KernelVersion::new(5, 11, 0));
    match getrlimit(Resource::RLIMIT_MEMLOCK) {
        Ok((limit_bytes, _)) if charged && limit_bytes != RLIM_INFINITY => LoadError::Memlock { limit_bytes },
        _ => LoadError::Forbidden,
    }
}

/// The system call's error, wherever in the chain it is.
fn errno(error: &EbpfError) -> Option<Errno> {
    let mut error: &(dyn Error + 'static) = error;
    loop {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return error.raw_os_error().map(Errno::from_raw);
        }
        error = error.source()?;
    }
}

#[cfg(test)]
mod tests;
