//! What the kernel asks of the file system, answered.
//!
//! What must hold:
//! - No call waits: what needs a disk is handed to [`Carry`](crate::carry::Carry) with its reply, which answers EIO if it is dropped.
//! - The directory and the files' lengths are not changed by users: commands do that.
//! - A file cannot be truncated, not even to nothing by O_TRUNC: a program that believes it did (cp) would leave out the
//!   zeros of a sparse file, and the old bytes would show through.

use crate::carry::Write;
use crate::error::errno;
use crate::served::{BLOCK, Served, Zeroes, answer, is_durable};
use crate::steps::Content;
use crate::volumes::{Entry, Volumes};
use foldback_units::Bytes;
use fuser::{
    AccessFlags, BsdFileFlags, Errno, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    InitFlags, KernelConfig, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyLseek, ReplyOpen, ReplyStatfs, ReplyWrite, Request,
    TimeOrNow, WriteFlags,
};
use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// The most bytes of one read or write: the kernel's own bound where it is not raised (256 pages).
const MAX_WRITE: u32 = 1 << 20;

/// How many requests of asynchronous I/O the kernel gives at once: several loop devices' worth (each has 128). Writes that
/// wait for room in the store of one volume's snapshot must not keep the requests of the VG's other volumes away.
const MAX_BACKGROUND: u16 = 1024;

/// From how many on it holds its writers back.
const CONGESTED: u16 = 768;

/// How long the kernel may believe a name or a length: not at all, since volumes are renamed and extended meanwhile.
const TTL: Duration = Duration::ZERO;

/// The longest name of an LV is 127 bytes; names of files may be longer.
const NAME_MAX: u32 = 255;

impl Filesystem for Served {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> io::Result<()> {
        config.set_max_write(MAX_WRITE).map_err(|most| io::Error::other(format!("max_write {most}")))?;
        config.set_max_background(MAX_BACKGROUND).map_err(|_| io::Error::other("max_background"))?;
        config.set_congestion_threshold(CONGESTED).map_err(|_| io::Error::other("congestion"))?;
        // ASYNC_DIO: a loop device has one request under way without it. Old kernels do without both.
        for wish in [InitFlags::FUSE_ASYNC_DIO, InitFlags::FUSE_PARALLEL_DIROPS] {
            if config.capabilities().contains(wish) {
                config.add_capabilities(wish).map_err(|_| io::Error::other("capabilities"))?;
            }
        }
        Ok(())
    }

    fn lookup(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let entry = name.to_str().filter(|_| parent == INodeNo::ROOT);
        let Some(name) = entry else { return reply.error(Errno::ENOENT) };
        match self.carry.ask(|volumes| volumes.find(name)) {
            Some(Some(Entry { id, shape, .. })) => reply.entry(&TTL, &self.file(id, shape), Generation(0)),
            Some(None) => reply.error(Errno::ENOENT),
            None => reply.error(Errno::EIO),
        }
    }

    fn forget(&self, _request: &Request, _inode: INodeNo, _lookups: u64) {}

    fn getattr(&self, _request: &Request, inode: INodeNo, _handle: Option<FileHandle>, reply: ReplyAttr) {
        match self.found(inode) {
            Ok(attributes) => reply.attr(&TTL, &attributes),
            Err(error) => reply.error(error),
        }
    }

    fn setattr(
        &self,
        _request: &Request,
        inode: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _handle: Option<FileHandle>,
        _created: Option<SystemTime>,
        _changed: Option<SystemTime>,
        _backed_up: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        match self.found(inode) {
            Ok(attributes) => {
                let resized = size.is_some_and(|size| size != attributes.size);
                if resized || mode.is_some() || uid.is_some() || gid.is_some() {
                    return reply.error(Errno::EPERM);
                }
                // Times are not kept, and tools that set them (cp -p, touch) need not fail.
                reply.attr(&TTL, &attributes);
            }
            Err(error) => reply.error(error),
        }
    }

    fn open(&self, request: &Request, inode: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        match self.opening(request, inode, flags) {
            Ok(handle) => {
                reply.opened(handle, FopenFlags::FOPEN_DIRECT_IO | FopenFlags::FOPEN_PARALLEL_DIRECT_WRITES);
            }
            Err(error) => reply.error(error),
        }
    }

    fn read(
        &self,
        _request: &Request,
        inode: INodeNo,
        _handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let (file, shape) = match self.shape(inode) {
            Ok(found) => found,
            Err(error) => return reply.error(error),
        };
        match Self::within(shape, offset, size.into()).filter(|len| !len.is_zero()) {
            None => reply.data(&[]),
            Some(len) => self.carry.read(file, Bytes(offset), len, move |outcome| match outcome {
                Ok(bytes) => reply.data(&bytes),
                Err(error) => reply.error(errno(error)),
            }),
        }
    }

    fn write(
        &self,
        _request: &Request,
        inode: INodeNo,
        handle: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let (file, shape) = match self.writable(inode) {
            Ok(found) => found,
            Err(error) => return reply.error(error),
        };
        let len = u64::try_from(data.len()).ok().and_then(|len| Self::within(shape, offset, len));
        // As with a block device: a write over the end is short, one behind it fails.
        let inside = len.and_then(|len| data.get(..len.to_usize()?));
        let Some(bytes) = inside else { return reply.error(Errno::ENOSPC) };
        let Ok(written) = u32::try_from(bytes.len()) else { return reply.error(Errno::EINVAL) };
        let durable = is_durable(flags);
        let end = self.after_write(handle, durable, move |outcome| match outcome {
            Ok(()) => reply.written(written),
            Err(error) => reply.error(error),
        });
        let content = Content::Bytes(bytes.to_vec());
        self.carry.write(file, Write { at: Bytes(offset), content, durable }, end);
    }

