//! What a run tells while it goes on and what it leaves for those who look later.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Stdio;

use serde_json::Value;
use top5::formats::events::until;

use crate::program::{Place, parse};

/// A run of two epochs with a few steps each.
const SHORT: &str = "train lenet --epochs 2 --batch-size 128 --out run";

fn lines(place: &Place, file: &str) -> Vec<Value> {
    fs::read_to_string(place.path(file)).unwrap().lines().map(parse).collect()
}

#[test]
fn steps_and_epochs_are_written_down_with_their_times() {
    let place = Place::new();
    let ran = place.run(&format!("{SHORT} --progress sentences --json"));
    assert_eq!(ran.code, Some(0), "{ran:?}");
    for words in ["Epoch 1 of 2: ", " percent of the validation images", " left.", "Epoch 2 of 2"] {
        assert!(ran.stderr.contains(words), "{words}: {ran:?}");
    }
    assert!(!ran.stderr.contains('%') && !ran.stderr.contains('\x1b'), "{ran:?}");
    let said = parse(&ran.stdout)["sentence"].as_str().unwrap().to_owned();
    assert!(said.starts_with("Epoch 2 of 2: ") && ran.stderr.contains(&said), "{said}");

    let (log, times) = (lines(&place, "run/metrics.jsonl"), lines(&place, "run/times.jsonl"));
    let steps = |lines: &[Value]| -> Vec<u64> {
        let steps = lines.iter().filter(|line| line["event"] == "step");
        steps.map(|line| line["step"].as_u64().unwrap()).collect()
    };
    assert_eq!(steps(&log), (1..=18).collect::<Vec<_>>());
    assert_eq!(steps(&times), steps(&log));
    assert!(log.iter().all(|line| line["event"] == "epoch" || line["images"] == 128));
    assert!(times.is_sorted_by_key(|line| line["time"].as_f64().unwrap()));
    assert_eq!(times[0]["event"], "begin");
    let table = fs::read_to_string(place.path("run/summary.csv")).unwrap();
    let head = "epoch,train_loss,train_top1,train_top5,eval_loss,eval_top1,eval_top5,lr\n";
    assert!(table.starts_with(head), "{table}");
    let shares: Vec<f64> =
        table.lines().nth(2).unwrap().split(',').map(|cell| cell.parse().unwrap()).collect();
    assert!(shares[3] >= shares[2] && shares[3] <= 100.0, "{table}");
}

/// As a run of an earlier version that was killed, its log's last line cut off and without the file of times.
#[test]
fn runs_without_times_go_on() {
    let place = Place::new();
    place.text(SHORT);
    let log = fs::read(place.path("run/metrics.jsonl")).unwrap();
    let whole = fs::read(place.path("run/model.safetensors")).unwrap();
    let last = fs::read_dir(place.path("run/checkpoints")).unwrap();
    let last = last.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).max().unwrap();
    fs::remove_dir_all(last).unwrap();
    fs::write(place.path("run/metrics.jsonl"), &log[..log.len() - 9]).unwrap();
    fs::remove_file(place.path("run/times.jsonl")).unwrap();
    place.text("train --resume --out run");
    assert_eq!(fs::read(place.path("run/metrics.jsonl")).unwrap(), log);
    assert_eq!(fs::read(place.path("run/model.safetensors")).unwrap(), whole);
    let times = lines(&place, "run/times.jsonl");
    assert_eq!((&times[0]["event"], &times[0]["step"]), (&Value::from("begin"), &Value::from(9)));

    // A line that was cut off in a crash goes away, and what came after the checkpoint.
    let before = fs::read_to_string(place.path("run/times.jsonl")).unwrap();
    let torn = before.clone() + "{\"event\":\"step\",\"step\":19,\"time\":9e9}\n{\"event\":\"st";
    fs::write(place.path("run/times.jsonl"), torn).unwrap();
    place.text("train --resume --out run");
    let times = fs::read_to_string(place.path("run/times.jsonl")).unwrap();
    assert!(times.starts_with(&before) && times.lines().count() == before.lines().count() + 1);
}

