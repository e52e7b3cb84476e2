//! Roles, and the secrets that grant them.

use crate::credentials::secret::Secret;

/// The secrets that clients authenticate with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Secrets {
    /// Required from every client, if set.
    pub user: Option<Secret>,
    /// Makes a client an admin. Also accepted in place of the user secret.
    pub admin: Option<Secret>,
}

/// Who may use the `shutdown` command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AllowShutdown {
    /// Nobody. A signal still shuts the server down.
    Nobody,
    /// Local clients ([`Origin::is_local`](super::client::Origin::is_local)) and admins.
    Local,
    /// Admins only.
    Admin,
}

/// The role that a client has authenticated for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// May use every command that is not reserved for admins.
    User,
    /// May also shut the server down, except under [`AllowShutdown::Nobody`].
    Admin,
}

impl Role {
    /// The role's name in the protocol.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Admin => "admin",
        }
    }
}

impl Secrets {
    /// Returns whether no secret is set.
    pub fn is_empty(&self) -> bool {
        self.user.is_none() && self.admin.is_none()
    }

    /// Returns whether every client must authenticate.
    pub(crate) fn requires_auth(&self) -> bool {
        self.user.is_some()
    }

    /// The role that `text` grants. Always compares both secrets, so that the time does not reveal
    /// which of them matched.
    pub(crate) fn role(&self, text: &str) -> Option<Role> {
        let matches =
            |secret: &Option<Secret>| secret.as_ref().is_some_and(|secret| secret.is(text));
        match (matches(&self.user), matches(&self.admin)) {
            (_, true) => Some(Role::Admin),
            (true, false) => Some(Role::User),
            (false, false) => None,
        }
    }
}
