//! What a host should change for the server: facts and plan in, a table of knobs with the values wanted out.
//!
//! Pure: `io::tune` reads the facts, makes the changes and undoes them. What a knob wants, why, and whether that was
//! measured, is in [`knobs`] alone; `tuning/README.md` shows the same table, and a test holds it to that.

pub mod before;
pub mod facts;
pub mod knob;
pub mod knobs;
pub mod parse;
pub mod plan;
pub mod profile;
pub mod report;
pub mod row;
mod table;
#[cfg(test)]
mod tests;

pub use before::{Before, State};
pub use facts::HostFacts;
pub use knob::{Change, Evidence, Knob, Setting};
pub use knobs::KNOBS;
pub use plan::ServerPlan;
pub use profile::Profile;
pub use report::Report;
pub use row::{Row, examine};
