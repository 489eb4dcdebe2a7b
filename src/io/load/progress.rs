//! What is seen on the terminal while a load runs.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::media::News;

/// One line that changes; nothing where there is no terminal.
pub struct Progress(ProgressBar);

impl Progress {
    /// An empty line.
    pub fn new() -> Self {
        let bar = ProgressBar::new(1);
        if let Ok(style) = ProgressStyle::with_template("{prefix:>10} {bar:24} {msg}") {
            bar.set_style(style);
        }
        Self(bar)
    }

    fn show(&self, what: &str, done: u64, of: u64, message: String) {
        self.0.set_prefix(what.to_owned());
        self.0.set_length(of.max(1));
        self.0.set_position(done);
        self.0.set_message(message);
    }

    /// Clients are let in.
    pub fn joining(&self, done: usize, of: usize) {
        self.show("joining", done as u64, of as u64, format!("{done}/{of}"));
    }

    /// Handshakes run.
    pub fn connecting(&self, done: usize, of: usize) {
        self.show("connecting", done as u64, of as u64, format!("{done}/{of}"));
    }

    /// A stage runs.
    pub fn stage(&self, pace: f64, gone: Duration, of: Duration, news: &News) {
        let [_, p99, _] = news.latency_us;
        let message = format!(
            "pace {pace:.2}, {} received, {} lost, p99 {:.2} ms",
            news.tally.received,
            news.tally.lost,
            p99 as f64 / 1000.0
        );
        let ms = |d: Duration| d.as_millis() as u64;
        self.show("stage", ms(gone), ms(of), message);
    }

    /// The line goes.
    pub fn done(&self) {
        self.0.finish_and_clear();
    }
}
