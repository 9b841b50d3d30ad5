//! What tests share.

pub(crate) mod camera;
mod tunnel;
