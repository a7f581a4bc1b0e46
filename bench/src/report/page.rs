//! The page around the plots, in HTML.

use std::fmt::Write;

use plotters::style::RGBColor;

use super::plot::Series;
use crate::machine::Machine;
use crate::row::{Row, in_order, short};
use crate::task::{Work, name_of};
use crate::work::about;

const STYLE: &str = "
body { font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 1360px; padding: 0 1em; color: #222; }
h1 { font-size: 1.5em; } h2 { font-size: 1.2em; margin: 2em 0 .2em; border-top: 1px solid #ddd; padding-top: .8em; }
.plots { display: flex; flex-wrap: wrap; gap: 16px; } figure { margin: 0; border: 1px solid #e4e4e4; width: 640px; }
figure svg { display: block; width: 100%; height: auto; } figcaption { padding: 0 12px 8px; font-size: 13px; }
.chip { display: inline-block; white-space: nowrap; margin-right: 12px; }
.chip i { display: inline-block; width: 11px; height: 11px; border-radius: 6px; margin-right: 4px; }
table { border-collapse: collapse; font-size: 13px; margin-top: 1em; } td, th { padding: 2px 10px; text-align: right; }
td:first-child, th:first-child, td:nth-child(2), th:nth-child(2), td:nth-child(3), th:nth-child(3) { text-align: left; }
tr:nth-child(even) { background: #f6f6f6; } .ours { font-weight: 600; } p, dl { max-width: 60em; }
dt { font-weight: 600; } dd { margin: 0 0 .4em 1em; }
";

const OURS: RGBColor = RGBColor(0xd6, 0x27, 0x28);
/// For the others, in their order: colors that are told apart also in pairs.
const COLORS: [RGBColor; 10] = [
    RGBColor(0x55, 0x55, 0x55),
    RGBColor(0x1f, 0x77, 0xb4),
    RGBColor(0x2c, 0xa0, 0x2c),
    RGBColor(0x94, 0x67, 0xbd),
    RGBColor(0xff, 0x7f, 0x0e),
    RGBColor(0x8c, 0x56, 0x4b),
    RGBColor(0xe3, 0x77, 0xc2),
    RGBColor(0x17, 0xbe, 0xcf),
    RGBColor(0xbc, 0xbd, 0x22),
    RGBColor(0x00, 0x00, 0x80),
];

pub fn is_ours(name: &str) -> bool {
    matches!(name, "ampe" | "ampe-poller")
}

pub fn color_of(rows: &[Row], name: &str) -> RGBColor {
    if is_ours(name) {
        return OURS;
    }
    let others = rows
        .iter()
        .map(|row| row.contestant.as_str())
        .filter(|it| !is_ours(it));
    let index = in_order(others)
        .iter()
        .position(|it| *it == name)
        .unwrap_or(0);
    COLORS[index % COLORS.len()]
}

pub struct Page {
    html: String,
    work: Option<Work>,
}

impl Page {
    pub fn new(machine: Option<&Machine>, rows: &[Row]) -> Page {
        let mut html = String::new();
        let _ = write!(
            html,
            "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width\"><title>ampe beside its peers</title>\
             <style>{STYLE}</style></head><body><h1>ampe beside its peers</h1>"
        );
        for line in machine.map(Machine::lines).unwrap_or_default() {
            let _ = write!(html, "<div>{}</div>", escape(&line));
        }
        let runs = rows.iter().map(|row| row.runs).max().unwrap_or(0);
        let _ = write!(
            html,
            "<p>Medians of {runs} runs in turn; vertical strokes reach from the least to the most. \
             Both axes of growth are logarithmic, as are times.</p>"
        );
        Page { html, work: None }
    }

    /// Adds a plot to its work's part of the page, which begins with the first.
    pub fn add(&mut self, work: Work, svg: String, legend: &[Series]) {
        if self.work != Some(work) {
            self.end_work();
            let _ = write!(
                self.html,
                "<h2>{}</h2><p>{}</p><div class=\"plots\">",
                name_of(&work),
                escape(about(work))
            );
            self.work = Some(work);
        }
        let _ = write!(self.html, "<figure>{svg}<figcaption>");
        for series in legend {
            let RGBColor(red, green, blue) = series.color;
            let ours = if series.is_ours { " ours" } else { "" };
            let _ = write!(
                self.html,
                "<span class=\"chip{ours}\"><i style=\"background:rgb({red},{green},{blue})\"></i>{}</span>",
                escape(&series.name)
            );
        }
        self.html.push_str("</figcaption></figure>");
    }

    fn end_work(&mut self) {
        if self.work.take().is_some() {
            self.html.push_str("</div>");
        }
    }

    pub fn finish(mut self, rows: &[Row], settings: &[(String, String)]) -> String {
        self.end_work();
        if !settings.is_empty() {
            self.html.push_str("<h2>settings</h2><dl>");
            for (name, settings) in settings {
                let _ = write!(
                    self.html,
                    "<dt>{}</dt><dd>{}</dd>",
                    escape(name),
                    escape(settings)
                );
            }
            self.html.push_str("</dl>");
        }
        self.html.push_str(
            "<h2>figures</h2><table><tr><th>work</th><th>case</th><th>contestant</th><th>median</th>\
             <th>least</th><th>most</th><th>p99</th><th>p99.9</th><th>unit</th><th>runs</th></tr>",
        );
        for row in rows {
            let percentile = |value: Option<f64>| value.map(short).unwrap_or_default();
            let _ = write!(
                self.html,
                "<tr{}><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td>\
                 <td>{}</td><td>{}</td></tr>",
                if is_ours(&row.contestant) {
                    " class=\"ours\""
                } else {
                    ""
                },
                name_of(&row.work),
                escape(&row.case()),
                escape(&row.contestant),
                short(row.median),
                short(row.min),
                short(row.max),
                percentile(row.p99),
                percentile(row.p999),
                row.unit,
                row.runs
            );
        }
        self.html.push_str("</table></body></html>\n");
        self.html
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
