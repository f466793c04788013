//! The arena as the checker sees it: which plane of which tensor each piece of it holds, if any.
//!
//! Addresses are in half blocks, the size of a pixel in bf16.

use super::terms::{Tensor, Terms};
use crate::buffer::{Buffer, BufferId, Plan};
use crate::ir::Program;
use std::collections::BTreeMap;
use std::ops::Range;
use top5_kernels::LANES;

/// Where the values of a piece are: only who means the same may read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Sixteen channels of one image.
    Plane { height: usize, width: usize, halo: [usize; 2], bf16: bool },
    /// All channels of one image in plain planes.
    Plain { bf16: bool },
    /// Something of the whole batch.
    Batch,
}

/// Which of the zeros are there that kernels rely on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Zeros {
    /// Those around planes.
    pub(super) around: bool,
    /// Those of channels that fill up the last block.
    pub(super) beyond: bool,
}

impl Zeros {
    pub(super) const ALL: Self = Self { around: true, beyond: true };

    fn and(self, other: Self) -> Self {
        Self { around: self.around && other.around, beyond: self.beyond && other.beyond }
    }
}

#[derive(Clone, Debug)]
struct Piece {
    end: usize,
    value: Tensor,
    form: Form,
    image: usize,
    zeros: Zeros,
    /// The step that wrote it.
    by: usize,
    /// The same, until another has read it.
    unread: Option<usize>,
}

#[derive(Debug, Default)]
pub(super) struct Memory {
    pieces: BTreeMap<usize, Piece>,
    /// Writes that were overwritten before anyone read them: (step, by).
    pub(super) wasted: Vec<(usize, usize)>,
}

/// How the buffer of a step is made up.
#[derive(Clone, Debug)]
pub(super) struct View {
    pub(super) id: BufferId,
    /// All addresses from the first to the last.
    pub(super) range: Range<usize>,
    pieces: Vec<(Range<usize>, usize)>,
    form: Form,
    pub(super) channels: usize,
    blocks: usize,
}

impl View {
    /// A buffer of channel blocks, for `n` images.
    pub(super) fn planes(program: &Program, plan: &Plan, id: BufferId, n: usize) -> Self {
        let Buffer { layout, bf16, .. } = program.buffers[id.0];
        let size = if bf16 { 1 } else { 2 };
        let range = addresses(program, plan, id, n);
        let at = |image: usize, block: usize| {
            let start = range.start + (image * layout.image() + block * layout.plane()) * size;
            (start..start + layout.plane() * size, image)
        };
        let blocks = layout.blocks();
        let pieces = (0..n).flat_map(|image| (0..blocks).map(move |block| at(image, block)));
        let form =
            Form::Plane { height: layout.height, width: layout.width, halo: layout.halo, bf16 };
        let (channels, pieces) = (layout.channels, pieces.collect());
        Self { id, range: range.clone(), pieces, form, channels, blocks }
    }

    /// A buffer that is one piece, or one for each image.
    pub(super) fn plain(
        program: &Program,
        plan: &Plan,
        id: BufferId,
        n: usize,
        form: Form,
    ) -> Self {
        let range = addresses(program, plan, id, n);
        let parts = if form == Form::Batch { 1 } else { n };
        let len = range.len() / parts;
        let piece = |i: usize| (range.start + i * len..range.start + (i + 1) * len, i);
        let channels = program.buffers[id.0].layout.channels;
        let pieces = (0..parts).map(piece).collect();
        Self { id, range: range.clone(), pieces, form, channels, blocks: 1 }
    }
}

fn addresses(program: &Program, plan: &Plan, id: BufferId, n: usize) -> Range<usize> {
    let range = plan.range(&program.buffers, id, n);
    2 * range.start..2 * range.end
}

/// What is found in a buffer.
pub(super) struct Found {
    pub(super) value: Tensor,
    pub(super) zeros: Zeros,
}

