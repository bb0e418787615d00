//! What the gateway says itself: failures and redirects.

use std::fmt::Display;
use std::io::Write as _;
use std::str;

use serde::Serialize;

use super::upgrade::WEBSOCKET_VERSION;

/// A failure, as the client is told about it. Nothing in it may come from inside: no address of a sandbox, no error
/// text of a system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer<'a> {
    /// 400 to 599.
    pub status: u16,
    /// The failure's name for programs, `no_route`. ASCII without blanks.
    pub code: &'a str,
    /// A sentence for people.
    pub detail: &'a str,
    /// After how many seconds another attempt may succeed.
    pub retry_after: Option<u32>,
    /// The client's connection ends after this answer.
    pub close: bool,
}

/// How the answer is put into words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// An object with `detail` and `code`, for programs.
    Json,
    /// A page that tries again by itself, for a person who navigated here with GET.
    Page,
    /// The same page for a person who has sent something: another attempt would send it again, so that is left to its
    /// reader.
    PageOnce,
}

/// Appends the whole response for a failure. `head_request` leaves out the body and nothing else.
pub fn failure(answer: &Answer<'_>, form: Form, head_request: bool, request_id: &str, out: &mut Vec<u8>) {
    let mut body = Vec::new();
    match form {
        Form::Json => {
            let object = Failure { detail: answer.detail, code: answer.code };
            serde_json::to_writer(&mut body, &object).expect("two strings are JSON, and a Vec takes every byte");
        }
        Form::Page => append_page(answer, is_retryable(answer), request_id, &mut body),
        Form::PageOnce => append_page(answer, false, request_id, &mut body),
    }
    start(answer.status, out);
    let content_type = match form {
        Form::Json => "application/json",
        Form::Page | Form::PageOnce => "text/html; charset=utf-8",
    };
    append_line("Content-Type", content_type, out);
    append_line("Content-Length", body.len(), out);
    append_line("X-Gateway-Error", answer.code, out);
    if let Some(seconds) = answer.retry_after {
        append_line("Retry-After", seconds, out);
    }
    if form != Form::Json {
        append_line("Content-Security-Policy", PAGE_POLICY, out);
        append_line("X-Content-Type-Options", "nosniff", out);
    }
    append_demands(answer.status, out);
    append_common(answer.close, answer.status == 426, request_id, out);
    if !head_request {
        out.extend_from_slice(&body);
    }
}

/// Appends the whole answer to a health check on the data port.
pub fn healthy(head_request: bool, request_id: &str, keep_alive: bool, out: &mut Vec<u8>) {
    const BODY: &str = r#"{"status":"ok"}"#;
    start(200, out);
    append_line("Content-Type", "application/json", out);
    append_line("Content-Length", BODY.len(), out);
    append_common(!keep_alive, false, request_id, out);
    if !head_request {
        out.extend_from_slice(BODY.as_bytes());
    }
}

/// Appends the whole response for a redirect to `location`, which is a path or URL as bytes. Redirects are decided per
/// request and may set a cookie, so that nobody may store them.
pub fn redirect(
    status: u16,
    location: &[u8],
    set_cookies: &[String],
    request_id: &str,
    keep_alive: bool,
    out: &mut Vec<u8>,
) {
    start(status, out);
    out.extend_from_slice(b"Location: ");
    // The bytes come from a head, which holds no control characters; a field must not be split if that ever changes.
    out.extend(location.iter().filter(|byte| !byte.is_ascii_control()));
    out.extend_from_slice(b"\r\n");
    append_line("Content-Length", 0, out);
    for value in set_cookies {
        append_line("Set-Cookie", value, out);
    }
    append_common(!keep_alive, false, request_id, out);
}

#[derive(Serialize)]
struct Failure<'a> {
    detail: &'a str,
    code: &'a str,
}

/// The page is self-contained: its own style and script, and nothing from anywhere else.
const PAGE_POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

/// The page, with names in double braces where something is to be filled in.
const PAGE: &str = include_str!("answer/page.html");

/// The first wait before the page tries again, in seconds, where the failure names none.
const RETRY_SECONDS: u32 = 2;

/// How often a page tries again before it leaves that to its reader.
const RETRIES_MAX: u32 = 30;

/// Fills in the page. Every text is escaped, and none stands inside the script.
fn append_page(answer: &Answer<'_>, tries_again: bool, request_id: &str, out: &mut Vec<u8>) {
    let retries = if tries_again { RETRIES_MAX } else { 0 };
    let mut rest = PAGE;
    while let Some((before, after)) = rest.split_once("{{") {
        out.extend_from_slice(before.as_bytes());
        let (name, after) = after.split_once("}}").expect("every name in the page is closed");
        match name {
            "status" => append_escaped(answer.status, out),
            "reason" => append_escaped(reason(answer.status), out),
            "detail" => append_escaped(answer.detail, out),
            "code" => append_escaped(answer.code, out),
            "request_id" => append_escaped(request_id, out),
            "retries" => append_escaped(retries, out),
            "seconds" => append_escaped(answer.retry_after.unwrap_or(RETRY_SECONDS).max(1), out),
            _ => unreachable!("the page names only what is filled in here"),
        }
        rest = after;
    }
    out.extend_from_slice(rest.as_bytes());
}

/// Whether waiting may help: the sandbox or the directory is away, or starting, or too much is going on.
fn is_retryable(answer: &Answer<'_>) -> bool {
    answer.retry_after.is_some() || matches!(answer.status, 409 | 502..=504)
}

fn append_escaped(value: impl Display, out: &mut Vec<u8>) {
    for byte in value.to_string().bytes() {
        match byte {
            b'&' => out.extend_from_slice(b"&amp;"),
            b'<' => out.extend_from_slice(b"&lt;"),
            b'>' => out.extend_from_slice(b"&gt;"),
            b'"' => out.extend_from_slice(b"&quot;"),
            b'\'' => out.extend_from_slice(b"&#39;"),
            _ => out.push(byte),
        }
    }
}

/// What some statuses have to name: RFC 9110 sections 15.5.2, 15.5.6 and 15.5.22, RFC 6455 section 4.4.
fn append_demands(status: u16, out: &mut Vec<u8>) {
    match status {
        401 => append_line("WWW-Authenticate", "Bearer", out),
        405 => append_line("Allow", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS", out),
        426 => {
            append_line("Upgrade", "websocket", out);
            append_line("Sec-WebSocket-Version", WEBSOCKET_VERSION, out);
        }
        _ => {}
    }
}

fn start(status: u16, out: &mut Vec<u8>) {
    write!(out, "HTTP/1.1 {status} {}\r\n", reason(status)).expect("a Vec takes every byte");
}

/// The fields that every answer ends with. `keep-alive` is said aloud for HTTP/1.0.
fn append_common(close: bool, upgrade: bool, request_id: &str, out: &mut Vec<u8>) {
    append_line("Cache-Control", "no-store", out);
    append_line("X-Request-Id", request_id, out);
    let connection = match (upgrade, close) {
        (true, true) => "Upgrade, close",
        (true, false) => "Upgrade",
        (false, true) => "close",
        (false, false) => "keep-alive",
    };
    append_line("Connection", connection, out);
    out.extend_from_slice(b"\r\n");
}

fn append_line(name: &str, value: impl Display, out: &mut Vec<u8>) {
    write!(out, "{name}: {value}\r\n").expect("a Vec takes every byte");
}

/// The reason phrases of what the gateway answers, RFC 9110 section 15.
fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        413 => "Content Too Large",
        414 => "URI Too Long",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "Error",
    }
}

#[cfg(test)]
mod tests;
