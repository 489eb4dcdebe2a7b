//! A load's result as one page that needs nothing else: figures, a plot of each thing that has a bound, the table.

use std::fmt::Write as _;

use super::report::{Report, Stage};

const WIDTH: f64 = 520.0;
const HEIGHT: f64 = 220.0;
const LEFT: f64 = 64.0;
const BOTTOM: f64 = 34.0;
const RIGHT: f64 = 76.0;
/// Labels of the axis below.
const LABELS: usize = 8;
const TOP: f64 = 14.0;

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;margin:0 auto;padding:16px;max-width:960px;color:#1b1f24;background:#fff}\
h1{font-size:1.5rem}h2{font-size:1.05rem;margin:1.6em 0 .3em}dl{display:grid;grid-template-columns:max-content 1fr;gap:2px 16px}\
dt{color:#57606a}dd{margin:0;overflow-wrap:anywhere}svg{width:100%;height:auto}.wide{overflow-x:auto}\
table{border-collapse:collapse;font-variant-numeric:tabular-nums;white-space:nowrap}td,th{padding:4px 10px;text-align:right;border-bottom:1px solid #d0d7de}\
.line{fill:none;stroke-width:2}.axis{stroke:#8c959f;stroke-width:1}.grid{stroke:#d0d7de;stroke-width:1}text{font-size:14px;fill:#57606a}\
@media(prefers-color-scheme:dark){body{color:#e6edf3;background:#0d1117}td,th{border-color:#30363d}dt,text{color:#9198a1;fill:#9198a1}.grid{stroke:#30363d}}";

/// A line of a plot.
struct Line {
    name: &'static str,
    colour: &'static str,
    value: fn(&Stage) -> f64,
}

/// The page.
pub fn page(report: &Report) -> String {
    let mut out = String::with_capacity(16 * 1024);
    let title = "Colchis load";
    let _ = write!(
        out,
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{title}</title><style>{STYLE}</style><h1>{title}</h1>"
    );
    facts(&mut out, report);
    let plots: [(&str, &[Line]); 3] = [
        (
            "One-way latency, ms",
            &[
                Line {
                    name: "p50",
                    colour: "#1f77b4",
                    value: |s| s.latency_us[0] as f64 / 1000.0,
                },
                Line {
                    name: "p99",
                    colour: "#d1242f",
                    value: |s| s.latency_us[1] as f64 / 1000.0,
                },
            ],
        ),
        (
            "Packets received per second",
            &[Line {
                name: "received",
                colour: "#1a7f37",
                value: Stage::received_per_s,
            }],
        ),
        (
            "Loss, %",
            &[Line {
                name: "lost",
                colour: "#d1242f",
                value: |s| s.tally.loss() * 100.0,
            }],
        ),
    ];
    for (name, lines) in plots {
        let _ = write!(out, "<h2>{name}, by pace</h2>");
        plot(&mut out, name, &report.stages, lines);
    }
    table(&mut out, &report.table());
    out.push_str("</html>\n");
    out
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

fn facts(out: &mut String, report: &Report) {
    let crowd = report.crowd;
    let both = if crowd.all_to_all {
        "; publishers receive each other"
    } else {
        ""
    };
    let rows = [
        ("Server", report.server.clone()),
        (
            "Crowd",
            format!(
                "rooms: {}; in each, publishers: {}, subscribers: {}{both}",
                crowd.rooms, crowd.publishers, crowd.subscribers
            ),
        ),
        ("Each publisher sends", report.shape.clone()),
        (
            "Connected",
            format!(
                "{} clients in {:.1} s",
                report.connected, report.joined_in_s
            ),
        ),
        ("Ended", report.ended.clone()),
    ];
    out.push_str("<dl>");
    for (name, value) in rows {
        let _ = write!(out, "<dt>{name}</dt><dd>{}</dd>", escape(&value));
    }
    out.push_str("</dl>");
}

/// A round number not below `value`.
fn ceiling(value: f64) -> f64 {
    if value <= 0.0 {
        return 1.0;
    }
    let power = 10_f64.powf(value.log10().floor());
    let steps = [1.0, 2.0, 2.5, 5.0, 10.0].map(|step| step * power);
    steps
        .into_iter()
        .find(|step| *step >= value)
        .unwrap_or(10.0 * power)
}

fn plot(out: &mut String, name: &str, stages: &[Stage], lines: &[Line]) {
    let values = lines.iter().flat_map(|l| stages.iter().map(l.value));
    let top = ceiling(values.fold(0.0, f64::max));
    // Stages are evenly spaced: a ramp's paces grow by a factor.
    let steps = (stages.len().max(2) - 1) as f64;
    let x = |nth: usize| LEFT + 12.0 + nth as f64 / steps * (WIDTH - LEFT - RIGHT - 12.0);
    let y = |value: f64| HEIGHT - BOTTOM - value / top * (HEIGHT - BOTTOM - TOP);
    let _ = write!(
        out,
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{name} by pace\">"
    );
    for step in 0..=4 {
        let value = top * f64::from(step) / 4.0;
        let (end, at) = (WIDTH - RIGHT, y(value));
        let _ = write!(
            out,
            "<path class=\"grid\" d=\"M{LEFT} {at:.1}H{end:.1}\"/><text x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 6.0,
            at + 4.0,
            short(value)
        );
    }
    let every = stages.len().div_ceil(LABELS).max(1);
    for (nth, stage) in stages.iter().enumerate().step_by(every) {
        let at = x(nth);
        let _ = write!(
            out,
            "<text x=\"{at:.1}\" y=\"{:.0}\" text-anchor=\"middle\">{}</text>",
            HEIGHT - BOTTOM + 18.0,
            short(stage.pace)
        );
    }
    for (nth, line) in lines.iter().enumerate() {
        let points: Vec<(f64, f64)> = stages
            .iter()
            .enumerate()
            .map(|(nth, s)| (x(nth), y((line.value)(s))))
            .collect();
        let path: Vec<String> = points
            .iter()
            .map(|(x, y)| format!("{x:.1},{y:.1}"))
            .collect();
        let colour = line.colour;
        let _ = write!(
            out,
            "<polyline class=\"line\" stroke=\"{colour}\" points=\"{}\"/>",
            path.join(" ")
        );
        for (x, y) in &points {
            let _ = write!(
                out,
                "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>"
            );
        }
        let _ = write!(
            out,
            "<text x=\"{:.0}\" y=\"{:.0}\" style=\"fill:{colour}\">{}</text>",
            WIDTH - RIGHT + 8.0,
            TOP + 12.0 + 16.0 * nth as f64,
            line.name
        );
    }
    out.push_str("</svg>");
}

fn short(value: f64) -> String {
    match value {
        v if v >= 1e6 => format!("{:.2}M", v / 1e6),
        v if v >= 1e4 => format!("{:.0}k", v / 1e3),
        v if v >= 10.0 || v == 0.0 => format!("{v:.0}"),
        v => format!("{v:.2}"),
    }
}

fn table(out: &mut String, text: &str) {
    out.push_str("<h2>Stages</h2><div class=\"wide\"><table>");
    for (nth, line) in text.lines().enumerate() {
        let tag = if nth == 0 { "th" } else { "td" };
        out.push_str("<tr>");
        for cell in line.split("  ").map(str::trim).filter(|c| !c.is_empty()) {
            let _ = write!(out, "<{tag}>{}</{tag}>", escape(cell));
        }
        out.push_str("</tr>");
    }
    out.push_str("</table></div>");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::report::tests::report;

    #[test]
    fn the_page_stands_alone_and_shows_every_stage() {
        let page = page(&report());
        assert!(!page.contains("http://") && !page.contains("https://"));
        assert!(page.contains("video &lt;2.5&gt; Mbit/s"));
        assert_eq!(page.matches("<svg").count(), 3);
        assert_eq!(page.matches("<tr>").count(), 3);
        assert_eq!(page.matches("<circle").count(), 4 * 2);
    }

    #[test]
    fn axes_end_at_round_numbers() {
        for (value, wanted) in [
            (0.0, 1.0),
            (0.7, 1.0),
            (3.1, 5.0),
            (21.0, 25.0),
            (1001.0, 2000.0),
        ] {
            assert!((ceiling(value) - wanted).abs() < 1e-9, "{value}");
        }
    }
}
