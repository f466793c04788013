//! `mpirun -n N top5 train …`: several processes train as one does, end together, and go on after one of them was killed.
//! `mpirun -n N top5 eval …`: they say what one does, to the bit. Built with the feature `mpi` only; `cargo xtask ci` does so
//! where MPI is installed.

#[expect(dead_code, reason = "the other tests use more of it")]
#[path = "cli/program.rs"]
mod program;

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use program::{Place, Ran, parse};
use serde_json::Value;

/// A short run on the embedded digits that writes a checkpoint at every step.
const SHORT: &str = "train lenet --epochs 2 --batch-size 256 --checkpoint-every 1 --threads 1";

/// The program as `ranks` processes.
fn mpirun(place: &Place, ranks: usize, line: &str) -> Command {
    let ours = place.command(line);
    let mut command = launcher(place, ranks);
    command.arg(ours.get_program()).args(ours.get_args());
    command
}

/// What starts `ranks` processes of what is added to it.
fn launcher(place: &Place, ranks: usize) -> Command {
    let ours = place.command("");
    let mut command = Command::new("mpirun");
    // What hangs is ended, with another code than any of ours.
    command.args(["--timeout", "120", "--oversubscribe", "--bind-to", "none"]);
    command.args(["-n", &ranks.to_string()]);
    command.current_dir(ours.get_current_dir().unwrap()).stdin(Stdio::null());
    command.envs(ours.get_envs().filter_map(|(name, value)| Some((name, value?))));
    // Containers run as root, and may not read each other's memory.
    command.env("OMPI_ALLOW_RUN_AS_ROOT", "1").env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1");
    command.env("OMPI_MCA_btl_vader_single_copy_mechanism", "none");
    command
}

fn ran(place: &Place, ranks: usize, line: &str) -> Ran {
    Ran::from(mpirun(place, ranks, line).output().unwrap())
}

/// The document of a run of `ranks` processes: one of them prints it.
#[track_caller]
fn json(place: &Place, ranks: usize, line: &str) -> Value {
    let ran = ran(place, ranks, &format!("{line} --json"));
    assert_eq!(ran.code, Some(0), "{line}: {ran:?}");
    parse(&ran.stdout)
}

fn hash(summary: &Value) -> String {
    summary["weights_sha256"].as_str().unwrap().to_owned()
}

/// The losses of a run's steps.
fn losses(place: &Place, run: &str) -> Vec<f64> {
    let log = fs::read_to_string(place.path(run).join("metrics.jsonl")).unwrap();
    let records = log.lines().map(parse).filter(|record| record["event"] == "step");
    records.map(|record| record["loss"].as_f64().unwrap()).collect()
}

/// Small photographs of three classes, of one colour each, with stripes.
fn photographs(folder: &Path) {
    for (class, colour) in
        ["blue", "green", "red"].iter().zip([[40, 60, 200], [30, 190, 70], [200, 50, 40]])
    {
        fs::create_dir_all(folder.join(class)).unwrap();
        for i in 0..14_u32 {
            let image = image::RgbImage::from_fn(32, 32, |x, y| {
                let stripe = ((x * (i + 2) + y * 5) % 32) as u8;
                image::Rgb(colour.map(|value: u8| value + stripe))
            });
            image.save(folder.join(class).join(format!("{i}.png"))).unwrap();
        }
    }
}

#[test]
fn one_rank_is_no_rank_to_the_bit() {
    let place = Place::new();
    let alone = hash(&place.json(&format!("{SHORT} --out alone")));
    assert_eq!(hash(&json(&place, 1, &format!("{SHORT} --out one"))), alone);
}

