//! The load generator's flow control.

use std::collections::VecDeque;

use crate::workload::{BLOCK_BYTES, Shape};

/// A sliding window: limits how many blocks publishers are ahead of the slowest subscriber.
pub(crate) struct Window {
    /// The number of lines of each publisher in a block.
    block_lines: u64,
    /// The number of publishers whose lines each subscriber receives.
    sources: u64,
    subscribers: usize,
    /// The number of the first block that at least one subscriber has not received completely.
    first: u64,
    /// For each block in the window, from `first` on: how many subscribers have received it.
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

    /// Records that a subscriber has received `lines` lines in total.
    pub(crate) fn record(&mut self, lines: u64) {
        let block_received = self.block_lines * self.sources;
        if !lines.is_multiple_of(block_received) {
            return;
        }
        let block = (lines / block_received - 1 - self.first) as usize;
        // The window does not limit the lines that are published before a run.
        let Some(subscribers) = self.completed.get_mut(block) else { return };
        *subscribers += 1;
        while self.completed[0] == self.subscribers {
            self.completed.pop_front();
            self.completed.push_back(0);
            self.first += 1;
        }
    }

    /// Returns the maximum number of lines that each publisher may have published so far.
    pub(crate) fn allowed(&self) -> u64 {
        (self.first + self.completed.len() as u64) * self.block_lines
    }

    /// Returns how many lines each subscriber receives when each publisher publishes `lines`.
    pub(crate) fn expected(&self, lines: u64) -> u64 {
        lines * self.sources
    }
}
