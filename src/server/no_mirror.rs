//! What there is instead of the feed's mirror where the kernel is not Linux: nothing is large enough to be
//! sent from a file.

use std::io;
use std::ops::Range;

use crate::config::FeedMirror;
use crate::hub::{Feed, Position};
use crate::limits::Limits;
use crate::transport::{Sent, Transport};

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

    pub(super) fn hand_over(
        &mut self,
        piece: &Piece,
        _: &mut Transport,
        _: impl FnOnce(&mut Transport) -> io::Result<Sent>,
    ) -> io::Result<Sent> {
        match *piece {}
    }
}