    fn flush(
        &self,
        _request: &Request,
        inode: INodeNo,
        handle: FileHandle,
        _owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        if self.handles.flushes(handle.0) {
            self.flush_through(inode, handle, reply);
        } else {
            reply.ok();
        }
    }

    fn fsync(&self, _request: &Request, inode: INodeNo, handle: FileHandle, _data: bool, reply: ReplyEmpty) {
        self.flush_through(inode, handle, reply);
    }

    fn release(
        &self,
        _request: &Request,
        _inode: INodeNo,
        handle: FileHandle,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        if let Some(handle) = self.handles.release(handle.0) {
            let _told: Option<()> = self.carry.ask(|volumes| volumes.released(handle.file, handle.by));
        }
        reply.ok();
    }

    fn fallocate(
        &self,
        _request: &Request,
        inode: INodeNo,
        handle: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        match self.zeroes(inode, handle, offset, length, mode) {
            Ok(Zeroes { file, write: Some(write) }) => {
                let end = self.after_write(handle, write.durable, move |outcome| answer(reply, outcome));
                self.carry.write(file, write, end);
            }
            Ok(Zeroes { write: None, .. }) => reply.ok(),
            Err(error) => reply.error(error),
        }
    }

    fn lseek(
        &self,
        _request: &Request,
        inode: INodeNo,
        _handle: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        let end = match self.shape(inode) {
            Ok((_, shape)) => i64::try_from(shape.bytes()).unwrap_or(i64::MAX),
            Err(error) => return reply.error(error),
        };
        // All of it is data; the one hole is behind the end.
        match whence {
            libc::SEEK_DATA | libc::SEEK_HOLE if !(0..end).contains(&offset) => reply.error(Errno::ENXIO),
            libc::SEEK_DATA => reply.offset(offset),
            libc::SEEK_HOLE => reply.offset(end),
            _ => reply.error(Errno::EINVAL),
        }
    }

    fn readdir(
        &self,
        _request: &Request,
        inode: INodeNo,
        _handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        if inode != INodeNo::ROOT {
            return reply.error(Errno::ENOTDIR);
        }
        // A place in the directory is an inode plus one, so that it stays right when files come and go meanwhile.
        let mut entries: Vec<(u64, u64, FileType, String)> =
            vec![(1, 1, FileType::Directory, ".".to_owned()), (2, 1, FileType::Directory, "..".to_owned())];
        let Some(files) = self.carry.ask(Volumes::list) else { return reply.error(Errno::EIO) };
        let file = |it: Entry| (it.id.get().saturating_add(1), it.id.get(), FileType::RegularFile, it.name);
        entries.extend(files.into_iter().map(file));
        entries.sort_unstable_by_key(|entry| entry.0);
        for (place, inode, kind, name) in entries.into_iter().filter(|entry| entry.0 > offset) {
            if reply.add(INodeNo(inode), place, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn fsyncdir(
        &self,
        _request: &Request,
        _inode: INodeNo,
        _handle: FileHandle,
        _data: bool,
        reply: ReplyEmpty,
    ) {
        reply.ok();
    }

    fn statfs(&self, _request: &Request, _inode: INodeNo, reply: ReplyStatfs) {
        // As other file systems without space of their own: one that has it all used would alarm its watchers. The block
        // size is what a loop device takes for the unit of zeros.
        reply.statfs(0, 0, 0, 0, 0, BLOCK, NAME_MAX, BLOCK);
    }

    fn access(&self, _request: &Request, inode: INodeNo, mask: AccessFlags, reply: ReplyEmpty) {
        let allowed = self.found(inode).and_then(|found| {
            let writes = mask.contains(AccessFlags::W_OK);
            if writes && found.kind == FileType::RegularFile && found.perm & 0o200 == 0 {
                return Err(Errno::EROFS);
            }
            let runs = mask.contains(AccessFlags::X_OK);
            if runs && found.kind == FileType::RegularFile { Err(Errno::EACCES) } else { Ok(()) }
        });
        answer(reply, allowed);
    }

    fn create(
        &self,
        _request: &Request,
        _parent: INodeNo,
        _name: &OsStr,
        _mode: u32,
        _umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        reply.error(Errno::EPERM);
    }

    fn mknod(
        &self,
        _request: &Request,
        _parent: INodeNo,
        _name: &OsStr,
        _mode: u32,
        _umask: u32,
        _device: u32,
        reply: ReplyEntry,
    ) {
        reply.error(Errno::EPERM);
    }

    fn mkdir(
        &self,
        _request: &Request,
        _parent: INodeNo,
        _name: &OsStr,
        _mode: u32,
        _umask: u32,
        reply: ReplyEntry,
    ) {
        reply.error(Errno::EPERM);
    }

    fn symlink(
        &self,
        _request: &Request,
        _parent: INodeNo,
        _name: &OsStr,
        _target: &Path,
        reply: ReplyEntry,
    ) {
        reply.error(Errno::EPERM);
    }

    fn unlink(&self, _request: &Request, _parent: INodeNo, _name: &OsStr, reply: ReplyEmpty) {
        reply.error(Errno::EPERM);
    }

    fn rmdir(&self, _request: &Request, _parent: INodeNo, _name: &OsStr, reply: ReplyEmpty) {
        reply.error(Errno::EPERM);
    }

    fn rename(
        &self,
        _request: &Request,
        _parent: INodeNo,
        _name: &OsStr,
        _new_parent: INodeNo,
        _new_name: &OsStr,
        _flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        reply.error(Errno::EPERM);
    }
}
