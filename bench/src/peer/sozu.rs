//! sozu, which cannot take part.

use anyhow::Result;

use crate::subject::{Scene, Started, Subject};

/// Named, so that nobody looks for it in vain.
pub(super) struct Sozu;

impl Subject for Sozu {
    fn name(&self) -> String {
        "sozu".to_owned()
    }

    fn start(&self, _: &Scene) -> Result<Started> {
        Ok(Started::Skipped(
            "neither Debian nor PyPI has it, and to build it from crates.io takes longer than the suite".to_owned(),
        ))
    }
}
