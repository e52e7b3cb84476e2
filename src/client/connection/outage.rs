//! Reports to the user why connecting fails while the client keeps trying: each new reason once.

use std::mem;
use std::time::{Duration, Instant};

use crate::client::connection::error::{Cause, LinkError};

/// How long a lost server may be absent before the absence is reported. A restarting server is
/// absent for a moment, and the user already knows that the connection was lost.
const RESTART_TIME: Duration = Duration::from_secs(4);

/// The maximum number of reports. A reason may contain text from the peer, so the number of
/// different reasons is unlimited.
const MAX_REPORTS: usize = 20;

/// A period without a connection: from its loss, or from the first attempt, to the next welcome.
#[derive(Debug)]
pub(super) struct Outage {
    since: Instant,
    /// The server was reached before.
    pub(super) was_connected: bool,
    reported: Vec<String>,
    has_hinted: bool,
}

impl Outage {
    pub(super) fn new(now: Instant, was_connected: bool) -> Self {
        Self { since: now, was_connected, reported: vec![], has_hinted: false }
    }

    /// Handles a failed attempt to connect. Returns a notice if the reason must be reported.
    pub(super) fn on_failure(&mut self, error: &LinkError, now: Instant) -> Option<String> {
        let is_known = self.was_connected
            && error.cause == Cause::Absent
            && now.duration_since(self.since) < RESTART_TIME;
        let why = match error.cause {
            Cause::UnknownCertificate(_) => error.to_string(),
            // Other advice is for a client that does not try again.
            _ => error.why.clone(),
        };
        if is_known || self.reported.len() >= MAX_REPORTS || self.reported.contains(&why) {
            return None;
        }
        let notice = format!("{why}; still trying");
        self.reported.push(why);
        Some(notice)
    }

    /// Handles a hint about an attempt that takes long. Returns the first one of the outage.
    pub(super) fn on_hint(&mut self, hint: String) -> Option<String> {
        (!mem::replace(&mut self.has_hinted, true)).then_some(hint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(outage: &mut Outage, cause: Cause, why: &str, seconds: u64) -> Option<String> {
        let now = outage.since + Duration::from_secs(seconds);
        outage.on_failure(&LinkError::new(cause, why), now)
    }

    #[test]
    fn each_reason_is_reported_once() {
        let mut outage = Outage::new(Instant::now(), true);
        for expected in [Some("full; still trying".to_owned()), None] {
            assert_eq!(failure(&mut outage, Cause::Busy, "full", 0), expected);
        }
        let expected = Some("sent SSH; still trying".to_owned());
        assert_eq!(failure(&mut outage, Cause::NotAServer, "sent SSH", 0), expected);
        assert_eq!(failure(&mut outage, Cause::Busy, "full", 9), None);
    }

    #[test]
    fn absent_server_is_reported_when_it_does_not_return_soon() {
        let mut outage = Outage::new(Instant::now(), true);
        assert_eq!(failure(&mut outage, Cause::Absent, "refused", 3), None);
        let expected = Some("refused; still trying".to_owned());
        assert_eq!(failure(&mut outage, Cause::Absent, "refused", 4), expected);
        // A client that waits for the server to start has reported nothing yet.
        let mut outage = Outage::new(Instant::now(), false);
        assert_eq!(failure(&mut outage, Cause::Absent, "refused", 0), expected);
    }

    #[test]
    fn reports_are_limited() {
        let mut outage = Outage::new(Instant::now(), true);
        let reports = (0..1000)
            .filter_map(|i| failure(&mut outage, Cause::NotAServer, &format!("sent {i}"), 0));
        assert_eq!(reports.count(), MAX_REPORTS);
    }
}
