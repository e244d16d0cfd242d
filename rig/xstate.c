/*
 * Loaded before libc into linux.uml (LD_PRELOAD), and only there.
 *
 * User-Mode Linux 6.1 saves a task's vector registers in a buffer of 2696 bytes, enough for AVX-512. A host
 * with larger state (AMX: 11008 bytes) lets it read that part but refuses to set it (EFAULT), and the guest
 * panics before its first process runs. So every exchange of the extended state is made here with the whole
 * state: what the guest kernel knows is laid over what the host has, and the rest stays as it was.
 *
 * linux.uml makes these calls from one thread, so one static buffer is enough.
 */
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <linux/ptrace.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static unsigned char whole[65536];

static long trace(long request, pid_t pid, void *addr, void *data)
{
	return syscall(SYS_ptrace, request, pid, addr, data);
}

static long exchange(long request, pid_t pid, void *addr, struct iovec *asked)
{
	struct iovec full = { whole, sizeof whole };
	size_t part;

	if (trace(PTRACE_GETREGSET, pid, addr, &full) != 0)
		return -1;
	part = asked->iov_len < full.iov_len ? asked->iov_len : full.iov_len;
	if (request == PTRACE_GETREGSET) {
		memcpy(asked->iov_base, whole, part);
		asked->iov_len = part;
		return 0;
	}
	memcpy(whole, asked->iov_base, part);
	return trace(PTRACE_SETREGSET, pid, addr, &full);
}

long ptrace(long request, pid_t pid, void *addr, void *data)
{
	long word = 0;

	switch (request) {
	case PTRACE_GETREGSET:
	case PTRACE_SETREGSET:
		if ((unsigned long)addr == NT_X86_XSTATE)
			return exchange(request, pid, addr, data);
		return trace(request, pid, addr, data);
	case PTRACE_PEEKTEXT:
	case PTRACE_PEEKDATA:
	case PTRACE_PEEKUSR:
		/* The system call stores the word; libc returns it and tells errors by errno. */
		if (trace(request, pid, addr, &word) != 0)
			return -1;
		errno = 0;
		return word;
	default:
		return trace(request, pid, addr, data);
	}
}
