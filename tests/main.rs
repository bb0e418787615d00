//! The list of stories.
