//! Whole ways through the media layer: publisher's packet in, subscriber's packet out, as a subscriber would see it.

mod down;
mod kit;
mod property;
mod reports;
mod up;
