//! Volumes on a real folder, and on a file system that fails on demand.
