//! From what a client is owed to its socket: by one write.

use std::io::{self, IoSlice};

use crate::hub::{Hub, Span};
use crate::net::transport::{Sent, Transport};

/// The most slices in one write.
const MAX_SLICES: usize = 64;

/// Hands a client's socket what it is owed next, at most so many bytes.
pub(super) fn flush(
    hub: &Hub,
    key: usize,
    most: usize,
    transport: &mut Transport,
) -> io::Result<Sent> {
    let mut slices = [IoSlice::new(&[]); MAX_SLICES];
    let count = gather(hub, key, most, &mut slices);
    transport.write(&slices[..count])
}

/// The client's next bytes, as slices for one write: how many slices.
fn gather<'a>(
    hub: &'a Hub,
    key: usize,
    most: usize,
    slices: &mut [IoSlice<'a>; MAX_SLICES],
) -> usize {
    let (mut count, mut len) = (0, 0);
    let mut add = |bytes: &'a [u8]| {
        let bytes = &bytes[..bytes.len().min(most - len)];
        slices[count] = IoSlice::new(bytes);
        count += 1;
        len += bytes.len();
        count < MAX_SLICES && len < most
    };
    for span in hub.spans(key) {
        let goes_on = match span {
            Span::Own(bytes) => add(bytes),
            Span::Feed(range) => hub.feed().slices(range).all(&mut add),
        };
        if !goes_on {
            break;
        }
    }
    count
}
