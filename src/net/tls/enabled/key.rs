//! Private keys: which are supported, and what to say about the others.

use std::sync::Arc;

use ring::rsa;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::SigningKey;

use super::oid;

/// The supported kinds of keys.
const SUPPORTED: &str = "RSA of 2048 to 4096 bits, ECDSA P-256, ECDSA P-384 and Ed25519";

/// Formats the error for a key of this kind.
pub(super) fn unsupported(kind: &str) -> String {
    format!("unsupported key ({kind}); supported are {SUPPORTED}")
}

/// Loads a key for signing. The error says what is wrong with it.
pub(super) fn load(key: &PrivateKeyDer<'_>) -> Result<Arc<dyn SigningKey>, String> {
    any_supported_type(key).map_err(|_| match key {
        PrivateKeyDer::Pkcs1(pkcs1) => {
            explain_rsa(rsa::KeyPair::from_der(pkcs1.secret_pkcs1_der()))
        }
        PrivateKeyDer::Sec1(sec1) => {
            let name = oid::find(sec1.secret_sec1_der());
            explain_other(name.or(Some("ECDSA with an unnamed curve")))
        }
        PrivateKeyDer::Pkcs8(pkcs8) => {
            let der = pkcs8.secret_pkcs8_der();
            // The algorithm is near the beginning.
            match oid::find(&der[..der.len().min(64)]) {
                Some("RSA") => explain_rsa(rsa::KeyPair::from_pkcs8(der)),
                name => explain_other(name),
            }
        }
        _ => unsupported("unknown"),
    })
}

fn explain_rsa(result: Result<rsa::KeyPair, ring::error::KeyRejected>) -> String {
    match result.map_err(|error| error.to_string()).as_ref().map_err(String::as_str) {
        Err("TooSmall") => unsupported("RSA of less than 2048 bits"),
        Err("TooLarge") => unsupported("RSA of more than 4096 bits"),
        _ => "the RSA key is damaged or has unusual parameters; create another one".to_owned(),
    }
}

fn explain_other(name: Option<&str>) -> String {
    match name {
        Some(name @ ("ECDSA P-256" | "ECDSA P-384" | "Ed25519")) => {
            format!("the {name} key is damaged; create another one")
        }
        Some(name) => unsupported(name),
        None => unsupported("unknown algorithm"),
    }
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::pem::PemObject as _;

    use super::*;

    const ED448: &str = "\
        -----BEGIN PRIVATE KEY-----\n\
        MEcCAQAwBQYDK2VxBDsEOSrg26mKpkpL9pfO/swekhhksEeTg2ho2EfI+tkRqIcP\n\
        VV18DPb5QBStRy690IkDCuRbGVDjCKNNYw==\n\
        -----END PRIVATE KEY-----";

    const X25519: &str = "\
        -----BEGIN PRIVATE KEY-----\n\
        MC4CAQAwBQYDK2VuBCIEIFCPvp8szURcJn2VAv0dSI0oamU12VHbGLXSAyKkF29N\n\
        -----END PRIVATE KEY-----";

    const SECP256K1: &str = "\
        -----BEGIN EC PRIVATE KEY-----\n\
        MHQCAQEEIGuUFLTCxfbKbNxluIgm2ZTDrVux6v6U/PO1x2DO6d+RoAcGBSuBBAAK\n\
        oUQDQgAE5id4U/NlCfDGmWdGyz7Eemn1kbtd+FQcQZ6tp6zZu4zhBoEz94EFWHas\n\
        DXiqz3SgS1tgIqLuvGKP1dHBYffx5Q==\n\
        -----END EC PRIVATE KEY-----";

    const P521: &str = "\
        -----BEGIN PRIVATE KEY-----\n\
        MIHuAgEAMBAGByqGSM49AgEGBSuBBAAjBIHWMIHTAgEBBEIBMwj7p2k4hCTad/9F\n\
        vqBJrIhz5UCdD5YTjsUMM7Q6GHEjSWYtYyJ+cWW2DOvNySVfpu/7mNEU1J+yS5Ii\n\
        QhUgagmhgYkDgYYABAFr8eZ9tvMh8IqSetiK0fhN1z0cpLXPck4BjCa6mcoIlok1\n\
        z1RFyUzTu8iZCeqsCSX/BWAOR3bQD4ToJTn867rE/wFrmb26vV4yDfR/+O6vVUTU\n\
        WauWSvmnP1gVDrP6u+9LJ4D9KzxhduOa8SGQWIRBTYPW79Yh+cUG9QxuHP4sXTol\n\
        Sw==\n\
        -----END PRIVATE KEY-----";

    const RSA_1024: &str = "\
        -----BEGIN PRIVATE KEY-----\n\
        MIICdQIBADANBgkqhkiG9w0BAQEFAASCAl8wggJbAgEAAoGBAOZqIqG+LQ+PPhTM\n\
        yxjXOmyoM2IVhlT85X6KiYt9fE0z1N9Q8vmRWjz+chhnzTLMXWlSR77RqzQPe3OK\n\
        z6tlqUHDlW6oNlt661hIsLt/pDvKuXeQYHgUZVl8cG1MJoJ1HCNeurbkJC9WW55f\n\
        0UhzoLQ6ElBlf5XLZCKc6RG5muRdAgMBAAECgYACNwb6Mw/P1HquTIGvTXJcVQmZ\n\
        aceOzZePLdnAo4YsX9EuDGMpjwIlD/Uc0vKgCGLlfkr+RJm2uGdhZvY0GZgU6xWj\n\
        5V9/UB51udTeaI1qx3hbqapf2/2YGewYd0Ma7xgYUpLtYwIgQFZ6Uf/6pZUcWFiT\n\
        e42R/Gut006o4R0vwQJBAP7VVXAPiv0V3Rg81h6BqZ8ZllwOPzIfpZANnVsdlCvE\n\
        Qy8+7udbLj2n/ocqYxqo2b7ucfQty3KroM44s55KdwkCQQDneC7AHmifPzHtkd5M\n\
        43O9criPVAppZvxzNsTTI6uQcU5wzeE1DzJ7jfkMiwBYQQaWZcRiQ1lim/ZvZ/Ys\n\
        WqO1AkASVm+rfLLXu3cJg3c1Ased901mmm/Zv4U+dHxaTiqXa6wZ/kFazKjrLueV\n\
        +mrfRD9HCgmRNKprOgZ8UIA8Z8dhAkBSKY/2tBSRCl6PpKqTAl3QDovCnKNBfMP5\n\
        paRCCjRZBk9ArWPWcLmLr/6KXEDYEuTit+b4tk1hOllEfFOetOHNAkA2M0u6CpTf\n\
        ZWFC+lVJfmOXLM9c/Fe2TYzLFwT1Pk/v2jOdaU7QJQTLVxfPLvTHDQgWn+W8Q26n\n\
        NZ05bDlYtRCH\n\
        -----END PRIVATE KEY-----";

    #[test]
    fn unsupported_keys_are_named_together_with_what_is_supported() {
        for (pem, name) in [
            (ED448, "Ed448"),
            (X25519, "X25519"),
            (SECP256K1, "ECDSA secp256k1"),
            (P521, "ECDSA P-521"),
            (RSA_1024, "RSA of less than 2048 bits"),
        ] {
            let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).expect("a PEM key");
            let error = load(&key).expect_err(name);
            let expected = format!("unsupported key ({name}); supported are RSA of 2048 to 4096");
            assert!(error.starts_with(&expected), "{error}");
        }
    }
}
