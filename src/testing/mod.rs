//! Support for unit tests and fuzz targets. Production code must not use it.

pub(crate) mod faulty_socket;
#[cfg(feature = "tls")]
pub mod handshake;
#[cfg(all(test, feature = "chat"))]
pub(crate) mod model_terminal;

/// Checks a property with every file in a fuzz target's committed corpus.
#[cfg(test)]
pub(crate) fn replay_corpus(target: &str, property: fn(&[u8])) {
    let folder = format!("{}/fuzz/corpus/{target}", env!("CARGO_MANIFEST_DIR"));
    let entries = std::fs::read_dir(&folder).expect("the corpus exists");
    let files: Vec<_> = entries.map(|entry| entry.expect("a readable entry").path()).collect();
    assert!(files.len() >= 10, "{folder} has only {} files", files.len());
    for file in files {
        eprintln!("{}", file.display());
        property(&std::fs::read(file).expect("a readable file"));
    }
}
