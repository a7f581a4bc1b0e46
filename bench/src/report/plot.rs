//! Plots as SVG. Legends are the page's business, as one may serve many plots.

use std::ops::Range;

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};
use plotters::prelude::*;

use crate::row::{in_order, short};

const SIZE: (u32, u32) = (640, 380);
const FONT: &str = "sans-serif";

/// One contestant's points: where on the horizontal axis, and its least, median and most.
pub struct Series {
    pub name: String,
    pub color: RGBColor,
    pub is_ours: bool,
    pub points: Vec<Point>,
}

#[derive(Clone, Copy)]
pub struct Point {
    pub x: f64,
    pub low: f64,
    pub y: f64,
    pub high: f64,
}

pub struct Plot<'a> {
    pub title: &'a str,
    pub x: &'a str,
    pub y: &'a str,
    pub series: &'a [Series],
}

impl Plot<'_> {
    /// Over numbers, both axes logarithmic, with a tick at each number that there is.
    pub fn over_numbers(&self) -> Result<String> {
        let mut ticks = in_order(self.points().map(|point| point.x));
        ticks.sort_by(f64::total_cmp);
        let (least, most) = (ticks[0], ticks[ticks.len() - 1]);
        let names = ticks.iter().map(f64::to_string).collect();
        self.draw(Axis {
            range: least / 1.2..most * 1.2,
            ticks,
            names,
            is_logarithmic: true,
        })
    }

    /// Over names, at 0, 1, and so on.
    pub fn over_names(&self, names: &[String]) -> Result<String> {
        let ticks: Vec<f64> = (0..names.len()).map(|index| index as f64).collect();
        let range = -0.3..ticks.len() as f64 - 0.7;
        self.draw(Axis {
            range,
            ticks,
            names: names.to_vec(),
            is_logarithmic: false,
        })
    }

    fn points(&self) -> impl Iterator<Item = &Point> {
        self.series.iter().flat_map(|series| &series.points)
    }

    /// A little more than all values, so that no point lies on a border.
    fn range(&self) -> Range<f64> {
        let least = self
            .points()
            .map(|point| point.low)
            .fold(f64::MAX, f64::min);
        let most = self.points().map(|point| point.high).fold(0.0, f64::max);
        least.max(1e-9) / 1.4..most.max(1e-9) * 1.4
    }

    fn draw(&self, x_axis: Axis) -> Result<String> {
        let mut svg = String::new();
        {
            let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
            self.draw_on(&area, x_axis)
                .map_err(|why| anyhow!("cannot plot: {why}"))?;
        }
        Ok(svg)
    }

    fn draw_on<'b>(
        &self,
        area: &DrawingArea<SVGBackend<'b>, Shift>,
        x_axis: Axis,
    ) -> Result<(), Box<dyn std::error::Error + 'b>> {
        let names = x_axis.clone();
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(area)
            .caption(self.title, (FONT, 17))
            .margin(10)
            .x_label_area_size(42)
            .y_label_area_size(72)
            .build_cartesian_2d(x_axis, self.range().log_scale())?;
        chart
            .configure_mesh()
            .light_line_style(WHITE)
            .bold_line_style(RGBColor(225, 225, 225))
            .x_desc(self.x)
            .y_desc(self.y)
            .label_style((FONT, 13))
            .axis_desc_style((FONT, 14))
            .x_label_formatter(&|x| names.name_of(*x))
            .y_label_formatter(&|y| tick(*y))
            .draw()?;
        // Ours last, on top.
        let (ours, others): (Vec<_>, Vec<_>) = self.series.iter().partition(|it| it.is_ours);
        for series in others.into_iter().chain(ours) {
            let width = if series.is_ours { 3 } else { 1 };
            let style = series.color.stroke_width(width);
            let line = series.points.iter().map(|point| (point.x, point.y));
            chart.draw_series(LineSeries::new(line, style))?;
            let spans = series.points.iter().filter(|point| point.high > point.low);
            chart.draw_series(spans.map(|point| {
                PathElement::new([(point.x, point.low), (point.x, point.high)], series.color)
            }))?;
            let radius = if series.is_ours { 5 } else { 4 };
            let dots = series.points.iter();
            chart.draw_series(
                dots.map(|it| Circle::new((it.x, it.y), radius, series.color.filled())),
            )?;
        }
        Ok(area.present()?)
    }
}

