//! Pictures in folders and tar files: decoded right, in a known order, and with the loader's policy for those that are
//! damaged.

#[path = "../common/mod.rs"]
mod common;
mod decoding;
mod folder;
mod loading;
mod made;
mod shards;
mod spans;
