//! What the server and process 1 of a sandbox say to each other: a length, JSON, and descriptors beside the first byte.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{File, Mount, Root, Scratch, User};

/// Longest message believed; an environment is far smaller.
const LONGEST: usize = 16 * 1024 * 1024;

/// What the server asks of process 1.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// Build the root. Descriptors: the file that thaws the sandbox, then the files that move a process into its cgroups.
    Setup(Setup),
    /// Start a program. Descriptors: standard input, output, error, then the program's 3, 4, ...
    Exec(Exec),
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Setup {
    pub root: Root,
    pub mounts: Vec<Mount>,
    pub scratch: Vec<Scratch>,
    pub files: Vec<File>,
    pub hostname: Option<String>,
    pub names: Vec<String>,
    pub user: User,
    pub own_network: bool,
    /// What to write into the first descriptor to thaw the sandbox.
    pub thaw: String,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Exec {
    pub argv: Vec<String>,
    pub env: Vec<(String, String)>,
    pub workdir: PathBuf,
    pub user: User,
    pub open_files: Option<u32>,
}

/// What process 1 answers or reports.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    Ready,
    Failed {
        step: String,
        errno: i32,
    },
    Started {
        pid: i32,
    },
    /// A process ended; the status is the one of wait(2).
    Exited {
        pid: i32,
        status: i32,
    },
}

pub(crate) fn encode(message: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; 4];
    serde_json::to_writer(&mut bytes, message)?;
    let length = u32::try_from(bytes.len() - 4).map_err(io::Error::other)?;
    bytes[..4].copy_from_slice(&length.to_le_bytes());
    Ok(bytes)
}

pub(crate) fn length(header: [u8; 4]) -> io::Result<usize> {
    let length = u32::from_le_bytes(header) as usize;
    if length > LONGEST {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "message too long",
        ));
    }
    Ok(length)
}

/// Sends a message with descriptors over a blocking stream.
pub(crate) fn send(stream: &UnixStream, message: &impl Serialize, fds: &[RawFd]) -> io::Result<()> {
    let bytes = encode(message)?;
    let slices = [IoSlice::new(&bytes)];
    let control = [ControlMessage::ScmRights(fds)];
    let control = if fds.is_empty() {
        &control[..0]
    } else {
        &control[..]
    };
    let sent = sendmsg::<()>(
        stream.as_raw_fd(),
        &slices,
        control,
        MsgFlags::MSG_NOSIGNAL,
        None,
    )?;
    let mut stream = stream;
    stream.write_all(&bytes[sent..])
}

/// Receives a message with its descriptors, which close on exec; `None` when the other side is gone.
pub(crate) fn receive<T: DeserializeOwned>(
    stream: &UnixStream,
) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    let mut header = [0; 4];
    let mut fds = Vec::new();
    let mut space = nix::cmsg_space!([RawFd; 64]);
    let count = loop {
        let mut slices = [IoSliceMut::new(&mut header)];
        match recvmsg::<()>(
            stream.as_raw_fd(),
            &mut slices,
            Some(&mut space),
            MsgFlags::MSG_CMSG_CLOEXEC,
        ) {
            Ok(message) => {
                for control in message.cmsgs()? {
                    if let ControlMessageOwned::ScmRights(received) = control {
                        // SAFETY: the kernel has just made these descriptors for us; nobody else knows them.
                        fds.extend(
                            received
                                .into_iter()
                                .map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }),
                        );
                    }
                }
                break message.bytes;
            }
            Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    };
    if count == 0 {
        return Ok(None);
    }
    let mut reader = stream;
    reader.read_exact(&mut header[count..])?;
    let mut body = vec![0; length(header)?];
    reader.read_exact(&mut body)?;
    Ok(Some((serde_json::from_slice(&body)?, fds)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_arrives_with_its_descriptors() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (read, mut write) = io::pipe().unwrap();
        send(&ours, &Reply::Started { pid: 7 }, &[read.as_raw_fd()]).unwrap();
        let (reply, fds) = receive::<Reply>(&theirs).unwrap().unwrap();
        assert!(matches!(reply, Reply::Started { pid: 7 }));
        write.write_all(b"x").unwrap();
        let mut byte = [0];
        std::fs::File::from(fds.into_iter().next().unwrap())
            .read_exact(&mut byte)
            .unwrap();
        assert_eq!(&byte, b"x");
    }

    #[test]
    fn a_length_beyond_reason_is_refused() {
        assert!(length(u32::MAX.to_le_bytes()).is_err());
    }
}
