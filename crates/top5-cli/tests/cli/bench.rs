//! Plans and measurements. No test looks at a time: they hold counts and what the documents say.

use crate::program::Place;

#[test]
fn plan_tells_steps_kernels_and_reasons() {
    let place = Place::new();
    let plan = place.json("plan resnet18 --isa avx512 --threads 2");
    let steps = plan["steps"].as_array().unwrap();
    let step = steps.iter().find(|step| step["layer"] == "layer1.0.conv2").unwrap();
    assert_eq!(step["fused"], "+bias +sum +relu");
    assert_eq!(step["macs"], 64 * 64 * 9 * 56 * 56);
    assert!(step["why"].as_str().is_some_and(|why| !why.is_empty()), "{step}");
    let candidates = step["candidates"].as_array().unwrap();
    assert!(candidates.contains(&step["kernel"]), "{step}");

    let exact = place.json("plan resnet18 --isa avx512 --exact");
    let kernels = exact["steps"].as_array().unwrap().iter().map(|step| &step["kernel"]);
    assert!(kernels.clone().all(|kernel| !kernel.as_str().unwrap().contains("winograd")));

    let bf16 = place.json("plan resnet18 --isa avx512 --precision bf16");
    let kernels = bf16["steps"].as_array().unwrap().iter().map(|step| &step["kernel"]);
    assert!(kernels.clone().any(|kernel| kernel.as_str().unwrap().starts_with("bf16_")));
    place.fails("plan resnet18 --isa avx2 --precision bf16", 3, &["AVX-512 BF16", "use f32"]);
    place.fails("plan resnet18 --exact --precision bf16", 2, &["--exact"]);

    let text = place.text("plan lenet --train --batch 64");
    assert!(text.contains("batch 64") && text.contains("Loss"), "{text}");
}

#[test]
fn bench_reports_every_network_and_batch() {
    let place = Place::new();
    let bench = place.json("bench lenet lenet5 --batch 1,3 --seconds 0 --threads 1");
    let results = bench["results"].as_array().unwrap();
    let cases: Vec<_> =
        results.iter().map(|r| (r["network"].clone(), r["batch"].clone())).collect();
    let expected = [("lenet", 1), ("lenet", 3), ("lenet5", 1), ("lenet5", 3)];
    assert_eq!(cases, expected.map(|(name, batch)| (name.into(), batch.into())));
    assert_eq!(bench["threads"], 1);
    for result in results {
        assert!(result["ms"]["runs"].as_u64() >= Some(5), "{result}");
        assert!(result["peak_gflops"].as_f64() > Some(0.0), "{result}");
        let ms = |quantile: &str| result["ms"][quantile].as_f64().unwrap();
        assert!(ms("min") <= ms("lower") && ms("lower") <= ms("median"), "{result}");
        assert!(result["layers"].is_null(), "{result}");
    }
    assert_eq!(results[1]["macs"].as_u64(), results[0]["macs"].as_u64().map(|macs| 3 * macs));
}

#[test]
fn bench_measures_every_step_of_the_plan() {
    let place = Place::new();
    for (mode, more) in [("", 0), ("--train", 1)] {
        let plan = place.json(&format!("plan lenet --batch 2 {mode}"));
        let bench = place.json(&format!("bench lenet --batch 2 --seconds 0 --layers {mode}"));
        let layers = bench["results"][0]["layers"].as_array().unwrap();
        let steps = plan["steps"].as_array().unwrap();
        assert_eq!(layers.len(), steps.len() + more, "{mode}");
        for (layer, step) in layers.iter().zip(steps) {
            assert_eq!((&layer["layer"], &layer["kernel"]), (&step["layer"], &step["kernel"]));
        }
        let shares: f64 = layers.iter().map(|layer| layer["share"].as_f64().unwrap()).sum();
        assert!((shares - 1.0).abs() < 1e-9, "{shares}");
    }
    let text = place.text("bench lenet --seconds 0 --layers");
    assert!(text.contains("of peak") && text.contains("conv2"), "{text}");
}

#[test]
fn wrong_measurements_are_refused() {
    let place = Place::new();
    place.fails("bench lenet --seconds=-1", 2, &["seconds"]);
    place.fails("bench lenet --isa sse9", 2, &["avx2"]);
    place.fails("bench nonet --seconds 0", 3, &["nonet", "nearest"]);
    place.fails("bench lenet lenet5 --weights x.safetensors", 2, &["exactly one"]);
    place.fails("plan resnet1", 3, &["nearest"]);
}

#[test]
fn batch_that_does_not_fit_is_refused_before_its_images_are_made() {
    let place = Place::new();
    for line in ["bench resnet18", "bench resnet18 --train", "tune resnet18"] {
        let line = format!("{line} --batch 65536 --memory-limit 1000 --seconds 0");
        place.fails(&line, 4, &["MiB", "smaller batch"]);
    }
}

#[test]
fn untrained_network_is_written_and_measured() {
    let place = Place::new();
    for file in ["one.safetensors", "again.safetensors"] {
        place.text(&format!("convert lenet {file} --init 7"));
    }
    place.text("convert lenet other.safetensors --init 8");
    let read = |file: &str| std::fs::read(place.path(file)).unwrap();
    assert_eq!(read("one.safetensors"), read("again.safetensors"));
    assert_ne!(read("one.safetensors"), read("other.safetensors"));
    let bench = place.json("bench lenet --weights one.safetensors --seconds 0");
    assert_eq!(bench["results"][0]["network"], "lenet");
    for more in ["--weights one.safetensors", "--ema", "--weights-key x"] {
        place.fails(&format!("convert lenet x.onnx --init 1 {more}"), 2, &["--init"]);
    }
    for batch in ["0", "18446744073709551615"] {
        place.fails(&format!("convert lenet x.onnx --batch {batch}"), 2, &["from 1 to 65536"]);
    }
    for flag in ["--batch 2", "--no-fold"] {
        place.fails(&format!("convert lenet x.safetensors {flag}"), 2, &["are of .onnx files"]);
    }
}

