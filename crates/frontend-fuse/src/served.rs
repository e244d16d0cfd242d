//! What the file system decides before anything is asked of a volume: which file, whether it may be, how much of it.
//!
//! What must hold:
//! - A file that is not served any more answers ENOENT, whatever is still open.
//! - A program that opens a file for writing can write it: else opening fails with EROFS.
//! - As with a block device, a read or write over the end is short, and a write behind it fails with ENOSPC.
//! - What was written through a handle and is not durable is flushed when the handle is closed; nothing else is.

use crate::carry::{Carry, End, Write};
use crate::error::errno;
use crate::handles::{Handles, Opener};
use crate::steps::Content;
use crate::volumes::{FileId, Shape};
use foldback_units::{Bytes, SECTOR};
use fuser::{Errno, FileAttr, FileHandle, FileType, INodeNo, OpenAccMode, OpenFlags, ReplyEmpty, Request};
use std::sync::Arc;
use std::time::SystemTime;

/// What files say about the unit in which they like to be used, and what the file system counts in.
pub(crate) const BLOCK: u32 = 4096;

/// Zeros may be asked for in these two ways; KEEP_SIZE makes no difference inside a file.
const ZEROES: i32 = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_ZERO_RANGE;

/// The file system of one VG.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) carry: Arc<Carry>,
    pub(crate) handles: Arc<Handles>,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) since: SystemTime,
}

impl Served {
    pub(crate) fn attributes(&self, inode: INodeNo, kind: FileType, perm: u16, size: u64) -> FileAttr {
        FileAttr {
            ino: inode,
            size,
            blocks: size / SECTOR,
            atime: self.since,
            mtime: self.since,
            ctime: self.since,
            crtime: self.since,
            kind,
            perm,
            nlink: 1,
            uid: self.uid,
            gid: self.gid,
            rdev: 0,
            blksize: BLOCK,
            flags: 0,
        }
    }

    pub(crate) fn directory(&self) -> FileAttr {
        self.attributes(INodeNo::ROOT, FileType::Directory, 0o700, 0)
    }

    pub(crate) fn file(&self, id: FileId, shape: Shape) -> FileAttr {
        let perm = if shape.read_only { 0o400 } else { 0o600 };
        self.attributes(INodeNo(id.get()), FileType::RegularFile, perm, shape.bytes())
    }

    pub(crate) fn found(&self, inode: INodeNo) -> Result<FileAttr, Errno> {
        if inode == INodeNo::ROOT {
            return Ok(self.directory());
        }
        let (id, shape) = self.shape(inode)?;
        Ok(self.file(id, shape))
    }

    /// A file by its inode: ENOENT where it is not served, or not any more.
    pub(crate) fn shape(&self, inode: INodeNo) -> Result<(FileId, Shape), Errno> {
        if inode == INodeNo::ROOT {
            return Err(Errno::EISDIR);
        }
        let id = FileId::new(inode.0).ok_or(Errno::ENOENT)?;
        let shape = self.carry.ask(|volumes| volumes.shape(id)).ok_or(Errno::EIO)?;
        Ok((id, shape.ok_or(Errno::ENOENT)?))
    }

    /// The same, to be changed.
    pub(crate) fn writable(&self, inode: INodeNo) -> Result<(FileId, Shape), Errno> {
        let (id, shape) = self.shape(inode)?;
        if shape.read_only { Err(Errno::EROFS) } else { Ok((id, shape)) }
    }

    pub(crate) fn opening(
        &self,
        request: &Request,
        inode: INodeNo,
        flags: OpenFlags,
    ) -> Result<FileHandle, Errno> {
        let (id, shape) = self.shape(inode)?;
        if shape.read_only && flags.acc_mode() != OpenAccMode::O_RDONLY {
            return Err(Errno::EROFS);
        }
        let by = Opener::of(request.pid());
        let number = self.handles.open(id, by, is_durable(flags)).ok_or(Errno::EBUSY)?;
        let _told: Option<()> = self.carry.ask(|volumes| volumes.opened(id, by));
        Ok(FileHandle(number))
    }

    /// The part of a read or write that lies in the file.
    pub(crate) fn within(shape: Shape, at: u64, len: u64) -> Option<Bytes> {
        shape.bytes().checked_sub(at).filter(|left| *left > 0).map(|left| Bytes(len.min(left)))
    }

    pub(crate) fn zeroes(
        &self,
        inode: INodeNo,
        handle: FileHandle,
        at: u64,
        len: u64,
        mode: i32,
    ) -> Result<Zeroes, Errno> {
        let (file, shape) = self.writable(inode)?;
        let end = at.checked_add(len).filter(|_| len > 0).ok_or(Errno::EINVAL)?;
        if mode & !(ZEROES | libc::FALLOC_FL_KEEP_SIZE) != 0 {
            return Err(Errno::EOPNOTSUPP);
        }
        let keeps = mode & libc::FALLOC_FL_KEEP_SIZE != 0;
        if end > shape.bytes() && !keeps {
            return Err(Errno::ENOSPC);
        }
        let inside = Self::within(shape, at, len).filter(|_| mode & ZEROES != 0);
        let durable = self.handles.get(handle.0).is_some_and(|handle| handle.durable);
        let write = inside.map(|len| Write { at: Bytes(at), content: Content::Zeros(len), durable });
        Ok(Zeroes { file, write })
    }

    /// Hears the end of a write through a handle: what is not durable is flushed when the handle is closed.
    pub(crate) fn after_write(
        &self,
        handle: FileHandle,
        durable: bool,
        reply: impl FnOnce(Result<(), Errno>) + Send + 'static,
    ) -> End {
        let handles = Arc::clone(&self.handles);
        Box::new(move |outcome| {
            if outcome.is_ok() && !durable {
                handles.wrote(handle.0);
            }
            reply(outcome.map_err(errno));
        })
    }

    pub(crate) fn flush_through(&self, inode: INodeNo, handle: FileHandle, reply: ReplyEmpty) {
        let file = match self.shape(inode) {
            Ok((file, _)) => file,
            Err(error) => return reply.error(error),
        };
        self.handles.flushes(handle.0);
        let handles = Arc::clone(&self.handles);
        let end: End = Box::new(move |outcome| match outcome {
            Ok(()) => reply.ok(),
            Err(error) => {
                handles.wrote(handle.0);
                reply.error(errno(error));
            }
        });
        self.carry.flush(file, end);
    }
}

/// What a fallocate comes to.
pub(crate) struct Zeroes {
    pub(crate) file: FileId,
    /// Nothing for space that is there anyway.
    pub(crate) write: Option<Write>,
}

/// O_SYNC contains O_DSYNC; the kernel adds it for single writes with RWF_DSYNC.
pub(crate) fn is_durable(flags: OpenFlags) -> bool {
    flags.0 & libc::O_DSYNC != 0
}

pub(crate) fn answer(reply: ReplyEmpty, outcome: Result<(), Errno>) {
    match outcome {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(error),
    }
}
