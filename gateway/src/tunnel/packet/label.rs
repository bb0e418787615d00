//! What is written down of a stream in the kernel, for the gateway that comes after this one.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use gateway_common::packet::{LABEL_WORDS, Label};

use crate::config::AddressBook;
use crate::route::SandboxId;
use crate::sys::repair::{self, now_ns};
use crate::tunnel::live::{Direction, StreamGuard};

/// Bytes of both names together.
const TEXT_BYTES: usize = 8 * LABEL_WORDS;

/// Writes everything down that `read` tells, but for the owner, whose the label is already.
pub(super) fn write(label: &Label<AtomicU64>, stream: &StreamGuard) {
    let set = |word: &AtomicU64, value: u64| word.store(value, Ordering::Relaxed);
    let now = now_ns();
    set(&label.id, stream.id());
    set(&label.opened_ns, now.saturating_sub(u64::try_from(stream.age().as_nanos()).unwrap_or(u64::MAX)));
    set(&label.active_ns, now);
    set(&label.active_bytes, 0);
    for direction in Direction::ALL {
        set(&label.carried[direction as usize], stream.bytes(direction));
        set(&label.counted[direction as usize], 0);
    }
    set(&label.carried_by_kernel, stream.kernel_bytes());
    // This time included.
    set(&label.promotions, u64::from(stream.promotions()) + 1);
    set(&label.book, book_number(stream.book()));
    write_text(label, stream.sandbox().as_str(), stream.request_id());
}

/// Zero is no book.
fn book_number(book: Option<AddressBook>) -> u64 {
    BOOKS.iter().position(|&known| known == book).map_or(0, |position| position as u64)
}

/// By their numbers in labels.
const BOOKS: [Option<AddressBook>; 3] = [None, Some(AddressBook::Dns), Some(AddressBook::Directory)];

/// Who knows the sandbox's address.
pub(super) fn book(label: &Label<AtomicU64>) -> Option<AddressBook> {
    let number = usize::try_from(label.book.load(Ordering::Relaxed)).ok()?;
    *BOOKS.get(number)?
}

/// A sandbox's name always fits, a request's is cut where it does not.
fn write_text(label: &Label<AtomicU64>, sandbox: &str, request: &str) {
    let mut text = [0; TEXT_BYTES];
    let mut at = 0;
    let mut lengths = 0;
    for (shift, name) in [(0, sandbox), (16, request)] {
        let name = &name.as_bytes()[..name.len().min(TEXT_BYTES - at)];
        text[at..at + name.len()].copy_from_slice(name);
        at += name.len();
        lengths |= name.len() << shift;
    }
    label.lengths.store(lengths as u64, Ordering::Relaxed);
    for (word, bytes) in label.text.iter().zip(text.chunks_exact(8)) {
        word.store(u64::from_ne_bytes(bytes.try_into().expect("eight bytes")), Ordering::Relaxed);
    }
}

/// The sandbox and the request; `None` where that is not what stands there.
pub(super) fn names(label: &Label<AtomicU64>) -> Option<(SandboxId, String)> {
    let mut text = [0; TEXT_BYTES];
    for (word, bytes) in label.text.iter().zip(text.chunks_exact_mut(8)) {
        bytes.copy_from_slice(&word.load(Ordering::Relaxed).to_ne_bytes());
    }
    let lengths = usize::try_from(label.lengths.load(Ordering::Relaxed)).ok()?;
    let (sandbox, request) = text.get(..(lengths & 0xffff) + (lengths >> 16))?.split_at_checked(lengths & 0xffff)?;
    let sandbox = str::from_utf8(sandbox).ok()?.parse().ok()?;
    Some((sandbox, String::from_utf8_lossy(request).into_owned()))
}

/// For how long it has been open.
pub(super) fn age(label: &Label<AtomicU64>) -> Duration {
    since(&label.opened_ns)
}

/// For how long no byte has come, where `bytes` have come by now.
pub(super) fn idle(label: &Label<AtomicU64>, bytes: u64) -> Duration {
    if label.active_bytes.swap(bytes, Ordering::Relaxed) != bytes {
        label.active_ns.store(now_ns(), Ordering::Relaxed);
    }
    since(&label.active_ns)
}

fn since(then_ns: &AtomicU64) -> Duration {
    repair::since(then_ns.load(Ordering::Relaxed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_names_are_read_back_and_a_long_request_is_cut() {
        let label = Label::<AtomicU64>::default();
        write_text(&label, "37579", "0badcafe00000001");
        assert_eq!(names(&label), Some(("37579".parse().unwrap(), "0badcafe00000001".to_owned())));
        let longest = format!("{}/{}", "n".repeat(63), "m".repeat(63));
        write_text(&label, &longest, "a request");
        assert_eq!(names(&label), Some((longest.parse().unwrap(), "a".to_owned())));
    }

    #[test]
    fn what_nobody_wrote_is_no_label() {
        let label = Label::<AtomicU64>::default();
        assert_eq!(names(&label), None);
        label.lengths.store(u64::MAX, Ordering::Relaxed);
        assert_eq!(names(&label), None);
        label.lengths.store(129, Ordering::Relaxed);
        assert_eq!(names(&label), None);
    }

    #[test]
    fn silence_begins_with_the_last_byte() {
        let label = Label::<AtomicU64>::default();
        label.active_ns.store(now_ns() - 5_000_000_000, Ordering::Relaxed);
        assert!(idle(&label, 0) >= Duration::from_secs(5));
        assert!(idle(&label, 1) < Duration::from_secs(1));
    }
}
