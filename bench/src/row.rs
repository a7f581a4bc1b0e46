//! Figures of several runs: as JSON, and as tables in Markdown.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::{Deserialize, Serialize};

use crate::task::{Percentiles, Task, Transport, Work, name_of};
use crate::work::{self, Figure, Value};

/// One contestant's figure of one task, over all runs. Of times, median, min and max are of the runs'
/// medians, and the percentiles are medians of the runs' own.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    pub work: Work,
    pub contestant: String,
    pub transport: Transport,
    pub size: usize,
    pub unit: String,
    pub median: f64,
    pub min: f64,
    pub max: f64,
    pub runs: usize,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub p50: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub p99: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub p999: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub senders: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub groups: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub channels: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub piece: Option<String>,
}

impl Row {
    /// What was varied, in words.
    pub fn case(&self) -> String {
        if let Some(piece) = &self.piece {
            return piece.clone();
        }
        let mut case = format!("{}, {} B", name_of(&self.transport), self.size);
        let counts = [
            (self.senders, "sender"),
            (self.groups, "group"),
            (self.channels, "channel"),
        ];
        for (count, name) in counts {
            if let Some(count) = count {
                let plural = if count == 1 { "" } else { "s" };
                let _ = write!(case, ", {count} {name}{plural}");
            }
        }
        case
    }

    fn cell(&self) -> String {
        match (self.p50, self.p99, self.p999) {
            (Some(p50), Some(p99), Some(p999)) => format!("{p50:.1} / {p99:.1} / {p999:.0}"),
            _ => short(self.median),
        }
    }
}

/// A number in as many digits as it deserves.
pub fn short(number: f64) -> String {
    match number {
        1e6.. => format!("{:.2} M", number / 1e6),
        1e4.. => format!("{:.0} k", number / 1e3),
        1e3.. => format!("{:.1} k", number / 1e3),
        10.0.. => format!("{number:.1}"),
        _ => format!("{number:.3}"),
    }
}

/// The values of one row, as they come in.
struct Gathering {
    task: Task,
    contestant: String,
    unit: &'static str,
    values: Vec<Value>,
}

/// What all runs gave.
#[derive(Default)]
pub struct Results {
    rows: Vec<Gathering>,
}

impl Results {
    pub fn add(&mut self, task: &Task, contestant: &str, figure: &Figure) {
        let is_same = |row: &&mut Gathering| {
            row.task == *task && row.contestant == contestant && row.unit == figure.unit
        };
        match self.rows.iter_mut().find(is_same) {
            Some(row) => row.values.push(figure.value),
            None => self.rows.push(Gathering {
                task: task.clone(),
                contestant: contestant.to_owned(),
                unit: figure.unit,
                values: vec![figure.value],
            }),
        }
    }

    pub fn rows(&self) -> Vec<Row> {
        self.rows.iter().map(Gathering::row).collect()
    }
}

impl Gathering {
    fn row(&self) -> Row {
        let number = |value: &Value| match value {
            Value::Number(number) => *number,
            Value::Times(times) => times.p50,
        };
        let mut numbers: Vec<f64> = self.values.iter().map(number).collect();
        numbers.sort_by(f64::total_cmp);
        let of_times = |of: fn(&Percentiles) -> f64| {
            let of_value = |value: &Value| match value {
                Value::Times(times) => Some(of(times)),
                Value::Number(_) => None,
            };
            let times: Option<Vec<f64>> = self.values.iter().map(of_value).collect();
            times.map(median)
        };
        let task = &self.task;
        let of = |work: Work, count: usize| (task.work == work).then_some(count);
        Row {
            work: task.work,
            contestant: self.contestant.clone(),
            transport: task.transport,
            size: task.size,
            unit: self.unit.to_owned(),
            min: numbers[0],
            max: numbers[numbers.len() - 1],
            runs: numbers.len(),
            median: median(numbers),
            p50: of_times(|it| it.p50),
            p99: of_times(|it| it.p99),
            p999: of_times(|it| it.p999),
            senders: of(Work::Producers, task.senders),
            groups: of(Work::Producers, task.groups),
            channels: of(Work::FanOut, task.channels)
                .or(of(Work::Idle, task.channels))
                .or(of(Work::Cycles, task.channels))
                .or(of(Work::Calls, task.channels)),
            piece: task.piece.clone(),
        }
    }
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    let middle = numbers.len() / 2;
    match numbers.len() % 2 {
        1 => numbers[middle],
        _ => f64::midpoint(numbers[middle - 1], numbers[middle]),
    }
}

