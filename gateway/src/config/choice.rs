//! The options that choose one of a few names.

use std::fmt;

use super::{
    AddressBook, EngineChoice, IoChoice, KeepaliveFrame, LogFormat, OnRedial, OriginPolicy, RouteMode, Sources,
    WebsocketHint,
};

/// A closed set of values with names.
pub trait Choice: Copy + PartialEq + 'static {
    /// The names, as help and README write them.
    const PLACEHOLDER: &'static str;
    /// Every value with its name.
    const NAMES: &'static [(&'static str, Self)];
}

/// One way in, by name: a line of [`Sources`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// See [`Sources::path`].
    Path,
    /// See [`Sources::cookie`].
    Cookie,
    /// See [`Sources::host`].
    Host,
    /// See [`Sources::agent`].
    Agent,
    /// See [`Sources::header`].
    Header,
    /// See [`Sources::prefix`].
    Prefix,
    /// See [`Sources::broker`].
    Broker,
}

/// The value's name.
pub fn name<T: Choice>(value: T) -> &'static str {
    T::NAMES.iter().find(|(_, candidate)| *candidate == value).map(|(name, _)| *name).expect("every value has a name")
}

/// The value with this name, or what would have been right.
pub fn parse<T: Choice>(text: &str) -> Result<T, String> {
    T::NAMES.iter().find(|(name, _)| *name == text).map(|(_, value)| *value).ok_or_else(|| {
        let names: Vec<_> = T::NAMES.iter().map(|(name, _)| *name).collect();
        format!("expected one of {}, not '{}'", names.join(", "), text.escape_debug())
    })
}

impl Choice for EngineChoice {
    const PLACEHOLDER: &'static str = "auto|copy|splice|sockmap|packet";
    const NAMES: &'static [(&'static str, Self)] = &[
        ("auto", Self::Auto),
        ("copy", Self::Copy),
        ("splice", Self::Splice),
        ("sockmap", Self::Sockmap),
        ("packet", Self::Packet),
    ];
}

impl Choice for IoChoice {
    const PLACEHOLDER: &'static str = "auto|uring|epoll";
    const NAMES: &'static [(&'static str, Self)] =
        &[("auto", Self::Auto), ("uring", Self::Uring), ("epoll", Self::Epoll)];
}

impl Choice for LogFormat {
    const PLACEHOLDER: &'static str = "auto|human|json";
    const NAMES: &'static [(&'static str, Self)] =
        &[("auto", Self::Auto), ("human", Self::Human), ("json", Self::Json)];
}

impl Choice for KeepaliveFrame {
    const PLACEHOLDER: &'static str = "ping|empty";
    const NAMES: &'static [(&'static str, Self)] = &[("ping", Self::Ping), ("empty", Self::Empty)];
}

impl Choice for OnRedial {
    const PLACEHOLDER: &'static str = "drop|buffer";
    const NAMES: &'static [(&'static str, Self)] = &[("drop", Self::Drop), ("buffer", Self::Buffer)];
}

impl Choice for RouteMode {
    const PLACEHOLDER: &'static str = "broker|stream";
    const NAMES: &'static [(&'static str, Self)] = &[("broker", Self::Broker), ("stream", Self::Stream)];
}

impl Choice for WebsocketHint {
    const PLACEHOLDER: &'static str = "redirect|cookie|off";
    const NAMES: &'static [(&'static str, Self)] =
        &[("redirect", Self::Redirect), ("cookie", Self::Cookie), ("off", Self::Off)];
}

impl Choice for AddressBook {
    const PLACEHOLDER: &'static str = "dns|directory";
    const NAMES: &'static [(&'static str, Self)] = &[("dns", Self::Dns), ("directory", Self::Directory)];
}

impl Choice for OriginPolicy {
    const PLACEHOLDER: &'static str = "pass|strip|rewrite";
    const NAMES: &'static [(&'static str, Self)] =
        &[("pass", Self::Pass), ("strip", Self::Strip), ("rewrite", Self::Rewrite)];
}

impl Choice for Source {
    const PLACEHOLDER: &'static str = "SOURCE";
    const NAMES: &'static [(&'static str, Self)] = &[
        ("path", Self::Path),
        ("cookie", Self::Cookie),
        ("host", Self::Host),
        ("agent", Self::Agent),
        ("header", Self::Header),
        ("prefix", Self::Prefix),
        ("broker", Self::Broker),
    ];
}

impl fmt::Display for IoChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(name(*self))
    }
}

impl fmt::Display for EngineChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(name(*self))
    }
}

impl FromIterator<Source> for Sources {
    fn from_iter<I: IntoIterator<Item = Source>>(names: I) -> Self {
        let mut sources = Self::NONE;
        for source in names {
            *sources.switch(source) = true;
        }
        sources
    }
}

impl Sources {
    /// The names of the ways in that exist.
    #[must_use]
    pub fn names(mut self) -> Vec<Source> {
        Source::NAMES.iter().map(|(_, source)| *source).filter(|source| *self.switch(*source)).collect()
    }

    fn switch(&mut self, source: Source) -> &mut bool {
        match source {
            Source::Path => &mut self.path,
            Source::Cookie => &mut self.cookie,
            Source::Host => &mut self.host,
            Source::Agent => &mut self.agent,
            Source::Header => &mut self.header,
            Source::Prefix => &mut self.prefix,
            Source::Broker => &mut self.broker,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(name(*self))
    }
}
