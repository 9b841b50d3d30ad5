//! What a segment file says, as rows: the one place where the boxes of a file become the columns of
//! the index.
//!
//! Recording makes rows while it writes ([`tables`]), recovery completes those that a crash left
//! ([`mend()`]), and a rebuild makes all of them again from the
//! files alone ([`read()`]).

mod mend;
mod read;
pub mod tables;

pub use mend::{MendError, Mended, NOTHING, mend, remake};
pub use read::{Flaw, Footage, ReadError, look_deep, read};
