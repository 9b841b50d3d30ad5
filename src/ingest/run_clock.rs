//! Run clock.
