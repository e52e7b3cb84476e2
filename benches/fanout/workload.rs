//! The workloads that every server is measured with.

/// The load generator counts the lines of all publishers together, in blocks of this size.
pub(crate) const BLOCK_KIB: usize = 64;
pub(crate) const BLOCK_BYTES: usize = BLOCK_KIB * 1024;

/// The default window, in blocks. With a larger one, data stays unread for so long that the kernel
/// retransmits it: 5757 packets in two seconds with 4 blocks and 1000 subscribers, none with 2. The
/// cost of that says little about a server.
pub(crate) const DEFAULT_WINDOW: usize = 2;

pub(crate) struct Workload {
    pub(crate) name: &'static str,
    pub(crate) shape: Shape,
    pub(crate) tls: bool,
}

/// What the clients do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) publishers: usize,
    pub(crate) subscribers: usize,
    /// Every client both publishes and subscribes, if the protocol allows that on one connection.
    /// Needs as many publishers as subscribers.
    pub(crate) is_symmetric: bool,
    /// Bytes per line, without the line end.
    pub(crate) size: usize,
    /// Lines per second, or `None` for as many as the window allows.
    pub(crate) rate: Option<u32>,
    /// How many blocks the publishers may be ahead of the slowest subscriber.
    pub(crate) window: usize,
}

impl Shape {
    /// One publisher without a rate.
    pub(crate) const fn new(subscribers: usize, size: usize) -> Self {
        let window = DEFAULT_WINDOW;
        Self { publishers: 1, subscribers, is_symmetric: false, size, rate: None, window }
    }

    /// The number of clients, if none of them both publishes and subscribes.
    pub(crate) fn max_clients(self) -> usize {
        self.publishers + self.subscribers
    }
}

const fn plain(name: &'static str, shape: Shape) -> Workload {
    Workload { name, shape, tls: false }
}

const fn tls(name: &'static str, shape: Shape) -> Workload {
    Workload { name, shape, tls: true }
}

/// A name gives the number of publishers and of subscribers, and the size of a line.
pub(crate) const WORKLOADS: [Workload; 10] = [
    plain("1 to 10, 64 B", Shape::new(10, 64)),
    plain("1 to 100, 64 B", Shape::new(100, 64)),
    plain("1 to 1000, 64 B", Shape::new(1000, 64)),
    plain("1 to 10000, 64 B", Shape::new(10_000, 64)),
    plain("1 to 100, 1 KiB", Shape::new(100, 1024)),
    plain("1 to 1000, 1 KiB", Shape::new(1000, 1024)),
    plain("100 to 100, 64 B", Shape { publishers: 100, is_symmetric: true, ..Shape::new(100, 64) }),
    plain("500 lines/s to 100, 64 B", Shape { rate: Some(500), ..Shape::new(100, 64) }),
    tls("TLS, 1 to 100, 64 B", Shape::new(100, 64)),
    tls("TLS, 1 to 100, 1 KiB", Shape::new(100, 1024)),
];
