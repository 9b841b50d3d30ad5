//! To come.

pub mod plan;
