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
pub(crate) use evolve::Task as Evolve;
pub(crate) use filters::Task as Filters;
pub(crate) use gallery::Task as Gallery;
pub(crate) use invariance::Task as Invariance;