/// Without normalisation, and with it over all images.
#[test]
fn two_ranks_take_the_steps_of_one_process() {
    let place = Place::new();
    photographs(&place.path("photos"));
    let residual =
        "train resnet20_cifar --data photos --epochs 2 --batch-size 12 --threads 1 --lr 0.01";
    for (name, line) in [("lenet", SHORT), ("resnet20_cifar", residual)] {
        place.json(&format!("{line} --out {name}-1"));
        let summary = json(&place, 2, &format!("{line} --sync-bn --out {name}-2"));
        assert_eq!(summary["network"], name);
        let [one, two] = [1, 2].map(|ranks| losses(&place, &format!("{name}-{ranks}")));
        assert_eq!(one.len(), two.len());
        assert!(one.len() >= 4, "{one:?}");
        assert!((one[0] - two[0]).abs() <= 1e-6 * one[0], "{name}: {one:?} {two:?}");
        // Roundings grow from step to step.
        for (a, b) in one.iter().zip(&two) {
            assert!((a - b).abs() <= 1e-3 * a, "{name}: {one:?} {two:?}");
        }
    }
}

#[test]
fn run_goes_on_with_another_number_of_ranks() {
    let place = Place::new();
    let line = "train lenet --batch-size 256 --threads 1 --out run --resume";
    json(&place, 2, &format!("{line} --epochs 1"));
    json(&place, 3, &format!("{line} --epochs 2"));
    let summary = place.json(&format!("{line} --epochs 3"));
    assert_eq!(summary["epochs"], 3);
    assert_eq!(losses(&place, "run").len(), 3 * (1197 / 256));
}

/// The processes that a launcher has started.
fn children(launcher: u32) -> Vec<String> {
    let path = format!("/proc/{launcher}/task/{launcher}/children");
    let children = fs::read_to_string(path).unwrap_or_default();
    let is_ours = |pid: &&str| {
        fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "top5")
    };
    children.split_whitespace().filter(is_ours).map(str::to_owned).collect()
}

fn signal(name: &str, pid: &str) {
    assert!(Command::new("kill").args([name, pid]).status().unwrap().success());
}

/// Waits until something is so, for a minute at most.
fn comes_true(is: impl Fn() -> bool) -> bool {
    (0..30_000).any(|_| {
        thread::sleep(Duration::from_millis(2));
        is()
    })
}

/// Starts a run and waits until it has written a checkpoint, and the next.
fn begun(place: &Place, ranks: usize, line: &str, out: &str) -> Child {
    let mut command = mpirun(place, ranks, &format!("{line} --out {out} --resume"));
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let checkpoints = place.path(out).join("checkpoints");
    let is_there = || {
        let steps = fs::read_dir(&checkpoints).into_iter().flatten().flatten();
        steps.filter(|step| step.file_name().to_string_lossy().starts_with("step-")).count() >= 2
    };
    assert!(comes_true(is_there), "no checkpoints");
    child
}

/// Killed is rank 0, or the other, or the launcher.
#[test]
fn killed_ranks_end_the_run_which_resumes_to_the_same_bits() {
    let place = Place::new();
    let line = "train lenet --epochs 6 --batch-size 256 --checkpoint-every 1 --threads 1";
    let whole = hash(&json(&place, 2, &format!("{line} --out whole")));
    for victim in 0..3 {
        let out = format!("killed-{victim}");
        let child = begun(&place, 2, line, &out);
        let ranks = children(child.id());
        assert_eq!(ranks.len(), 2);
        signal("-KILL", ranks.get(victim).unwrap_or(&child.id().to_string()));
        let ran = Ran::from(child.wait_with_output().unwrap());
        assert_ne!(ran.code, Some(0), "{ran:?}");
        for rank in &ranks {
            // The launcher's last breath may come before theirs.
            let is_gone = || !Path::new(&format!("/proc/{rank}/exe")).exists();
            assert!(comes_true(is_gone), "rank {rank} goes on");
        }
        assert_eq!(hash(&json(&place, 2, &format!("{line} --out {out} --resume"))), whole);
    }
}

