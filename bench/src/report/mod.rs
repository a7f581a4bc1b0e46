//! The report: one page with plots and tables that needs nothing else.

mod page;
mod plot;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use self::page::Page;
use self::plot::{Plot, Point, Series, bars};
use crate::machine::Machine;
use crate::row::{Row, in_order};
use crate::task::{Transport, Work, name_of};
use crate::work::{BYTES_A_CHANNEL, CONNECTIONS_A_SECOND, EVENTS_A_SECOND, MESSAGES_A_SECOND};
use crate::work::{MICROSECONDS, PROCESSOR};

/// Writes the page.
pub fn write(
    path: &Path,
    rows: &[Row],
    machine: Option<&Machine>,
    settings: &[(String, String)],
) -> Result<()> {
    let mut page = Page::new(machine, rows);
    let transports = in_order(rows.iter().map(|row| row.transport));
    for &transport in &transports {
        of_sizes(&mut page, rows, transport)?;
    }
    for work in [Work::RoundTrip, Work::Paced, Work::Loaded] {
        for group in groups(rows, work) {
            of_times(&mut page, rows, work, group)?;
        }
    }
    for (work, of_work) in [
        (Work::Producers, of_producers as OfWork),
        (Work::FanOut, of_fan_out),
        (Work::Cycles, of_cycles),
        (Work::Idle, of_idle),
    ] {
        for group in groups(rows, work) {
            of_work(&mut page, rows, group)?;
        }
    }
    of_pollers(&mut page, rows)?;
    fs::write(path, page.finish(rows, settings))
        .with_context(|| format!("{path:?} cannot be written"))
}

/// Makes the page anew from figures that were kept.
pub fn rewrite(json: &Path, html: &Path) -> Result<()> {
    let text = fs::read_to_string(json).with_context(|| format!("{json:?} cannot be read"))?;
    let rows: Vec<Row> =
        serde_json::from_str(&text).with_context(|| format!("{json:?} is no run"))?;
    write(html, &rows, None, &[])
}

type OfWork = fn(&mut Page, &[Row], Group) -> Result<()>;

/// What has plots of its own: the messages of one size over one transport.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Group {
    transport: Transport,
    size: usize,
}

impl Group {
    fn has(self, row: &Row) -> bool {
        row.transport == self.transport && row.size == self.size
    }

    fn titled(self, work: Work) -> String {
        format!("{}, {} B", titled(work, self.transport), self.size)
    }
}

/// What has plots of its own in a work, in the order of the rows.
fn groups(rows: &[Row], work: Work) -> Vec<Group> {
    let of_work = rows.iter().filter(|row| row.work == work);
    in_order(of_work.map(|row| Group {
        transport: row.transport,
        size: row.size,
    }))
}

fn titled(work: Work, transport: Transport) -> String {
    format!("{}, {}", name_of(&work), name_of(&transport))
}

/// The rows that are wanted as series, a point for each row at what `x` says.
fn series(rows: &[Row], is_wanted: impl Fn(&Row) -> bool, x: impl Fn(&Row) -> f64) -> Vec<Series> {
    let wanted: Vec<&Row> = rows.iter().filter(|row| is_wanted(row)).collect();
    let of = |name: &str| {
        let mut points: Vec<Point> = wanted
            .iter()
            .filter(|row| row.contestant == name)
            .map(|row| Point {
                x: x(row),
                low: row.min,
                y: row.median,
                high: row.max,
            })
            .collect();
        points.sort_by(|a, b| a.x.total_cmp(&b.x));
        named(rows, name, points)
    };
    in_order(wanted.iter().map(|row| row.contestant.as_str()))
        .into_iter()
        .map(of)
        .collect()
}

fn named(rows: &[Row], name: &str, points: Vec<Point>) -> Series {
    Series {
        name: name.to_owned(),
        color: page::color_of(rows, name),
        is_ours: page::is_ours(name),
        points,
    }
}

fn has_several_x(series: &[Series]) -> bool {
    let xs = series
        .iter()
        .flat_map(|series| &series.points)
        .map(|point| point.x);
    in_order(xs).len() > 1
}

fn of_sizes(page: &mut Page, rows: &[Row], transport: Transport) -> Result<()> {
    for (unit, what) in [
        (MESSAGES_A_SECOND, "messages a second"),
        (PROCESSOR, "CPU time a message, us"),
    ] {
        let is_wanted =
            |row: &Row| row.work == Work::OneWay && row.unit == unit && row.transport == transport;
        let all = series(rows, is_wanted, |row| row.size as f64);
        let title = format!("{}: {what} by size", titled(Work::OneWay, transport));
        if has_several_x(&all) {
            let plot = Plot {
                title: &title,
                x: "bytes of a message",
                y: what,
                series: &all,
            };
            page.add(Work::OneWay, plot.over_numbers()?, &all);
        } else if !all.is_empty() {
            page.add(Work::OneWay, bars(&title, unit, &all)?, &[]);
        }
    }
    Ok(())
}

fn of_times(page: &mut Page, rows: &[Row], work: Work, group: Group) -> Result<()> {
    let is_wanted = |row: &&Row| row.work == work && row.unit == MICROSECONDS && group.has(row);
    let of = |row: &Row| {
        let percentiles = [row.p50, row.p99, row.p999].into_iter().flatten();
        let point = |(index, y)| Point {
            x: index as f64,
            low: y,
            y,
            high: y,
        };
        named(
            rows,
            &row.contestant,
            percentiles.enumerate().map(point).collect(),
        )
    };
    let all: Vec<Series> = rows.iter().filter(is_wanted).map(of).collect();
    if !all.is_empty() {
        let title = format!("{}: times", group.titled(work));
        let names = ["p50", "p99", "p99.9"].map(str::to_owned);
        let plot = Plot {
            title: &title,
            x: "percentile",
            y: "microseconds",
            series: &all,
        };
        page.add(work, plot.over_names(&names)?, &all);
    }
    Ok(())
}

