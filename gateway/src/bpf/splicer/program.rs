//! The program on the interfaces, and its maps: those that are there already, or new ones.

use std::error::Error;
use std::fs;
use std::io;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use aya::Ebpf;
use aya::maps::{Array, HashMap, Map, MapData};
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::tc::{SchedClassifierLink, TcAttachOptions};
use aya::programs::{LinkOrder, ProgramError, ProgramInfo, SchedClassifier, TcAttachType};
use gateway_common::packet::{Label, WayKey};
use nix::errno::Errno;
use nix::net::if_::if_indextoname;

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
    let mut hooked = Vec::new();
    for (index, path) in links(state)? {
        match replace(program, &path) {
            Ok(()) => hooked.extend(index),
            // The interface has gone, and whatever has its number now is another one.
            Err(ProgramError::SyscallError(error)) if error.io_error.raw_os_error() == Some(Errno::ENOLINK as i32) => {
                remove(path)?;
            }
            Err(source) => return Err(on_interface(&path.display().to_string(), source)),
        }
    }
    hook_others(program, state, devices, &hooked)?;
    tell(program, state).map_err(|source| on_interface("the state directory", source))
}

/// Puts the program that is on the others on interfaces that have come, and takes away what is left of those that have
/// gone. A process may do so that has loaded an older program: the one that was pinned last is taken.
pub(super) fn follow(state: &StateDir, devices: &[Device]) -> Result<(), StartError> {
    let pinned = SchedClassifier::from_pin(state.program());
    let mut program = pinned.map_err(|source| on_interface("the state directory", source))?;
    let mut hooked = Vec::new();
    for (index, path) in links(state)? {
        let device = devices.iter().find(|device| Some(device.index) == index);
        let is_alive = match device {
            Some(device) => is_on(&path, device),
            // It may be one that only another process has its streams on. What does not exist has an empty name here.
            None => index.is_some_and(|index| if_indextoname(index).is_ok_and(|name| !name.is_empty())),
        };
        if is_alive {
            hooked.extend(index);
        } else {
            tracing::debug!(link = %path.display(), "an interface with the packet program has gone");
            remove(path)?;
        }
    }
    hook_others(&mut program, state, devices, &hooked)
}

/// The links that are there, with the number of the interface that each was made for.
fn links(state: &StateDir) -> Result<Vec<(Option<u32>, PathBuf)>, StartError> {
    let listed = || -> io::Result<Vec<_>> {
        let paths = fs::read_dir(state.links())?.map(|entry| Ok(entry?.path()));
        let index = |path: &Path| path.file_name()?.to_str()?.parse().ok();
        paths.map(|path: io::Result<PathBuf>| path.map(|path| (index(&path), path))).collect()
    };
    listed().map_err(system("cannot list the links"))
}

/// Whether a link's program is on the interface: it may be that of one before, which had the same number.
fn is_on(link: &Path, device: &Device) -> bool {
    let program = PinnedLink::from_pin(link).ok().and_then(|link| FdLink::from(link).info().ok());
    let programs = SchedClassifier::query_tcx(&device.name, TcAttachType::Ingress);
    let (Some(link), Ok((_, programs))) = (program, programs) else { return device.is_there() };
    programs.iter().any(|program| program.id() == link.program_id())
}

fn remove(path: PathBuf) -> Result<(), StartError> {
    Ok(fs::remove_file(&path).map_err(|source| StateError::File { path, source })?)
}

fn on_interface(interface: &str, source: ProgramError) -> StartError {
    StartError::Attach { interface: interface.to_owned(), source }
}

/// Puts the program on those of `devices` whose numbers are not among `hooked`.
fn hook_others(
    program: &mut SchedClassifier,
    state: &StateDir,
    devices: &[Device],
    hooked: &[u32],
) -> Result<(), StartError> {
    for device in devices.iter().filter(|device| !hooked.contains(&device.index)) {
        let path = state.links().join(device.index.to_string());
        match hook(program, &device.name, &path) {
            Ok(()) => tracing::debug!(device = device.name, "the packet program is on an interface"),
            // Interfaces of containers come and go at any time.
            Err(error) if !device.is_there() => tracing::debug!(%error, device = device.name, "an interface has gone"),
            Err(source) => return Err(on_interface(&device.name, source)),
        }
    }
    Ok(())
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
