//! The environment variables of `oyez`. An empty variable counts as not set.

use std::ffi::{OsStr, OsString};
use std::fmt::Display;
use std::path::PathBuf;

use crate::cli::{self, one_of};
use crate::client::connection::address::ServerAddress;
use crate::net::tls_config::{ClientTlsConfig, Fingerprint, ServerVerification};

/// Returns the value of an environment variable, if it is set.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// The variables, and their use as defaults for options. A variable is parsed only when it is used.
pub(super) struct Environment<'a>(pub(super) Lookup<'a>);

impl Environment<'_> {
    pub(super) fn path(&self, variable: &str) -> Option<PathBuf> {
        self.get(variable).map(PathBuf::from)
    }

    /// Parses a variable. The error names it.
    pub(super) fn text<T, E: Display>(
        &self,
        variable: &str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Result<Option<T>, String> {
        self.parse(variable, |value| {
            let text = value.to_str().ok_or("not UTF-8")?;
            parse(text).map_err(|error| error.to_string())
        })
    }

    pub(super) fn server(&self) -> Result<Option<ServerAddress>, String> {
        self.parse("OYEZ_SERVER", |value| cli::address(value, ServerAddress::Unix))
    }

    /// Reads the TLS variables. Any of them enables TLS, unless OYEZ_TLS disables it.
    pub(super) fn tls(&self) -> Result<Option<ClientTlsConfig>, String> {
        let choices = [
            ("1", true),
            ("yes", true),
            ("true", true),
            ("0", false),
            ("no", false),
            ("false", false),
        ];
        let is_tls = self.text("OYEZ_TLS", |text| one_of(text, &choices))?;
        if is_tls == Some(false) {
            return Ok(None);
        }
        let roots = self.path("OYEZ_TLS_CA");
        let pinned = self.text("OYEZ_TLS_FINGERPRINT", str::parse::<Fingerprint>)?;
        let verification = match (roots, pinned) {
            (None, None) if is_tls.is_none() => return Ok(None),
            (None, None) => ServerVerification::System,
            (Some(roots), None) => ServerVerification::Roots(roots),
            (None, Some(pinned)) => ServerVerification::Pinned(pinned),
            (Some(_), Some(_)) => {
                return Err("OYEZ_TLS_CA and OYEZ_TLS_FINGERPRINT cannot be combined".to_owned());
            }
        };
        Ok(Some(ClientTlsConfig { verification, identity: None }))
    }

    /// Returns the file of known servers, in the user's state directory. The specification of
    /// XDG_STATE_HOME tells programs to ignore a relative path.
    pub(super) fn known_servers(&self) -> Option<PathBuf> {
        let state = self.path("XDG_STATE_HOME").filter(|path| path.is_absolute());
        let home = || self.path("HOME").filter(|path| path.is_absolute());
        let state = state.or_else(|| Some(home()?.join(".local/state")))?;
        Some(state.join("oyez/known_servers"))
    }

    fn get(&self, variable: &str) -> Option<OsString> {
        (self.0)(variable).filter(|value| !value.is_empty())
    }

    fn parse<T>(
        &self,
        variable: &str,
        parse: impl Fn(&OsStr) -> Result<T, String>,
    ) -> Result<Option<T>, String> {
        let parse = |value: OsString| {
            parse(&value).map_err(|error| format!("{variable} {value:?}: {error}"))
        };
        self.get(variable).map(parse).transpose()
    }
}

#[cfg(test)]
mod tests {
    use crate::client::config::{Action, Config, parse};

    use super::*;

    const PIN: &str = "sha256:0101010101010101010101010101010101010101010101010101010101010101";

    fn pinned() -> ServerVerification {
        ServerVerification::Pinned(Fingerprint([1; 32]))
    }

