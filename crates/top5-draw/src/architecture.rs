//! The picture of a network, to scale: a block's height follows the size of its maps, its width their channels (both by the
//! square root), its colour the kind of layer.
//!
//! Normalisation and activation are stripes at the end of the layer they follow. Repeated modules are drawn once, in a frame with
//! their number. Every block's tooltip lists the layers in it.

use std::collections::BTreeSet;

use top5_graph::{Family, Graph, Node, Shape};

use crate::block::{Block, stacks};
use crate::layout::{CAPTION, Caption, Form, Layout, place};
use crate::svg::{INK, MUTED, Svg, magnitude, polyline, text_width};
use crate::units::Drawing;

/// Height of the largest map.
const TALLEST: f64 = 96.0;
/// Width of a stripe.
const STRIPE: f64 = 4.0;
/// Room for the title.
const TOP: f64 = 76.0;
const LEFT: f64 = 24.0;
/// Where rows are broken.
const WIDTH: f64 = 1200.0;
const LABEL: f64 = 11.0;
const LINE: f64 = 13.0;

/// A family's colour, told apart by the colour-blind (Okabe & Ito).
fn colour(family: Family) -> &'static str {
    match family {
        Family::Input => "#ffffff",
        Family::Convolution => "#5aa5d6",
        Family::Linear => "#e69f00",
        Family::Pooling => "#2fb68c",
        Family::Normalisation => "#cc79a7",
        Family::Activation => "#f0e442",
        Family::Join => "#d9d9d9",
        Family::Rearrangement => "#a89f91",
    }
}

/// What the legend calls a family.
fn title(family: Family) -> &'static str {
    match family {
        Family::Input => "input",
        Family::Convolution => "convolution",
        Family::Linear => "fully connected",
        Family::Pooling => "pooling",
        Family::Normalisation => "normalisation",
        Family::Activation => "activation",
        Family::Join => "add, scale, concatenate",
        Family::Rearrangement => "rearrangement, dropout",
    }
}

/// The picture of `graph` as SVG.
pub fn architecture(graph: &Graph) -> String {
    let (drawing, looks, layout) = compose(graph);
    let legend = layout.size[1] + 4.0;
    let size = [layout.size[0].max(640.0) + LEFT, legend + 28.0];
    let title = format!("Architecture of {}", graph.name());
    let mut svg = Svg::new(size[0], size[1], &title, &describe(graph));
    svg.label([LEFT, 30.0], 20.0, "start", graph.name());
    svg.coloured_label([LEFT, 50.0], 12.0, "start", MUTED, &totals(graph));
    draw_arrowhead(&mut svg);
    draw_frames(&mut svg, &layout);
    draw_lines(&mut svg, graph, &drawing, &layout);
    for (look, at) in looks.iter().zip(&layout.places) {
        look.draw(&mut svg, [at.x, at.y]);
    }
    draw_captions(&mut svg, &layout);
    draw_headings(&mut svg, graph, &drawing, &layout);
    draw_legend(&mut svg, &looks, legend);
    svg.finish()
}

/// What is drawn, how it looks and where it goes.
fn compose(graph: &Graph) -> (Drawing, Vec<Look>, Layout) {
    let drawing = Drawing::new(graph);
    let sides = drawing.blocks.iter().map(|block| side(block.leader(graph).shape()));
    let tallest = sides.fold(1.0, f64::max);
    let look = |block| Look::new(graph, &drawing, block, tallest);
    let looks: Vec<Look> = drawing.blocks.iter().map(look).collect();
    let forms: Vec<Form> = looks.iter().map(|look| look.form).collect();
    let layout = place(&drawing, &forms, [LEFT, TOP], WIDTH);
    (drawing, looks, layout)
}

fn totals(graph: &Graph) -> String {
    format!(
        "input {}, output {}, {} parameters, {} multiply-accumulates",
        graph.nodes()[0].shape(),
        graph.logits().shape(),
        magnitude(graph.param_count() as f64),
        magnitude(graph.macs() as f64),
    )
}

fn describe(graph: &Graph) -> String {
    format!(
        "{} layers: {}. Each block is a layer with the normalisation and activation after it; its height follows the square \
         root of its maps' height, its width that of their number. Data flows from left to right, row by row.",
        graph.nodes().len(),
        totals(graph)
    )
}

