//! A recorder between a hub, real files and a real database.
