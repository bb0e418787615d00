//! Which engines this machine can run.