/// Square root of the longer side of a map.
fn side(shape: Shape) -> f64 {
    let [height, width] = shape.size();
    (height.max(width) as f64).sqrt()
}

/// What a block looks like.
struct Look {
    form: Form,
    family: Family,
    stripes: Vec<Family>,
    /// Above the block: its shape, where that is new.
    shape: Option<String>,
    /// Below the block.
    labels: Vec<String>,
    tooltip: String,
    /// The positions of its nodes in the graph.
    nodes: String,
}

impl Look {
    fn new(graph: &Graph, drawing: &Drawing, block: &Block, tallest: f64) -> Self {
        let leader = block.leader(graph);
        let output = leader.shape();
        let stripes: Vec<Family> = block
            .followers(graph)
            .map(|node| node.spec.family)
            .filter(|family| *family != Family::Rearrangement)
            .collect();
        let mut labels = vec![leader.spec.caption.clone()];
        let after: Vec<&str> = block.followers(graph).map(|node| node.spec.short).collect();
        if !after.is_empty() {
            labels.push(after.join(" · "));
        }
        let joins = block.inputs.len() != 1;
        let input = block.inputs.first().map(|&input| drawing.blocks[input].leader(graph).shape());
        let resized = input.is_none_or(|input| input.size() != output.size());
        let shape = (joins || resized).then(|| output.to_string());

        let height = (TALLEST * side(output) / tallest).max(14.0);
        let width = 5.0 + 1.1 * (output.channels() as f64).sqrt() + STRIPE * stripes.len() as f64;
        let texts = labels.iter().chain(&shape);
        let label_width = texts.map(|text| text_width(text, LABEL)).fold(0.0, f64::max);
        let form = Form {
            width,
            height,
            label_width,
            above: if shape.is_some() { LINE + 4.0 } else { 2.0 },
            below: LINE * labels.len() as f64 + 4.0,
            stage: output.size(),
            joins_equals: stacks(graph, leader),
        };
        let nodes: Vec<String> =
            block.nodes.iter().flatten().map(|id| id.index().to_string()).collect();
        let family = leader.spec.family;
        let tooltip = tooltip(graph, block);
        Self { form, family, stripes, shape, labels, tooltip, nodes: nodes.join(" ") }
    }

    /// Draws the block around (`x`, `y`).
    fn draw(&self, svg: &mut Svg, [x, y]: [f64; 2]) {
        let Form { width, height, .. } = self.form;
        let [left, top] = [x - width / 2.0, y - height / 2.0];
        svg.element("g").set("data-nodes", self.nodes.as_str()).open();
        svg.element("title").text(&self.tooltip);
        let mut rect = |x: f64, width: f64, fill: &str, stroke: &str| {
            let rect = svg.element("rect").set("x", x).set("y", top);
            let rect = rect.set("width", width).set("height", height).set("fill", fill);
            rect.set("stroke", stroke).set("stroke-width", 0.75).close();
        };
        rect(left, width, colour(self.family), INK);
        let stripes = self.stripes.len() as f64 * STRIPE;
        for (i, stripe) in self.stripes.iter().enumerate() {
            rect(left + width - stripes + i as f64 * STRIPE, STRIPE, colour(*stripe), INK);
        }
        if let Some(shape) = &self.shape {
            svg.coloured_label([x, top - 4.0], LABEL, "middle", MUTED, shape);
        }
        for (i, label) in self.labels.iter().enumerate() {
            let at = [x, top + height + LINE * (i + 1) as f64 - 1.0];
            svg.coloured_label(at, LABEL, "middle", if i == 0 { INK } else { MUTED }, label);
        }
        svg.close();
    }
}

/// All layers of a block, one per line.
fn tooltip(graph: &Graph, block: &Block) -> String {
    let line = |node: &Node| {
        let spec = &node.spec;
        let mut line = format!("{}: {}", node.name, spec.kind);
        if !spec.label.is_empty() {
            line += &format!(" {}", spec.label);
        }
        line += &format!(", output {}", spec.output);
        if spec.param_count() > 0 {
            line += &format!(", {} parameters", magnitude(spec.param_count() as f64));
        }
        if spec.macs > 0 {
            line += &format!(", {} MACs", magnitude(spec.macs as f64));
        }
        line
    };
    let lines: Vec<String> = block.nodes.iter().flatten().map(|&id| line(graph.node(id))).collect();
    lines.join("\n")
}

