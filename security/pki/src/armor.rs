//! PEM text with a fixed order of sections.

use pem::Pem;
use zeroize::{Zeroize, Zeroizing};

/// What the sections of our files hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Section {
    Certificate,
    PrivateKey,
}

impl Section {
    const fn label(self) -> &'static str {
        match self {
            Self::Certificate => "CERTIFICATE",
            Self::PrivateKey => "PRIVATE KEY",
        }
    }
}

/// Why a text is not the PEM that was expected.
#[derive(Debug, thiserror::Error)]
pub enum PemError {
    /// Not PEM: cut off, or damaged.
    #[error("not PEM text")]
    Syntax(#[source] pem::PemError),
    /// PEM with other sections than expected.
    #[error("expected the sections {expected:?}, found {found:?}")]
    Sections {
        /// The labels that the text should have, in this order.
        expected: Vec<&'static str>,
        /// The labels that it has.
        found: Vec<String>,
    },
}

/// Writes sections one after the other. No copy of them is left in freed memory.
pub(crate) fn write(sections: &[(Section, &[u8])]) -> Zeroizing<String> {
    let mut out = Zeroizing::new(String::new());
    for (section, contents) in sections {
        let pem = Pem::new(section.label(), *contents);
        let text = Zeroizing::new(pem::encode(&pem));
        pem.into_contents().zeroize();
        let mut longer = Zeroizing::new(String::with_capacity(out.len() + text.len()));
        longer.push_str(&out);
        longer.push_str(&text);
        out = longer;
    }
    out
}

/// Reads exactly these sections in this order; the answer has as many elements.
///
/// The decoder's own scratch space is not wiped: the text came from a file that holds the same.
pub(crate) fn read<const N: usize>(
    text: &str,
    expected: [Section; N],
) -> Result<[Zeroizing<Vec<u8>>; N], PemError> {
    let sections = pem::parse_many(text).map_err(PemError::Syntax)?;
    let found: Vec<_> = sections.iter().map(|section| section.tag().to_owned()).collect();
    let contents: Vec<_> =
        sections.into_iter().map(|section| Zeroizing::new(section.into_contents())).collect();
    let expected = expected.map(Section::label).to_vec();
    let mismatch = PemError::Sections { expected: expected.clone(), found: found.clone() };
    if expected != found {
        return Err(mismatch);
    }
    contents.try_into().map_err(|_| mismatch)
}
