//! The report: one page that needs nothing else.

use std::fmt::Write;

use super::drawing::{escape, short};
use super::evaluation::Evaluation;
use super::metrics::{Row, Scores};

/// What stands on the page.
pub(super) struct Page<'a> {
    pub(super) name: &'a str,
    /// As JSON.
    pub(super) config: &'a str,
    pub(super) rows: &'a [Row],
    pub(super) evaluation: Option<&'a Evaluation>,
    /// The epoch that the evaluation is of, if there were more.
    pub(super) outdated: Option<u64>,
    pub(super) pictures: &'a [Picture],
}

/// A picture of ours, as HTML.
pub(super) struct Picture {
    pub(super) title: &'static str,
    pub(super) markup: String,
}

/// How many pairs of classes that were mistaken are listed.
const MISTAKES: usize = 10;

const STYLE: &str = "\
:root{color-scheme:light dark;--page:#f8f9fa;--card:#fff;--ink:#212529;--soft:#5c636a;--line:#dee2e6}
@media (prefers-color-scheme:dark){:root{--page:#15181b;--card:#1f2327;--ink:#e9ecef;--soft:#adb5bd;--line:#3b4147}}
body{margin:0;background:var(--page);color:var(--ink);font:15px/1.5 system-ui,sans-serif}
main{max-width:1000px;margin:0 auto;padding:24px 16px 64px}
h1{font-size:26px;margin:0 0 16px;overflow-wrap:anywhere}h2{font-size:18px;margin:36px 0 10px}
figure,.wide{margin:0;overflow-x:auto}figure svg,figure img{max-width:100%;height:auto;border-radius:6px;display:block}
dl{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:10px;margin:0}
dl div{background:var(--card);border:1px solid var(--line);border-radius:6px;padding:10px 14px}
dt{color:var(--soft);font-size:13px}dd{margin:0;font-size:20px;font-weight:600}dd small{font-size:13px;font-weight:400}
table{border-collapse:collapse;background:var(--card);font-variant-numeric:tabular-nums}
th,td{padding:4px 12px;border-bottom:1px solid var(--line);text-align:right;white-space:nowrap}
th{color:var(--soft);font-weight:600;font-size:13px}td.name,th.name{text-align:left;white-space:normal;overflow-wrap:anywhere}
pre{background:var(--card);border:1px solid var(--line);border-radius:6px;padding:12px 14px;overflow-x:auto;font-size:13px}";

pub(super) fn page(page: &Page<'_>) -> String {
    let name = escape(page.name);
    let mut body = String::new();
    let _ = write!(body, "<h1>{name}</h1>\n<dl>\n");
    for (term, value, note) in summary(page.rows) {
        let _ = writeln!(
            body,
            "<div><dt>{term}</dt><dd>{} <small>{}</small></dd></div>",
            escape(&value),
            escape(&note)
        );
    }
    body.push_str("</dl>\n");
    for picture in page.pictures {
        let _ = write!(
            body,
            "<h2>{}</h2>\n<figure>{}</figure>\n",
            picture.title, picture.markup
        );
        let of_evaluation = matches!(picture.title, "Confusion" | "Samples" | "Filters");
        if let (Some(epoch), true) = (page.outdated, of_evaluation) {
            let _ = writeln!(body, "<p>As it was after epoch {epoch}.</p>");
        }
        if let (Some(evaluation), "Confusion") = (page.evaluation, picture.title) {
            mistakes(&mut body, evaluation);
        }
    }
    epochs(&mut body, page.rows);
    let _ = write!(
        body,
        "<h2>Config</h2>\n<pre>{}</pre>\n",
        escape(page.config.trim_end())
    );
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{name}</title>\n\
         <style>\n{STYLE}\n</style>\n</head>\n<body>\n<main>\n{body}</main>\n</body>\n</html>\n"
    )
}

/// What matters most: what it is, the figure, and a note.
fn summary(rows: &[Row]) -> Vec<(&'static str, String, String)> {
    let mut summary = vec![("Epochs", rows.len().to_string(), String::new())];
    let Some(last) = rows.last() else {
        return summary;
    };
    let accuracy = |row: &Row| {
        row.test
            .map(|test| test.accuracy)
            .filter(|accuracy| accuracy.is_finite())
    };
    let tested = rows
        .iter()
        .filter_map(|row| Some((row.epoch, accuracy(row)?)));
    if let Some((epoch, best)) = tested.max_by(|one, other| one.1.total_cmp(&other.1)) {
        summary.push((
            "Best test accuracy",
            percent(best),
            format!("epoch {epoch}"),
        ));
    }
    if let Some(test) = last.test {
        summary.push((
            "Last test accuracy",
            percent(test.accuracy),
            format!("loss {}", short(test.loss)),
        ));
    }
    let train = last.train;
    summary.push((
        "Last train accuracy",
        percent(train.accuracy),
        format!("loss {}", short(train.loss)),
    ));
    let seconds: f64 = rows.iter().map(|row| row.seconds).sum();
    let samples: f64 = rows.iter().map(|row| row.train.samples as f64).sum();
    let waited: f64 = rows.iter().map(|row| row.data_wait_seconds).sum();
    if seconds > 0.0 {
        summary.push(("Training time", time(seconds), "without evaluation".into()));
        summary.push((
            "Samples per second",
            format!("{:.0}", samples / seconds),
            String::new(),
        ));
        summary.push((
            "Waited for data",
            percent(waited / seconds),
            format!("{} s", short(waited)),
        ));
    }
    summary
}

fn epochs(body: &mut String, rows: &[Row]) {
    body.push_str(
        "<h2>Epochs</h2>\n<div class=\"wide\"><table>\n<thead><tr><th>epoch</th><th>train loss</th><th>accuracy</th>\
         <th>test loss</th><th>accuracy</th><th>seconds</th><th>samples/s</th><th>data wait</th></tr></thead>\n<tbody>\n",
    );
    for row in rows {
        let scores = |scores: Option<Scores>| match scores {
            Some(scores) => [short(scores.loss), percent(scores.accuracy)],
            None => ["–", "–"].map(String::from),
        };
        let [[loss, accuracy], [test_loss, test_accuracy]] =
            [scores(Some(row.train)), scores(row.test)];
        let _ = writeln!(
            body,
            "<tr><td>{}</td><td>{loss}</td><td>{accuracy}</td><td>{test_loss}</td><td>{test_accuracy}</td>\
             <td>{:.1}</td><td>{:.0}</td><td>{:.1} s</td></tr>",
            row.epoch, row.seconds, row.samples_per_second, row.data_wait_seconds
        );
    }
    body.push_str("</tbody>\n</table></div>\n");
}

/// The pairs of classes that were mistaken most often.
fn mistakes(body: &mut String, evaluation: &Evaluation) {
    let counts = evaluation.confusion.iter().enumerate();
    let mut pairs: Vec<_> = counts
        .flat_map(|(label, row)| {
            row.iter()
                .enumerate()
                .map(move |(predicted, &samples)| (samples, label, predicted))
        })
        .filter(|(samples, label, predicted)| label != predicted && *samples > 0)
        .collect();
    pairs.sort_by_key(|(samples, label, predicted)| {
        (std::cmp::Reverse(*samples), *label, *predicted)
    });
    if pairs.is_empty() {
        return;
    }
    body.push_str(
        "<h2>Most frequent mistakes</h2>\n<div class=\"wide\"><table>\n<thead><tr><th class=\"name\">true</th>\
         <th class=\"name\">taken for</th><th>samples</th><th>of the class</th></tr></thead>\n<tbody>\n",
    );
    for (samples, label, predicted) in pairs.into_iter().take(MISTAKES) {
        let all: u64 = evaluation.confusion[label].iter().sum();
        let _ = writeln!(
            body,
            "<tr><td class=\"name\">{}</td><td class=\"name\">{}</td><td>{samples}</td><td>{}</td></tr>",
            escape(&evaluation.classes[label]),
            escape(&evaluation.classes[predicted]),
            percent(samples as f64 / all as f64)
        );
    }
    body.push_str("</tbody>\n</table></div>\n");
}

fn percent(share: f64) -> String {
    match share.is_finite() {
        true => format!("{:.2} %", 100.0 * share),
        false => "–".into(),
    }
}

fn time(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        3600.. => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
        60.. => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} s", short((10.0 * seconds).round() / 10.0)),
    }
}
