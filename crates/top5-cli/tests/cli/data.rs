//! `top5 data`: what it says of images, draws of them, and packs.

use std::fs;

use crate::program::{Place, parse, signalled};

/// A folder of two classes with three images each, a part to test on, and a file that is none.
fn photos() -> Place {
    let place = Place::new();
    let mut number = 0u8;
    for folder in ["train/cat", "train/dog", "test/cat", "test/dog"] {
        fs::create_dir_all(place.path(format!("photos/{folder}"))).unwrap();
        for name in ["1.png", "2.png", "3.bmp"] {
            number += 11;
            let image = image::RgbImage::from_fn(40, 30, |x, y| {
                image::Rgb([(x * 5) as u8 ^ number, (y * 8) as u8, number])
            });
            image.save(place.path(format!("photos/{folder}/{name}"))).unwrap();
        }
    }
    place
}

#[test]
fn check_tells_counts_and_twins_and_fails_on_bad_files() {
    let place = photos();
    let found = place.json("data check photos");
    assert_eq!((&found["images"], &found["bad"]), (&12.into(), &0.into()));
    assert_eq!(found["parts"][1]["part"], "test");
    assert_eq!(found["parts"][0]["counts"], serde_json::json!([3, 3]));
    assert_eq!(found["parts"][0]["height"], serde_json::json!([30, 30]));
    assert_eq!(found["twins"], serde_json::json!([]));
    let hash = &found["classes_sha256"];
    // printf 'cat\ndog\n' | sha256sum
    assert_eq!(*hash, "f641fdcd8af73b2f6334ab63c13d2eb857cd16f2aa4ea0ba20ba0eb9627918b5");

    let from = place.path("photos/train/cat/1.png");
    for to in ["train/dog/same.png", "test/cat/same.png"] {
        fs::copy(&from, place.path(format!("photos/{to}"))).unwrap();
    }
    fs::write(place.path("photos/train/dog/bad.jpg"), "no image").unwrap();
    for jobs in ["", " -j 1", " -j 7"] {
        let ran = place.run(&format!("data check photos{jobs} --json"));
        assert_eq!(ran.code, Some(3), "{ran:?}");
        assert!(ran.stderr.contains("1 of 15 images cannot be read"), "{ran:?}");
        assert!(ran.stderr.contains("the same pixels in several parts, 1 time:"), "{ran:?}");
        assert!(ran.stderr.contains("the same pixels in several classes, 1 time:"), "{ran:?}");
        let found = parse(&ran.stdout);
        assert_eq!(found["parts"][0]["bad"][0]["image"], "dog/bad.jpg");
        let twins = &found["twins"][0];
        assert_eq!(twins["images"].as_array().unwrap().len(), 3);
        assert_eq!(
            (&twins["across_parts"], &twins["across_classes"]),
            (&true.into(), &true.into())
        );
    }
    let text = place.run("data check photos").stdout;
    for words in
        ["bad: train: dog/bad.jpg", "the same pixels: train: cat/1.png (cat), ", "cat", "30 high"]
    {
        assert!(text.contains(words), "{words}: {text}");
    }
    place.fails("data check nowhere", 3, &["nowhere", "nothing is there"]);
}

#[test]
fn preview_draws_what_training_sees_and_says_what_it_is() {
    let place = photos();
    let line = "data preview photos --recipe resnet20_cifar --augment random_crop={padding=4} --augment cutout={size=8} \
                --mixup 0.4 --images 4 --out sheet.png";
    let document = place.json(line);
    let first = fs::read(place.path("sheet.png")).unwrap();
    let sheet = image::load_from_memory(&first).unwrap();
    // Four images, two squares of 64 of each, 4 pixels apart.
    assert_eq!((sheet.width(), sheet.height()), (8 * 64 + 7 * 4, 64));
    assert_eq!(document["images"].as_array().unwrap().len(), 4);
    assert_eq!(document["augment"][1], "a square of 8 set to the mean");
    assert!(document["images"][0]["mixed"][1].is_number(), "{document}");
    place.json(line);
    assert_eq!(fs::read(place.path("sheet.png")).unwrap(), first);
    place.json(&format!("{line} --epoch 2"));
    assert_ne!(fs::read(place.path("sheet.png")).unwrap(), first);

    // What a run does where nobody says it, at the recipe's size.
    let usual = place.json("data preview photos --recipe resnet20_cifar --out usual.png");
    assert_eq!(usual["augment"][1], "mirror with probability 0.5", "{usual}");
    let none = "data preview photos --recipe resnet20_cifar --augment none --out none.png";
    assert!(place.json(none)["augment"].as_array().unwrap().is_empty());
    let recipe =
        place.text("recipes lenet-digits").replacen("epochs =", "image_size = 36\nepochs =", 1);
    fs::write(place.path("wide.toml"), recipe).unwrap();
    let wide = place.json("data preview digits --recipe wide.toml --out wide.png");
    assert!(wide["preprocess"].as_str().unwrap().contains("36"), "{wide}");

    let text = place.text("data preview digits --recipe lenet-digits --images 3");
    assert_eq!(text.lines().count(), 4, "{text}");
    fs::write(place.path("mine.png"), "a text").unwrap();
    place.fails("data preview digits --recipe lenet --out mine.png", 4, &["mine.png", "PNG"]);
    place.fails("data preview digits --recipe lenet --augment cut", 2, &["cut", "cutout"]);
    place.fails("data preview digits --recipe lene", 3, &["lene", "lenet"]);
}

