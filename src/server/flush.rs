//! Writes a client's pending output to its socket, with one vectored write of slices from the
//! client's outbox and the feed.

use std::io::{self, IoSlice};

use crate::hub::{Hub, Span};
use crate::net::transport::{Sent, Transport};

/// The maximum number of slices in one write.
const MAX_SLICES: usize = 64;

/// Writes at most `max` bytes of the client's pending output.
pub(super) fn flush<'a>(
    hub: &'a Hub,
    key: usize,
    max: usize,
    transport: &mut dyn Transport,
) -> io::Result<Sent> {
    let mut slices = [IoSlice::new(&[]); MAX_SLICES];
    let (mut count, mut len) = (0, 0);
    // Returns whether there is room for another slice.
    let mut add = |bytes: &'a [u8]| {
        let bytes = &bytes[..bytes.len().min(max - len)];
        slices[count] = IoSlice::new(bytes);
        count += 1;
        len += bytes.len();
        count < MAX_SLICES && len < max
    };
    for span in hub.spans(key) {
        let has_room = match span {
            Span::Own(bytes) => add(bytes),
            Span::Feed(range) => hub.feed().slices(range).all(&mut add),
        };
        if !has_room {
            break;
        }
    }
    transport.write(&slices[..count])
}
