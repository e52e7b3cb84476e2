//! Who may come in, and what they may do there.

use crate::credentials::secret::Secret;
use crate::protocol::{Command, CommandError, ErrorCode, OkReply, Verb};

use super::Hub;
use super::client::{Reason, Stage};
use super::report::Event;

/// How many wrong secrets a client may try.
const MAX_TRIES: u8 = 3;

/// What a client has to know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Secrets {
    /// Without it nobody comes in, if there is one.
    pub user: Option<Secret>,
    /// Makes an admin, who may also come in.
    pub admin: Option<Secret>,
}

/// Who may end the server by command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AllowShutdown {
    /// Signals only.
    Nobody,
    /// Who comes from this host ([`Origin::is_local`](super::Origin::is_local)), and admins.
    Local,
    /// Who has shown the admin secret.
    Admin,
}

/// What a client has shown itself to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// It may be here.
    User,
    /// It may end the server, too.
    Admin,
}

impl Role {
    /// The role's word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Admin => "admin",
        }
    }
}

impl Secrets {
    /// Whether there is none to show.
    pub fn is_empty(&self) -> bool {
        self.user.is_none() && self.admin.is_none()
    }

    /// Whether a client has to show one before it is let in.
    pub(super) fn closes_the_door(&self) -> bool {
        self.user.is_some()
    }

    /// What this text makes of a client. Both secrets are compared, so that the time does not tell
    /// which of them was the right one.
    fn role(&self, text: &str) -> Option<Role> {
        let is = |secret: &Option<Secret>| secret.as_ref().is_some_and(|secret| secret.is(text));
        match (is(&self.user), is(&self.admin)) {
            (_, true) => Some(Role::Admin),
            (true, false) => Some(Role::User),
            (false, false) => None,
        }
    }
}

/// Whether who is outside may ask this.
pub(super) fn is_open_to_all(request: &Result<Command<'_>, CommandError>) -> bool {
    let verb = match request {
        Ok(command) => Some(command.verb()),
        Err(error) => error.verb(),
    };
    matches!(verb, Some(Verb::Ping | Verb::Help | Verb::Auth | Verb::Quit))
}

/// Whether the line is one to show a secret with.
pub(super) fn may_hold_secret(line: &str) -> bool {
    line.get(..AUTH.len()).is_some_and(|word| word.eq_ignore_ascii_case(AUTH))
}

const AUTH: &str = "auth ";

impl Hub {
    /// Has clients show these secrets from now on. Who is in stays in.
    pub fn set_secrets(&mut self, secrets: Secrets) {
        self.rules.secrets = secrets;
    }

    pub(super) fn authenticate(&mut self, key: usize, secret: &str) {
        let secrets = &self.rules.secrets;
        if secrets.is_empty() {
            let explanation = "this server asks for no secret";
            return self.error(key, ErrorCode::NotAllowed, explanation);
        }
        match secrets.role(secret) {
            Some(role) => self.admit(key, role),
            None => self.turn_away(key),
        }
    }

    fn admit(&mut self, key: usize, role: Role) {
        let client = &mut self.clients[key];
        // Who has shown more before keeps it.
        let role = client.role.map_or(role, |before| before.max(role));
        client.role = Some(role);
        client.wrong_tries = 0;
        let id = client.id;
        let was_outside = client.stage == Stage::Outside;
        self.reports.push_back(Event::Authenticated { id, role });
        self.ok(key, OkReply::Auth { role: role.as_str() });
        if was_outside {
            self.let_in(key);
        }
    }

    fn turn_away(&mut self, key: usize) {
        let client = &mut self.clients[key];
        client.wrong_tries += 1;
        let (id, tries) = (client.id, client.wrong_tries);
        self.reports.push_back(Event::WrongSecret { id, tries });
        if tries < MAX_TRIES {
            let explanation = "this is not the secret";
            self.error(key, ErrorCode::AuthFailed, explanation);
        } else {
            self.counters.errors += 1;
            self.leave(key, Reason::AuthFailed);
        }
    }

    pub(super) fn request_shutdown(&mut self, key: usize) {
        let client = &self.clients[key];
        let is_admin = client.role == Some(Role::Admin);
        let allowed = match self.rules.allow_shutdown {
            AllowShutdown::Nobody => Err("this server ends by signals only"),
            _ if is_admin => Ok(()),
            AllowShutdown::Local if client.origin.is_local => Ok(()),
            AllowShutdown::Local => Err("only clients on the server's own host may"),
            AllowShutdown::Admin => Err("only admins may; auth with the admin secret first"),
        };
        match allowed {
            Ok(()) => {
                self.shutdown_requested = true;
                self.leave(key, Reason::Shutdown);
            }
            Err(explanation) => self.error(key, ErrorCode::NotAllowed, explanation),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::may_hold_secret;

    #[test]
    fn what_is_wiped_is_what_may_hold_a_secret() {
        for line in ["auth sesame", "AUTH sesame", "Auth  x", "auth "] {
            assert!(may_hold_secret(line), "{line}");
        }
        for line in ["ping auth x", "auth", "author x", "say x", "", "auté x"] {
            assert!(!may_hold_secret(line), "{line}");
        }
    }
}
