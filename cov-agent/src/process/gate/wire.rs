//! What the gate and the agent say to each other: datagrams of a fixed size over a socket pair.

use super::{Key, Remember};
use rustix::io::{self, Errno};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The length of every datagram in bytes.
const LENGTH: usize = 8 * Message::WORDS;

/// Room for one descriptor beside a datagram.
const ONE_FD: usize = rustix::cmsg_space!(ScmRights(1));

/// One datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Message {
    /// Gate to agent: all file systems that could be are marked.
    Ready,
    /// Gate to agent: it cannot work; the `errno`.
    Failed { errno: i32 },
    /// Gate to agent: `process` waits in an exec of the file that comes with this datagram, since [`now`](super::sys::now) was
    /// `at`.
    Held { id: u32, process: u32, key: Key, at: u64 },
    /// Gate to agent: `process` waits in open(2) of the watched file that comes with this datagram, likewise.
    Opened { id: u32, process: u32, key: Key, at: u64 },
    /// Gate to agent: how many execs were let go unanswered, and how many file systems are unmarked.
    Losses { unanswered: u32, unmarked: u32 },
    /// Gate to agent: execs are held from now on, and all is watched that was to be until then.
    Begun,
    /// Agent to gate: let the exec go.
    Answer { id: u32, remember: Remember, key: Key },
    /// Agent to gate: ask again about this file.
    Forget { key: Key },
    /// Agent to gate: hold execs from now on.
    Begin,
    /// Agent to gate: hold whoever opens the file that comes with this datagram.
    Watch,
    /// Agent to gate: hold them no longer.
    Unwatch,
    /// Agent to gate: hold execs on the file systems that this process sees too, as long as it lives.
    Mounts { process: u32 },
}

impl Message {
    /// Its length in words of 64 bits.
    const WORDS: usize = 3 + Key::WORDS;

    fn words(self) -> [u64; Self::WORDS] {
        let (kind, first, second, key, at) = match self {
            Self::Ready => (1, 0, 0, Key::default(), 0),
            Self::Failed { errno } => (2, errno.unsigned_abs(), 0, Key::default(), 0),
            Self::Held { id, process, key, at } => (3, id, process, key, at),
            Self::Losses { unanswered, unmarked } => (4, unanswered, unmarked, Key::default(), 0),
            Self::Answer { id, remember, key } => (5, id, remember as u32, key, 0),
            Self::Forget { key } => (6, 0, 0, key, 0),
            Self::Begin => (7, 0, 0, Key::default(), 0),
            Self::Watch => (8, 0, 0, Key::default(), 0),
            Self::Unwatch => (9, 0, 0, Key::default(), 0),
            Self::Mounts { process } => (12, process, 0, Key::default(), 0),
            Self::Begun => (11, 0, 0, Key::default(), 0),
            Self::Opened { id, process, key, at } => (10, id, process, key, at),
        };
        let mut words = [0; Message::WORDS];
        words[0] = kind;
        words[1] = u64::from(first) << 32 | u64::from(second);
        words[2] = at;
        words[3..].copy_from_slice(&key.0);
        words
    }

    fn from_words(words: [u64; Self::WORDS]) -> Option<Self> {
        let [kind, numbers, at, key @ ..] = words;
        let key = Key(key);
        let first = u32::try_from(numbers >> 32).ok()?;
        let second = u32::try_from(numbers & u64::from(u32::MAX)).ok()?;
        Some(match kind {
            1 => Self::Ready,
            2 => Self::Failed { errno: i32::try_from(first).ok()? },
            3 => Self::Held { id: first, process: second, key, at },
            4 => Self::Losses { unanswered: first, unmarked: second },
            5 => Self::Answer { id: first, remember: Remember::from_number(second)?, key },
            6 => Self::Forget { key },
            7 => Self::Begin,
            8 => Self::Watch,
            9 => Self::Unwatch,
            11 => Self::Begun,
            12 => Self::Mounts { process: first },
            10 => Self::Opened { id: first, process: second, key, at },
            _ => return None,
        })
    }
}

/// Sends one datagram, never waiting for room, with a descriptor where there is one.
pub(super) fn send(socket: impl AsFd, message: Message, file: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let mut bytes = [0_u8; LENGTH];
    for (part, word) in bytes.as_chunks_mut().0.iter_mut().zip(message.words()) {
        *part = word.to_ne_bytes();
    }
    let mut space = [MaybeUninit::uninit(); ONE_FD];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = file.map(|file| [file]);
    if let Some(fds) = &fds {
        control.push(SendAncillaryMessage::ScmRights(fds));
    }
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    sendmsg(socket, &[IoSlice::new(&bytes)], &mut control, flags).map(|_| ())
}

/// Takes one datagram; `None` at the end of the conversation. `EAGAIN` where there is none and
/// `flags` say not to wait.
pub(super) fn receive(socket: impl AsFd, flags: RecvFlags) -> io::Result<Option<(Message, Option<OwnedFd>)>> {
    let mut bytes = [0_u8; LENGTH];
    let mut space = [MaybeUninit::uninit(); ONE_FD];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let got = recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut control, flags | RecvFlags::CMSG_CLOEXEC)?;
    if got.bytes == 0 {
        return Ok(None);
    }
    let file = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    let mut words = [0; Message::WORDS];
    for (word, part) in words.iter_mut().zip(bytes.as_chunks().0) {
        *word = u64::from_ne_bytes(*part);
    }
    let message = Message::from_words(words).ok_or(Errno::PROTO)?;
    Ok(Some((message, file)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
    use std::fs::File;
    use std::os::unix::fs::MetadataExt as _;

    #[test]
    fn every_message_arrives_as_it_was_sent() {
        let (a, b) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        let key = Key([1, u64::MAX, 3, 4, 5, 6]);
        for message in [
            Message::Ready,
            Message::Failed { errno: 13 },
            Message::Held { id: u32::MAX, process: 7, key, at: u64::MAX },
            Message::Losses { unanswered: 9, unmarked: u32::MAX },
            Message::Answer { id: 1, remember: Remember::No, key },
            Message::Answer { id: 1, remember: Remember::Yes, key },
            Message::Answer { id: 1, remember: Remember::AsLoader, key },
            Message::Begun,
            Message::Forget { key },
            Message::Watch,
            Message::Unwatch,
            Message::Mounts { process: 5 },
            Message::Opened { id: 3, process: 4, key, at: 1 },
        ] {
            send(&a, message, None).unwrap();
            let (got, file) = receive(&b, RecvFlags::empty()).unwrap().unwrap();
            assert_eq!(got, message);
            assert!(file.is_none());
        }
        drop(a);
        assert!(receive(&b, RecvFlags::empty()).unwrap().is_none());
    }

    #[test]
    fn a_descriptor_travels_along() {
        let (a, b) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        let sent = File::open("/proc/self/exe").unwrap();
        send(&a, Message::Ready, Some(sent.as_fd())).unwrap();
        let (_, file) = receive(&b, RecvFlags::empty()).unwrap().unwrap();
        let received = File::from(file.unwrap());
        assert_eq!(received.metadata().unwrap().ino(), sent.metadata().unwrap().ino());
    }

    #[test]
    fn a_full_socket_is_said_and_not_waited_for() {
        let (a, _b) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        let refused = (0..100_000).find_map(|_| send(&a, Message::Ready, None).err());
        assert_eq!(refused, Some(Errno::AGAIN));
    }
}
