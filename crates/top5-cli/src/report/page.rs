//! The page of a run: what became of it first, then its curves, its mistakes, and all that it followed from. Equal runs give
//! equal bytes.

use anyhow::Result;
use top5::data::{Filter, Image, files, resize};
use top5::draw::{Epoch, Panel, Run, Series, curves, panels};
use top5::eval::Report;
use top5::explain::page::Page;
use top5::explain::picture::encode;
use top5::graph::{counted, several};
use top5::train::{EpochRow, History, Recipe, TimedStep, sentence};

use super::{Answers, Mistake, TEST};
use crate::environment::ENVIRONMENT;
use crate::run_folder::{CONFIG, RunFolder};

/// Longest side of a thumbnail, and of one that is enlarged.
const THUMBNAIL: usize = 96;
const ENLARGED: usize = 48;
/// Points of a curve over steps.
const POINTS: usize = 200;
/// Confusions that are listed.
const LISTED: usize = 20;

/// The page.
pub(super) fn html(
    folder: &RunFolder,
    recipe: &Recipe,
    history: &History,
    answers: Option<&Answers>,
) -> Result<String> {
    let mut page = Page::new(&format!("{} on {}", recipe.network, recipe.data));
    verdict(&mut page, recipe, history, answers);
    course(&mut page, folder, history);
    if let Some(answers) = answers {
        confusions(&mut page, &answers.report);
        mistakes(&mut page, answers)?;
        classes(&mut page, &answers.report);
    }
    epochs(&mut page, &history.rows);
    page.heading("What it followed from");
    page.paragraph("The recipe, with every key resolved: saved as a file, `top5 train FILE` makes the same weights again.");
    for (name, what) in [(CONFIG, "the recipe"), (ENVIRONMENT, "the environment")] {
        match files::read_text(&folder.join(name)) {
            Ok(text) => page.code(&text),
            Err(error) => page.paragraph(&format!("{what} ({name}) cannot be read: {error}")),
        }
    }
    Ok(page.finish())
}

fn verdict(page: &mut Page, recipe: &Recipe, history: &History, answers: Option<&Answers>) {
    match answers {
        Some(Answers { part, report, .. }) => {
            let chose = if *part == TEST {
                "which it never saw"
            } else {
                "which also chose the epoch: on new images it will do a little worse"
            };
            page.paragraph(&format!(
                "Top-1 {:.2} %, top-5 {:.2} % of {} {part} {}, {chose}. Mean cross-entropy {:.4}.",
                report.top1_percent,
                report.top5_percent,
                report.images,
                several(report.images, "image"),
                report.loss
            ));
            if !report.errors.is_empty() {
                let count = counted(report.errors.len(), "image");
                page.warning(&format!("{count} could not be read, and left out."));
            }
        }
        None => page.paragraph("No images were looked at for this report."),
    }
    match sentence(&history.rows, recipe.epochs) {
        Some(said) => page.paragraph(&said),
        None => page.paragraph("No epoch is complete yet."),
    }
    let (steps, epochs) = (history.steps.len(), history.rows.len());
    let time = match history.seconds {
        0.0 => String::new(),
        seconds => format!(" in {:.1} minutes of training and validation", seconds / 60.0),
    };
    page.paragraph(&format!(
        "{} and {epochs} of {}{time}.",
        counted(steps, "step"),
        counted(recipe.epochs, "epoch")
    ));
    if history.unreadable > 0 {
        page.warning(&format!(
            "Passed over, since they cannot be read: {} of the run's logs.",
            counted(history.unreadable, "line")
        ));
    }
}

/// The curves.
fn course(page: &mut Page, folder: &RunFolder, history: &History) {
    page.heading("Its course");
    let epoch = |row: &EpochRow| Epoch {
        epoch: row.epoch as f64,
        train_loss: Some(row.train_loss),
        validation_loss: row.eval_loss,
        top1: row.eval_top1,
    };
    if !history.rows.is_empty() {
        let name = folder.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
        let run = Run { name, epochs: history.rows.iter().map(epoch).collect() };
        page.drawing(
            &curves(&[run]),
            "Loss and validation top-1 over the epochs; the numbers are in the table of epochs below",
            "Loss (training dashed, validation solid) and validation top-1 over the epochs.",
        );
    }
    if history.steps.len() > 1 {
        let [least, mean, greatest, rate] = over_steps(&history.steps);
        let series = |name: &str, points| Series { name: name.to_owned(), points };
        let loss = vec![series("mean", mean), series("least", least), series("greatest", greatest)];
        let panel = |y: &str, series| Panel { x: "step".to_owned(), y: y.to_owned(), series };
        let charts = [panel("loss", loss), panel("learning rate", vec![series("rate", rate)])];
        let of = history.steps.len().div_ceil(POINTS);
        let caption = match of {
            1 => "Loss and learning rate of every step.".to_owned(),
            of => {
                format!("Loss and learning rate of the steps: each point stands for {of} of them.")
            }
        };
        page.drawing(
            &panels("Steps", &charts, 2),
            "Loss and learning rate over the steps",
            &caption,
        );
    }
}