#[test]
fn rank_that_does_not_answer_ends_the_run() {
    let place = Place::new();
    let line = "train lenet --epochs 500 --checkpoint-every 1 --threads 1 --rank-timeout 2";
    for victim in 0..2 {
        let out = format!("hung-{victim}");
        let child = begun(&place, 2, line, &out);
        let ranks = children(child.id());
        signal("-STOP", &ranks[victim]);
        let ran = Ran::from(child.wait_with_output().unwrap());
        assert_ne!(ran.code, Some(0), "{ran:?}");
        assert!(ran.stderr.contains("has not answered for 2 s"), "{ran:?}");
    }
}

#[test]
fn interrupted_ranks_write_a_checkpoint() {
    let place = Place::new();
    let line = "train lenet --epochs 500 --checkpoint-every 60000 --threads 1";
    let mut command = mpirun(&place, 2, &format!("{line} --out run"));
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let log = place.path("run").join("metrics.jsonl");
    assert!(comes_true(|| fs::metadata(&log).is_ok_and(|log| log.len() > 0)), "no step");
    children(child.id()).iter().for_each(|rank| signal("-TERM", rank));
    let ran = Ran::from(child.wait_with_output().unwrap());
    assert_eq!(ran.code, Some(143), "{ran:?}");
    assert_eq!(ran.stderr.matches("go on with").count(), 1, "{ran:?}");
    assert_eq!(
        fs::read_dir(place.path("run/checkpoints"))
            .unwrap()
            .flatten()
            .filter(|entry| entry.path().is_dir())
            .count(),
        1
    );
}

#[test]
fn errors_are_said_once_and_end_all() {
    let place = Place::new();
    for (line, code, words) in [
        ("train lenet --batch-size 2 --out few", 2, "3 ranks cannot share batches of 2 images"),
        ("train lenet --lr 1e30 --out far", 5, "training has diverged"),
        ("train lenet --data no-such-folder --out none", 3, "no-such-folder"),
    ] {
        let ran = ran(&place, 3, line);
        assert_eq!(ran.code, Some(code), "{line}: {ran:?}");
        // What is wrong with files may be so on one machine only.
        let times = ran.stderr.matches(words).count();
        assert!(times == 1 || code == 3 && times > 1, "{line}: {ran:?}");
        assert!(!ran.stderr.contains("panicked"), "{line}: {ran:?}");
        assert_eq!(ran.stdout, "", "{line}");
    }
}

/// A network that has learnt from some photographs, in `run`, and a protocol of many views.
fn learnt(place: &Place) {
    photographs(&place.path("photos"));
    place.json("train lenet --data photos --epochs 1 --batch-size 12 --validation 0.5 --out run");
    let grid = "name = 'grid'\n[[parts]]\ncrops = { grid = { shorter = [64], side = 32 } }\n";
    fs::write(place.path("grid.toml"), grid).unwrap();
}

/// Also where an image cannot be read, where blocks are many, and where there are more ranks than images.
#[test]
fn ranks_evaluate_as_one_process_does_to_the_bit() {
    let place = Place::new();
    learnt(&place);
    fs::write(place.path("photos/green/7.png"), "no image").unwrap();
    let files = ["saved", "report/predictions.csv", "report/report.json", "report/report.html"];
    let bytes = |of: &str| files.map(|file| fs::read(place.path(format!("{of}{file}"))).unwrap());
    for (ranks, more) in [(2, "--batch-size 1"), (3, "--protocol 10-crop"), (3, "--batch-size 7")] {
        let line = format!("eval run --split all --skip-bad --threads 1 {more}");
        let to = |of: &str| format!("--save {of}saved --report {of}report --json");
        let alone = place.run(&format!("{line} {}", to("alone-")));
        let ran = ran(&place, ranks, &format!("{line} {}", to("ranks-")));
        assert_eq!((ran.code, &ran.stdout), (Some(0), &alone.stdout), "{more}: {ran:?}");
        assert!(bytes("ranks-") == bytes("alone-"), "{more}");
        for of in ["ranks-", "alone-"] {
            fs::remove_dir_all(place.path(format!("{of}report"))).unwrap();
            fs::remove_file(place.path(format!("{of}saved"))).unwrap();
        }
        assert_eq!(ran.stderr.matches("warning: left out").count(), 1, "{ran:?}");
    }
    for class in ["red", "blue"] {
        let few = place.path("few").join(class);
        fs::create_dir_all(&few).unwrap();
        fs::copy(place.path("photos").join(class).join("0.png"), few.join("0.png")).unwrap();
    }
    let line = "eval run --data few --split all --threads 1";
    let ran = ran(&place, 3, line);
    assert_eq!((ran.code, ran.stdout), (Some(0), place.text(line)), "{}", ran.stderr);
}

