//! Builders that let a story read as sentences.
