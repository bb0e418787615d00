//! The program on the interfaces, and its maps: those that are there already, or new ones.

use std::error::Error;
use std::fs;
use std::io;
use std::num::NonZeroU32;
use std::path::Path;

use aya::Ebpf;
use aya::maps::{Array, HashMap, Map, MapData};
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::tc::{SchedClassifierLink, TcAttachOptions};
use aya::programs::{LinkOrder, ProgramError, ProgramInfo, SchedClassifier, TcAttachType};
use gateway_common::packet::{Label, WayKey};
use nix::errno::Errno;

use super::devices::Device;
use super::state::{StateDir, StateError};
use super::{LABELS, PINNED, StartError, WAY_INDICES, WAYS, system};
use crate::bpf::{self, OBJECT};

/// The maps of spliced streams.
pub(super) struct Maps {
    pub(super) indices: Map,
    pub(super) ways: Map,
    pub(super) events: Map,
    pub(super) unspliced: Map,
    pub(super) labels: Map,
    /// How many streams they have room for.
    pub(super) streams: u32,
}

/// How many streams the maps that are there have room for; `None` where there are none.
pub(super) fn room(state: &StateDir) -> Option<u32> {
    let ways = MapData::from_pin(state.map(WAYS)).ok()?;
    Some(ways.info().ok()?.max_entries() / 2)
}

/// Whether a stream is in the maps that are there.
pub(super) fn is_in_use(state: &StateDir) -> bool {
    let indices = MapData::from_pin(state.map(WAY_INDICES)).ok();
    let indices = indices.and_then(|map| HashMap::<_, WayKey, u32>::try_from(Map::HashMap(map)).ok());
    indices.is_some_and(|indices| indices.keys().next().is_some())
}

/// The maps that are there, or new ones with room for `streams`.
pub(super) fn load(state: &StateDir, streams: u32) -> Result<(Ebpf, Maps), StartError> {
    let streams = room(state).unwrap_or(streams);
    let pins: Vec<_> = PINNED.iter().map(|&name| (name, state.map(name))).collect();
    let ways = NonZeroU32::new(2 * streams).expect("the options ask for one at least");
    let mut ebpf = bpf::load_splicer(OBJECT, ways, &pins)?;
    let labels = labels(&state.map(LABELS), streams)?;
    let mut take = |name| ebpf.take_map(name).expect("the ABI version vouches for the maps");
    let [indices, ways, events, unspliced] = PINNED.map(&mut take);
    Ok((ebpf, Maps { indices, ways, events, unspliced, labels, streams }))
}

/// No program has this map, so that the object does not, either.
fn labels(path: &Path, streams: u32) -> Result<Map, StartError> {
    type Value = [u64; size_of::<Label<u64>>() / 8];
    let opened = || -> Result<MapData, Box<dyn Error + Send + Sync>> {
        if !path.exists() {
            Array::<_, Value>::create(streams, aya_obj::generated::BPF_F_MMAPABLE)?.pin(path)?;
        }
        Ok(MapData::from_pin(path)?)
    };
    opened().map(Map::Array).map_err(|error| system("cannot make the map of labels")(io::Error::other(error)))
}

/// Puts the program on every interface that has it, in the place of the one before and without a packet in between,
/// and on the others of `devices`.
pub(super) fn attach(ebpf: &mut Ebpf, state: &StateDir, devices: &[Device]) -> Result<(), StartError> {
    let program = bpf::ingress(ebpf);
    let on_interface = |interface: &str, source| StartError::Attach { interface: interface.to_owned(), source };
    let mut hooked = Vec::new();
    for entry in fs::read_dir(state.links()).map_err(system("cannot list the links"))? {
        let path = entry.map_err(system("cannot list the links"))?.path();
        let index = path.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok());
        match replace(program, &path) {
            Ok(()) => hooked.extend(index),
            // The interface has gone, and whatever has its number now is another one.
            Err(ProgramError::SyscallError(error)) if error.io_error.raw_os_error() == Some(Errno::ENOLINK as i32) => {
                fs::remove_file(&path).map_err(|source| StateError::File { path, source })?;
            }
            Err(source) => return Err(on_interface(&path.display().to_string(), source)),
        }
    }
    for device in devices.iter().filter(|device| !hooked.contains(&device.index)) {
        let path = state.links().join(device.index.to_string());
        hook(program, &device.name, &path).map_err(|source| on_interface(&device.name, source))?;
    }
    tell(program, state).map_err(|source| on_interface("the state directory", source))
}

fn replace(program: &mut SchedClassifier, link: &Path) -> Result<(), ProgramError> {
    let pinned = PinnedLink::from_pin(link).map(FdLink::from).and_then(SchedClassifierLink::try_from).map_err(other)?;
    let id = program.attach_to_link(pinned)?;
    // The file holds it.
    drop(program.take_link(id)?);
    Ok(())
}

fn hook(program: &mut SchedClassifier, interface: &str, path: &Path) -> Result<(), ProgramError> {
    let last = TcAttachOptions::TcxOrder(LinkOrder::default());
    let id = program.attach_with_options(interface, TcAttachType::Ingress, last)?;
    let link = FdLink::try_from(program.take_link(id)?).map_err(other)?;
    link.pin(path).map_err(other)?;
    Ok(())
}

fn other(error: impl Into<Box<dyn Error + Send + Sync>>) -> ProgramError {
    ProgramError::IOError(io::Error::other(error))
}

/// Leaves the program where bpftool(8) and the next gateway see which one runs.
fn tell(program: &mut SchedClassifier, state: &StateDir) -> Result<(), ProgramError> {
    let path = state.program();
    let new = program.info()?;
    match ProgramInfo::from_pin(&path) {
        Ok(old) if old.tag() != new.tag() => tracing::info!(
            old = format_args!("{:016x}", old.tag()),
            new = format_args!("{:016x}", new.tag()),
            "the packet program on the interfaces was replaced by another one"
        ),
        _ => {}
    }
    if path.exists() {
        fs::remove_file(&path).map_err(ProgramError::IOError)?;
    }
    program.pin(&path).map_err(other)
}
