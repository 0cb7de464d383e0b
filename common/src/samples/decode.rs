//! One image's pixels, from PNG or JPEG bytes.
//!
//! A header that claims a large image is refused before its pixels are made room for. The decoders
//! assert here and there what a damaged file does not keep; that is a refusal too. Deliberately
//! absent: colour profiles, gamma, rotation flags and transparency, which are ignored.
//!
//! Floor: common.

use std::panic::{AssertUnwindSafe, catch_unwind};

use png::{BitDepth, ColorType, Decoder, Limits, Transformations};
use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    pub height: usize,
    pub width: usize,
    pub gray: bool,
}

/// Pixels [height, width, channels], one channel (grey) or three.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture {
    pub head: Head,
    /// 0 black to 1 white.
    pub pixels: Vec<f32>,
}

/// Errors: in words, what keeps the header from being read.
pub fn head(bytes: &[u8]) -> Result<Head, String> {
    guarded(|| {
        if !is_jpeg(bytes) {
            let mut decoder = png(bytes);
            let info = decoder.read_header_info().map_err(|error| error.to_string())?;
            let gray = matches!(info.color_type, ColorType::Grayscale | ColorType::GrayscaleAlpha);
            return sized(info.height as usize, info.width as usize, gray);
        }
        let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), jpeg_options());
        decoder.decode_headers().map_err(|error| error.to_string())?;
        let info = decoder.info().ok_or("it has no header")?;
        let gray = decoder.input_colorspace() == Some(ColorSpace::Luma);
        sized(usize::from(info.height), usize::from(info.width), gray)
    })
}

/// Errors: in words, what keeps it from being decoded.
pub fn picture(bytes: &[u8]) -> Result<Picture, String> {
    let head = head(bytes)?;
    guarded(|| {
        let (samples, channels, white) =
            if is_jpeg(bytes) { jpeg_samples(bytes, head)? } else { png_samples(bytes)? };
        let kept = if head.gray { 1 } else { 3 };
        let pixels = samples
            .chunks_exact(channels)
            .flat_map(|pixel| pixel.iter().take(kept).map(|&sample| f32::from(sample) / white));
        let picture = Picture { head, pixels: pixels.collect() };
        let whole = picture.pixels.len() == head.height * head.width * kept;
        if whole { Ok(picture) } else { Err("it ends early".to_string()) }
    })
}

/// A mask's numbers [height, width], of grey or of a palette's places; `None` for one in colours.
///
/// Errors: in words, what keeps it from being decoded.
pub fn mask(bytes: &[u8]) -> Result<Option<(Head, Vec<u16>)>, String> {
    let head = head(bytes)?;
    guarded(|| {
        let mut reader = png(bytes).read_info().map_err(|error| error.to_string())?;
        let (color, depth) = (reader.info().color_type, reader.info().bit_depth);
        let step = match color {
            ColorType::Grayscale | ColorType::Indexed => 1,
            ColorType::GrayscaleAlpha => 2,
            ColorType::Rgb | ColorType::Rgba => return Ok(None),
        };
        let mut bytes = vec![0; reader.output_buffer_size().ok_or("it is too large")?];
        let info = reader.next_frame(&mut bytes).map_err(|error| error.to_string())?;
        let mut numbers = Vec::with_capacity(head.height * head.width);
        for line in bytes.chunks_exact(info.line_size.max(1)).take(head.height) {
            match depth {
                BitDepth::Sixteen => {
                    let wide = line.chunks_exact(2 * step);
                    numbers.extend(wide.map(|two| u16::from_be_bytes([two[0], two[1]])));
                }
                BitDepth::Eight => {
                    numbers.extend(line.chunks_exact(step).map(|one| u16::from(one[0])));
                }
                _ => {
                    let bits = depth as usize;
                    let sample = |at: usize| {
                        let shift = 8 - bits - at * bits % 8;
                        u16::from(line[at * bits / 8] >> shift) & ((1 << bits) - 1)
                    };
                    numbers.extend((0..head.width).map(sample));
                }
            }
        }
        let whole = numbers.len() == head.height * head.width;
        if whole { Ok(Some((head, numbers))) } else { Err("it ends early".to_string()) }
    })
}

pub fn is_jpeg(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0xff, 0xd8])
}

fn png(bytes: &[u8]) -> Decoder<ZCursor<&[u8]>> {
    let limits = Limits { bytes: PIXELS_MAX * 8 };
    let mut decoder = Decoder::new_with_limits(ZCursor::new(bytes), limits);
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    decoder
}

fn jpeg_options() -> DecoderOptions {
    // Otherwise what cannot be decoded is grey.
    DecoderOptions::new_safe()
        .set_strict_mode(true)
        .set_max_width(SIDE_MAX)
        .set_max_height(SIDE_MAX)
}

/// Samples, channels and what white is.
type Decoded = (Vec<u16>, usize, f32);

fn png_samples(bytes: &[u8]) -> Result<Decoded, String> {
    let mut decoder = png(bytes);
    decoder.set_transformations(Transformations::EXPAND);
    let mut reader = decoder.read_info().map_err(|error| error.to_string())?;
    let mut bytes = vec![0; reader.output_buffer_size().ok_or("it is too large")?];
    let info = reader.next_frame(&mut bytes).map_err(|error| error.to_string())?;
    bytes.truncate(info.buffer_size());
    let channels = info.color_type.samples();
    Ok(match info.bit_depth {
        BitDepth::Sixteen => {
            let wide = bytes.chunks_exact(2).map(|two| u16::from_be_bytes([two[0], two[1]]));
            (wide.collect(), channels, 65_535.0)
        }
        _ => (bytes.into_iter().map(u16::from).collect(), channels, 255.0),
    })
}

fn jpeg_samples(bytes: &[u8], head: Head) -> Result<Decoded, String> {
    // The decoder goes on where bytes end, and what it makes up is no image.
    jpeg_end(bytes).ok_or("it ends early")?;
    let space = if head.gray { ColorSpace::Luma } else { ColorSpace::RGB };
    let options = jpeg_options().jpeg_set_out_colorspace(space);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    let bytes = decoder.decode().map_err(|error| error.to_string())?;
    let channels = if head.gray { 1 } else { 3 };
    Ok((bytes.into_iter().map(u16::from).collect(), channels, 255.0))
}

/// Where a JPEG says that it ends (ITU-T T.81, B.1).
fn jpeg_end(bytes: &[u8]) -> Option<usize> {
    let mut at = 2;
    loop {
        // Between segments lie bits, among which 0xff is followed by 0 or by a restart.
        while *bytes.get(at)? != 0xff || matches!(bytes.get(at + 1)?, 0 | 1 | 0xd0..=0xd7 | 0xff) {
            at += 1;
        }
        if bytes[at + 1] == 0xd9 {
            return Some(at);
        }
        let length = bytes.get(at + 2..at + 4)?;
        at += 2 + usize::from(u16::from_be_bytes([length[0], length[1]]));
    }
}

fn sized(height: usize, width: usize, gray: bool) -> Result<Head, String> {
    let pixels = height.saturating_mul(width);
    if pixels == 0 || pixels > PIXELS_MAX || height.max(width) > SIDE_MAX {
        return Err(format!("{height} × {width} pixels are none or too many"));
    }
    Ok(Head { height, width, gray })
}

fn guarded<T>(decode: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(decode)).unwrap_or_else(|_| Err("it is damaged".to_string()))
}

const SIDE_MAX: usize = 1 << 15;
/// Of one image; it is held in full while it is decoded.
const PIXELS_MAX: usize = 1 << 26;
