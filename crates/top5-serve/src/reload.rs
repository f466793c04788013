//! Other models in the place of those that are served, without a request that is lost: each is planned and tried beside the old
//! one, then all change at once. Requests that have begun end on the old ones, which are freed after the last of them.

use std::fmt;
use std::sync::Arc;

use top5::Model;

use crate::StartError;
use crate::app::App;
use crate::served::Served;

/// Changes the models of a server that runs.
#[derive(Clone)]
pub struct Reloader {
    app: Arc<App>,
}

/// Why the old models stay.
#[derive(Debug)]
pub enum ReloadError {
    /// The new ones have other names.
    Names,
    /// This one does not start: the engine refuses it, or its answer to an image of zeros is no number.
    Engine(String, Box<StartError>),
}

impl fmt::Display for ReloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Names => f.write_str("the models have other names than those that are served"),
            Self::Engine(name, error) => match &**error {
                StartError::Engine(error) => write!(f, "{name}: {error}"),
                StartError::Thread(_) => write!(f, "{name}: {error}"),
            },
        }
    }
}

impl std::error::Error for ReloadError {}

impl Reloader {
    pub(crate) fn of(app: &Arc<App>) -> Self {
        Self { app: Arc::clone(app) }
    }

    /// Serves these models, of the names that are served, from now on. Fails where one cannot be planned or does not work; then
    /// all old ones stay. It takes the memory of both until the last request to the old ones is answered.
    pub fn reload(&self, models: Vec<(String, Model)>) -> Result<(), ReloadError> {
        let old = self.app.models();
        let names = |name: &String| old.iter().any(|model| model.name == *name);
        if models.len() != old.len() || !models.iter().all(|(name, _)| names(name)) {
            return Err(ReloadError::Names);
        }
        let (device, options) = (&*self.app.device, &self.app.options);
        let start = |(name, model): (String, Model)| {
            let before = old.iter().find(|model| model.name == name);
            let metrics = before.map(|model| Arc::clone(&model.metrics)).unwrap_or_default();
            let served = Served::start(name.clone(), model, device, options, metrics);
            served.map(Arc::new).map_err(|error| ReloadError::Engine(name, Box::new(error)))
        };
        let served = models.into_iter().map(start).collect::<Result<Vec<_>, _>>()?;
        self.app.replace(served.into());
        Ok(())
    }
}
