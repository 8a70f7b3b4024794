//! Pictures in JPEG and PNG files: a folder of them, or tar shards.

mod braces;
mod codec;
mod decode;
mod emit;
mod fit;
mod folder;
mod header;
mod listing;
mod orientation;
mod shards;
mod single;
mod tar_index;

pub use decode::{DEFAULT_PIXEL_LIMIT, Decode};
pub use fit::Fit;
pub use folder::ImageFolder;
pub use shards::TarShards;
