//! Proofs that a process knows the run's secret, without saying it.

use std::fmt::Write;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::error::{Error, Result};

/// A number that is used once, so that a proof is of no use for another connection.
pub(super) type Nonce = [u8; 16];

/// A new one.
pub(super) fn nonce() -> Result<Nonce> {
    let mut nonce = Nonce::default();
    getrandom::fill(&mut nonce).map_err(|error| Error::InvalidArgument {
        name: "random bytes of the operating system",
        found: error.to_string(),
        expected: "16 of them, for the processes' greeting".into(),
    })?;
    Ok(nonce)
}

/// What all processes of a run know, and nobody else should.
#[derive(Clone)]
pub(super) struct Secret(String);

impl Secret {
    pub(super) fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    /// The proof for `parts`, in hexadecimal.
    pub(super) fn prove(&self, parts: &[&[u8]]) -> String {
        hexadecimal(&self.code(parts).finalize().into_bytes())
    }

    /// Whether `proof` is that for `parts`. Takes as long for one that is nearly right as for any other.
    pub(super) fn is_proven(&self, parts: &[&[u8]], proof: &str) -> bool {
        bytes(proof).is_some_and(|proof| self.code(parts).verify_slice(&proof).is_ok())
    }

    fn code(&self, parts: &[&[u8]]) -> Hmac<Sha256> {
        // Keys of any length will do, so that this never takes the empty one.
        let mut code = Hmac::<Sha256>::new_from_slice(self.0.as_bytes())
            .unwrap_or_else(|_| Hmac::<Sha256>::new(&Default::default()));
        for part in parts {
            // With their lengths, no two lists of parts are the same.
            code.update(&(part.len() as u64).to_be_bytes());
            code.update(part);
        }
        code
    }
}

pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a string can't fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

pub(super) fn bytes(hexadecimal: &str) -> Option<Vec<u8>> {
    let digit = |digit: u8| char::from(digit).to_digit(16);
    let pair = |pair: &[u8]| match pair {
        &[high, low] => u8::try_from(digit(high)? * 16 + digit(low)?).ok(),
        _ => None,
    };
    hexadecimal.as_bytes().chunks(2).map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_holds_for_the_same_secret_and_parts_only() {
        let secret = Secret::new("secret");
        let proof = secret.prove(&[b"ab", b"c"]);
        assert!(secret.is_proven(&[b"ab", b"c"], &proof));
        assert!(!secret.is_proven(&[b"a", b"bc"], &proof));
        assert!(!Secret::new("other").is_proven(&[b"ab", b"c"], &proof));
        for wrong in ["", "0", "zz", &proof[2..], &format!("{proof}00")] {
            assert!(!secret.is_proven(&[b"ab", b"c"], wrong), "{wrong}");
        }
        assert_ne!(nonce().unwrap(), nonce().unwrap());
    }

    #[test]
    fn the_code_is_that_of_rfc_4231() {
        // Its second test, by the same functions but for the lengths.
        let mut code = Hmac::<Sha256>::new_from_slice(b"Jefe").unwrap();
        code.update(b"what do ya want for nothing?");
        let expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(hexadecimal(&code.finalize().into_bytes()), expected);
        assert_eq!(hexadecimal(&bytes(expected).unwrap()), expected);
    }
}
