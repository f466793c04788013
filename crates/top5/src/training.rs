//! Training: recipes, the loop and checkpoints, for any engine.

mod checkpoint;
mod fit;
mod initialise;
mod recipe;

pub use checkpoint::{CheckpointError, Checkpoints};
pub use fit::{Diverged, Event, Row, State, Trainer, Watch};
pub use initialise::initialise;
pub use recipe::{Changes, Recipe, RecipeError};
