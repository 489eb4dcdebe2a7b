//! Texts of the kernel and of `ethtool`, read into facts. Total: what is not understood is left out.

pub mod cores;
pub mod ethtool;
pub mod host;
pub mod irq;
