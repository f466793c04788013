//! `report.html`: one file that opens from a folder, without network or scripts.

use std::fmt::Write as _;

use top5::draw::escape;
use top5::eval::BINS;
use top5::graph::counted;

use super::kinds::KINDS;
use super::pictures::Thumbnails;
use super::result::{Evaluation, Report};
use super::rows::published;
use super::text;

const STYLE: &str = "\
body{font:16px/1.5 system-ui,sans-serif;margin:0 auto;max-width:60rem;padding:1rem;color:#1a1a1a;background:#fff}
table{border-collapse:collapse;margin:.5rem 0 1.5rem}caption{text-align:left;font-weight:600;padding:.25rem 0}
th,td{padding:.2rem .7rem;border-bottom:1px solid #767676;text-align:left}td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}
.verdict{font-size:1.25rem}h1,th,td,dd,li{overflow-wrap:anywhere}svg{max-width:100%;height:auto}
.photos{list-style:none;padding:0;display:flex;flex-wrap:wrap;gap:1rem}.photos li{max-width:14rem;overflow-wrap:anywhere}
@media(max-width:30rem){th,td{padding:.2rem .3rem}}
@media(prefers-color-scheme:dark){body{color:#eee;background:#111}svg{background:#eee}}";

/// The page: equal reports give equal bytes.
pub(crate) fn html(report: &Report, thumbnails: &Thumbnails) -> String {
    let evaluation = &report.evaluation;
    let title = escape(&format!("{} on {}", evaluation.network, evaluation.data));
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" \
         content=\"width=device-width,initial-scale=1\">\n<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n\
         <body>\n<main>\n<h1>{title}</h1>\n"
    );
    verdict(&mut page, evaluation);
    beside(&mut page, evaluation);
    calibration(&mut page, evaluation);
    confusions(&mut page, report, thumbnails);
    twins(&mut page, report, thumbnails);
    classes(&mut page, evaluation);
    origin(&mut page, evaluation, &report.details.pixels);
    page + "</main>\n</body>\n</html>\n"
}

fn verdict(page: &mut String, evaluation: &Evaluation) {
    let Evaluation { top1, top5, images, loss, split, views, .. } = evaluation;
    let [[a, b], [c, d]] = [evaluation.top1_interval, evaluation.top5_interval];
    let _ = writeln!(
        page,
        "<p class=\"verdict\">Top-1 {top1:.2} % ({a:.2} to {b:.2}), top-5 {top5:.2} % ({c:.2} to {d:.2}), of {images} \
         ({}).</p>\n<p>Intervals are Wilson's, of 95 %. Mean cross-entropy {loss:.4}. {views} looks at each \
         image.</p>",
        escape(split),
        images = counted(*images, "image")
    );
    if evaluation.skipped > 0 {
        let _ =
            writeln!(page, "<p>Bad and not counted: {}.</p>", counted(evaluation.skipped, "file"));
    }
    if evaluation.subset {
        page.push_str(
            "<p>Classes of the network that the data lack were left out of its answers.</p>\n",
        );
    }
    for sentence in text::compared(evaluation) {
        let _ = writeln!(page, "<p>It is {}.</p>", escape(&sentence));
    }
}

/// A table of cells; those of columns from `numbers` on are numbers.
fn table(page: &mut String, caption: &str, head: &[&str], numbers: usize, rows: &[Vec<String>]) {
    let class = |at: usize| if at >= numbers { " class=\"n\"" } else { "" };
    let _ = write!(page, "<table>\n<caption>{}</caption>\n<thead><tr>", escape(caption));
    for (at, cell) in head.iter().enumerate() {
        let _ = write!(page, "<th scope=\"col\"{}>{}</th>", class(at), escape(cell));
    }
    page.push_str("</tr></thead>\n<tbody>\n");
    for row in rows {
        page.push_str("<tr>");
        for (at, cell) in row.iter().enumerate() {
            let _ = write!(page, "<td{}>{}</td>", class(at), escape(cell));
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</tbody>\n</table>\n");
}

fn beside(page: &mut String, evaluation: &Evaluation) {
    page.push_str("<h2>Beside what was published</h2>\n");
    let Evaluation { top1, top5, data, split, .. } = evaluation;
    let ours = vec![
        format!("measured here: {data} ({split})"),
        evaluation.origin.looks(),
        format!("{:.2}", 100.0 - top1),
        format!("{:.2}", 100.0 - top5),
    ];
    let rows: Vec<Vec<String>> = std::iter::once(ours).chain(published(evaluation)).collect();
    let head = ["images", "protocol", "top-1 error %", "top-5 error %"];
    table(page, "Errors, each with its images and protocol", &head, 2, &rows);
    if rows.len() == 1 {
        page.push_str("<p>Nothing was published for this network, or it is an ensemble.</p>\n");
    }
}

fn calibration(page: &mut String, evaluation: &Evaluation) {
    let calibration = &evaluation.calibration;
    let _ = writeln!(
        page,
        "<h2>Calibration</h2>\n<p>Expected calibration error {:.4} ({BINS} bins), cross-entropy {:.4}, Brier score \
         {:.4}.</p>",
        calibration.ece, calibration.nll, calibration.brier
    );
    diagram(page, evaluation);
    let rows: Vec<Vec<String>> = calibration
        .bins
        .iter()
        .enumerate()
        .filter(|(_, bin)| bin.images > 0)
        .map(|(at, bin)| {
            let border = |at: usize| at as f64 / BINS as f64;
            let share = bin.right as f64 / bin.images as f64;
            vec![
                format!("{:.3} to {:.3}", border(at), border(at + 1)),
                bin.images.to_string(),
                format!("{:.3}", bin.confidence),
                format!("{share:.3}"),
            ]
        })
        .collect();
    let head = ["probability of the first class", "images", "mean", "share right"];
    table(page, "Reliability", &head, 1, &rows);
}

/// The reliability diagram: bars of the share that is right, and the line where it would equal the probability.
fn diagram(page: &mut String, evaluation: &Evaluation) {
    const SIDE: f64 = 300.0;
    let _ = write!(
        page,
        "<svg role=\"img\" aria-label=\"Reliability diagram; its numbers are in the table below\" width=\"{0}\" \
         height=\"{0}\" viewBox=\"-4 -4 {1} {1}\">\n<rect width=\"{SIDE}\" height=\"{SIDE}\" fill=\"none\" \
         stroke=\"#595959\"/>\n",
        SIDE + 8.0,
        SIDE + 8.0
    );
    let width = SIDE / BINS as f64;
    for (at, bin) in evaluation.calibration.bins.iter().enumerate() {
        if bin.images > 0 {
            let height = SIDE * bin.right as f64 / bin.images as f64;
            let _ = writeln!(
                page,
                "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{height:.1}\" fill=\"#2166ac\"/>",
                at as f64 * width + 1.0,
                SIDE - height,
                width - 2.0
            );
        }
    }
    let _ = writeln!(
        page,
        "<line x1=\"0\" y1=\"{SIDE}\" x2=\"{SIDE}\" y2=\"0\" stroke=\"#b35806\" stroke-width=\"2\"/>\n</svg>"
    );
}

fn confusions(page: &mut String, report: &Report, thumbnails: &Thumbnails) {
    page.push_str("<h2>Errors</h2>\n");
    let row = |c: &super::result::Confusion| {
        vec![c.class.clone(), c.taken_for.clone(), c.examples.join(", "), c.images.to_string()]
    };
    let rows: Vec<_> = report.details.confusions.iter().map(row).collect();
    let head = ["class", "taken for", "some of them", "images"];
    table(page, "Confusions, the most frequent first", &head, 3, &rows);
    let row = |s: &super::result::Suspect| {
        let [p, q] = [s.probability, s.of_class].map(|p| format!("{p:.4}"));
        vec![s.image.clone(), s.class.clone(), s.taken_for.clone(), p, q]
    };
    let rows: Vec<_> = report.details.suspects.iter().map(row).collect();
    let head = ["image", "class", "taken for", "probability", "of its class"];
    let caption = "Worst answers first: labels that are wrong are among them";
    table(page, caption, &head, 3, &rows);
    let (split, mut photos) = (report.evaluation.split.as_str(), Vec::new());
    for suspect in &report.details.suspects {
        let super::result::Suspect { image, class, taken_for, .. } = suspect;
        let caption = format!("{image}: {class}, taken for {taken_for}");
        photos.push(photo(thumbnails, &[(split, image)], &caption));
    }
    list(page, &photos);
    taxonomy(page, report);
}

/// Pictures, by part and name, above what they are; nothing where there are none.
fn photo(thumbnails: &Thumbnails, images: &[(&str, &str)], caption: &str) -> String {
    let mut text = String::new();
    for (of, name) in images {
        let address = thumbnails.get(&((*of).to_owned(), (*name).to_owned()));
        if let Some(address) = address.filter(|address| !address.is_empty()) {
            let _ = write!(text, "<img src=\"{address}\" alt=\"{}\">", escape(name));
        }
    }
    match text.is_empty() {
        true => text,
        false => format!("<li>{text}<br>{}</li>\n", escape(caption)),
    }
}

fn list(page: &mut String, items: &[String]) {
    if items.iter().any(|item| !item.is_empty()) {
        let _ = writeln!(page, "<ul class=\"photos\">\n{}</ul>", items.concat());
    }
}

fn twins(page: &mut String, report: &Report, thumbnails: &Thumbnails) {
    let Some(twins) = &report.details.twins else { return };
    let _ = writeln!(
        page,
        "<h2>Twins</h2>\n<p>{} images are, up to size and compression, also in a part that came before, or twice among the \
         judged ones.</p>",
        twins.found
    );
    let row = |twin: &super::result::Twin| {
        let super::result::Twin { image, class, twin, twin_class, of } = twin;
        [image, class, twin, twin_class, of].map(String::clone).to_vec()
    };
    let rows: Vec<_> = twins.pairs.iter().map(row).collect();
    let head = ["image", "class", "twin", "its class", "part of the twin"];
    table(page, "Twins, those of two classes first", &head, 5, &rows);
    let (split, mut photos) = (report.evaluation.split.as_str(), Vec::new());
    for pair in &twins.pairs {
        let super::result::Twin { image, class, twin, twin_class, of } = pair;
        let caption = format!("{image}, {class} and {twin}, {twin_class}");
        photos.push(photo(thumbnails, &[(split, image), (of, twin)], &caption));
    }
    list(page, &photos);
}

/// How Trimps-Soushen sorted the errors that were left, beside how those here were.
fn taxonomy(page: &mut String, report: &Report) {
    let here = |kind: &str| {
        let sorted = report.details.kinds.iter().find(|sorted| sorted.kind == kind);
        sorted.map_or(String::new(), |sorted| sorted.errors.to_string())
    };
    let row =
        |(kind, theirs): &(&str, usize)| vec![(*kind).to_owned(), theirs.to_string(), here(kind)];
    let rows: Vec<Vec<String>> = KINDS.iter().map(row).collect();
    let caption = "Kinds of errors, after Trimps-Soushen 2016 (1458 errors sorted by hand; the article prints 211 for \
                   the first kind, its percentage gives 221): sort those of errors.csv, and count them with --kinds";
    table(page, caption, &["kind", "theirs", "here"], 1, &rows);
}

fn classes(page: &mut String, evaluation: &Evaluation) {
    let row = |class: &super::result::Class| {
        let [top1, top5] = [class.top1, class.top5].map(|share| format!("{share:.2}"));
        vec![class.class.clone(), class.images.to_string(), top1, top5]
    };
    let mut classes: Vec<_> =
        evaluation.per_class.iter().filter(|class| class.images > 0).collect();
    classes.sort_by(|a, b| a.top1.total_cmp(&b.top1));
    let rows: Vec<_> = classes.into_iter().map(row).collect();
    page.push_str("<h2>Classes</h2>\n");
    let head = ["class", "images", "top-1 %", "top-5 %"];
    table(page, "Classes, the worst first", &head, 1, &rows);
}

fn origin(page: &mut String, evaluation: &Evaluation, pixels: &str) {
    let origin = &evaluation.origin;
    page.push_str("<h2>How it was measured</h2>\n<dl>\n");
    let mut entry = |name: &str, value: &str| {
        let _ = writeln!(page, "<dt>{name}</dt><dd>{}</dd>", escape(value));
    };
    if let Some(preprocess) = &evaluation.preprocess {
        entry("Preprocessing", preprocess);
    }
    match (&origin.ensemble, &origin.protocol) {
        (Some(averaged), _) => {
            entry("Ensemble", &averaged.to_string());
            averaged.members.iter().for_each(|member| entry("Member", member));
            averaged.missing.iter().for_each(|missing| entry("Missing", missing));
            averaged.choices.iter().for_each(|choice| entry("Chosen", choice));
        }
        (None, Some(protocol)) => {
            entry("Protocol", &protocol.to_string());
            if !protocol.source.is_empty() {
                entry("Source", &protocol.source);
            }
            protocol.choices.iter().for_each(|choice| entry("Chosen", choice));
        }
        (None, None) => {}
    }
    origin.terms.sentences().iter().for_each(|term| entry("Judged with", term));
    entry("Weights (SHA-256)", &origin.weights);
    entry("Data (fingerprint)", &origin.fingerprint);
    if !pixels.is_empty() {
        entry("Pixels (SHA-256 of the images' fingerprints)", pixels);
    }
    entry("Ties", "of classes with equal scores, the one with the smaller index is ranked first");
    page.push_str("</dl>\n");
}
