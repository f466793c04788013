//! `eval` as a user runs it, up to trained weights of somebody else on a published test set.

use std::fs;
use std::io::Read;
use std::path::Path;

use flate2::bufread::GzDecoder;
use top5_testkit::oracle::shared;

use crate::program::{Place, parse};

/// Two classes of four gray images each.
fn pets(place: &Place) {
    for class in ["cat", "dog"] {
        fs::create_dir_all(place.path("pets").join(class)).unwrap();
        for i in 0..4u8 {
            let image = image::GrayImage::from_pixel(8, 8, image::Luma([i * 30]));
            image.save(place.path("pets").join(class).join(format!("{i}.png"))).unwrap();
        }
    }
}

#[test]
fn evaluation_needs_the_classes_of_the_model() {
    let place = Place::new();
    pets(&place);
    place.fails("eval lenet --data pets --split train", 3, &["10", "2", "classes"]);
    place.fails("eval lenet --data pets", 3, &["test", "--split all"]);
    let document = place.json("eval lenet");
    assert!(document["top1"].as_f64().unwrap() >= 98.0, "{document}");
    assert_eq!(document["images"], 400);
    assert_eq!(place.json("eval lenet --split all")["images"], 1797);
}

#[test]
fn bad_images_end_an_evaluation_or_are_counted_out() {
    let place = Place::new();
    pets(&place);
    place.text("train lenet --data pets --epochs 1 --batch-size 2 --out run");
    fs::write(place.path("pets/dog/1.png"), b"no image").unwrap();
    // The file alone does not say what it learnt from.
    place.fails("eval run/model.safetensors", 2, &["--data"]);
    let all = "eval run --data pets --split all";
    place.fails(all, 3, &["pets/dog/1.png", "1 of 8 images", "--skip-bad"]);
    let ran = place.run(&format!("{all} --skip-bad --json"));
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stderr.contains("left out") && ran.stderr.contains("dog/1.png"), "{ran:?}");
    let document = parse(&ran.stdout);
    assert_eq!((&document["images"], &document["skipped"]), (&7.into(), &1.into()));

    fs::rename(place.path("pets/cat"), place.path("pets/ape")).unwrap();
    let ran = place.run(&format!("{all} --skip-bad"));
    assert!(ran.stderr.contains("\"cat\"") && ran.stderr.contains("\"ape\""), "{ran:?}");
}

#[test]
fn preprocessing_may_be_given() {
    let place = Place::new();
    let usual = place.json("eval lenet --split validation");
    let same = place.json("eval lenet --split validation --mean 0.1573 --std 0.2929");
    assert_eq!(same, usual);
    let other = place.json("eval lenet --split validation --mean 0.9 --interpolation nearest");
    assert!(other["preprocess"].as_str().unwrap().contains("(nearest)"), "{other}");
    assert!(other["loss"].as_f64() > usual["loss"].as_f64(), "{other}");
    place.fails("eval lenet --mean 0.1,0.2", 2, &["--mean", "1 channels"]);
    place.fails("eval lenet --crop-pct 2", 2, &["--crop-pct", "0.05"]);
    assert_eq!(place.run("eval lenet --crop-mode border").code, Some(0));
    place.fails("eval lenet --crop-mode tile", 2, &["--crop-mode", "border"]);
}

/// akamaster's ResNet-20 on CIFAR-10's test images as JPEG files: PyTorch is right on 8,103 of 10,000, and on 9,872 among
/// the first five.
#[test]
fn akamasters_resnet20_is_right_as_often_as_in_pytorch() {
    let Some(shared) = shared() else { return };
    let place = Place::new();
    let archive = fs::read(shared.join("data/cifar10-jpeg.tar.gz")).unwrap();
    assert_eq!(unpack(&archive, "test/", &place.path("cifar10")), 10_000);
    let weights = shared.join("data/akamaster-resnet20.th");
    let mut command = place.command("eval resnet20_cifar --data cifar10/test --split all --json");
    command.args(["--mean", "0.485,0.456,0.406", "--std", "0.229,0.224,0.225"]);
    let output = command.arg("--weights").arg(weights).output().unwrap();
    let document = parse(&String::from_utf8(output.stdout).unwrap());
    assert_eq!(document["images"], 10_000);
    let right = |key: &str| document[key].as_u64().unwrap();
    let (top1, top5) = (right("top1_right"), right("top5_right"));
    assert!(top1.abs_diff(8103) <= 2 && top5.abs_diff(9872) <= 2, "{top1}, {top5}");
}

/// Writes the files of a `.tar.gz` whose names begin with `prefix` below `folder`; their number.
fn unpack(archive: &[u8], prefix: &str, folder: &Path) -> usize {
    let mut stream = GzDecoder::new(archive);
    let mut files = 0;
    let mut header = [0; 512];
    // The archive ends with blocks of zeros.
    while stream.read_exact(&mut header).is_ok() && header[0] != 0 {
        let text = |range: std::ops::Range<usize>| {
            let field = header[range].split(|&byte| byte == 0).next().unwrap();
            String::from_utf8(field.to_vec()).unwrap()
        };
        let size = usize::from_str_radix(text(124..136).trim(), 8).unwrap();
        let mut bytes = vec![0; size.next_multiple_of(512)];
        stream.read_exact(&mut bytes).unwrap();
        let name = text(0..100);
        if header[156] == b'0' && name.starts_with(prefix) {
            let path = folder.join(&name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, &bytes[..size]).unwrap();
            files += 1;
        }
    }
    files
}