    /// Parses a command line with variables, given as in a shell: `OYEZ_NAME=al stats`.
    fn config(line: &str) -> Result<Config, String> {
        let words = || line.split(' ').map(|word| word.replace("PIN", PIN));
        let variables: Vec<String> = words().take_while(|word| word.contains('=')).collect();
        let arguments = words().skip(variables.len()).map(OsString::from).collect();
        let lookup = |name: &str| {
            let value =
                |variable: &String| Some(variable.strip_prefix(name)?.strip_prefix('=')?.into());
            variables.iter().find_map(value)
        };
        match parse(arguments, &lookup)? {
            Action::Run(config) => Ok(*config),
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn option_overrides_its_variable() {
        for (line, server, name, secret) in [
            ("OYEZ_SERVER=h:1 OYEZ_NAME=al OYEZ_SECRET_FILE=s chat", "h:1", "al", "s"),
            ("OYEZ_SERVER=h:1 chat -s o:2", "o:2", "", ""),
            ("OYEZ_NAME=al chat --name bo", "127.0.0.1:5050", "bo", ""),
            ("OYEZ_SECRET_FILE=s chat --secret-file t", "127.0.0.1:5050", "", "t"),
            ("OYEZ_SERVER= OYEZ_NAME= OYEZ_SECRET_FILE= chat", "127.0.0.1:5050", "", ""),
        ] {
            let route = config(line).expect(line).route;
            let secret_file = route.secret_file.unwrap_or_default();
            assert_eq!(route.server.to_string(), server, "{line}");
            assert_eq!(route.name.unwrap_or_default(), name, "{line}");
            assert_eq!(secret_file.to_str(), Some(secret), "{line}");
        }
    }

    #[test]
    fn name_in_a_variable_is_for_chat_broadcast_and_send() {
        for (command, is_used) in [
            ("chat", true),
            ("broadcast hi", true),
            ("send bob hi", true),
            ("broadcast -", false),
            ("broadcast --file x", false),
            ("listen", false),
            ("raw", false),
            ("ping", false),
            ("clients", false),
            ("stats", false),
            ("shutdown", false),
        ] {
            let route = config(&format!("OYEZ_NAME=al {command}")).expect(command).route;
            assert_eq!((route.name.is_some(), route.is_name_optional), (is_used, is_used));
            assert_eq!(config(&format!("OYEZ_NAME=1 {command}")).is_err(), is_used, "{command}");
            let route = config(&format!("OYEZ_NAME=al {command} --name bo"));
            assert!(command.contains(' ') || !route.expect(command).route.is_name_optional);
        }
        assert!(config("OYEZ_NAME=al broadcast -").expect("valid").route.reconnect);
    }

    #[test]
    fn tls_variables_enable_tls_unless_there_is_a_tls_option() {
        let roots = |path: &str| Some(ServerVerification::Roots(path.into()));
        for (line, expected) in [
            ("OYEZ_TLS= ping", None),
            ("OYEZ_TLS=0 ping", None),
            ("OYEZ_TLS=no OYEZ_TLS_CA=ca OYEZ_TLS_FINGERPRINT=x ping", None),
            ("OYEZ_TLS=1 ping", Some(ServerVerification::System)),
            ("OYEZ_TLS=yes ping", Some(ServerVerification::System)),
            ("OYEZ_TLS_CA=ca ping", roots("ca")),
            ("OYEZ_TLS=true OYEZ_TLS_CA=ca ping", roots("ca")),
            ("OYEZ_TLS_FINGERPRINT=PIN ping", Some(pinned())),
            ("OYEZ_TLS_CA= OYEZ_TLS_FINGERPRINT=PIN ping", Some(pinned())),
            ("OYEZ_TLS_FINGERPRINT=PIN --tls ping", Some(ServerVerification::System)),
            ("OYEZ_TLS=2 OYEZ_TLS_FINGERPRINT=x --tls-ca ca ping", roots("ca")),
            ("OYEZ_TLS=0 --tls-fingerprint PIN ping", Some(pinned())),
            ("OYEZ_TLS_CA=ca --tls-cert c --tls-key k ping", Some(ServerVerification::System)),
        ] {
            let tls = config(line).expect(line).route.tls;
            assert_eq!(tls.map(|tls| tls.verification), expected, "{line}");
        }
    }

    #[test]
    fn wrong_value_is_an_error_that_names_the_variable() {
        for (line, expected) in [
            ("OYEZ_SERVER=h:x ping", "OYEZ_SERVER \"h:x\": expected a port"),
            ("OYEZ_NAME=1a chat", "OYEZ_NAME \"1a\": expected 1 to 32 of"),
            ("OYEZ_TLS=maybe ping", "OYEZ_TLS \"maybe\": expected 1, yes, true, 0, no or false"),
            ("OYEZ_TLS_FINGERPRINT=x ping", "OYEZ_TLS_FINGERPRINT \"x\": expected sha256: and 64"),
            (
                "OYEZ_TLS_CA=ca OYEZ_TLS_FINGERPRINT=PIN ping",
                "OYEZ_TLS_CA and OYEZ_TLS_FINGERPRINT",
            ),
        ] {
            let error = config(line).expect_err(line);
            assert!(error.starts_with(expected), "{line}: {error}");
        }
        // Help needs no variable.
        let lookup = |_: &str| Some("?".into());
        assert!(matches!(parse(vec!["help".into()], &lookup), Ok(Action::Help(_))));
        let help = vec!["ping".into(), "--help".into()];
        assert!(matches!(parse(help, &lookup), Ok(Action::Help(_))));
    }

    #[test]
    fn known_servers_are_in_the_state_directory() {
        for (line, expected) in [
            ("HOME=/h ping", Some("/h/.local/state/oyez/known_servers")),
            ("HOME=/h XDG_STATE_HOME=/s ping", Some("/s/oyez/known_servers")),
            ("HOME=/h XDG_STATE_HOME=s ping", Some("/h/.local/state/oyez/known_servers")),
            ("HOME=/h XDG_STATE_HOME= ping", Some("/h/.local/state/oyez/known_servers")),
            ("HOME=h ping", None),
            ("ping", None),
        ] {
            let file = config(line).expect(line).route.known_servers;
            assert_eq!(file, expected.map(PathBuf::from), "{line}");
        }
    }
}
