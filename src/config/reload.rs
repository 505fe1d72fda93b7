//! What changes while running.
