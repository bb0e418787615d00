//! Taking everything that gateways left in the kernel out of it.

use std::fs;
use std::path::{Path, PathBuf};

use aya::maps::{HashMap, Map, MapData};
use gateway_common::packet::WayKey;

use super::owners::try_lock;
use super::state::{StateError, is_on_bpffs, remove_tree};
use super::{LABELS, PACKET_INGRESS, PINNED, WAY_INDICES};

/// What was removed.
#[derive(Debug, Default)]
pub struct Flushed {
    /// Every file, and what it held.
    pub files: Vec<(&'static str, PathBuf)>,
    /// Streams that were cut with it.
    pub streams: usize,
}

/// Why nothing was removed, or not all.
#[derive(Debug, thiserror::Error)]
pub enum FlushError {
    /// A gateway has it.
    #[error("a running gateway keeps its streams in {}; stop it first, or cut them with --force", .0.display())]
    InUse(PathBuf),
    /// A file could not be removed.
    #[error(transparent)]
    State(#[from] StateError),
}

/// Removes what is below `root`, in every network namespace and layout; with `force` also under gateways that run.
///
/// # Errors
/// When a gateway has it, or a file cannot be removed.
pub fn flush(root: &Path, force: bool) -> Result<Flushed, FlushError> {
    // Whatever else is in a directory with this name, no gateway has put there.
    if !root.exists() || !is_on_bpffs(root) {
        return Ok(Flushed::default());
    }
    let layouts: Vec<PathBuf> = below(root)?.iter().map(|net| below(net)).collect::<Result<Vec<_>, _>>()?.concat();
    if let Some(layout) = layouts.iter().find(|layout| !force && has_owner(layout)) {
        return Err(FlushError::InUse(layout.clone()));
    }
    let streams = layouts.iter().map(|layout| streams(layout)).sum();
    let mut files = Vec::new();
    remove_tree(root, &mut files).map_err(|source| StateError::File { path: root.to_owned(), source })?;
    Ok(Flushed { files: files.into_iter().map(|path| (kind(&path), path)).collect(), streams })
}

fn below(path: &Path) -> Result<Vec<PathBuf>, StateError> {
    let entries = fs::read_dir(path).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
    let entries: Vec<PathBuf> = entries.map_err(|source| StateError::File { path: path.to_owned(), source })?;
    Ok(entries.into_iter().filter(|path| path.is_dir()).collect())
}

fn has_owner(layout: &Path) -> bool {
    let owners = below(&layout.join("owners")).unwrap_or_default();
    owners.iter().any(|owner| matches!(try_lock(owner), Ok(None)))
}

/// Every stream has two entries in the index.
fn streams(layout: &Path) -> usize {
    let map = MapData::from_pin(layout.join(WAY_INDICES)).ok();
    let indices = map.and_then(|map| HashMap::<_, WayKey, u32>::try_from(Map::HashMap(map)).ok());
    indices.map_or(0, |indices| indices.keys().filter(Result::is_ok).count() / 2)
}

fn kind(path: &Path) -> &'static str {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    match name {
        PACKET_INGRESS => "program",
        name if PINNED.contains(&name) || name == LABELS => "map",
        _ => "link",
    }
}
