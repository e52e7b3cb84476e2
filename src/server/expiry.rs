//! Schedules the check for certificates that expire.

/// The time between two checks, in milliseconds.
const INTERVAL_MS: u64 = 24 * 60 * 60 * 1000;

/// The daily check of the certificates. Starting and reloading check them, too.
#[derive(Debug)]
pub(super) struct ExpiryCheck {
    /// When the next check is due, in milliseconds since the server's start. `None` without
    /// certificates.
    next_ms: Option<u64>,
}

impl ExpiryCheck {
    /// Schedules the first check, a day after `now_ms`.
    pub(super) fn new(has_certificates: bool, now_ms: u64) -> Self {
        Self { next_ms: has_certificates.then_some(now_ms + INTERVAL_MS) }
    }

    /// Returns whether to check the certificates now. If so, schedules the next check.
    pub(super) fn is_due(&mut self, now_ms: u64) -> bool {
        let is_due = self.next_ms.is_some_and(|next_ms| next_ms <= now_ms);
        if is_due {
            self.next_ms = Some(now_ms + INTERVAL_MS);
        }
        is_due
    }

    pub(super) fn next_deadline(&self) -> Option<u64> {
        self.next_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_checked_once_a_day() {
        let mut check = ExpiryCheck::new(true, 500);
        for day in 1..4 {
            let due_ms = check.next_deadline().expect("a deadline");
            assert_eq!(due_ms, 500 + day * INTERVAL_MS);
            assert!(!check.is_due(due_ms - 1) && check.is_due(due_ms) && !check.is_due(due_ms));
        }
        let mut without = ExpiryCheck::new(false, 500);
        assert!(without.next_deadline().is_none() && !without.is_due(u64::MAX));
    }
}