/// Least, mean and greatest loss, and the learning rate, of equally many steps each.
fn over_steps(steps: &[TimedStep]) -> [Vec<[f64; 2]>; 4] {
    let mut curves = [const { Vec::new() }; 4];
    for part in steps.chunks(steps.len().div_ceil(POINTS).max(1)) {
        let losses = || part.iter().map(|step| step.record.loss);
        let last = part[part.len() - 1].record;
        let values = [
            losses().fold(f64::INFINITY, f64::min),
            losses().sum::<f64>() / part.len() as f64,
            losses().fold(f64::NEG_INFINITY, f64::max),
            f64::from(last.lr),
        ];
        for (curve, value) in curves.iter_mut().zip(values) {
            curve.push([last.step as f64, value]);
        }
    }
    curves
}

fn confusions(page: &mut Page, report: &Report) {
    page.heading("Confusions");
    let names: Vec<&str> = report.per_class.iter().map(|class| class.name.as_str()).collect();
    let mut pairs: Vec<(u32, usize, usize)> = Vec::new();
    for label in 0..names.len() {
        let row = report.confusion.row(label).iter().enumerate();
        pairs.extend(
            row.filter(|&(taken, &n)| taken != label && n > 0).map(|(taken, &n)| (n, label, taken)),
        );
    }
    pairs.sort_by_key(|&(n, label, taken)| (std::cmp::Reverse(n), label, taken));
    if pairs.is_empty() {
        return page.paragraph("No image was taken for one of another class.");
    }
    let row = |&(n, label, taken): &(u32, usize, usize)| {
        vec![names[label].to_owned(), names[taken].to_owned(), n.to_string()]
    };
    let rows: Vec<_> = pairs.iter().take(LISTED).map(row).collect();
    page.table(
        "Which class was taken for which, the most frequent first",
        &["class", "taken for", "images"],
        &rows,
    );
}

fn mistakes(page: &mut Page, answers: &Answers) -> Result<()> {
    if answers.mistakes.is_empty() {
        return Ok(());
    }
    page.heading("Mistakes");
    page.paragraph(
        "The answers that were most certainly wrong. Labels that are wrong are among them.",
    );
    page.begin_row();
    let name = |class: usize| answers.report.per_class[class].name.as_str();
    for Mistake { index, label, taken, probability, of_class } in &answers.mistakes {
        let image = thumbnail(&answers.dataset.sample(*index)?.image);
        let file = answers.dataset.sample_name(*index);
        let (class, taken) = (name(*label), name(*taken));
        page.figure(
            &encode(&image, &[])?,
            &format!("An image of class {class}"),
            &format!(
                "{class}, taken for {taken} ({probability:.2}; its own {of_class:.2}): {file}"
            ),
        );
    }
    page.end_row();
    Ok(())
}

/// A small picture of an image. Whole multiples keep pixels what they are.
fn thumbnail(image: &Image) -> Image {
    let side = image.height.max(image.width).max(1);
    let scaled = |length: usize, to: usize| (length * to / side).max(1);
    if side > THUMBNAIL {
        let [height, width] = [image.height, image.width].map(|length| scaled(length, THUMBNAIL));
        return resize(&image.to_rgb(), height, width, Filter::Bilinear);
    }
    let times = ENLARGED.div_ceil(side);
    resize(&image.to_rgb(), image.height * times, image.width * times, Filter::Nearest)
}

fn classes(page: &mut Page, report: &Report) {
    page.heading("Classes");
    let share = |class: &top5::eval::ClassCount| class.right as f64 / class.images as f64;
    let mut classes: Vec<_> = report.per_class.iter().filter(|class| class.images > 0).collect();
    classes.sort_by(|a, b| share(a).total_cmp(&share(b)));
    let row = |class: &&top5::eval::ClassCount| {
        vec![class.name.clone(), class.images.to_string(), format!("{:.2}", 100.0 * share(class))]
    };
    let rows: Vec<_> = classes.iter().map(row).collect();
    page.table("Classes, the worst first", &["class", "images", "top-1 %"], &rows);
}

fn epochs(page: &mut Page, rows: &[EpochRow]) {
    if rows.is_empty() {
        return;
    }
    page.heading("Epochs");
    let cell = |value: Option<f64>, digits: usize| {
        value.map_or(String::new(), |value| format!("{value:.digits$}"))
    };
    let cells = |row: &EpochRow| {
        vec![
            row.epoch.to_string(),
            cell(Some(row.train_loss), 4),
            cell(Some(row.train_top1), 2),
            cell(row.train_top5, 2),
            cell(row.eval_loss, 4),
            cell(row.eval_top1, 2),
            cell(row.eval_top5, 2),
            row.lr.to_string(),
        ]
    };
    let head = [
        "epoch",
        "training loss",
        "top-1 %",
        "top-5 %",
        "validation loss",
        "top-1 %",
        "top-5 %",
        "learning rate",
    ];
    let rows: Vec<_> = rows.iter().map(cells).collect();
    page.wide_table("What each epoch came to", &head, &rows);
}