#[test]
fn packed_images_are_the_same_dataset() {
    let place = photos();
    let text = place.text("data pack photos --out photos.tar");
    assert!(text.contains("12 images of 2 classes"), "{text}");
    let [folder, packed] = ["photos", "photos.tar"].map(|data| {
        let mut found = place.json(&format!("data check {data}"));
        found["data"] = "".into();
        found
    });
    assert_eq!(folder, packed);

    // A run of the folder goes on with the archive.
    place.text("train lenet --data photos --epochs 1 --batch-size 2 --out run -j 1");
    let before = fs::read(place.path("run/model.safetensors")).unwrap();
    fs::rename(place.path("photos"), place.path("elsewhere")).unwrap();
    place.text("train --resume --out run --data photos.tar");
    assert_eq!(fs::read(place.path("run/model.safetensors")).unwrap(), before);
    let test = place.json("eval run --data photos.tar");
    assert_eq!(test["images"], 6);

    place.fails("data pack elsewhere --out photos.tar", 4, &["photos.tar exists", "--force"]);
    place.fails("data pack elsewhere --out photos.zip", 2, &[".tar"]);
    let document = place.json("data pack elsewhere --out photos.tar --decode --side 20 --force");
    assert_eq!(document["archives"], serde_json::json!(["photos.tar"]));
    let found = place.json("data check photos.tar");
    assert_eq!(found["parts"][0]["height"], serde_json::json!([20, 20]));
    assert_eq!(found["parts"][0]["width"], serde_json::json!([26, 26]));
}

#[test]
fn packing_in_shards_takes_what_is_in_memory_and_leaves_bad_files_out_when_asked() {
    let place = photos();
    place.text("data pack digits --out digits.tar --shard-size 1");
    let shards = |name: &str| {
        (0..).take_while(|i| place.path(format!("{name}-{i:05}.tar")).exists()).count()
    };
    assert!(shards("digits") > 1 && !place.path("digits.tar").exists());
    let [own, packed] =
        ["digits", "digits.tar"].map(|data| place.json(&format!("data check {data}")));
    for key in ["classes", "images"] {
        assert_eq!(own[key], packed[key]);
    }
    assert_eq!(own["parts"][0]["counts"], packed["parts"][0]["counts"]);
    place.text("data pack digits --out digits.tar --force");
    assert_eq!((shards("digits"), place.path("digits.tar").exists()), (0, true));

    fs::write(place.path("photos/train/dog/bad.jpg"), "no image").unwrap();
    place.fails("data pack photos --out photos.tar", 3, &["bad.jpg"]);
    assert_eq!(fs::read_dir(place.path(".")).unwrap().count(), 2, "nothing is left of it");
    let ran = place.run("data pack photos --out photos.tar --skip-bad");
    assert!(ran.stderr.contains("left out: dog/bad.jpg"), "{ran:?}");

    // A flipped bit of an image, and a cut.
    let mut bytes = fs::read(place.path("photos.tar")).unwrap();
    bytes[600] ^= 1;
    fs::write(place.path("photos.tar"), &bytes).unwrap();
    let ran = place.run("data check photos.tar");
    assert_eq!(ran.code, Some(3), "{ran:?}");
    assert!(ran.stdout.contains("is damaged"), "{ran:?}");
    bytes.truncate(3000);
    fs::write(place.path("photos.tar"), &bytes).unwrap();
    place.fails("data check photos.tar", 3, &["photos.tar", "pack or download it again"]);
}

/// A packing that is stopped leaves nothing of its own, and an earlier one as it was.
#[cfg(unix)]
#[test]
fn a_packing_that_is_stopped_leaves_nothing_but_the_earlier_one() {
    let place = Place::new();
    let image = [b"P5 1500 1500 255\n".as_slice(), &vec![7; 1500 * 1500]].concat();
    let copies = |data: &str, count: usize| {
        for class in ["a", "b"] {
            fs::create_dir_all(place.path(data).join(class)).unwrap();
            let first = place.path(data).join(class).join("0.pgm");
            fs::write(&first, &image).unwrap();
            for copy in 1..count {
                fs::hard_link(&first, first.with_file_name(format!("{copy}.pgm"))).unwrap();
            }
        }
    };
    copies("photos", 250);
    copies("few", 1);
    let names = || -> Vec<_> {
        let files = fs::read_dir(place.path("packed")).unwrap();
        let mut names: Vec<_> = files.map(|file| file.unwrap().file_name()).collect();
        names.sort();
        names
    };
    fs::create_dir_all(place.path("packed")).unwrap();
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        // In shards of 1 MiB, of which each holds one image: the first is complete long before the last.
        let line = "data pack photos --out packed/x.tar --shard-size 1 --threads 1 --force";
        let before = names();
        let ran = signalled(&place, line, signal, "packed/.x-00001.tar.PID.tmp");
        assert_eq!(ran.code, Some(code), "{ran:?}");
        assert!(ran.stderr.contains("nothing is written"), "{ran:?}");
        assert_eq!(names(), before);
        if before.is_empty() {
            place.text("data pack few --out packed/x.tar --shard-size 1 --threads 1");
            assert_eq!(names(), ["x-00000.tar", "x-00001.tar"]);
        } else {
            assert_eq!(place.json("data check packed/x.tar")["images"], 2);
        }
    }
    copies("many", 257);
    let line = "data pack many --out many.tar --shard-size 1";
    place.fails(line, 3, &["--shard-size 1", "512 archives", "larger"]);
    assert!(!place.path("many-00000.tar").exists());
}
