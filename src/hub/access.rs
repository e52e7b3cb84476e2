//! Access control: authentication, and permission to shut the server down.

use crate::protocol::{ErrorCode, OkReply};

use super::event::{Event, Reason};
use super::registry::client::Stage;
use super::registry::role::{AllowShutdown, Role, Secrets};
use super::{Hub, Shutdown};

/// A client is disconnected after this many wrong secrets in a row.
const MAX_WRONG_SECRETS: u8 = 3;

const AUTH: &str = "auth ";

/// Returns whether the line may contain a secret.
pub(super) fn may_hold_secret(line: &str) -> bool {
    line.get(..AUTH.len()).is_some_and(|word| word.eq_ignore_ascii_case(AUTH))
}

impl Hub {
    /// Replaces the secrets. Authenticated clients stay authenticated.
    pub fn set_secrets(&mut self, secrets: Secrets) {
        self.config.secrets = secrets;
    }

    pub(super) fn authenticate(&mut self, key: usize, secret: &str) {
        let secrets = &self.config.secrets;
        if secrets.is_empty() {
            let explanation = "this server requires no secret";
            return self.error(key, ErrorCode::NOT_ALLOWED, explanation);
        }
        match secrets.role(secret) {
            Some(role) => self.accept_auth(key, role),
            None => self.reject_auth(key),
        }
    }

    fn accept_auth(&mut self, key: usize, role: Role) {
        let client = &mut self.clients[key];
        // An admin who authenticates again with the user secret stays an admin.
        let role = client.role.map_or(role, |before| before.max(role));
        client.role = Some(role);
        client.wrong_secrets = 0;
        let was_unauthenticated = client.stage == Stage::Unauthenticated;
        self.events.push_back(Event::Authenticated { id: client.id, role });
        self.ok(key, OkReply::Auth { role: role.as_str() });
        if was_unauthenticated {
            self.activate(key);
        }
    }

    fn reject_auth(&mut self, key: usize) {
        let client = &mut self.clients[key];
        client.wrong_secrets += 1;
        let (id, tries) = (client.id, client.wrong_secrets);
        self.events.push_back(Event::WrongSecret { id, tries });
        if tries < MAX_WRONG_SECRETS {
            self.error(key, ErrorCode::AUTH_FAILED, "wrong secret");
        } else {
            self.counters.errors += 1;
            self.begin_close(key, Reason::AuthFailed);
        }
    }

    pub(super) fn request_shutdown(&mut self, key: usize) {
        let client = &self.clients[key];
        let is_admin = client.role == Some(Role::Admin);
        let allowed = match self.config.allow_shutdown {
            AllowShutdown::Nobody => Err("this server shuts down by signal only"),
            _ if is_admin => Ok(()),
            AllowShutdown::Local if client.origin.is_local => Ok(()),
            AllowShutdown::Local => Err("only clients on the server's own host may shut it down"),
            AllowShutdown::Admin => Err("only admins may shut it down; auth as an admin first"),
        };
        match allowed {
            Ok(()) => {
                if self.shutdown == Shutdown::No {
                    self.shutdown = Shutdown::Requested;
                }
                self.begin_close(key, Reason::Shutdown);
            }
            Err(explanation) => self.error(key, ErrorCode::NOT_ALLOWED, explanation),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::may_hold_secret;

    #[test]
    fn lines_that_begin_with_auth_may_hold_a_secret() {
        for line in ["auth sesame", "AUTH sesame", "Auth  x", "auth "] {
            assert!(may_hold_secret(line), "{line}");
        }
        for line in ["ping auth x", "auth", "author x", "say x", "", "auté x"] {
            assert!(!may_hold_secret(line), "{line}");
        }
    }
}