/// The files of TensorBoard in a folder, the oldest first.
fn event_files(place: &Place, run: &str) -> Vec<Vec<u8>> {
    let entries = fs::read_dir(place.path(run)).unwrap().map(|entry| entry.unwrap().path());
    let name = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
    let mut paths: Vec<PathBuf> =
        entries.filter(|path| name(path).starts_with("events.out.tfevents.")).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// The steps of which a file of events tells, of those up to 30.
fn steps_of(file: &[u8]) -> Vec<usize> {
    assert_eq!(until(file, usize::MAX), file.len(), "a record is cut off");
    (1..30).filter(|&step| until(file, step) > until(file, step - 1)).collect()
}

#[test]
fn tensorboard_never_gets_a_step_twice() {
    let place = Place::new();
    place.text(&format!("{SHORT} --tensorboard"));
    let [whole] = &event_files(&place, "run")[..] else { panic!("one file") };
    assert_eq!(steps_of(whole), (1..=18).collect::<Vec<_>>());

    // Killed after the checkpoint of step 9, in the middle of a record.
    let last = fs::read_dir(place.path("run/checkpoints")).unwrap();
    let last = last.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).max().unwrap();
    fs::remove_dir_all(last).unwrap();
    let paths = fs::read_dir(place.path("run")).unwrap().map(|entry| entry.unwrap().path());
    let is_events = |path: &PathBuf| path.to_string_lossy().contains("tfevents");
    let path = paths.into_iter().find(is_events).unwrap();
    fs::write(&path, &whole[..whole.len() - 5]).unwrap();
    place.text("train --resume --out run");
    let files = event_files(&place, "run");
    assert_eq!(
        files.iter().map(|file| steps_of(file)).collect::<Vec<_>>(),
        [(1..=9).collect::<Vec<_>>(), (10..=18).collect()]
    );

    // A run that had none tells of what was before, and a finished one gets them from its log.
    place.text("train lenet --epochs 1 --batch-size 128 --out other --no-report");
    assert!(!place.path("other/report.html").exists());
    place.text("report other --no-images --tensorboard");
    assert_eq!(steps_of(&event_files(&place, "other")[0]), (1..=9).collect::<Vec<_>>());
    fs::remove_file(
        fs::read_dir(place.path("other"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .find(is_events)
            .unwrap(),
    )
    .unwrap();
    place.text("train --resume --out other --epochs 2 --tensorboard");
    let [file] = &event_files(&place, "other")[..] else { panic!("one file") };
    assert_eq!(steps_of(file), (1..=18).collect::<Vec<_>>());
}

#[test]
fn report_is_one_page_that_asks_nobody() {
    let place = Place::new();
    place.text(SHORT);
    let page = fs::read_to_string(place.path("run/report.html")).unwrap();
    for words in [
        "lenet on digits",
        "which it never saw",
        "Epoch 2 of 2: ",
        "image/svg+xml;base64,",
        "image/png;base64,",
        "taken for",
        "the worst first",
        "batch_size = 128",
        "&quot;instructions&quot;",
        "prefers-color-scheme:dark",
    ] {
        assert!(page.contains(words), "{words}");
    }
    for wrong in ["<script", "http:", "https:", "<link", "@import", "url("] {
        assert!(!page.contains(wrong), "{wrong}");
    }
    assert!(page.len() < 2 << 20, "{} bytes", page.len());
    let document = place.json("report run --out again.html");
    assert_eq!(fs::read_to_string(place.path("again.html")).unwrap(), page);
    let evaluated = place.json("eval run");
    assert_eq!((&document["top1"], &document["part"]), (&evaluated["top1"], &Value::from("test")));
    assert_eq!(document["epochs"], 2);

    // A run that has just begun, of an earlier version, killed in a line.
    fs::remove_dir_all(place.path("run/checkpoints")).unwrap();
    // What can be told without the model is told when it is damaged.
    let weights = place.path("run/model.safetensors");
    let whole = fs::read(&weights).unwrap();
    fs::write(&weights, &whole[..300]).unwrap();
    let words = ["reading the run's model", "--no-images", "model.safetensors: damaged"];
    place.fails("report run --out damaged.html", 3, &words);
    place.text("report run --no-images --out damaged.html");
    fs::remove_file(&weights).unwrap();
    fs::remove_file(place.path("run/times.jsonl")).unwrap();
    let log =
        "{\"event\":\"step\",\"step\":1,\"epoch\":1,\"loss\":2.5,\"lr\":0.1}\n\0\0\n{\"event\":";
    fs::write(place.path("run/metrics.jsonl"), log).unwrap();
    let ran = place.run("report run --out early.html");
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stderr.contains("no weights yet"), "{ran:?}");
    let page = fs::read_to_string(place.path("early.html")).unwrap();
    for words in [
        "No epoch is complete yet",
        "1 step and 0 of",
        "cannot be read: 1 line of",
        "batch_size = 128",
    ] {
        assert!(page.contains(words), "{words}");
    }
    place.fails("report absent", 3, &["absent", "config.resolved.toml"]);
    fs::write(place.path("taken.html"), "thesis").unwrap();
    place.fails("report run --no-images --out taken.html", 4, &["taken.html", "--force"]);
}

/// The address in a line that the program says.
fn address(line: &str) -> String {
    let (_, rest) = line.split_once("http://").unwrap();
    rest.split(['/', ' ', '\n']).next().unwrap().to_owned()
}

/// Sends a request without a body.
fn ask(address: &str, path: &str, more: &str) -> BufReader<TcpStream> {
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n{more}\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    BufReader::new(stream)
}

/// The next event: its name, its id and its document.
fn event(stream: &mut BufReader<TcpStream>) -> (String, String, Value) {
    let (mut id, mut name) = (String::new(), String::new());
    loop {
        let mut line = String::new();
        assert!(stream.read_line(&mut line).unwrap() > 0, "the stream ended");
        if let Some(text) = line.strip_prefix("id: ") {
            text.trim().clone_into(&mut id);
        } else if let Some(text) = line.strip_prefix("event: ") {
            text.trim().clone_into(&mut name);
        } else if let Some(text) = line.strip_prefix("data: ") {
            return (name, id, parse(text));
        }
    }
}

/// The steps that a watcher was told of, as its page keeps them, `until` and perhaps later ones; and where it is.
fn watched(stream: &mut BufReader<TcpStream>, until: u64) -> (Vec<u64>, String) {
    let (mut steps, mut last) = (Vec::new(), String::new());
    while steps.last().is_none_or(|&step| step < until) {
        let (name, id, document) = event(stream);
        if name == "history" {
            steps.clear();
        }
        let points = document["points"].as_array().unwrap();
        steps.extend(points.iter().map(|point| point[0].as_f64().unwrap() as u64));
        last = id;
    }
    (steps, last)
}

#[cfg(unix)]
#[test]
fn run_is_watched_from_its_own_process_and_from_another() {
    let place = Place::new();
    let mut line = String::new();
    let mut run = place
        .command("train lenet --epochs 500 --batch-size 128 --out run --watch=localhost:0")
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut stderr = BufReader::new(run.stderr.take().unwrap());
    while !line.contains("http://") {
        line.clear();
        assert!(stderr.read_line(&mut line).unwrap() > 0, "it never said where");
    }
    let own = address(&line);
    std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
    let mut first = ask(&own, "/v1/run/events", "");
    let (steps, _) = watched(&mut first, 9);
    assert_eq!(steps, (1..=steps.len() as u64).collect::<Vec<_>>());
    let mut page = String::new();
    ask(&own, "/", "Connection: close\r\n").read_to_string(&mut page).unwrap();
    assert!(page.contains("run.js") && page.contains("content-security-policy"), "{page}");
    for (head, status) in [
        ("GET /v1/run HTTP/1.1\r\nHost: evil.example", 421),
        ("POST /v1/run HTTP/1.1\r\nHost: localhost", 405),
    ] {
        let mut refused = String::new();
        let mut stream = TcpStream::connect(&own).unwrap();
        stream.write_all(format!("{head}\r\nConnection: close\r\n\r\n").as_bytes()).unwrap();
        stream.read_to_string(&mut refused).unwrap();
        assert!(refused.starts_with(&format!("HTTP/1.1 {status}")), "{refused}");
    }
    run.kill().unwrap();
    run.wait().unwrap();

    // Killed, taken up again while another process shows it.
    let before = lines(&place, "run/metrics.jsonl").len();
    assert!(before >= 9);
    let mut server = place
        .command("serve --run run --port 0")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    line.clear();
    BufReader::new(server.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let other = address(&line);
    let mut second = ask(&other, "/v1/run/events", "");
    let told = event(&mut second);
    assert_eq!(told.0, "history");
    let checkpoint = fs::read_dir(place.path("run/checkpoints")).unwrap();
    let epochs = checkpoint.count();
    assert!(epochs > 0);
    let mut again =
        place.command("train --resume --out run").stderr(Stdio::null()).spawn().unwrap();
    let target = 9 * (before as u64 / 10 + 4);
    let (steps, place_of_it) = watched(&mut second, target);
    let last = *steps.last().unwrap();
    assert_eq!(steps, (steps[0]..=last).collect::<Vec<_>>(), "each once");
    // One that comes late gets everything; one that comes back only what is new.
    let mut late = ask(&other, "/v1/run/events", "");
    let (steps, _) = watched(&mut late, last + 9);
    assert_eq!(steps, (1..=steps.len() as u64).collect::<Vec<_>>());
    let mut back = ask(&other, "/v1/run/events", &format!("Last-Event-ID: {place_of_it}\r\n"));
    let (name, _, document) = event(&mut back);
    assert_eq!(name, "more");
    assert_eq!(document["points"][0][0].as_f64(), Some(last as f64 + 1.0));
    again.kill().unwrap();
    again.wait().unwrap();
    let stopped = std::process::Command::new("kill").arg(server.id().to_string()).status().unwrap();
    assert!(stopped.success());
    // Watchers do not keep it from ending.
    assert_eq!(server.wait().unwrap().code(), Some(0));
    place.fails("serve --run absent --port 0", 3, &["absent"]);
}

#[test]
fn those_who_watch_a_run_hear_of_its_end() {
    let place = Place::new();
    let mut run = place
        .command("train lenet --epochs 6 --batch-size 128 --out run --watch=localhost:0")
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let (mut stderr, mut line) = (BufReader::new(run.stderr.take().unwrap()), String::new());
    while !line.contains("http://") {
        line.clear();
        assert!(stderr.read_line(&mut line).unwrap() > 0, "it never said where");
    }
    let mut stream = ask(&address(&line), "/v1/run/events", "");
    std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
    let mut rows = 0;
    loop {
        let (_, _, document) = event(&mut stream);
        rows += document["rows"].as_array().unwrap().len();
        if document["finished"] == true {
            break;
        }
    }
    assert_eq!(rows, 6);
    let asked = std::time::Instant::now();
    assert!(run.wait().unwrap().success());
    assert!(asked.elapsed().as_secs() < 20, "it waits for those who watch");
}

#[test]
fn address_that_cannot_be_had_is_told_before_anything_is_made() {
    let place = Place::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let line = format!("{SHORT} --watch={}", taken.local_addr().unwrap());
    place.fails(&line, 4, &["listening at 127.0.0.1:", "taken"]);
    for (flag, words) in [
        ("--watch=here", "here"),
        ("--watch=127.0.0.1", "127.0.0.1"),
        ("--progress loud", "sentences"),
    ] {
        place.fails(&format!("{SHORT} {flag}"), 2, &[words]);
    }
    assert!(!place.path("run").exists());
}

/// What a terminal of so many columns shows at the end, and the longest line that was ever written to it without a break.
fn shown(text: &str, columns: usize) -> (Vec<String>, usize) {
    let (mut screen, mut row, mut longest) = (vec![String::new()], 0, 0);
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match c {
            '\x1b' => {
                let end = rest.find(|c: char| c.is_ascii_alphabetic()).unwrap();
                let (number, kind) = (&rest[1..end], rest.as_bytes()[end]);
                match kind {
                    b'A' => row -= number.parse::<usize>().unwrap(),
                    b'J' => {
                        screen.truncate(row + 1);
                        screen[row].clear();
                    }
                    b'm' => {}
                    other => panic!("{other}"),
                }
                rest = &rest[end + 1..];
            }
            '\r' => {}
            '\n' => {
                row += 1;
                if row == screen.len() {
                    screen.push(String::new());
                }
            }
            c => {
                let line = &mut screen[row];
                line.push(c);
                longest = longest.max(line.chars().count());
                if line.chars().count() == columns {
                    row += 1;
                    screen.insert(row, String::new());
                }
            }
        }
    }
    (screen, longest)
}

#[cfg(target_os = "linux")]
#[test]
fn terminal_shows_the_run_and_is_left_as_it_was() {
    let place = Place::new();
    let ours = place.command("train lenet --epochs 2 --batch-size 64 --out run");
    let program = ours.get_program().to_str().unwrap();
    for (columns, colours) in [(20, false), (100, true)] {
        let out = format!("run{columns}");
        let command = format!(
            "stty cols {columns} rows 24; {program} train lenet --epochs 2 --batch-size 64 --out {out} --no-report >/dev/null"
        );
        let mut script = std::process::Command::new("script");
        script.args(["-qec", &command, "/dev/null"]).current_dir(place.path(""));
        script.env("TERM", "xterm-256color").env_remove("NO_COLOR").env_remove("TOP5_PROGRESS");
        if !colours {
            script.env("NO_COLOR", "1");
        }
        let ran = script.stdin(Stdio::null()).output().unwrap();
        let text = String::from_utf8(ran.stdout).unwrap();
        assert!(ran.status.success(), "{text}");
        for words in ["epoch 1/2", "training", "top-5", "images/s", "left", "\x1b[J"] {
            assert!(text.contains(words), "{columns}: {words}: {text}");
        }
        assert_eq!(text.contains("\x1b[36m"), colours, "{text}");
        // Nothing is switched that would have to be switched back.
        for switch in ["\x1b[?", "\x1b[s", "\x1b7", "\x1bc"] {
            assert!(!text.contains(switch), "{text}");
        }
        let (screen, longest) = shown(&text, columns);
        assert!(longest <= columns);
        let screen = screen.join("");
        assert_eq!(screen.matches("epoch ").count(), 2, "{screen}");
        assert!(!screen.contains("images/s"), "{screen}");
    }
}
