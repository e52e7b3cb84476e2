//! The workloads that every server is measured with.

/// The unit of the window: the load generator counts the lines of all publishers in such blocks.
pub(crate) const BLOCK_KIB: usize = 64;
pub(crate) const BLOCK_BYTES: usize = BLOCK_KIB * 1024;

/// The default window, in blocks. With a larger one, data stays unread for so long that the kernel
/// retransmits it: 5757 packets in two seconds with 4 blocks and 1000 subscribers, none with 2.
/// Retransmissions cost CPU time that says little about a server.
pub(crate) const DEFAULT_WINDOW: usize = 2;

pub(crate) struct Workload {
    pub(crate) name: &'static str,
    pub(crate) shape: Shape,
    pub(crate) tls: bool,
}

/// How many clients there are, and what they send.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) publishers: usize,
    pub(crate) subscribers: usize,
    /// Whether every client both publishes and subscribes, if the protocol allows both on one
    /// connection. Requires as many publishers as subscribers.
    pub(crate) is_symmetric: bool,
    /// The length of a line in bytes, without its line ending.
    pub(crate) size: usize,
    /// Lines per second, or `None` for as many as the window allows.
    pub(crate) rate: Option<u32>,
    /// The maximum lead of the publishers over the slowest subscriber, in blocks.
    pub(crate) window: usize,
}

impl Shape {
    /// One publisher, at the maximum rate that the window allows.
    pub(crate) const fn new(subscribers: usize, size: usize) -> Self {
        let window = DEFAULT_WINDOW;
        Self { publishers: 1, subscribers, is_symmetric: false, size, rate: None, window }
    }

    /// The number of clients if publishers and subscribers need separate connections.
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

/// A name consists of the number of publishers or their rate, the number of subscribers, and the
/// line size.
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
