//! PNG files without what says nothing about their pixels: profiles, texts and times, of which a few bytes may unfold to
//! hundreds of megabytes.

use std::borrow::Cow;

const SIGNATURE: usize = 8;
/// Length, kind and checksum around a chunk's data.
const FRAME: usize = 12;

/// Width and height that the header claims.
pub(super) fn size(bytes: &[u8]) -> Option<(u32, u32)> {
    let number = |at: usize| Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?));
    let is_header = bytes.get(SIGNATURE + 4..)?.starts_with(b"IHDR");
    Some((number(SIGNATURE + 8)?, number(SIGNATURE + 12)?)).filter(|_| is_header)
}

/// The file with its critical chunks and its transparency alone. Of an animation, that is the picture for those who know
/// no animations.
pub(super) fn pixels_alone(bytes: &[u8]) -> Cow<'_, [u8]> {
    let mut kept = Vec::new();
    // Bytes from `start` to `at` are wanted and not yet copied.
    let (mut start, mut at) = (0, SIGNATURE);
    while let Some((length, kind)) = chunk(bytes, at) {
        let next = at.saturating_add(length).saturating_add(FRAME).min(bytes.len());
        let ancillary = kind[0].is_ascii_lowercase();
        if ancillary && kind != *b"tRNS" {
            kept.extend(&bytes[start..at]);
            start = next;
        }
        at = next;
    }
    if start == 0 {
        return Cow::Borrowed(bytes);
    }
    kept.extend(&bytes[start..]);
    Cow::Owned(kept)
}

/// Length and kind of the chunk at a place.
fn chunk(bytes: &[u8], at: usize) -> Option<(usize, [u8; 4])> {
    let rest = bytes.get(at..)?;
    let length = u32::from_be_bytes(*rest.first_chunk()?);
    Some((length as usize, *rest[4..].first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(kinds: &[&str]) -> Vec<u8> {
        let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
        for kind in kinds {
            file.extend(3u32.to_be_bytes());
            file.extend(kind.as_bytes());
            file.extend(*b"abcCRC!");
        }
        file
    }

    #[test]
    fn only_chunks_of_the_pixels_stay() {
        let all = ["IHDR", "iCCP", "zTXt", "PLTE", "tRNS", "acTL", "IDAT", "fdAT", "IDAT", "IEND"];
        let pixels = ["IHDR", "PLTE", "tRNS", "IDAT", "IDAT", "IEND"];
        assert_eq!(pixels_alone(&file(&all)), file(&pixels));
        assert!(matches!(pixels_alone(&file(&pixels)), Cow::Borrowed(_)));
    }

    #[test]
    fn cut_files_stay_cut() {
        let whole = file(&["IHDR", "iCCP", "IDAT"]);
        for cut in 0..whole.len() {
            let kept = pixels_alone(&whole[..cut]).into_owned();
            assert!(file(&["IHDR", "IDAT"]).starts_with(&kept) || cut < 42, "{cut}");
        }
        assert_eq!(size(&whole[..20]), None, "half a size is none");
    }
}
