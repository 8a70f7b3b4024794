//! Pictures made of pixels.

use std::io;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::fontdb::Source;
use resvg::usvg::{Options, Tree};

/// Pixels for each unit of a drawing, and how many there may be along a side.
const SCALE: f32 = 2.0;
const LONGEST: f32 = 6000.0;
const FONT: &str = "DejaVu Sans";

/// A drawing as PNG, with letters of a font that this crate carries.
pub(super) fn png(svg: &str) -> io::Result<Vec<u8>> {
    let mut options = Options {
        font_family: FONT.into(),
        ..Options::default()
    };
    let fonts = Arc::make_mut(&mut options.fontdb);
    for font in [dejavu::sans::regular(), dejavu::sans::bold()] {
        fonts.load_font_source(Source::Binary(Arc::new(font)));
    }
    fonts.set_sans_serif_family(FONT);
    let tree = Tree::from_str(svg, &options).map_err(io::Error::other)?;
    let size = tree.size();
    let scale = SCALE.min(LONGEST / size.width().max(size.height()));
    let side = |length: f32| (length * scale).ceil() as u32;
    let mut pixels = Pixmap::new(side(size.width()), side(size.height()))
        .ok_or_else(|| io::Error::other("the picture has no size"))?;
    resvg::render(
        &tree,
        Transform::from_scale(scale, scale),
        &mut pixels.as_mut(),
    );
    pixels.encode_png().map_err(io::Error::other)
}

/// Pixels, row by row, as an address that holds them.
pub(super) fn address_of(
    width: usize,
    height: usize,
    rgb: impl Fn(usize) -> [u8; 3],
) -> io::Result<String> {
    let side = |length: usize| u32::try_from(length).map_err(io::Error::other);
    let mut pixels = Pixmap::new(side(width)?, side(height)?)
        .ok_or_else(|| io::Error::other("the picture has no size"))?;
    for (index, pixel) in pixels
        .data_mut()
        .as_chunks_mut::<4>()
        .0
        .iter_mut()
        .enumerate()
    {
        let [red, green, blue] = rgb(index);
        *pixel = [red, green, blue, 255];
    }
    let png = pixels.encode_png().map_err(io::Error::other)?;
    Ok(address(&png))
}

/// A PNG as an address that holds it.
pub(super) fn address(png: &[u8]) -> String {
    format!("data:image/png;base64,{}", STANDARD.encode(png))
}

/// A drawing as an address that holds it.
pub(super) fn svg_address(svg: &[u8]) -> String {
    format!("data:image/svg+xml;base64,{}", STANDARD.encode(svg))
}