fn draw_arrowhead(svg: &mut Svg) {
    svg.element("defs").open();
    svg.element("marker")
        .set("id", "arrow")
        .set("viewBox", "0 0 6 6")
        .set("refX", "6")
        .set("refY", "3")
        .set("markerWidth", "6")
        .set("markerHeight", "6")
        .set("orient", "auto")
        .open();
    svg.element("path").set("d", "M0,0L6,3L0,6Z").set("fill", MUTED).close();
    svg.close();
    svg.close();
}

fn draw_frames(svg: &mut Svg, layout: &Layout) {
    for frame in &layout.frames {
        let ([x, y], [width, height]) = (frame.corner, frame.size);
        let rect = svg.element("rect").set("x", x).set("y", y).set("rx", 6.0);
        let rect = rect.set("width", width).set("height", height).set("fill", "#f3f3f0");
        rect.set("stroke", MUTED).set("stroke-dasharray", "4 3").close();
    }
}

fn draw_captions(svg: &mut Svg, layout: &Layout) {
    for Caption { at, text } in &layout.captions {
        svg.label(*at, CAPTION, "start", text);
    }
}

fn draw_lines(svg: &mut Svg, graph: &Graph, drawing: &Drawing, layout: &Layout) {
    svg.element("g").set("fill", "none").set("stroke", MUTED).set("stroke-width", 1.25).open();
    let name = |block: usize| drawing.blocks[block].leader(graph).name.as_str();
    for line in &layout.lines {
        svg.element("path")
            .set("d", polyline(&line.points))
            .set("marker-end", "url(#arrow)")
            .set("data-edge", format!("{} {}", name(line.from), name(line.to)))
            .close();
    }
    svg.close();
}

/// Names of the auxiliary outputs; of those that do not hang where they branch off, where that is.
fn draw_headings(svg: &mut Svg, graph: &Graph, drawing: &Drawing, layout: &Layout) {
    for &(number, at, hangs) in &layout.headings {
        svg.label(at, CAPTION, "start", &heading(graph, drawing, number, hangs));
    }
}

fn heading(graph: &Graph, drawing: &Drawing, number: usize, hangs: bool) -> String {
    let strand = &drawing.strands[number];
    let what = match &strand.output {
        Some(output) => format!("output {output}"),
        None => "read by no output".to_owned(),
    };
    if hangs {
        return what;
    }
    let first = strand.units[0].blocks.start;
    let sources: BTreeSet<usize> = drawing.blocks[first..]
        .iter()
        .take(strand.units.iter().map(|unit| unit.blocks.len()).sum())
        .flat_map(|block| block.inputs.iter().copied().filter(|&input| input < first))
        .collect();
    let names: Vec<&str> =
        sources.iter().map(|&source| drawing.blocks[source].leader(graph).name.as_str()).collect();
    format!("{what}, from {}", names.join(", "))
}

