//! PNM files with another largest value than 255, which Pillow brings to 8 bits in one step, and rounds ties to even.

/// The largest value that the header claims; none in bitmaps.
pub(super) fn largest(bytes: &[u8]) -> Option<u32> {
    let [b'P', b'2' | b'3' | b'5' | b'6', rest @ ..] = bytes else { return None };
    let mut numbers = [0u32; 3];
    let mut rest = rest.iter().copied().peekable();
    for number in &mut numbers {
        while let Some(byte) = rest.next_if(|byte| byte.is_ascii_whitespace() || *byte == b'#') {
            if byte == b'#' {
                rest.by_ref().find(|&byte| matches!(byte, b'\n' | b'\r'));
            }
        }
        rest.peek().filter(|byte| byte.is_ascii_digit())?;
        while let Some(digit) = rest.next_if(u8::is_ascii_digit) {
            *number = number.checked_mul(10)?.checked_add(u32::from(digit - b'0'))?;
        }
    }
    Some(numbers[2]).filter(|largest| (1..=0xFFFF).contains(largest))
}

/// In 8 bits a value of at most `largest` that was scaled to `scaled`.
pub(super) fn rounded(value: u32, scaled: u32, largest: u32) -> u8 {
    let [value, scaled] = [value, scaled].map(u64::from);
    let stored = (2 * value * u64::from(largest) + scaled) / (2 * scaled);
    (stored as f64 / f64::from(largest) * 255.0).round_ties_even() as u8
}
