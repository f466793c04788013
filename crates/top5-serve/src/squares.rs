//! Squares of a prepared image that a request hides.

use crate::failure::Failure;

/// Most squares of a request.
const SQUARES: usize = 64;

/// Squares of the prepared image.
pub(crate) struct Squares(Vec<[usize; 3]>);

impl Squares {
    /// Reads `top,left,size;…`, in pixels of the network's input.
    pub(crate) fn read(text: Option<&str>) -> Result<Self, Failure> {
        let Some(text) = text else { return Ok(Self(Vec::new())) };
        let wrong =
            || Failure::bad("hide: expected squares as top,left,size;… in pixels, at most 64");
        let square = |part: &str| {
            let numbers = part.split(',').map(str::parse).collect::<Result<Vec<usize>, _>>();
            numbers.ok().and_then(|numbers| numbers.try_into().ok()).ok_or_else(wrong)
        };
        let squares =
            text.split(';').take(SQUARES + 1).map(square).collect::<Result<Vec<_>, _>>()?;
        if squares.len() > SQUARES { Err(wrong()) } else { Ok(Self(squares)) }
    }

    /// Makes them gray: zero, the mean of the training images.
    pub(crate) fn hide(&self, input: &mut [f32], [_, height, width]: [usize; 3]) {
        for &[top, left, size] in &self.0 {
            let end = |from: usize, most: usize| from.saturating_add(size).min(most);
            let columns = left.min(width)..end(left, width);
            for plane in input.chunks_exact_mut(height * width) {
                for row in top.min(height)..end(top, height) {
                    plane[row * width..][columns.clone()].fill(0.0);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn squares_hide_what_they_cover_and_no_more() {
        let mut input = vec![1.0; 2 * 4 * 5];
        let squares = Squares::read(Some("1,3,9;3,0,1")).ok().unwrap();
        squares.hide(&mut input, [2, 4, 5]);
        let row = [1.0, 1.0, 1.0, 0.0, 0.0];
        let last = [0.0, 1.0, 1.0, 0.0, 0.0];
        let plane = [[1.0; 5], row, row, last].concat();
        assert_eq!(input, [plane.clone(), plane].concat());
        Squares::read(Some("99,99,18446744073709551615")).ok().unwrap().hide(&mut input, [2, 4, 5]);
        for wrong in ["1,2", "1,2,3,4", "a,b,c", "1,2,3;", "-1,0,1", &"1,1,1;".repeat(65)] {
            let failure = Squares::read(Some(wrong)).err().unwrap();
            assert!(failure.message.contains("top,left,size"), "{wrong}");
        }
    }
}
