//! Named runs.
