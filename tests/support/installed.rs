//! Tests of programs that may not be installed.

use std::process::{Command, Stdio};

use libtest_mimic::{Failed, Trial};

/// Returns a test that needs these programs. If one of them is not installed, the test is ignored;
/// in CI, it fails.
pub fn trial(
    name: String,
    needs: &[&str],
    test: impl FnOnce() -> Result<(), Failed> + Send + 'static,
) -> Trial {
    let missing: Vec<_> = needs.iter().copied().filter(|program| !is_installed(program)).collect();
    if missing.is_empty() {
        return Trial::test(name, test);
    }
    let missing = missing.join(", ");
    let must_run = std::env::var_os("CI").is_some();
    Trial::test(format!("{name} (not installed: {missing})"), move || {
        Err(format!("install {missing} to run this test").into())
    })
    .with_ignored_flag(!must_run)
}

fn is_installed(program: &str) -> bool {
    let script = match program {
        // Only OpenBSD's netcat has -N.
        "nc" => "nc -h 2>&1 | grep -q OpenBSD".to_owned(),
        other => format!("command -v {other}"),
    };
    let status = Command::new("bash").args(["-c", &script]).stdout(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}