fn draw_legend(svg: &mut Svg, looks: &[Look], y: f64) {
    let families: BTreeSet<Family> =
        looks.iter().flat_map(|look| look.stripes.iter().copied().chain([look.family])).collect();
    let mut x = LEFT;
    for family in families {
        let swatch = svg.element("rect").set("x", x).set("y", y).set("width", 12.0);
        let swatch = swatch.set("height", 12.0).set("fill", colour(family));
        swatch.set("stroke", INK).set("stroke-width", 0.75).close();
        svg.label([x + 17.0, y + 10.0], LABEL, "start", title(family));
        x += 17.0 + text_width(title(family), LABEL) + 16.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use top5_graph::{GraphError, Var, concat, k, net};

    fn squeeze(x: Var<'_>) -> Var<'_> {
        x.scale(x.global_avg_pool().linear(2).relu().linear(x.channels()).sigmoid())
    }

    fn graphs() -> Vec<Graph> {
        let build = |name, body: for<'g> fn(Var<'g>) -> Var<'g>| -> Result<Graph, GraphError> {
            net(name, [3, 32, 32], |x| {
                let y = body(x.conv(8, k(3).pad(1)));
                y.conv(3, 1).global_avg_pool().linear(4).output("aux", 0.3);
                y.global_avg_pool().linear(10)
            })
        };
        let graphs = [
            build("residual", |x| (x.conv_bn(8, 1).relu().conv_bn(8, 1) + x).relu()),
            build("projected", |x| {
                let shortcut = x.conv_bn(8, 1);
                shortcut + squeeze(x.conv_bn(8, 1).relu().conv_bn(8, k(3).pad(1)))
            }),
            build("nested", |x| {
                let inner = concat([x.conv(4, 1), x.conv(4, 1).relu().conv(4, k(3).pad(1))]);
                inner.conv(8, 1).times(0.2) + x
            }),
            build("inception", |x| {
                let a = x.conv(4, 1);
                let b = x.conv(4, 1).relu();
                let b = [b.conv(2, k([1, 3]).pad([0, 1])), b.conv(2, k([3, 1]).pad([1, 0]))];
                let c = x.conv(4, 1).relu().conv(4, k(3).pad(1));
                let c = [c.conv(2, k([1, 3]).pad([0, 1])), c.conv(2, k([3, 1]).pad([1, 0]))];
                concat([a, b[0], b[1], c[0], c[1], x.max_pool(k(3).pad(1)), x])
            }),
            build("long", |x| {
                (0..20).fold(x, |x, i| x.conv(8 + i, 1).relu() + x.conv(8 + i, k(3).pad(1)))
            }),
        ];
        let zoo =
            ["googlenet", "inception_v3", "densenet121", "dpn68", "resnext50_32x4d_a", "resnet50"];
        let zoo = zoo.into_iter().map(|name| top5_zoo::network(name).unwrap().graph());
        graphs.into_iter().chain(zoo).map(Result::unwrap).collect()
    }

    /// A block's left, top, right and bottom.
    fn area(look: &Look, place: &crate::layout::Place) -> [f64; 4] {
        let [w, h] = [look.form.width / 2.0, look.form.height / 2.0];
        [place.x - w, place.y - h, place.x + w, place.y + h]
    }

    /// Everything that is written into the drawing: the labels of blocks, captions and headings.
    fn texts(graph: &Graph) -> Vec<[f64; 4]> {
        let (drawing, looks, layout) = compose(graph);
        let mut texts = Vec::new();
        for (look, place) in looks.iter().zip(&layout.places) {
            let [_, top, _, bottom] = area(look, place);
            let lines = look.labels.iter().enumerate();
            let lines = lines.map(|(i, label)| (bottom + LINE * i as f64 + 2.0, label));
            let above = look.shape.iter().map(|shape| (top - 2.0 - LABEL, shape));
            for (top, text) in lines.chain(above) {
                let half = text_width(text, LABEL) / 2.0;
                texts.push([place.x - half, top, place.x + half, top + LABEL]);
            }
        }
        let headings = layout.headings.iter();
        let headings = headings.map(|&(n, at, hangs)| (at, heading(graph, &drawing, n, hangs)));
        let captions = layout.captions.iter().map(|caption| (caption.at, caption.text.clone()));
        for ([x, y], text) in headings.chain(captions) {
            texts.push([x, y - CAPTION + 2.0, x + text_width(&text, CAPTION), y + 2.0]);
        }
        texts
    }

    #[test]
    fn texts_are_apart_and_frames_and_blocks_do_not_touch_them() {
        for graph in graphs() {
            let (_, looks, layout) = compose(&graph);
            let texts = texts(&graph);
            for (i, text) in texts.iter().enumerate() {
                let other = texts[..i].iter().find(|other| meet(*text, **other));
                assert!(other.is_none(), "{}: {text:?} and {other:?}", graph.name());
                assert!(text[0] >= 0.0 && text[2] <= layout.size[0] + LEFT, "{}", graph.name());
                for frame in &layout.frames {
                    let [[x, y], [width, height]] = [frame.corner, frame.size];
                    let (right, bottom) = (x + width, y + height);
                    let sides = [
                        [x - 1.0, y, x + 1.0, bottom],
                        [right - 1.0, y, right + 1.0, bottom],
                        [x, y - 1.0, right, y + 1.0],
                        [x, bottom - 1.0, right, bottom + 1.0],
                    ];
                    let side = sides.iter().find(|side| meet(*text, **side));
                    assert!(side.is_none(), "{}: {text:?} and {side:?}", graph.name());
                }
                let hit = looks.iter().zip(&layout.places).any(|(l, p)| meet(*text, area(l, p)));
                assert!(!hit, "{}: a block on {text:?}", graph.name());
                let mut lines = layout.lines.iter().flat_map(|line| line.points.windows(2));
                let line = lines.find(|ends| {
                    let [[x1, y1], [x2, y2]] = [ends[0], ends[1]];
                    meet(*text, [x1.min(x2), y1.min(y2) - 0.5, x1.max(x2), y1.max(y2) + 0.5])
                });
                assert!(line.is_none(), "{}: {line:?} through {text:?}", graph.name());
            }
        }
    }

    fn meet(a: [f64; 4], b: [f64; 4]) -> bool {
        a[0] < b[2] - 0.01 && b[0] < a[2] - 0.01 && a[1] < b[3] - 0.01 && b[1] < a[3] - 0.01
    }

    #[test]
    fn blocks_with_their_labels_are_apart_and_on_the_page() {
        for graph in graphs() {
            let (_, looks, layout) = compose(&graph);
            let areas: Vec<[f64; 4]> = looks
                .iter()
                .zip(&layout.places)
                .map(|(look, place)| {
                    let [_, top, _, bottom] = area(look, place);
                    let half = look.form.width.max(look.form.label_width) / 2.0;
                    let (left, right) = (place.x - half, place.x + half);
                    [left, top - look.form.above, right, bottom + look.form.below]
                })
                .collect();
            for (i, a) in areas.iter().enumerate() {
                assert!(a[0] >= 0.0 && a[1] >= 50.0, "{}: {a:?}", graph.name());
                assert!(a[2] <= layout.size[0] && a[3] <= layout.size[1], "{}", graph.name());
                assert!(areas[..i].iter().all(|b| !meet(*a, *b)), "{}: block {i}", graph.name());
            }
        }
    }

    #[test]
    fn every_input_of_a_block_is_one_line_that_ends_at_it_and_crosses_none() {
        for graph in graphs() {
            let (drawing, looks, layout) = compose(&graph);
            let areas: Vec<[f64; 4]> =
                looks.iter().zip(&layout.places).map(|(look, place)| area(look, place)).collect();
            let mut drawn: Vec<(usize, usize)> =
                layout.lines.iter().map(|line| (line.from, line.to)).collect();
            let mut wanted: Vec<(usize, usize)> = Vec::new();
            for (to, block) in drawing.blocks.iter().enumerate() {
                wanted.extend(block.inputs.iter().map(|&from| (from, to)));
            }
            drawn.sort_unstable();
            wanted.sort_unstable();
            assert_eq!(drawn, wanted, "{}", graph.name());
            for line in &layout.lines {
                let [x, y] = line.points[line.points.len() - 1];
                assert!((x - areas[line.to][0]).abs() < 0.01, "{}", graph.name());
                assert!((y - layout.places[line.to].y).abs() < 0.01, "{}", graph.name());
                // Auxiliary heads hang where they branch off.
                assert!((line.points[0][0] - areas[line.from][2]).abs() < 0.01, "{}", graph.name());
                for ends in line.points.windows(2) {
                    let [[x1, y1], [x2, y2]] = [ends[0], ends[1]];
                    assert!(x1 == x2 || y1 == y2, "{}: a slanted line", graph.name());
                    let segment = [x1.min(x2), y1.min(y2) - 0.02, x1.max(x2), y1.max(y2) + 0.02];
                    let segment = [segment[0] - 0.02, segment[1], segment[2] + 0.02, segment[3]];
                    for (block, area) in areas.iter().enumerate() {
                        let end = block == line.from || block == line.to;
                        assert!(end || !meet(segment, *area), "{}: {line:?}", graph.name());
                    }
                }
            }
        }
    }

    #[test]
    fn lines_that_pass_blocks_do_not_share_a_lane() {
        for graph in graphs() {
            let (_, _, layout) = compose(&graph);
            let mut passing: Vec<(f64, f64, f64, usize)> = Vec::new();
            for line in &layout.lines {
                for ends in line.points.windows(2) {
                    let [[x1, y1], [x2, y2]] = [ends[0], ends[1]];
                    // Returns to the left are shared on purpose.
                    if y1 == y2 && x2 - x1 > 40.0 {
                        let other = passing.iter().find(|(y, from, to, source)| {
                            *y == y1 && *source != line.from && x1 < to - 0.01 && *from < x2 - 0.01
                        });
                        assert!(other.is_none(), "{}: {line:?} and {other:?}", graph.name());
                        passing.push((y1, x1, x2, line.from));
                    }
                }
            }
        }
    }
}
