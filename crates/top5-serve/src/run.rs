//! A training run in the page: all of its history, then what is new, as server-sent events.
//!
//! Whoever follows the run puts its history into a [`Feed`]; every watcher has a place in it and is sent what lies behind that
//! place, when its connection takes more. So watchers cost the run nothing, one that reads slowly holds nothing in memory (the
//! connection is closed when it reads nothing for too long), and one that comes back says where it was.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use http_body_util::BodyExt;
use hyper::body::{Body, Bytes, Frame};
use hyper::header::{self, HeaderValue};
use hyper::{HeaderMap, Response};
use serde_json::{Value, json};
use tokio::time::{Sleep, sleep};
use top5::train::{History, TimedStep};

use crate::answer::{Answer, document, with_type};
use crate::app::App;
use crate::failure::Failure;

/// How often a watcher looks for news.
const PULSE: Duration = Duration::from_millis(250);
/// Pulses without news after which a watcher is told that the connection is alive.
const QUIET: u32 = 20;
/// Most points that steps are told in at once: the least, the mean and the greatest loss of equally many.
const POINTS: usize = 1000;
/// Newest steps over which images per second are counted.
const PACE: usize = 50;

const FILES: [(&str, &str, &str); 4] = [
    ("run.html", "text/html; charset=utf-8", include_str!("../page/run.html")),
    ("run.js", "text/javascript; charset=utf-8", include_str!("../page/run.js")),
    ("stream.js", "text/javascript; charset=utf-8", include_str!("../page/stream.js")),
    ("run.css", "text/css; charset=utf-8", include_str!("../page/run.css")),
];

/// What is known of a run that is watched.
#[derive(Debug)]
pub struct Feed {
    name: String,
    network: String,
    data: String,
    known: Mutex<Known>,
}

#[derive(Debug)]
struct Known {
    history: History,
    epochs: usize,
    /// When the history began anew, in nanoseconds: no other server's did at the same time.
    begun: u64,
}

impl Known {
    fn place(&self) -> Place {
        let History { steps, rows, revisions, .. } = &self.history;
        Place { begun: self.begun, revisions: *revisions, steps: steps.len(), rows: rows.len() }
    }
}

impl Feed {
    /// Of a run that is called so, trains this network on these data, and has a number of epochs that may grow.
    pub fn new(name: String, network: String, data: String, epochs: usize) -> Self {
        let known = Mutex::new(Known { epochs, history: History::default(), begun: now() });
        Self { name, network, data, known }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the next bytes of the log and of the file of moments; returns how many of each were whole lines.
    pub fn add(&self, log: &[u8], moments: &[u8]) -> [usize; 2] {
        let history = &mut self.known().history;
        [history.add_log(log), history.add_moments(moments)]
    }

    /// Forgets everything: the files are others, or shorter than they were.
    pub fn begin_anew(&self) {
        let mut known = self.known();
        (known.history, known.begun) = (History::default(), now());
    }

    /// The run has so many epochs from now on.
    pub fn prolong(&self, epochs: usize) {
        self.known().epochs = epochs;
    }

    /// What lies behind a place, and the place behind that; None where there is nothing.
    fn after(&self, place: Option<Place>) -> Option<(Place, &'static str, Value)> {
        let known = self.known();
        let now = known.place();
        let same =
            place.filter(|place| (place.begun, place.revisions) == (now.begun, now.revisions));
        // A place that is not ours, or of before a resumption, is none.
        let same = same.filter(|place| place.steps <= now.steps && place.rows <= now.rows);
        if same == Some(now) {
            return None;
        }
        let (event, from) = match same {
            Some(place) => ("more", place),
            None => ("history", Place::default()),
        };
        Some((now, event, self.told(&known, from)))
    }

    /// All from a place on.
    fn told(&self, known: &Known, from: Place) -> Value {
        let History { steps, rows, seconds, time, unreadable, .. } = &known.history;
        let last = steps.last().map(|step| step.record);
        let total = rows.first().map(|row| row.step / row.epoch.max(1) * known.epochs);
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs_f64();
        json!({
            "run": self.name,
            "network": self.network,
            "data": self.data,
            "epochs": known.epochs,
            "steps": steps.len(),
            "steps_expected": total,
            "finished": rows.len() >= known.epochs,
            "step": last,
            "images_per_second": known.history.images_per_second(PACE),
            "seconds": seconds,
            "quiet_seconds": time.map(|time| (now - time).max(0.0)),
            "unreadable_lines": unreadable,
            "points": points(&steps[from.steps..]),
            "rows": rows[from.rows..],
        })
    }
}

/// `[last step, least, mean, greatest loss, learning rate]` of equally many steps, at most [`POINTS`] of them.
fn points(steps: &[TimedStep]) -> Vec<[f64; 5]> {
    let of = steps.len().div_ceil(POINTS).max(1);
    let point = |part: &[TimedStep]| {
        let losses = || part.iter().map(|step| step.record.loss);
        let last = part[part.len() - 1].record;
        [
            last.step as f64,
            losses().fold(f64::INFINITY, f64::min),
            losses().sum::<f64>() / part.len() as f64,
            losses().fold(f64::NEG_INFINITY, f64::max),
            f64::from(last.lr),
        ]
    };
    steps.chunks(of).map(point).collect()
}

/// Nanoseconds since 1970.
fn now() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_nanos() as u64
}

/// How much of which history a watcher has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Place {
    begun: u64,
    /// How often something was taken back that had been told.
    revisions: usize,
    steps: usize,
    rows: usize,
}