#[test]
fn ranks_fuse_as_one_process_does_to_the_bit() {
    let place = Place::new();
    learnt(&place);
    let members = "[[members]]\nmodel = 'run'\n[[members]]\nmodel = 'run'\nprotocol = '10-crop'\n";
    for weights in ["given", "fitted"] {
        let file = format!("name = 'two'\nweights = '{weights}'\n{members}");
        fs::write(place.path("two.toml"), file).unwrap();
        let line = "eval --ensemble two.toml --data photos --split train --threads 1 --per-class";
        let alone = place.json(line);
        assert!(alone["members"][1].as_str().unwrap().contains("10-crop"), "{alone}");
        assert_eq!(json(&place, 2, line), alone);
    }
    // Each is on its own where that is asked for, and nothing is looked at twice where nothing is looked at.
    let shard = "exec \"$0\" eval run --split all --threads 1 --shard $((OMPI_COMM_WORLD_RANK + 1))/2 --save shard-$OMPI_COMM_WORLD_RANK";
    let program = place.command("").get_program().to_owned();
    let mut shell = launcher(&place, 2);
    let ran = Ran::from(shell.args(["sh", "-c", shard]).arg(program).output().unwrap());
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let judged = json(&place, 2, "eval --predictions shard-0 shard-1");
    assert_eq!(judged["loss"], place.json("eval run --split all --threads 1")["loss"]);
}

#[test]
fn evaluation_ends_with_an_error_where_a_rank_does() {
    let place = Place::new();
    learnt(&place);
    let line = "eval run --split all --protocol grid.toml --batch-size 1 --threads 1";
    // Many more of them, so that they are at it for long.
    for copy in 0..40 {
        fs::copy(place.path("photos/red/0.png"), place.path(format!("photos/red/x{copy}.png")))
            .unwrap();
    }
    // Kills or stops a rank once all look; gives the code and what was said.
    let ended = |how: &str, victim: usize, patience: u32| {
        let said = place.path("stderr");
        let mut command =
            mpirun(&place, 2, &format!("{line} --save saved --rank-timeout {patience}"));
        let file = fs::File::create(&said).unwrap();
        let child = command.stdout(Stdio::null()).stderr(file).spawn().unwrap();
        let read = || fs::read_to_string(&said).unwrap();
        assert!(comes_true(|| read().contains("2 processes share the images")), "{}", read());
        signal(how, &children(child.id())[victim]);
        let code = child.wait_with_output().unwrap().status.code();
        assert!(!place.path("saved").exists(), "{}", read());
        (code, read())
    };
    for victim in 0..2 {
        let (code, said) = ended("-KILL", victim, 600);
        assert_ne!(code, Some(0), "{said}");
    }
    let (code, said) = ended("-STOP", 1, 4);
    assert_ne!(code, Some(0), "{said}");
    assert!(said.contains("has not answered for 4 s"), "{said}");

    fs::write(place.path("photos/green/7.png"), "no image").unwrap();
    let one = place.run("eval run --split all --threads 1");
    let two = self::ran(&place, 2, "eval run --split all --threads 1");
    assert_eq!((two.code, one.code), (Some(3), Some(3)), "{two:?}");
    for words in ["warning: left out", "1 of 82 images could not be used"] {
        assert_eq!(two.stderr.matches(words).count(), 1, "{two:?}");
    }
    assert_eq!(two.stdout, "");
}