/// Bars from left to right, one for each contestant, with their values.
pub fn bars(title: &str, unit: &str, series: &[Series]) -> Result<String> {
    const HEIGHT: i32 = 30;
    const LEFT: i32 = 110;
    const TOP: i32 = 44;
    let height = TOP + HEIGHT * series.len() as i32 + 10;
    let most = series
        .iter()
        .flat_map(|it| &it.points)
        .map(|it| it.y)
        .fold(0.0, f64::max);
    let width = f64::from(SIZE.0) - f64::from(LEFT) - 130.0;
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (SIZE.0, height as u32)).into_drawing_area();
        let broken = |why| anyhow!("cannot plot: {why}");
        area.fill(&WHITE).map_err(broken)?;
        let text = |size: u32| (FONT, size).into_font();
        area.draw_text(title, &text(17).into(), (LEFT, 12))
            .map_err(broken)?;
        for (index, one) in series.iter().enumerate() {
            let Some(point) = one.points.first() else {
                continue;
            };
            let top = TOP + HEIGHT * index as i32;
            let right = LEFT + (width * point.y / most.max(1e-9)) as i32;
            area.draw_text(&one.name, &text(14).into(), (8, top + 6))
                .map_err(broken)?;
            let bar = Rectangle::new(
                [(LEFT, top + 3), (right, top + HEIGHT - 5)],
                one.color.filled(),
            );
            area.draw(&bar).map_err(broken)?;
            let value = match (short(point.y), unit) {
                (value, "B") => value + unit,
                (value, unit) => format!("{value} {unit}"),
            };
            area.draw_text(&value, &text(13).into(), (right + 6, top + 7))
                .map_err(broken)?;
        }
        area.present().map_err(broken)?;
    }
    Ok(svg)
}

/// A tick of a logarithmic axis, in few digits. Only 1, 2 and 5 of each ten have one: others would overlap.
fn tick(value: f64) -> String {
    let first = value / 10_f64.powf(value.log10().floor());
    if ![1.0, 2.0, 5.0, 10.0]
        .iter()
        .any(|it| (first - it).abs() < 1e-6)
    {
        return String::new();
    }
    match value {
        1e6.. => format!("{} M", value / 1e6),
        1e3.. => format!("{} k", value / 1e3),
        _ => format!("{value}"),
    }
}

/// A horizontal axis with ticks where they are wanted.
#[derive(Clone)]
struct Axis {
    range: Range<f64>,
    ticks: Vec<f64>,
    names: Vec<String>,
    is_logarithmic: bool,
}

impl Axis {
    fn name_of(&self, tick: f64) -> String {
        let index = self.ticks.iter().position(|it| *it == tick);
        index
            .and_then(|index| self.names.get(index))
            .cloned()
            .unwrap_or_default()
    }
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        let scale = |value: f64| {
            if self.is_logarithmic {
                value.ln()
            } else {
                value
            }
        };
        let (start, end) = (scale(self.range.start), scale(self.range.end));
        let part = (scale(*value) - start) / (end - start);
        limit.0 + (part * f64::from(limit.1 - limit.0)) as i32
    }

    fn key_points<H: KeyPointHint>(&self, _hint: H) -> Vec<f64> {
        self.ticks.clone()
    }

    fn range(&self) -> Range<f64> {
        self.range.clone()
    }
}

impl ValueFormatter<f64> for Axis {
    fn format(value: &f64) -> String {
        value.to_string()
    }
}
