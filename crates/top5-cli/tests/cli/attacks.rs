//! Attacks that once got through (`../shared/field/attacks`): files that never end, links that lead out of a folder, outputs in
//! the place of something else.

use std::fs;
use std::path::Path;

use top5_testkit::oracle::shared;

use crate::program::{Place, Ran};

/// A recipe that can be read; its data are the embedded digits.
const RECIPE: &str = include_str!("../../../../recipes/lenet-digits.toml");

/// Runs the program with at most ten seconds of time and a gigabyte of memory: what waits for ever, or grows, is ended.
fn bounded(place: &Place, line: &str) -> Ran {
    let limits = "ulimit -v 1000000 && exec timeout -s KILL 10 \"$@\"";
    place.run_under("sh", &["-c", limits, "sh"], line)
}

/// Makes a pipe.
fn pipe(path: &Path) {
    assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
}

/// A folder of classes with one image each, linked from elsewhere.
fn linked_data(place: &Place, target: &str) {
    fs::remove_dir_all(place.path("data")).unwrap_or_default();
    for class in ["a", "b"] {
        fs::create_dir_all(place.path("data").join(class)).unwrap();
        std::os::unix::fs::symlink(target, place.path("data").join(class).join("1.png")).unwrap();
    }
}

#[cfg(target_os = "linux")]
#[test]
fn what_never_ends_is_not_read() {
    let place = Place::new();
    pipe(&place.path("pipe"));
    pipe(&place.path("pipe.toml"));
    std::os::unix::fs::symlink("/dev/zero", place.path("zero.toml")).unwrap();
    for (name, target) in [("kernel", "/proc/kmsg"), ("endless", "/proc/self/pagemap")] {
        fs::create_dir(place.path(name)).unwrap();
        std::os::unix::fs::symlink(target, place.path(name).join("config.json")).unwrap();
        std::os::unix::fs::symlink(target, place.path(name).join("model.safetensors")).unwrap();
        for stem in
            ["train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"]
        {
            let file = place.path(name).join(format!("{stem}-ubyte"));
            std::os::unix::fs::symlink(target, file).unwrap();
        }
    }
    let mut lines = vec![
        "train pipe.toml --out run".to_owned(),
        "train zero.toml --out run".to_owned(),
        "eval kernel".to_owned(),
        "eval endless".to_owned(),
        "eval lenet --data kernel".to_owned(),
        "train lenet --data endless --out run".to_owned(),
    ];
    for file in ["/proc/kmsg", "/proc/self/pagemap", "/dev/zero", "pipe"] {
        lines.extend([
            format!("predict {file}"),
            format!("predict x.png --model {file}"),
            format!("convert lenet o.safetensors --weights {file}"),
            format!("plan lenet --tuning {file}"),
        ]);
    }
    for line in lines {
        let ran = bounded(&place, &line);
        assert!(matches!(ran.code, Some(3 | 4)), "{line}: {ran:?}");
        assert!(ran.stderr.contains("error: ") && ran.stderr.len() < 2000, "{line}: {ran:?}");
    }
    for target in ["/proc/kmsg", "/dev/zero"] {
        linked_data(&place, target);
        let ran = bounded(&place, "eval lenet --data data --split all");
        assert!(matches!(ran.code, Some(3 | 4)), "{target}: {ran:?}");
    }
}

/// A run's folder from elsewhere whose files are links, or other names of files outside.
#[cfg(unix)]
#[test]
fn nothing_is_written_through_links_in_a_runs_folder() {
    let place = Place::new();
    fs::write(place.path("recipe.toml"), RECIPE).unwrap();
    let line = "train lenet --epochs 2 --batch-size 512 --out run";
    place.text(line);
    fs::write(place.path("victim"), "precious").unwrap();
    let files = [
        "checkpoints/lock",
        "metrics.jsonl",
        "times.jsonl",
        "environment.json",
        "config.resolved.toml",
        "summary.csv",
        "model.safetensors",
    ];
    for file in files {
        let path = place.path("run").join(file);
        let kept = fs::read(&path).unwrap();
        for hard in [false, true] {
            fs::remove_file(&path).unwrap();
            // What is read must be there; it is written anew in a place of its own.
            fs::write(place.path("victim"), &kept).unwrap();
            match hard {
                true => fs::hard_link(place.path("victim"), &path).unwrap(),
                false => std::os::unix::fs::symlink(place.path("victim"), &path).unwrap(),
            }
            let ran = place.run("train --resume --out run");
            let in_place = ["checkpoints/lock", "metrics.jsonl", "times.jsonl"].contains(&file);
            if !hard || in_place {
                assert_eq!(ran.code, Some(4), "{file}: {ran:?}");
                assert!(ran.stderr.contains("link"), "{file}: {ran:?}");
            } else {
                assert_eq!(ran.code, Some(0), "{file}: {ran:?}");
            }
            assert!(fs::read(place.path("victim")).unwrap() == kept, "{file}");
        }
        fs::remove_file(&path).unwrap();
        fs::write(&path, kept).unwrap();
    }
    // The folder of checkpoints itself.
    fs::rename(place.path("run/checkpoints"), place.path("elsewhere")).unwrap();
    std::os::unix::fs::symlink(place.path("elsewhere"), place.path("run/checkpoints")).unwrap();
    place.fails("train --resume --out run", 4, &["symbolic link"]);
}

