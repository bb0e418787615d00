//! A head as it stands on the wire: its lines, split and not judged.

use anyhow::{Context, Result};

/// The head of a request or a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    raw: Vec<u8>,
    start: String,
    fields: Vec<(String, String)>,
}

/// How a body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// There is none.
    None,
    /// After this many bytes.
    Length(usize),
    /// With the chunk of size 0.
    Chunked,
    /// With the connection.
    UntilEnd,
}

impl Head {
    /// Splits `raw`, which ends with its empty line.
    pub(super) fn parse(raw: &[u8]) -> Result<Self> {
        let text = String::from_utf8_lossy(raw);
        let mut lines = text.trim_end_matches("\r\n").split("\r\n");
        let start = lines.next().unwrap_or_default().to_owned();
        let fields = lines.map(|line| {
            let (name, value) = line.split_once(':').with_context(|| format!("no colon in {line:?}"))?;
            Ok((name.to_owned(), value.trim_matches([' ', '\t']).to_owned()))
        });
        Ok(Self { raw: raw.to_vec(), start, fields: fields.collect::<Result<_>>()? })
    }

    /// Every byte of it, the empty line included.
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// The request line or status line.
    pub fn start(&self) -> &str {
        &self.start
    }

    /// The method of a request.
    pub fn method(&self) -> &str {
        self.start.split(' ').next().unwrap_or_default()
    }

    /// The target of a request.
    pub fn target(&self) -> &str {
        self.start.split(' ').nth(1).unwrap_or_default()
    }

    /// The status code of a response; 0 where there is none.
    pub fn status(&self) -> u16 {
        self.start.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_default()
    }

    /// The first value of the field `name`, in any case of letters.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.values(name).first().copied()
    }

    /// All values of the field `name`, in any case of letters.
    pub fn values(&self, name: &str) -> Vec<&str> {
        let named = self.fields.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_str()).collect()
    }

    /// All fields in their order.
    pub fn fields(&self) -> &[(String, String)] {
        &self.fields
    }

    /// How the body of a request ends.
    pub fn request_body(&self) -> Body {
        match self.framed() {
            Body::UntilEnd => Body::None,
            framed => framed,
        }
    }

    /// How the body of a response ends that does not answer HEAD.
    pub fn response_body(&self) -> Body {
        match self.status() {
            100..200 | 204 | 304 => Body::None,
            _ => self.framed(),
        }
    }

    fn framed(&self) -> Body {
        if self.field("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
            return Body::Chunked;
        }
        match self.field("content-length").and_then(|length| length.parse().ok()) {
            Some(length) => Body::Length(length),
            None => Body::UntilEnd,
        }
    }
}
