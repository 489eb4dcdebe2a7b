//! The report for people: a table on a terminal of usual width, a list on a narrow one.

use std::fmt::Write as _;

use crate::tune::knob::Status;
use crate::tune::report::{KnobReport, Report, SettingReport};

/// Columns below which values go below each other.
const TABLE_WIDTH_MIN: usize = 72;
/// Nothing is readable on less.
const WIDTH_MIN: usize = 24;
/// And lines that are longer are not either.
const WIDTH_MAX: usize = 120;
/// Groups of settings shown of one knob; `--json` has all.
const GROUPS_MAX: usize = 6;
/// Targets named of one group.
const TARGETS_MAX: usize = 4;

/// Settings of one knob that say the same.
struct Group<'a> {
    first: &'a SettingReport,
    targets: Vec<&'a str>,
}

/// `report` in lines of at most `width` columns.
pub(super) fn render(report: &Report, width: usize) -> String {
    let width = width.clamp(WIDTH_MIN, WIDTH_MAX);
    let mut out = String::new();
    head(&mut out, report, width);
    let (left_out, shown): (Vec<_>, Vec<_>) = report
        .knobs
        .iter()
        .partition(|knob| knob.status == Status::LeftOut);
    let (missing, shown): (Vec<_>, Vec<_>) = shown
        .into_iter()
        .partition(|knob| knob.status == Status::NotAvailable);
    if width >= TABLE_WIDTH_MIN {
        out.push('\n');
        cells(&mut out, width, ["knob", "status", "now", "wanted"]);
        cells(&mut out, width, ["----", "------", "---", "------"]);
    }
    for knob in shown {
        one(&mut out, knob, width);
    }
    out.push('\n');
    names(&mut out, "Not available here: ", &missing, width);
    let why = format!("Left out by profile {}: ", report.profile.name());
    names(&mut out, &why, &left_out, width);
    foot(&mut out, report, width);
    out
}

fn head(out: &mut String, report: &Report, width: usize) {
    let nic = report
        .nic
        .as_deref()
        .unwrap_or("none found; --nic names one");
    wrap(out, "profile  ", report.profile.name(), width);
    wrap(out, "nic      ", nic, width);
    wrap(out, "plan     ", &report.plan, width);
    for note in &report.notes {
        wrap(out, "note     ", note, width);
    }
}

fn foot(out: &mut String, report: &Report, width: usize) {
    let count = |status| report.count(status);
    let told = format!(
        "{} right, {} to change, {} changed, {} advice, {} failed.",
        count(Status::Right),
        count(Status::Change),
        count(Status::Changed),
        count(Status::Advice),
        count(Status::Failed),
    );
    wrap(out, "", &told, width);
    if count(Status::Change) > 0 {
        let hint = "Nothing was changed: --apply changes what is to change, --revert undoes it.";
        wrap(out, "", hint, width);
    }
}

fn names(out: &mut String, title: &str, knobs: &[&KnobReport], width: usize) {
    if !knobs.is_empty() {
        let names: Vec<&str> = knobs.iter().map(|knob| knob.name).collect();
        wrap(out, "", &format!("{title}{}.", names.join(", ")), width);
    }
}

fn one(out: &mut String, knob: &KnobReport, width: usize) {
    out.push('\n');
    let groups = groups(knob);
    for (i, group) in groups.iter().take(GROUPS_MAX).enumerate() {
        let name = if i == 0 { knob.name } else { "" };
        let (status, wanted) = (group.first.status.text(), group.first.wanted.as_str());
        let value = group.first.now.as_deref().unwrap_or("not available");
        let now = format!("{value} ({})", targets(group));
        if width >= TABLE_WIDTH_MIN {
            cells(out, width, [name, status, &now, wanted]);
            continue;
        }
        if i == 0 {
            let _ = writeln!(out, "{name}");
        }
        wrap(out, "  status ", status, width);
        wrap(out, "  now    ", &now, width);
        wrap(out, "  wanted ", wanted, width);
    }
    if let Some(more @ 1..) = groups.len().checked_sub(GROUPS_MAX) {
        wrap(
            out,
            "  ",
            &format!("and {more} more values: --json shows all"),
            width,
        );
    }
    wrap(out, "  why    ", knob.why, width);
    wrap(out, "  effect ", knob.measured.unwrap_or("untested"), width);
    for group in groups.iter().take(GROUPS_MAX) {
        how(out, group, width);
    }
}