#[cfg(unix)]
#[test]
fn outputs_take_the_place_of_regular_files_of_their_kind_only() {
    let place = Place::new();
    place.text("convert resnet20_cifar weights.safetensors --init 1");
    let weights = fs::read(place.path("weights.safetensors")).unwrap();
    let tune = "tune lenet --seconds 0 --anew -o";
    for line in ["show lenet --svg", "models lenet --plot", tune] {
        // Another kind of file, unless that is asked for.
        let taken = ["exists and is no", "--force"];
        place.fails(&format!("{line} weights.safetensors"), 4, &taken);
        assert!(fs::read(place.path("weights.safetensors")).unwrap() == weights, "{line}");
        fs::write(place.path("empty"), "").unwrap();
        for file in ["new", "new", "empty"] {
            place.text(&format!("{line} {file}"));
        }
        place.text(&format!("{line} weights.safetensors --force"));
        fs::write(place.path("weights.safetensors"), &weights).unwrap();
        fs::remove_file(place.path("new")).unwrap();
    }
    for (line, kind) in [
        ("show lenet --svg lenet.png", "SVG"),
        ("models lenet --plot history.PDF", "SVG"),
        ("data preview digits --recipe lenet --out sheet.jpg", "PNG"),
    ] {
        let ran = place.run(line);
        assert_eq!(ran.code, Some(2), "{line}: {ran:?}");
        assert!(ran.stderr.contains(&format!("is an {kind} file: name it")), "{line}: {ran:?}");
        assert!(!place.path(line.rsplit(' ').next().unwrap()).exists(), "{line}");
    }
    pipe(&place.path("pipe"));
    fs::create_dir(place.path("folder")).unwrap();
    std::os::unix::fs::symlink(place.path("victim"), place.path("link")).unwrap();
    for line in ["show lenet --svg", "models lenet --plot", tune, "convert lenet"] {
        for (name, word) in [("pipe", "regular"), ("folder", "folder"), ("link", "link")] {
            let name =
                if line.starts_with("convert") { format!("{name}.onnx") } else { name.into() };
            let from = place.path(name.trim_end_matches(".onnx"));
            if line.starts_with("convert") {
                fs::rename(&from, place.path(&name)).unwrap();
            }
            place.fails(&format!("{line} {name} --force"), 4, &[word]);
            assert!(!place.path("victim").exists());
            assert!(!place.path(&name).symlink_metadata().unwrap().is_file(), "{line} {name}");
        }
    }
}

/// A limit on the length of files ends a run with a message and not with a signal.
#[cfg(target_os = "linux")]
#[test]
fn limit_on_the_length_of_files_is_told() {
    let place = Place::new();
    let within = |blocks: &str, line: &str| {
        place.run_under("sh", &["-c", "ulimit -f $0 && exec \"$@\"", blocks], line)
    };
    // Less than the weights' 178 KB; a block is of 512 or 1,024 bytes, as the shell has it.
    for line in ["convert lenet lenet.onnx", "train lenet --epochs 1 --out run"] {
        let ran = within("100", line);
        assert_eq!(ran.code, Some(4), "{line}: {ran:?}");
        assert!(ran.stderr.contains("(ulimit -f)"), "{line}: {ran:?}");
        let most = ["51200 bytes", "102400 bytes"];
        assert!(most.iter().any(|most| ran.stderr.contains(most)), "{line}: {ran:?}");
    }
    assert!(!place.path("run").exists(), "the limit is told before anything is made");
    assert!(!place.path("lenet.onnx").exists());
    let ran = within("100000", "train lenet --epochs 1 --out run");
    assert_eq!(ran.code, Some(0), "{ran:?}");
}

