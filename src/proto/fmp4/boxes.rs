//! Reading and writing box by box.
