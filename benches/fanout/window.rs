//! The load generator's flow control.

use std::collections::VecDeque;

use crate::workload::{BLOCK_BYTES, Shape};

/// A sliding window: publishers may be a number of blocks ahead of the slowest subscriber.
pub(crate) struct Window {
    /// How many lines of a block come from each publisher.
    block_lines: u64,
    /// From how many publishers a subscriber receives lines.
    sources: u64,
    subscribers: usize,
    /// The first block that some subscriber has not received completely.
    first: u64,
    /// For that block and each later one in the window, how many subscribers have received it.
    completed: VecDeque<usize>,
}

impl Window {
    pub(crate) fn new(shape: Shape, sources: usize) -> Self {
        Self {
            block_lines: (BLOCK_BYTES / shape.size / shape.publishers).max(1) as u64,
            sources: sources as u64,
            subscribers: shape.subscribers,
            first: 0,
            completed: VecDeque::from(vec![0; shape.window]),
        }
    }

    pub(crate) fn reset(&mut self) {
        self.first = 0;
        self.completed.iter_mut().for_each(|subscribers| *subscribers = 0);
    }

    /// Records that a subscriber has now received `lines` lines.
    pub(crate) fn record(&mut self, lines: u64) {
        let block_received = self.block_lines * self.sources;
        if !lines.is_multiple_of(block_received) {
            return;
        }
        let block = (lines / block_received - 1 - self.first) as usize;
        // Lines that were published before the run may exceed the window.
        let Some(subscribers) = self.completed.get_mut(block) else { return };
        *subscribers += 1;
        while self.completed[0] == self.subscribers {
            self.completed.pop_front();
            self.completed.push_back(0);
            self.first += 1;
        }
    }

    /// Returns how many lines each publisher may have published by now.
    pub(crate) fn allowed(&self) -> u64 {
        (self.first + self.completed.len() as u64) * self.block_lines
    }

    /// Returns how many lines each subscriber receives if each publisher has published `lines`.
    pub(crate) fn expected(&self, lines: u64) -> u64 {
        lines * self.sources
    }
}
