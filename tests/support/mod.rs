//! What tests share.

pub mod camera;