impl Memory {
    /// The tensor in a buffer, which must be there for every image.
    pub(super) fn read(&mut self, terms: &mut Terms, view: &View) -> Result<Found, String> {
        let mut zeros = Zeros::ALL;
        let mut found: Option<Tensor> = None;
        for image in view.pieces.chunks(view.blocks) {
            let mut parts = Vec::with_capacity(image.len());
            for (range, image) in image {
                let piece = self
                    .pieces
                    .get_mut(&range.start)
                    .filter(|piece| piece.end == range.end && piece.form == view.form)
                    .filter(|piece| piece.image == *image)
                    .ok_or_else(|| format!("{:?} is not in memory (any more)", view.id))?;
                piece.unread = None;
                zeros = zeros.and(piece.zeros);
                parts.push(piece.value);
            }
            let value = terms.concat(&parts);
            if found.is_some_and(|found| found != value) {
                return Err(format!("{:?} differs from image to image", view.id));
            }
            found = Some(value);
        }
        let value = found.ok_or("no image")?;
        Ok(Found { value, zeros })
    }

    /// What is in a buffer, unwritten where there is nothing of its form; for writes to a part of it. `counts`: whether
    /// what this step wrote is still meant.
    pub(super) fn peek(
        &mut self,
        terms: &mut Terms,
        view: &View,
        counts: impl Fn(usize) -> bool,
    ) -> Found {
        let mut zeros = Zeros::ALL;
        let mut parts = Vec::with_capacity(view.blocks);
        for (block, (range, image)) in view.pieces.iter().enumerate().take(view.blocks) {
            let lanes = (view.channels - block * LANES).min(LANES);
            let piece = self.pieces.get(&range.start).filter(|piece| {
                let fits = piece.end == range.end && piece.form == view.form;
                fits && piece.image == *image && counts(piece.by)
            });
            // A full block has no channels beyond.
            let none = Zeros { around: false, beyond: lanes == LANES };
            zeros = zeros.and(piece.map_or(none, |piece| piece.zeros));
            parts.push(piece.map_or_else(|| terms.unwritten(lanes), |piece| piece.value));
        }
        Found { value: terms.concat(&parts), zeros }
    }

    /// Writes a tensor to a buffer. `update`: whether what was in this block is a part of what is written.
    pub(super) fn write(
        &mut self,
        terms: &mut Terms,
        view: &View,
        at: usize,
        found: &Found,
        update: impl Fn(usize) -> bool,
    ) {
        let planes: Vec<Tensor> = (0..view.blocks)
            .map(|block| match view.form {
                Form::Plane { .. } => {
                    let count = (view.channels - block * LANES).min(LANES);
                    terms.slice(found.value, block * LANES, count)
                }
                Form::Plain { .. } | Form::Batch => found.value,
            })
            .collect();
        for (i, (range, image)) in view.pieces.iter().enumerate() {
            self.clear(range, at, update(i % view.blocks));
            let (value, zeros) = (planes[i % view.blocks], found.zeros);
            let (form, image, end) = (view.form, *image, range.end);
            let unread = (!terms.is_blank(value)).then_some(at);
            self.pieces
                .insert(range.start, Piece { end, value, form, image, zeros, by: at, unread });
        }
    }

    /// What scratch memory does to what was there.
    pub(super) fn spoil(&mut self, view: &View, at: usize) {
        self.clear(&view.range, at, false);
    }

    fn clear(&mut self, range: &Range<usize>, at: usize, update: bool) {
        let before = self.pieces.range(..range.start).next_back();
        let from = before.filter(|(_, piece)| piece.end > range.start).map(|(&start, _)| start);
        let inside = self.pieces.range(range.clone()).map(|(&start, _)| start);
        let starts: Vec<usize> = from.into_iter().chain(inside).collect();
        for start in starts {
            let same = update && start == range.start;
            if let Some(Piece { unread: Some(step), .. }) = self.pieces.remove(&start)
                && !same
            {
                self.wasted.push((step, at));
            }
        }
    }

    /// Steps whose results nobody read.
    pub(super) fn unread(&self) -> impl Iterator<Item = usize> {
        self.pieces.values().filter_map(|piece| piece.unread)
    }
}
