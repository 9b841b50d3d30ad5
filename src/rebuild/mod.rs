//! The index made again from the files: what a lost or damaged database costs is time, not footage.