#[test]
fn kernels_lists_all_that_can_run_a_convolution() {
    let place = Place::new();
    let line = "kernels --conv 32,10,10,32,3,3,1,1,1,2 --seconds 0 --threads 1";
    let kernels = place.json(line);
    assert_eq!(kernels["macs"], 2 * 32 * 32 * 9 * 10 * 10);
    let all = kernels["kernels"].as_array().unwrap();
    assert!(all.len() >= 2, "{kernels}");
    assert_eq!(all.iter().filter(|kernel| !kernel["chosen"].is_null()).count(), 1, "{kernels}");
    assert!(all.iter().all(|kernel| kernel["ms"]["median"].as_f64() > Some(0.0)), "{kernels}");

    let exact = place.json(&format!("{line} --exact --cold"));
    assert_eq!(exact["kernels"].as_array().map(Vec::len), Some(1), "{exact}");
    place.fails("kernels --conv 32,10,10", 2, &["C,H,W,K,R,S"]);
    place.fails("kernels --conv 32,2,2,32,7,7,1,0,1,1", 2, &["conv"]);
}

#[test]
fn tuned_kernels_are_those_that_plans_use() {
    let place = Place::new();
    let tuned = place.json("tune resnet20_cifar --seconds 0 --out t.json");
    let network = &tuned["networks"][0];
    let shapes = network["shapes"].as_array().unwrap();
    assert!(!shapes.is_empty(), "{tuned}");
    // All but direct convolution are predicted from its time.
    let predicted = |shape: &serde_json::Value| shape["predicted"].as_object().unwrap().len();
    let measured = |shape: &serde_json::Value| shape["kernels"].as_object().unwrap().len();
    assert!(shapes.iter().all(|shape| predicted(shape) + 1 == measured(shape)), "{tuned}");
    let model = &tuned["cost_model"];
    let count: usize = shapes.iter().map(predicted).sum();
    assert_eq!(model["predictions"], count, "{tuned}");
    assert_eq!(model["worst"].as_array().unwrap().len(), count.min(10));
    assert!(model["median_error"].as_f64().unwrap() >= 0.0);
    let plan = place.json("plan resnet20_cifar --tuning t.json");
    let kernel = |layer: &serde_json::Value| {
        let steps = plan["steps"].as_array().unwrap();
        &steps.iter().find(|step| step["layer"] == *layer).unwrap()["kernel"]
    };
    for shape in shapes {
        assert!(shape["kernels"].as_object().unwrap().len() > 1, "{shape}");
        for layer in shape["layers"].as_array().unwrap() {
            assert_eq!(kernel(layer), &shape["fastest"]);
        }
    }
    place.json("bench resnet20_cifar --seconds 0 --tuning t.json");

    // What another run measures is added.
    let first = std::fs::read_to_string(place.path("t.json")).unwrap();
    place.json("tune resnet20_cifar --batch 2 --seconds 0 --out t.json");
    let second = std::fs::read_to_string(place.path("t.json")).unwrap();
    let entries = |text: &str| text.matches("\"kernel\"").count();
    assert_eq!(entries(&second), 2 * entries(&first));
}

#[test]
fn unusable_tuning_is_refused() {
    let place = Place::new();
    place.fails("plan lenet --tuning missing.json", 4, &["missing.json"]);
    for text in ["", "{}", "{\"schema_version\": 9, \"layers\": []}"] {
        std::fs::write(place.path("t.json"), text).unwrap();
        place.fails("plan lenet --tuning t.json", 3, &["t.json", "top5 tune", "--anew"]);
    }
    // The layout of a file that does not know groups.
    let old = r#"{"schema_version": 1, "layers": [{"batch": 1, "inputs": 16, "outputs": 16, "rows": 8, "cols": 8,
        "taps": 9, "step": 16, "blocks": 1, "kernel": "f32_conv_winograd"}]}"#;
    std::fs::write(place.path("t.json"), old).unwrap();
    for line in ["plan lenet --tuning t.json", "tune lenet --seconds 0 --out t.json"] {
        place.fails(line, 3, &["t.json", "layout is 1, expected 2", "--anew"]);
    }
    place.text("tune lenet --seconds 0 --out t.json --anew");
}

#[test]
fn bench_models_several_processes() {
    let place = Place::new();
    let bench = place.json("bench lenet --train --batch 2 --seconds 0 --threads 1 --ranks 1,2,64");
    let scaling = bench["results"][0]["scaling"].as_array().unwrap();
    let ranks: Vec<u64> = scaling.iter().map(|row| row["ranks"].as_u64().unwrap()).collect();
    assert_eq!(ranks, [1, 2, 64, 1, 2, 64]);
    for row in scaling {
        let share = |name: &str| row[name].as_f64().unwrap();
        let (plain, synchronised) = (share("efficiency"), share("synchronised_efficiency"));
        let is_one = row["ranks"] == 1;
        assert!(plain > 0.0 && plain <= 1.0 + 1e-9 && (plain > 0.999_999) == is_one, "{row}");
        // LeNet has no normalisation.
        assert_eq!(plain, synchronised, "{row}");
    }
    place.fails("bench lenet --ranks 2", 2, &["--train"]);
}
