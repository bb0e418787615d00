//! Which sandbox a request belongs to.

pub mod sandbox_id;

pub use sandbox_id::SandboxId;
