//! What the rules of backpressure have in common: readers, and the decisions about them.

use crate::hub::channel::feed::Offset;
use crate::hub::event::Event;
use crate::hub::handle::Handle;

/// A client as backpressure sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader {
    pub(crate) handle: Handle,
    /// Whether it receives new broadcasts.
    pub(crate) follows: bool,
    /// The oldest offset of the feed that it still needs, if any.
    pub(crate) oldest_needed: Option<Offset>,
    /// Whether it moved its own cursor back and has not caught up.
    pub(crate) is_replaying: bool,
    /// Whether its socket refuses bytes.
    pub(crate) is_write_blocked: bool,
    /// The number of bytes that its socket has accepted.
    pub(crate) bytes_out: u64,
}

impl Reader {
    pub(super) fn lag(&self, head: Offset) -> u64 {
        self.oldest_needed.map_or(0, |needed| head - needed)
    }

    pub(super) fn needs_before(&self, offset: Offset) -> bool {
        self.oldest_needed.is_some_and(|needed| needed < offset)
    }
}

/// Whether the next broadcast may be appended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It may be appended now.
    Append,
    /// It may be appended once these slow consumers are evicted or skipped forward.
    Evict(Vec<Handle>),
    /// Not in this turn: the server must first write to a reader that would be overrun.
    Yield,
    /// Not before a tick allows it. The event, if any, is for the log.
    Wait(Option<Event>),
}

/// The result of a tick.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Tick {
    /// Whether blocked publishers may continue.
    pub(crate) is_open: bool,
    /// Readers that read too little.
    pub(crate) stalled: Vec<Handle>,
    /// Readers to write to even though the poll has not reported their sockets writable.
    pub(crate) probe: Vec<Handle>,
}

/// The readers that an append would overrun.
#[derive(Default)]
pub(super) struct Overrun {
    pub(super) replaying: Vec<Handle>,
    /// Those whose sockets refuse bytes.
    pub(super) blocked: Vec<Handle>,
}

impl Overrun {
    /// Finds the readers that still need lines before `drops_before`. Returns `None` if the server
    /// must first write to one of them.
    pub(super) fn find(
        drops_before: Offset,
        readers: impl Iterator<Item = Reader>,
    ) -> Option<Self> {
        let mut overrun = Self::default();
        for reader in readers.filter(|reader| reader.needs_before(drops_before)) {
            if reader.is_replaying {
                overrun.replaying.push(reader.handle);
            } else if reader.is_write_blocked {
                overrun.blocked.push(reader.handle);
            } else {
                return None;
            }
        }
        Some(overrun)
    }
}

/// Returns the admission of an append once these readers are out of the way.
pub(super) fn append_after(slow: Vec<Handle>) -> Admission {
    if slow.is_empty() { Admission::Append } else { Admission::Evict(slow) }
}

/// Returns the element for this key, after adding default elements up to it if necessary.
pub(super) fn entry<T: Clone + Default>(values: &mut Vec<T>, key: usize) -> &mut T {
    if values.len() <= key {
        values.resize(key + 1, T::default());
    }
    &mut values[key]
}

#[cfg(test)]
pub(crate) mod tests {
    use crate::hub::channel::backpressure::reader::Reader;
    use crate::hub::channel::feed::Offset;
    use crate::hub::handle::Handle;
    use crate::limits::Limits;

    /// A blocked reader with this lag at a head of 1600, the size of the feed.
    pub(crate) fn reader(key: usize, lag: u64) -> Reader {
        Reader {
            handle: Handle { id: key as u64 + 1, key },
            follows: true,
            oldest_needed: (lag > 0).then(|| HEAD - lag),
            is_replaying: false,
            is_write_blocked: true,
            bytes_out: 0,
        }
    }

    pub(crate) const HEAD: Offset = 1600;

    pub(crate) fn limits() -> Limits {
        Limits { feed_size: 1600, stall_timeout_ms: 8000, ..Limits::default() }
    }
}
