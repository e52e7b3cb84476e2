//! Keeps this client's name across reconnects.

use std::time::{Duration, Instant};

use crate::client::messages::{name_taken, refused};
use crate::protocol::{Command, ErrorCode, Name};

/// The pause before another request for a name that is still taken.
const RETRY_INTERVAL: Duration = Duration::from_secs(2);

/// The name that this client wants, and when to request it again.
///
/// After a reconnect, the lost connection may still be open at the server, and then its name is
/// still taken. A name that this client had before, or requested without receiving a reply, is
/// therefore requested until it is granted.
#[derive(Debug)]
pub(super) struct NameClaim {
    name: Option<String>,
    /// A request for the name has no reply yet.
    is_pending: bool,
    /// A connection of this client has had the name, or may have had it.
    may_be_ours: bool,
    retry_at: Option<Instant>,
    /// Whether the user was notified, on this connection, that the name is still taken.
    is_reported: bool,
}

impl NameClaim {
    pub(super) fn new(name: Option<String>) -> Self {
        Self { name, is_pending: false, may_be_ours: false, retry_at: None, is_reported: false }
    }

    /// Returns the request to send on a new connection, if there is a name to request.
    pub(super) fn on_connect(&mut self) -> Option<Command<'_>> {
        self.is_reported = false;
        self.may_be_ours |= self.is_pending;
        self.request()
    }

    /// Handles a granted name. The task may have requested it, too.
    pub(super) fn on_granted(&mut self, name: Option<&str>) {
        self.name = name.map(str::to_owned);
        self.is_pending = false;
        self.may_be_ours = true;
    }

    /// Handles a refusal. `Ok` means that the name will be requested again, and contains a notice
    /// the first time on each connection. `Err` is the reason to give up the name.
    pub(super) fn on_refused(
        &mut self,
        code: &str,
        explanation: &str,
        now: Instant,
    ) -> Result<Option<String>, String> {
        self.is_pending = false;
        let is_taken = code == ErrorCode::NAME_TAKEN.as_str();
        if is_taken && self.may_be_ours {
            self.retry_at = Some(now + RETRY_INTERVAL);
            let name = self.name.as_deref().unwrap_or_default();
            let notice = format!("the name {name} is still taken; retrying");
            let is_news = !std::mem::replace(&mut self.is_reported, true);
            return Ok(is_news.then_some(notice));
        }
        let name = self.name.take().unwrap_or_default();
        Err(if is_taken {
            name_taken(&name)
        } else {
            refused(&format!("the name {name}"), code, explanation)
        })
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.retry_at
    }

    /// Returns another request for the name, once it is due.
    pub(super) fn poll_retry(&mut self, now: Instant) -> Option<Command<'_>> {
        if self.retry_at? <= now { self.request() } else { None }
    }

    fn request(&mut self) -> Option<Command<'_>> {
        self.retry_at = None;
        let name = self.name.as_deref().and_then(Name::parse)?;
        self.is_pending = true;
        Some(Command::Name { name })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_that_was_never_granted_is_given_up_when_refused() {
        let now = Instant::now();
        for (code, error) in [
            ("name-taken", "somebody is already called bob; choose another name"),
            ("busy", "the server refused the name bob: later"),
        ] {
            let mut claim = NameClaim::new(Some("bob".to_owned()));
            assert!(
                matches!(claim.on_connect(), Some(Command::Name { name }) if name.as_str() == "bob")
            );
            assert_eq!(claim.on_refused(code, "later", now), Err(error.to_owned()));
            assert_eq!(claim.next_deadline(), None);
            assert_eq!(claim.on_connect(), None);
        }
    }

    #[test]
    fn name_whose_request_was_never_answered_is_requested_until_it_is_free() {
        let now = Instant::now();
        let mut claim = NameClaim::new(Some("bob".to_owned()));
        assert!(claim.on_connect().is_some());
        // The connection is lost before the reply, and the server may have executed the request.
        assert!(claim.on_connect().is_some());
        let notice = "the name bob is still taken; retrying".to_owned();
        assert_eq!(claim.on_refused("name-taken", "", now), Ok(Some(notice)));
        assert!(claim.poll_retry(now + RETRY_INTERVAL).is_some());
    }

    #[test]
    fn name_that_was_granted_is_requested_until_it_is_free() {
        let mut claim = NameClaim::new(None);
        assert_eq!(claim.on_connect(), None);
        claim.on_granted(Some("bob"));
        for _ in 0..2 {
            let now = Instant::now();
            assert!(claim.on_connect().is_some());
            let notice = "the name bob is still taken; retrying".to_owned();
            assert_eq!(claim.on_refused("name-taken", "", now), Ok(Some(notice)));
            assert_eq!(claim.next_deadline(), Some(now + RETRY_INTERVAL));
            assert_eq!(claim.poll_retry(now), None);
            assert!(claim.poll_retry(now + RETRY_INTERVAL).is_some());
            assert_eq!(claim.next_deadline(), None, "the request is pending");
            assert_eq!(claim.on_refused("name-taken", "", now), Ok(None), "reported once");
        }
    }
}