fn of_producers(page: &mut Page, rows: &[Row], group: Group) -> Result<()> {
    let is_rate =
        |row: &Row, work: Work| row.work == work && row.unit == MESSAGES_A_SECOND && group.has(row);
    let y = "messages a second";
    let one_group = |row: &Row| is_rate(row, Work::Producers) && row.groups == Some(1);
    let all = series(rows, one_group, |row| row.senders.unwrap_or(1) as f64);
    if has_several_x(&all) {
        let title = format!("{}: growth with senders", group.titled(Work::Producers));
        let plot = Plot {
            title: &title,
            x: "threads that send, each on a channel",
            y,
            series: &all,
        };
        page.add(Work::Producers, plot.over_numbers()?, &all);
    }
    let most = rows
        .iter()
        .filter(|row| is_rate(row, Work::Producers))
        .filter_map(|row| row.senders)
        .max();
    let with_groups = |row: &Row| {
        is_rate(row, Work::Producers) && row.senders == most && page::is_ours(&row.contestant)
    };
    let all = series(rows, with_groups, |row| row.groups.unwrap_or(1) as f64);
    if has_several_x(&all) {
        let senders = most.unwrap_or(1);
        let title = format!(
            "{}, {senders} senders: growth with groups",
            group.titled(Work::Producers)
        );
        let plot = Plot {
            title: &title,
            x: "channel groups on either side",
            y,
            series: &all,
        };
        page.add(Work::Producers, plot.over_numbers()?, &all);
    }
    Ok(())
}

fn of_fan_out(page: &mut Page, rows: &[Row], group: Group) -> Result<()> {
    for (unit, y) in [
        (MESSAGES_A_SECOND, "deliveries a second"),
        (PROCESSOR, "CPU time a delivery, us"),
    ] {
        let is_wanted = |row: &Row| row.work == Work::FanOut && row.unit == unit && group.has(row);
        let all = series(rows, is_wanted, |row| row.channels.unwrap_or(1) as f64);
        if has_several_x(&all) {
            let title = format!("{}: {y} by channels", group.titled(Work::FanOut));
            let plot = Plot {
                title: &title,
                x: "channels that each message goes to",
                y,
                series: &all,
            };
            page.add(Work::FanOut, plot.over_numbers()?, &all);
        }
    }
    Ok(())
}

fn of_cycles(page: &mut Page, rows: &[Row], group: Group) -> Result<()> {
    let is_wanted =
        |row: &Row| row.work == Work::Cycles && row.unit == CONNECTIONS_A_SECOND && group.has(row);
    of_bars(
        page,
        rows,
        is_wanted,
        &group.titled(Work::Cycles),
        CONNECTIONS_A_SECOND,
        Work::Cycles,
    )
}

fn of_idle(page: &mut Page, rows: &[Row], group: Group) -> Result<()> {
    let is_idle =
        |row: &Row, unit: &str| row.work == Work::Idle && group.has(row) && row.unit == unit;
    let bytes = |row: &Row| is_idle(row, BYTES_A_CHANNEL);
    let title = format!("{}: resident bytes of a channel", group.titled(Work::Idle));
    of_bars(page, rows, bytes, &title, "B", Work::Idle)?;
    let counts = rows
        .iter()
        .filter(|row| is_idle(row, PROCESSOR))
        .filter_map(|row| row.channels);
    let counts = in_order(counts);
    let place = |row: &Row| {
        counts
            .iter()
            .position(|it| Some(*it) == row.channels)
            .unwrap_or(0) as f64
    };
    let all = series(rows, |row| is_idle(row, PROCESSOR), place);
    if has_several_x(&all) {
        let title = format!(
            "{}: CPU time a message beside idle channels",
            group.titled(Work::Idle)
        );
        let names: Vec<String> = counts.iter().map(|count| format!("{count} idle")).collect();
        let plot = Plot {
            title: &title,
            x: "channels that rest beside",
            y: "us",
            series: &all,
        };
        page.add(Work::Idle, plot.over_names(&names)?, &all);
    }
    Ok(())
}

fn of_bars(
    page: &mut Page,
    rows: &[Row],
    is_wanted: impl Fn(&Row) -> bool,
    title: &str,
    unit: &str,
    work: Work,
) -> Result<()> {
    let all = series(rows, is_wanted, |_| 0.0);
    if !all.is_empty() {
        page.add(work, bars(title, unit, &all)?, &[]);
    }
    Ok(())
}

fn of_pollers(page: &mut Page, rows: &[Row]) -> Result<()> {
    let is_wanted = |row: &Row| row.work == Work::Poller && row.unit == EVENTS_A_SECOND;
    let pieces = in_order(
        rows.iter()
            .filter(|row| is_wanted(row))
            .filter_map(|row| row.piece.clone()),
    );
    let place = |row: &Row| {
        pieces
            .iter()
            .position(|it| Some(it) == row.piece.as_ref())
            .unwrap_or(0) as f64
    };
    let all = series(rows, is_wanted, place);
    if !all.is_empty() {
        let plot = Plot {
            title: "poller: events a second",
            x: "work",
            y: "events a second",
            series: &all,
        };
        page.add(Work::Poller, plot.over_names(&pieces)?, &all);
    }
    Ok(())
}
