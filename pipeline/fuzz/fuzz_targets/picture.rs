//! Single pictures.
#![no_main]

#[path = "../../tests/fuzz/bodies.rs"]
mod bodies;
#[path = "../../tests/fuzz/picture_bodies.rs"]
mod picture_bodies;

libfuzzer_sys::fuzz_target!(|input: &[u8]| picture_bodies::picture(input));
