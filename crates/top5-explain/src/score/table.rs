//! Several maps under all measures, always beside the two controls.

use serde::Serialize;

use super::{
    Curve, Explain, Infidelity, InfidelityScore, MaxSensitivity, Removal, Road, RoadScore,
    ScoreError, SensitivityN, SensitivityScore, Subject, centred_gaussian, deletion, infidelity,
    insertion, max_sensitivity, random_map, road, sensitivity_n,
};

/// The parameters of all measures.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Settings {
    /// Of deletion.
    pub deletion: Removal,
    /// Of insertion.
    pub insertion: Removal,
    /// Of ROAD.
    pub road: Road,
    /// Of sensitivity-n.
    pub sensitivity_n: SensitivityN,
    /// Of infidelity.
    pub infidelity: Infidelity,
    /// Of max-sensitivity.
    pub max_sensitivity: MaxSensitivity,
    /// Seed of the random map.
    pub control_seed: u64,
}

impl Settings {
    /// The papers' parameters, with this seed for all that is random.
    pub fn seeded(seed: u64) -> Self {
        Self {
            deletion: Removal::deletion(),
            insertion: Removal::insertion(),
            road: Road { seed, ..Road::default() },
            sensitivity_n: SensitivityN { seed, ..SensitivityN::default() },
            infidelity: Infidelity { seed, ..Infidelity::default() },
            max_sensitivity: MaxSensitivity { seed, ..MaxSensitivity::default() },
            control_seed: seed,
        }
    }

    /// The same with all numbers that depend on the image's height and width.
    #[must_use]
    pub fn at(self, [height, width]: [usize; 2]) -> Self {
        Self {
            deletion: self.deletion.at(width),
            insertion: self.insertion.at(width),
            infidelity: self.infidelity.at([height, width]),
            ..self
        }
    }

    /// Images that the network sees for one map over `pixels` pixels in rows of `width`, beside those of explanations.
    pub fn passes(&self, pixels: usize, width: usize) -> usize {
        let steps = |removal: &Removal| pixels.div_ceil(removal.at(width).step.max(1)) + 1;
        steps(&self.deletion)
            + steps(&self.insertion)
            + 2 * self.road.percentiles.len()
            + self.sensitivity_n.percents.len() * self.sensitivity_n.subsets
            + self.infidelity.samples
    }
}

/// A map to be scored.
pub struct Candidate<'a> {
    /// What made it.
    pub name: String,
    /// One value per pixel.
    pub map: Vec<f32>,
    /// What made it, to be used again for max-sensitivity.
    pub explain: Option<&'a mut Explain<'a>>,
}

/// The scores of one map.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// What made the map.
    pub name: String,
    /// Whether it is one of the controls.
    pub control: bool,
    /// Smaller is better.
    pub deletion: Curve,
    /// Larger is better.
    pub insertion: Curve,
    /// Larger is better.
    pub road: RoadScore,
    /// Larger is better.
    pub sensitivity_n: SensitivityScore,
    /// Smaller is better.
    pub infidelity: InfidelityScore,
    /// Smaller is steadier; none where it was not measured or the map is zero.
    pub max_sensitivity: Option<f64>,
}

/// The scores of several maps of one image and class.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Table {
    /// The class that is explained.
    pub class: usize,
    /// All parameters, as they were used.
    pub settings: Settings,
    /// In the order of the candidates; the random map and the centred Gaussian come last.
    pub rows: Vec<Row>,
}

/// Scores the candidates and both controls. Fails where a map does not fit the image, or is not finite.
pub fn table(
    subject: &mut Subject<'_>,
    candidates: Vec<Candidate<'_>>,
    settings: Settings,
) -> Result<Table, ScoreError> {
    let [_, height, width] = subject.shape();
    let settings = settings.at([height, width]);
    let mut rows = Vec::new();
    for Candidate { name, map, explain } in candidates {
        let mut row = row(subject, name, false, &map, &settings)?;
        if let Some(explain) = explain {
            let options = &settings.max_sensitivity;
            row.max_sensitivity = max_sensitivity(subject.image(), &map, options, explain)?;
        }
        rows.push(row);
    }
    let random = random_map(height * width, settings.control_seed);
    rows.push(row(subject, "random".to_owned(), true, &random, &settings)?);
    let gaussian = centred_gaussian([height, width]);
    rows.push(row(subject, "centred Gaussian".to_owned(), true, &gaussian, &settings)?);
    Ok(Table { class: subject.class(), settings, rows })
}

fn row(
    subject: &mut Subject<'_>,
    name: String,
    control: bool,
    map: &[f32],
    settings: &Settings,
) -> Result<Row, ScoreError> {
    Ok(Row {
        name,
        control,
        deletion: deletion(subject, map, &settings.deletion)?,
        insertion: insertion(subject, map, &settings.insertion)?,
        road: road(subject, map, &settings.road)?,
        sensitivity_n: sensitivity_n(subject, map, &settings.sensitivity_n)?,
        infidelity: infidelity(subject, map, &settings.infidelity)?,
        max_sensitivity: None,
    })
}
