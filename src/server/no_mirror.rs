//! What there is instead of the feed's mirror where the kernel is not Linux: nothing is large enough to be
//! sent from a file.

use std::io;
use std::ops::Range;
use std::os::fd::AsFd;

use crate::config::FeedMirror;
use crate::hub::{Feed, Position};
use crate::limits::Limits;
use crate::transport::Sent;

#[derive(Debug)]
pub(super) struct Mirror;

#[derive(Debug)]
pub(super) enum Piece {}

impl Mirror {
    pub(super) fn new(_: FeedMirror, _: &Limits) -> io::Result<Self> {
        Ok(Self)
    }

    pub(super) fn follow(&mut self, _: &Feed) {}

    pub(super) fn piece(&self, _: &Feed, _: Range<Position>, _: usize) -> Option<Piece> {
        None
    }

    pub(super) fn send(&mut self, piece: &Piece, _: impl AsFd) -> Option<io::Result<Sent>> {
        match *piece {}
    }

    pub(super) fn note_taken(&mut self, _: usize) {}
}
