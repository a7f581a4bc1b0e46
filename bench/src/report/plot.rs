//! Plots as SVG. Legends are the page's business, as one may serve many plots.

use std::ops::Range;

use anyhow::{Result, anyhow};
use plotters::coord::ranged1d::{AsRangedCoord, KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};
use plotters::prelude::*;

use crate::row::short;

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

/// How tick marks read.
type Ticks<'a> = &'a dyn Fn(&f64) -> String;

impl Plot<'_> {
    /// Over numbers, both axes logarithmic.
    pub fn over_numbers(&self) -> Result<String> {
        let xs = || self.points().map(|point| point.x);
        let (least, most) = (xs().fold(f64::MAX, f64::min), xs().fold(0.0, f64::max));
        let range = least / 1.15..most * 1.15;
        self.draw(range.log_scale(), &|x| x.round().to_string())
    }

    /// Over names, at 0, 1, and so on.
    pub fn over_names(&self, names: &[String]) -> Result<String> {
        let last = names.len() as f64 - 1.0;
        let name = |x: &f64| {
            let nearest = x.round();
            let is_there = (x - nearest).abs() < 0.01 && nearest >= 0.0;
            let name = is_there.then(|| names.get(nearest as usize)).flatten();
            name.cloned().unwrap_or_default()
        };
        let axis = Names { range: -0.3..last + 0.3 };
        self.draw(axis, &name)
    }

    fn points(&self) -> impl Iterator<Item = &Point> {
        self.series.iter().flat_map(|series| &series.points)
    }

    /// A little more than all values, so that no point lies on a border.
    fn range(&self) -> Range<f64> {
        let least = self.points().map(|point| point.low).fold(f64::MAX, f64::min);
        let most = self.points().map(|point| point.high).fold(0.0, f64::max);
        least.max(1e-9) / 1.4..most.max(1e-9) * 1.4
    }

    fn draw<X>(&self, x_axis: X, x_ticks: Ticks) -> Result<String>
    where
        X: AsRangedCoord<Value = f64> + Clone,
        X::CoordDescType: ValueFormatter<f64> + Ranged<ValueType = f64>,
    {
        let mut svg = String::new();
        {
            let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
            self.draw_on(&area, x_axis, x_ticks).map_err(|why| anyhow!("cannot plot: {why}"))?;
        }
        Ok(svg)
    }

    fn draw_on<'b, X>(
        &self,
        area: &DrawingArea<SVGBackend<'b>, plotters::coord::Shift>,
        x_axis: X,
        x_ticks: Ticks,
    ) -> Result<(), Box<dyn std::error::Error + 'b>>
    where
        X: AsRangedCoord<Value = f64>,
        X::CoordDescType: ValueFormatter<f64> + Ranged<ValueType = f64>,
    {
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
            .x_label_formatter(x_ticks)
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
            chart.draw_series(dots.map(|it| Circle::new((it.x, it.y), radius, series.color.filled())))?;
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
    let most = series.iter().flat_map(|it| &it.points).map(|it| it.y).fold(0.0, f64::max);
    let width = f64::from(SIZE.0) - f64::from(LEFT) - 130.0;
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (SIZE.0, height as u32)).into_drawing_area();
        let broken = |why| anyhow!("cannot plot: {why}");
        area.fill(&WHITE).map_err(broken)?;
        let text = |size: u32| (FONT, size).into_font();
        area.draw_text(title, &text(17).into(), (LEFT, 12)).map_err(broken)?;
        for (index, one) in series.iter().enumerate() {
            let Some(point) = one.points.first() else { continue };
            let top = TOP + HEIGHT * index as i32;
            let right = LEFT + (width * point.y / most.max(1e-9)) as i32;
            area.draw_text(&one.name, &text(14).into(), (8, top + 6)).map_err(broken)?;
            let bar = Rectangle::new([(LEFT, top + 3), (right, top + HEIGHT - 5)], one.color.filled());
            area.draw(&bar).map_err(broken)?;
            let value = format!("{} {unit}", short(point.y));
            area.draw_text(&value, &text(13).into(), (right + 6, top + 7)).map_err(broken)?;
        }
        area.present().map_err(broken)?;
    }
    Ok(svg)
}

/// A tick of a logarithmic axis, in few digits.
fn tick(value: f64) -> String {
    match value {
        1e6.. => format!("{} M", value / 1e6),
        1e3.. => format!("{} k", value / 1e3),
        _ => format!("{value}"),
    }
}

/// An axis with a tick at each whole number.
#[derive(Clone)]
struct Names {
    range: Range<f64>,
}

impl Ranged for Names {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        let part = (value - self.range.start) / (self.range.end - self.range.start);
        limit.0 + (part * f64::from(limit.1 - limit.0)) as i32
    }

    fn key_points<H: KeyPointHint>(&self, _hint: H) -> Vec<f64> {
        (0..=self.range.end as i32).map(f64::from).collect()
    }

    fn range(&self) -> Range<f64> {
        self.range.clone()
    }
}

impl ValueFormatter<f64> for Names {
    fn format(value: &f64) -> String {
        value.to_string()
    }
}