fn how(out: &mut String, group: &Group<'_>, width: usize) {
    let others = match group.targets.len() - 1 {
        0 => String::new(),
        more => format!(" (and {more} like it)"),
    };
    let label = match group.first.status {
        Status::Change => "  would  ",
        Status::Changed => "  did    ",
        Status::Advice => "  do     ",
        Status::Failed => "  FAILED ",
        _ => return,
    };
    wrap(out, label, &format!("{}{others}", group.first.how), width);
    if let Some(cause) = &group.first.cause {
        wrap(out, "  cause  ", cause, width);
    }
}

fn groups(knob: &KnobReport) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for setting in &knob.settings {
        let same = |group: &&mut Group<'_>| {
            let first = group.first;
            // Whoever is to do it himself is told all of it.
            if setting.status == Status::Advice && first.how != setting.how {
                return false;
            }
            (first.status, &first.now, &first.wanted, &first.cause)
                == (
                    setting.status,
                    &setting.now,
                    &setting.wanted,
                    &setting.cause,
                )
        };
        match groups.iter_mut().find(same) {
            Some(group) => group.targets.push(&setting.target),
            None => groups.push(Group {
                first: setting,
                targets: vec![&setting.target],
            }),
        }
    }
    groups
}

fn targets(group: &Group<'_>) -> String {
    let named = group.targets.iter().take(TARGETS_MAX).copied();
    let mut text = named.collect::<Vec<_>>().join(", ");
    if let Some(more @ 1..) = group.targets.len().checked_sub(TARGETS_MAX) {
        let _ = write!(text, ", {more} more");
    }
    text
}

/// One row of the table, each cell wrapped in its column.
fn cells(out: &mut String, width: usize, texts: [&str; 4]) {
    let rest = width - 17 - 10;
    let widths = [17, 10, rest * 3 / 5, rest - rest * 3 / 5];
    let columns: Vec<Vec<String>> = texts
        .iter()
        .zip(widths)
        .map(|(text, width)| lines(text, width - 1))
        .collect();
    let height = columns.iter().map(Vec::len).max().unwrap_or(0);
    for i in 0..height {
        let mut line = String::new();
        for (column, width) in columns.iter().zip(widths) {
            let cell = column.get(i).map_or("", String::as_str);
            let _ = write!(line, "{cell:width$}");
        }
        let _ = writeln!(out, "{}", line.trim_end());
    }
}

/// `label` and `text`, its further lines below its first.
fn wrap(out: &mut String, label: &str, text: &str, width: usize) {
    let indent = label.chars().count();
    for (i, line) in lines(text, width - indent).iter().enumerate() {
        let label = if i == 0 { label } else { "" };
        let _ = writeln!(out, "{label:indent$}{line}");
    }
}

/// `text` in lines of at most `width` characters; a longer word is cut.
fn lines(text: &str, width: usize) -> Vec<String> {
    let width = width.max(8);
    let mut lines: Vec<String> = Vec::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        let mut word: Vec<char> = word.chars().collect();
        let used = line.chars().count();
        if used > 0 && used + 1 + word.len() > width {
            lines.push(std::mem::take(&mut line));
        }
        while word.len() > width {
            lines.push(word.drain(..width).collect());
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.extend(word);
    }
    if !line.is_empty() || lines.is_empty() {
        lines.push(line);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_wrapped_and_long_words_cut() {
        assert_eq!(lines("one two three", 8), ["one two", "three"]);
        assert_eq!(lines("0123456789abc d", 8), ["01234567", "89abc d"]);
        assert_eq!(lines("", 8), [""]);
    }
}
