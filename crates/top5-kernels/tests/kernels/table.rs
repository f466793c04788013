//! The tables of kernels: what they say in `docs/kernels.md`, and how one is chosen.

use crate::conv::geometry;
use std::fmt::Write;
use std::path::Path;
use top5_graph::k;
use top5_kernels::conv::{Algorithm, Bound, Problem};
use top5_kernels::table::{Allowed, FORWARD, INPUT_GRADIENT, WEIGHT_GRADIENT, choose};
use top5_kernels::{Isa, Precision};
use top5_testkit::enumerate::ConvCase;

const HEAD: &str = "# Kernels of convolutions

Written by `cargo xtask bless` from the tables of `top5-kernels` (`src/table.rs`), which plans, `top5 kernels`, `top5 tune`
and the tests walk too. Of the kernels that can solve a problem a plan takes the one that was measured to be the fastest
(`--tuning`), and else the one whose estimated cost is least; where costs are equal, the first one. `--exact` leaves those
whose error is that of sums in any order. An algorithm is one file, and one line in a table.

A kernel's name is the precision, `conv`, the method (direct: with the largest tile, output blocks × pixels; `grouped`, with
a group's inputs, where groups are no whole blocks), and the instruction set: `f32_conv_direct_2x14_avx512`. `amx` is
AVX-512 on processors that have AMX too, under Linux.

What a result may be off by against f64 is a multiple of u = 2⁻²⁴: with n products per result, or with n channels (of a weight
gradient: tiles) in the sum between transforms. Operands that are rounded to bf16 count as they are then. The tests hold
every kernel to its error on signed inputs.
";

/// One kind of kernel.
fn section<K: ?Sized>(title: &str, table: &[Algorithm<K>]) -> String {
    let mut text = format!("\n## {title}\n\n");
    text.push_str(
        "| method | products | instruction sets | for | memory beside its operands | error |\n",
    );
    text.push_str("|---|---|---|---|---|---|\n");
    for Algorithm { name, precision, serves, memory, bound, .. } in table {
        let has = |isa: &Isa| {
            isa.multiplies(*precision) && (!name.starts_with("amx") || *isa == Isa::Amx)
        };
        let isas: Vec<&str> = Isa::ALL.into_iter().filter(has).map(Isa::name).collect();
        let bound = bound.to_string().replace('|', "\\|");
        let isas = isas.join(", ");
        writeln!(text, "| {name} | {precision} | {isas} | {serves} | {memory} | {bound} |")
            .expect("a string has room");
    }
    text
}

#[test]
fn the_document_is_what_the_tables_say() {
    let now = [
        HEAD.to_owned(),
        section("Convolutions", &FORWARD),
        section("Gradients of inputs", &INPUT_GRADIENT),
        section("Gradients of weights", &WEIGHT_GRADIENT),
    ]
    .concat();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/kernels.md");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, &now).expect("docs is there");
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == now, "docs/kernels.md is not what the tables say: cargo xtask bless");
}

/// A convolution that all can solve.
fn problem() -> Problem {
    let (input, window) = ([14, 14], k(3).pad(1));
    let case =
        ConvCase { in_channels: 64, out_channels: 64, groups: 1, input, window, output: input };
    Problem::new(geometry(&case, [0, 0]).0, 1, false).expect("a small problem")
}

/// One in groups that share blocks.
fn in_groups() -> Problem {
    let (input, window) = ([14, 14], k(3).pad(1));
    let case =
        ConvCase { in_channels: 64, out_channels: 64, groups: 16, input, window, output: input };
    Problem::new(geometry(&case, [0, 0]).0, 1, false).expect("a small problem")
}

#[test]
fn the_first_line_of_every_table_is_direct_convolution_in_f32() {
    let firsts = [
        (FORWARD[0].precision, FORWARD[0].bound),
        (INPUT_GRADIENT[0].precision, INPUT_GRADIENT[0].bound),
        (WEIGHT_GRADIENT[0].precision, WEIGHT_GRADIENT[0].bound),
    ];
    assert_eq!(firsts, [(Precision::F32, Bound::Sum); 3]);
}

#[test]
fn kernels_say_what_their_line_says() {
    for algorithm in FORWARD {
        let isa = if algorithm.name == "amx" { Isa::Amx } else { Isa::Scalar };
        let kernel = (algorithm.make)(isa, &problem()).expect("all can");
        assert_eq!((kernel.precision(), kernel.bound()), (algorithm.precision, algorithm.bound));
        let name = format!("{}_conv_{}", algorithm.precision, algorithm.name);
        assert!(kernel.name().starts_with(&name), "{} is none of {name}", kernel.name());
        assert!(kernel.name().ends_with(&format!("_{isa}")) && kernel.isa() == isa);
    }
    for algorithm in WEIGHT_GRADIENT {
        let isa = if algorithm.name.starts_with("amx") { Isa::Amx } else { Isa::Scalar };
        let mut kernels = [problem(), in_groups()].into_iter();
        let kernel = kernels.find_map(|problem| (algorithm.make)(isa, &problem));
        let kernel = kernel.expect("one of them");
        assert_eq!((kernel.precision(), kernel.bound()), (algorithm.precision, algorithm.bound));
        let name = format!("{}_conv_{}_{isa}", algorithm.precision, algorithm.name);
        assert_eq!(kernel.name(), name);
    }
}

#[test]
fn what_was_measured_goes_before_what_costs_least() {
    let (f32, bf16) = (Precision::F32, Precision::Bf16);
    let allowed = Allowed { isa: Isa::Avx512, precision: f32, exact: false };
    let least = choose(&FORWARD, &allowed, &problem(), None);
    assert_eq!((least.candidates.len(), least.kernel.name()), (3, "f32_conv_winograd_4x3_avx512"));
    assert!(least.why.contains("F(4×4, 3×3) costs") && least.why.ends_with("of direct"));
    for name in &least.candidates {
        let measured = choose(&FORWARD, &allowed, &problem(), Some(name));
        assert_eq!((measured.kernel.name(), measured.why.as_str()), (name.as_str(), "measured"));
    }
    // A name of another machine.
    let unknown = choose(&FORWARD, &allowed, &problem(), Some("f32_conv_winograd_4x3_avx2"));
    assert_eq!(unknown.kernel.name(), least.kernel.name());
    let exact = choose(&FORWARD, &Allowed { exact: true, ..allowed }, &problem(), None);
    assert_eq!((exact.candidates.len(), exact.why.as_str()), (1, "exact"));
    let rounded = Allowed { precision: bf16, ..allowed };
    assert_eq!(choose(&FORWARD, &rounded, &problem(), None).candidates.len(), 4);
    let tiles = choose(&FORWARD, &Allowed { isa: Isa::Amx, ..rounded }, &problem(), None);
    assert_eq!((tiles.candidates.len(), tiles.kernel.name()), (5, "bf16_conv_amx_2x32_amx"));
    let portable = Allowed { isa: Isa::Avx2, ..rounded };
    assert_eq!(choose(&FORWARD, &portable, &problem(), None).candidates.len(), 3);
}