/// Whatever the process may have of the address space, a command succeeds or says what it needs.
#[cfg(target_os = "linux")]
#[test]
fn limits_of_memory_are_asked_before_memory_is() {
    let place = Place::new();
    let image = b"P5 32 32 255\n".iter().copied().chain([0; 1024]).collect::<Vec<u8>>();
    fs::write(place.path("image.pgm"), image).unwrap();
    place.text("convert resnet20_cifar r.safetensors --init 1");
    let mut told = 0;
    for line in [
        "bench vgg16 --seconds 0 -j 2",
        "predict image.pgm --model r.safetensors -b 4096 -j 2",
        "train lenet --epochs 1 --batch-size 1024 --optimizer adam --lr 1e-3 -j 2 --out run",
        "convert vgg16 out.safetensors --init 1",
        "eval lenet --data digits -b 8192 -j 2",
        "explain occlusion r.safetensors image.pgm -b 4096 -j 2 --out run",
        "occlude r.safetensors image.pgm -b 4096 -j 2 --out run",
        "score r.safetensors image.pgm -b 4096 -j 2 --methods occlusion",
        "gallery lenet -b 4096 -j 2 --out run",
        "probe lenet -j 2",
    ] {
        for mib in [100, 150, 300, 600] {
            let ran = place.run_within(line, mib << 10);
            assert!(matches!(ran.code, Some(0 | 4)), "{line} in {mib} MiB: {ran:?}");
            if ran.code == Some(4) {
                assert!(ran.stderr.contains("MiB"), "{line} in {mib} MiB: {ran:?}");
                told += 1;
            }
            fs::remove_dir_all(place.path("run")).unwrap_or_default();
            fs::remove_file(place.path("out.safetensors")).unwrap_or_default();
        }
    }
    assert!(told >= 16, "{told}");
    // An image, too; others beside it are classified.
    let large = [b"P6 6000 6000 255\n".as_slice(), &vec![9; 108_000_000]].concat();
    fs::write(place.path("large.ppm"), large).unwrap();
    let ran = place.run_within("predict large.ppm image.pgm -j 1", 200 << 10);
    assert_eq!(ran.code, Some(4), "{ran:?}");
    assert!(ran.stderr.contains("large.ppm") && ran.stderr.contains(" MiB"), "{ran:?}");
    assert!(ran.stdout.starts_with("image.pgm: "), "{ran:?}");
    // What the machine has is the most that a limit can allow.
    place.fails("bench vgg16 -b 65536 --memory-limit 99999999", 4, &["MiB", "may use"]);
}

/// A stack that no thread can have stands for a limit on threads: the work is done by fewer, and what takes one is refused.
#[cfg(target_os = "linux")]
#[test]
fn work_goes_on_where_no_thread_is_to_be_had() {
    let place = Place::new();
    for class in ["a", "b"] {
        fs::create_dir_all(place.path("photos").join(class)).unwrap();
        for i in 0..4 {
            let image = image::GrayImage::from_pixel(8, 8, image::Luma([i * 30]));
            image.save(place.path("photos").join(class).join(format!("{i}.png"))).unwrap();
        }
    }
    let without = |line: &str| {
        let mut command = place.command(line);
        command.env("RUST_MIN_STACK", (1_u64 << 60).to_string());
        Ran::from(command.output().unwrap())
    };
    for line in [
        "eval lenet --data digits",
        "train lenet --data photos --epochs 1 -b 4 --out run",
        "eval run --split all --report page --twins",
        "data check photos",
        "data pack photos --out photos.tar",
        "predict photos/a/0.png",
        "gallery lenet --data digits --images 8 --out gallery",
    ] {
        let ran = without(line);
        assert_eq!(ran.code, Some(0), "{line}: {ran:?}");
    }
    for line in [
        "serve lenet --port 0",
        "train lenet --data photos --epochs 1 --out new --watch=127.0.0.1:0",
    ] {
        let ran = without(line);
        assert_eq!(ran.code, Some(4), "{line}: {ran:?}");
        assert!(ran.stderr.contains("thread"), "{line}: {ran:?}");
    }
}

/// Weights that overflow, and statistics that do: no answer is one that is no number.
#[test]
fn answers_that_are_not_finite_are_errors_that_name_the_layer() {
    let Some(shared) = shared() else { return };
    let huge = shared.join("field/attacks/huge.safetensors").display().to_string();
    let place = Place::new();
    let image = b"P5 28 28 255\n".iter().copied().chain([9; 784]).collect::<Vec<u8>>();
    fs::write(place.path("a.pgm"), image).unwrap();
    let parts = "image,part,top,left,height,width\na.pgm,eye,0,0,4,4\na.pgm,eye,9,9,4,4\n";
    fs::write(place.path("parts.csv"), parts).unwrap();
    let layer = ["the output of layer", "infinite or no number"];
    for line in [
        format!("predict a.pgm --model {huge}"),
        format!("predict a.pgm a.pgm -b 2 --json --model {huge}"),
        format!("eval {huge} --data digits"),
        format!("explain gradient {huge} a.pgm --out x"),
        format!("occlude {huge} a.pgm --out x"),
        format!("score {huge} a.pgm"),
        format!("sanity {huge} a.pgm"),
        format!("gallery {huge} --data digits --out gallery"),
        format!("invariance {huge} a.pgm --out invariance"),
        format!("filters {huge} --data digits --out filters"),
        format!("probe {huge} --data digits"),
        format!("correspond {huge} parts.csv"),
    ] {
        place.fails(&line, 3, &layer);
    }
    for statistics in ["--mean 1e38 --std 1e-3", "--mean=-1e38 --std 1e-9"] {
        for line in ["predict a.pgm", "eval lenet --data digits"] {
            place.fails(&format!("{line} {statistics}"), 3, &["infinite or no number"]);
        }
    }
    for number in ["nan", "inf", "-inf", "many"] {
        place.fails(&format!("eval lenet --data digits --min-top1={number}"), 2, &["percent"]);
    }
}
