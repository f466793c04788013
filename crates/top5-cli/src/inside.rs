//! What ZFNet's paper asks of a network, as commands: `gallery`, `evolve`, `invariance`, `filters` and `correspond`.

mod args;
mod correspond;
mod draw;
mod evolve;
mod filters;
mod gallery;
mod invariance;
mod search;
mod subject;

pub(crate) use args::{
    CORRESPOND_EXAMPLES, CorrespondArgs, EVOLVE_EXAMPLES, EvolveArgs, FILTERS_EXAMPLES,
    FiltersArgs, GALLERY_EXAMPLES, GalleryArgs, INVARIANCE_EXAMPLES, InvarianceArgs,
};

pub(crate) use correspond::Task as Correspond;
pub(crate) use evolve::{DOCUMENT as EVOLUTION, Task as Evolve};
pub(crate) use filters::Task as Filters;
pub(crate) use gallery::{DOCUMENT as GALLERY, Task as Gallery};
pub(crate) use invariance::{DOCUMENT as INVARIANCE, Task as Invariance};