impl Place {
    /// As the browser sends it back: `Last-Event-ID`.
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.');
        let begun = parts.next()?.parse().ok()?;
        let revisions = parts.next()?.parse().ok()?;
        let steps = parts.next()?.parse().ok()?;
        let rows = parts.next()?.parse().ok()?;
        parts.next().is_none().then_some(Self { begun, revisions, steps, rows })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { begun, revisions, steps, rows } = self;
        write!(f, "{begun}.{revisions}.{steps}.{rows}")
    }
}

/// Answers what is asked of the run, if there is one: the page's files, the history, the stream.
pub(crate) fn answer(app: &Arc<App>, parts: &[&str], headers: &HeaderMap) -> Option<Answer> {
    let feed = app.options.run.as_ref()?;
    match parts {
        ["v1", "run"] => Some(document(&feed.told(&feed.known(), Place::default()))),
        ["v1", "run", "events"] => {
            let last = headers.get("last-event-id").and_then(|id| id.to_str().ok());
            let place = last.and_then(Place::parse);
            let pulse = Box::pin(sleep(Duration::ZERO));
            let stream =
                Stream { app: Arc::clone(app), feed: Arc::clone(feed), place, pulse, quiet: 0 };
            let mut answer = Response::new(stream.boxed_unsync());
            let content = HeaderValue::from_static("text/event-stream");
            answer.headers_mut().insert(header::CONTENT_TYPE, content);
            Some(answer)
        }
        // Where there is nothing else, the run is what one comes for.
        [""] if app.models().is_empty() => file("run.html"),
        [name] => file(name),
        _ => None,
    }
}

fn file(name: &str) -> Option<Answer> {
    let (_, content, text) = FILES.into_iter().find(|(known, ..)| *known == name)?;
    Some(with_type(content, text))
}

/// The events of one watcher.
struct Stream {
    app: Arc<App>,
    feed: Arc<Feed>,
    place: Option<Place>,
    pulse: Pin<Box<Sleep>>,
    quiet: u32,
}

impl Body for Stream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        loop {
            if self.pulse.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            self.pulse = Box::pin(sleep(PULSE));
            let text = match self.feed.after(self.place) {
                Some((place, event, value)) => {
                    (self.place, self.quiet) = (Some(place), 0);
                    format!("id: {place}\nevent: {event}\ndata: {value}\n\n")
                }
                None if self.app.draining.load(Ordering::Relaxed) => return Poll::Ready(None),
                None if self.quiet >= QUIET => {
                    self.quiet = 0;
                    ":\n\n".to_owned()
                }
                None => {
                    self.quiet += 1;
                    continue;
                }
            };
            return Poll::Ready(Some(Ok(Frame::data(Bytes::from(text)))));
        }
    }
}

/// What the path is for, where no run is watched.
pub(crate) fn absent() -> Failure {
    Failure::absent(
        "no run is watched: start the server with --run RUN, or the training with --watch",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(step: usize, loss: f64) -> String {
        format!("{{\"event\":\"step\",\"step\":{step},\"epoch\":1,\"loss\":{loss},\"lr\":0.1}}\n")
    }

    fn feed() -> Feed {
        Feed::new("run".to_owned(), "lenet".to_owned(), "digits".to_owned(), 2)
    }

    #[test]
    fn watcher_gets_everything_once() {
        let feed = feed();
        let (place, event, told) = feed.after(None).unwrap();
        assert_eq!((event, told["steps"].as_u64()), ("history", Some(0)));
        assert!(feed.after(Some(place)).is_none());
        feed.add((line(1, 2.0) + &line(2, 1.0)).as_bytes(), b"");
        let (second, event, told) = feed.after(Some(place)).unwrap();
        assert_eq!(
            (event, &told["points"]),
            ("more", &json!([[1.0, 2.0, 2.0, 2.0, 0.1_f32], [2.0, 1.0, 1.0, 1.0, 0.1_f32]]))
        );
        assert_eq!(Place::parse(&second.to_string()), Some(second));
        feed.add(line(3, 0.5).as_bytes(), b"");
        let (third, event, told) = feed.after(Some(second)).unwrap();
        assert_eq!((event, told["points"].as_array().unwrap().len()), ("more", 1));
        // The run was killed and goes on from step 1: everything is told anew.
        feed.add(line(2, 0.75).as_bytes(), b"");
        let (_, event, told) = feed.after(Some(third)).unwrap();
        assert_eq!((event, told["points"].as_array().unwrap().len()), ("history", 2));
        feed.begin_anew();
        assert_eq!(feed.after(Some(third)).unwrap().1, "history");
    }

    #[test]
    fn places_of_strangers_are_none() {
        let feed = feed();
        for text in
            ["", "0", "0.0.0", "0.0.0.0.0", "a.b.c.d", "-1.0.0.0", "99999999999999999999.0.0.0"]
        {
            assert_eq!(Place::parse(text), None, "{text}");
        }
        let (own, ..) = feed.after(None).unwrap();
        let beyond = Place { steps: 7, rows: 9, ..own };
        assert_eq!(feed.after(Some(beyond)).unwrap().1, "history");
        // Another server's run of as many steps is another one.
        let other = self::feed();
        feed.add(line(1, 2.0).as_bytes(), b"");
        other.add((line(1, 3.0) + &line(2, 1.0)).as_bytes(), b"");
        let (place, ..) = feed.after(None).unwrap();
        assert_eq!(other.after(Some(place)).unwrap().1, "history");
    }

    #[test]
    fn long_runs_are_told_in_few_points_that_keep_the_peaks() {
        let text: String = (1..=2500).map(|n| line(n, if n == 1234 { 9.0 } else { 1.0 })).collect();
        let history = History::read(text.as_bytes(), b"");
        let points = points(&history.steps);
        assert_eq!((points.len(), points.last().unwrap()[0]), (834, 2500.0));
        assert!(points.iter().any(|point| point[3] == 9.0));
    }
}