/// All figures, a table for each work and unit, a column for each contestant.
pub fn markdown(rows: &[Row]) -> String {
    let mut tables: BTreeMap<(Work, &str), Vec<&Row>> = BTreeMap::new();
    for row in rows {
        tables.entry((row.work, &row.unit)).or_default().push(row);
    }
    let mut text = String::new();
    for ((work, unit), rows) in tables {
        let what = if rows[0].p50.is_some() {
            "us: p50 / p99 / p999"
        } else {
            unit
        };
        let _ = writeln!(text, "### {}, {what}\n", name_of(&work));
        let contestants = in_order(rows.iter().map(|row| row.contestant.as_str()));
        let cases = in_order(rows.iter().map(|row| row.case()));
        let ours = rows[0].contestant.as_str();
        let _ = writeln!(
            text,
            "| | {} | {ours} / best other |",
            contestants.join(" | ")
        );
        let _ = writeln!(text, "|---|{}", "---|".repeat(contestants.len() + 1));
        for case in cases {
            let of_case: Vec<&&Row> = rows.iter().filter(|row| row.case() == case).collect();
            let cell = |name: &&str| {
                let row = of_case.iter().find(|row| row.contestant == *name);
                row.map_or_else(|| "-".to_owned(), |row| row.cell())
            };
            let cells: Vec<String> = contestants.iter().map(cell).collect();
            let _ = writeln!(
                text,
                "| {case} | {} | {} |",
                cells.join(" | "),
                ratio(&of_case, ours, unit)
            );
        }
        text.push('\n');
    }
    text
}

/// Whether it is this project's, as it is or with another option.
fn is_ampe(contestant: &str) -> bool {
    contestant.split('-').next() == Some("ampe")
}

/// Ours divided by the best of the others, but for the floor, which is no library.
fn ratio(rows: &[&&Row], ours: &str, unit: &str) -> String {
    const FLOOR: &str = "sockets";
    let others = rows.iter().filter(|row| {
        !is_ampe(&row.contestant) && ![ours, FLOOR].contains(&row.contestant.as_str())
    });
    let best = if work::is_more_better(unit) {
        others.max_by(|a, b| a.median.total_cmp(&b.median))
    } else {
        others.min_by(|a, b| a.median.total_cmp(&b.median))
    };
    match (rows.iter().find(|row| row.contestant == ours), best) {
        (Some(ours), Some(best)) if best.median > 0.0 => {
            format!("{:.2} ({})", ours.median / best.median, best.contestant)
        }
        _ => "-".to_owned(),
    }
}

/// Each once, in the order of its first appearance.
pub fn in_order<T: PartialEq>(all: impl Iterator<Item = T>) -> Vec<T> {
    let mut seen = Vec::new();
    for one in all {
        if !seen.contains(&one) {
            seen.push(one);
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_medians_of_the_runs_own_percentiles() {
        let task = Task::new(Work::RoundTrip, Transport::Tcp, 64, 1.0);
        let mut results = Results::default();
        for (p50, p99, p999) in [(3.0, 10.0, 70.0), (1.0, 30.0, 80.0), (2.0, 20.0, 90.0)] {
            let value = Value::Times(Percentiles { p50, p99, p999 });
            results.add(
                &task,
                "ampe",
                &Figure {
                    unit: work::MICROSECONDS,
                    value,
                },
            );
        }
        let rows = results.rows();
        let row = &rows[0];
        assert_eq!((rows.len(), row.runs), (1, 3));
        assert_eq!((row.min, row.median, row.max), (1.0, 2.0, 3.0));
        assert_eq!(
            (row.p50, row.p99, row.p999),
            (Some(2.0), Some(20.0), Some(80.0))
        );
        let json = serde_json::to_string(row).expect("a row is plain");
        assert!(json.starts_with(
            r#"{"work":"round-trip","contestant":"ampe","transport":"tcp","size":64"#
        ));
    }

    #[test]
    fn the_floor_is_no_rival() {
        let task = Task::new(Work::OneWay, Transport::Tcp, 64, 1.0);
        let mut results = Results::default();
        for (name, value) in [
            ("ampe", 3.0),
            ("sockets", 9.0),
            ("libzmq", 2.0),
            ("omq", 1.0),
        ] {
            let value = Value::Number(value);
            results.add(
                &task,
                name,
                &Figure {
                    unit: work::MESSAGES_A_SECOND,
                    value,
                },
            );
        }
        let table = markdown(&results.rows());
        assert!(
            table.contains("| tcp, 64 B | 3.000 | 9.000 | 2.000 | 1.000 | 1.50 (libzmq) |"),
            "{table}"
        );
    }
}
