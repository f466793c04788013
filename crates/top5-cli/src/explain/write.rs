//! The folder of explanations: pictures, raw maps, `explanation.json` and a page that holds all of it.

use anyhow::Result;
use top5::data::{Image, Preprocess};
use top5::explain::npy;
use top5::explain::picture::{self, Scale};
use top5::explain::sanity::RECIPE;
use top5::explain::zfnet::field::Rectangle;
use top5::explain::zfnet::gallery::patch;

use super::{Answer, Document, Said};
use crate::explained::{Picture, Subject};
use crate::folder::{Folder, PageFile, file_name};
use crate::output::{Output, Versioned};
use crate::printable;
use crate::sanity;

/// All that is said, while it is written.
pub(super) struct Report<'a> {
    folder: &'a mut Folder,
    page: PageFile,
    said: Vec<Said>,
}

impl<'a> Report<'a> {
    pub(super) fn new(subject: &Subject, folder: &'a mut Folder, output: Output) -> Result<Self> {
        let mut page = folder.page(&format!("Explanations of {}", subject.name()), output)?;
        page.text.paragraph(&format!("Images are prepared so: {}.", subject.preprocess.describe()));
        Ok(Self { folder, page, said: Vec::new() })
    }

    /// Draws and writes one explanation.
    pub(super) fn add(
        &mut self,
        subject: &Subject,
        picture: &Picture,
        input: &[f32],
        answer: Answer,
    ) -> Result<()> {
        let Answer { method, target, layer, map: channel, explanation } = answer;
        let map = &explanation.map;
        let named = |class: usize| subject.classes[class].clone();
        let file = picture.file.display().to_string();
        let mut said = Said {
            file: picture.file.display().to_string(),
            class: target.map(|target| named(target.class)),
            against: target.and_then(|target| target.against).map(named),
            probability: target.map(|target| picture.probabilities[target.class]),
            layer,
            map: channel,
            fact: map.fact().to_string(),
            least: map.range()[0],
            most: map.range()[1],
            meaning: method.meaning(target.is_some_and(|target| target.against.is_some())),
            warning: method.warning(),
            notes: [method.extensions(subject.explainer.graph()), explanation.notes].concat(),
            method,
            files: Vec::new(),
        };
        let stem = picture.file.file_stem().map_or("image".into(), |stem| stem.to_string_lossy());
        let stem = format!("{:03}-{}.{}", self.said.len(), file_name(&stem), said.method.name());
        let scale = Scale::of(map);
        let seen = photograph(input, &subject.preprocess);
        let zoom = (224 / seen.height.max(1)).max(1);
        let mut panels = vec![
            seen.to_rgb(),
            picture::render(map, &scale),
            picture::overlay(&seen, map, &scale, 0.6),
        ];
        if let (Some(signal), true) = (&explanation.signal, said.warning.is_some()) {
            panels.insert(1, picture::projection(signal)?);
        }
        let panels: Vec<Image> = panels.iter().map(|panel| picture::enlarge(panel, zoom)).collect();
        let drawn = picture::side_by_side(&panels, Some(&scale), 8);
        let title = format!("{}: {}", said.subject(), file);
        let description = said.description();
        let mut texts = vec![("Title", title.as_str()), ("Description", description.as_str())];
        texts.extend(said.warning.map(|warning| ("Warning", warning)));
        let notes = said.notes.join(" ");
        texts.extend((!notes.is_empty()).then_some(("Comment", notes.as_str())));
        let png = picture::encode(&drawn, &texts)?;
        let under: Vec<&str> =
            [Some(description.as_str()), said.warning].into_iter().flatten().collect();
        let svg = picture::svg(&picture::render(map, &scale), Some(&scale), &title, &under)?;
        let mut write = |end: &str, bytes: &[u8]| -> Result<()> {
            let name = format!("{stem}.{end}");
            self.folder.write(&name, bytes)?;
            said.files.push(name);
            Ok(())
        };
        write("png", &png)?;
        write("svg", svg.as_bytes())?;
        write("npy", &npy::of_map(map))?;
        if let Some(cells) = &explanation.cells {
            write("cells.npy", &npy::of_map(cells))?;
        }
        if let Some(signal) = &explanation.signal {
            write("signal.npy", &npy::of_tensor(signal))?;
        }
        let page = &mut self.page.text;
        page.heading(&title);
        said.warning.into_iter().for_each(|warning| page.warning(warning));
        let alt = format!(
            "From left to right: the image as the network sees it, the map, the map over the image. {description}"
        );
        page.figure(&png, &alt, &description);
        said.notes.iter().for_each(|note| page.paragraph(note));
        self.page.flush()?;
        self.said.push(said);
        Ok(())
    }

    /// Draws and writes the curves of new weights.
    pub(super) fn add_sanity(&mut self, curves: &sanity::Report) -> Result<()> {
        let svg = curves.svg();
        self.folder.write("sanity.svg", svg.as_bytes())?;
        self.folder.write("sanity.csv", curves.csv().as_bytes())?;
        let page = &mut self.page.text;
        page.heading("New weights from the top");
        page.drawing(&svg, "Curves of how alike the maps stay, by method", RECIPE);
        page.code(&curves.text());
        Ok(())
    }

    /// Explanations so far.
    pub(super) fn count(&self) -> usize {
        self.said.len()
    }

    /// Writes the document and the page of what there is.
    pub(super) fn finish(
        self,
        subject: &Subject,
        sanity: Option<sanity::Report>,
        output: Output,
    ) -> Result<Document> {
        let document = Document {
            network: subject.name().to_owned(),
            preprocess: subject.preprocess.describe(),
            folder: None,
            explanations: self.said,
            sanity,
        };
        let json = serde_json::to_vec_pretty(&Versioned::new(&document))?;
        self.folder.write("explanation.json", &json)?;
        self.folder.finish_page(self.page, output)?;
        Ok(document)
    }
}

impl Said {
    /// `grad-cam of cat against dog`.
    fn subject(&self) -> String {
        let of = match (&self.class, &self.against, self.map, &self.layer) {
            (Some(class), Some(against), _, _) => format!("{class} against {against}"),
            (Some(class), None, _, _) => class.clone(),
            (None, _, Some(map), Some(layer)) => format!("map {map} of {layer}"),
            (None, ..) => "a map".to_owned(),
        };
        format!("{} of {of}", self.method.name())
    }

    fn description(&self) -> String {
        let layer = match &self.layer {
            Some(layer) => {
                format!(", layer {layer}, cells at the centres of their receptive fields")
            }
            None => String::new(),
        };
        let fact = if self.fact == "varies" {
            String::new()
        } else {
            format!(" This map: {}.", self.fact)
        };
        format!("{}{layer}; from {:.4e} to {:.4e}.{fact}", self.meaning, self.least, self.most)
    }

    /// What is printed.
    pub(super) fn line(&self) -> String {
        let probability =
            self.probability.map_or(String::new(), |p| format!(" ({:.1} %)", 100.0 * p));
        let fact = if self.fact == "varies" { String::new() } else { format!(", {}", self.fact) };
        let subject = self.subject();
        let (subject, file) = (printable::name(&subject), printable::name(&self.file));
        format!("{file}: {subject}{probability}, {:.4e} to {:.4e}{fact}\n", self.least, self.most)
    }
}

/// The prepared image as a picture: what the network saw.
pub(super) fn photograph(input: &[f32], preprocess: &Preprocess) -> Image {
    let [_, height, width] = preprocess.input_size;
    patch(preprocess, input, Rectangle { top: 0, left: 0, height, width })
}
