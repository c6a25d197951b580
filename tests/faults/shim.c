/* A disk that fails on demand, for the tests of the real binary: loaded with LD_PRELOAD on Linux.
 *
 * Watches the files whose path begins with TRIAGE_FAULT_FILES: the database, its log and its index.
 * What is wrong with the disk now stands in the file TRIAGE_FAULT_CONTROL, a line:
 *
 *     number  space  piece  sync_good  sync_bad  sync_ms  suffix
 *
 * number     another one than before: what follows begins anew
 * space      bytes that may still be written before ENOSPC; -1: no end of it
 * piece      bytes that one write takes at most, as a signal or a full disk cuts it short; -1: all
 * sync_good  calls of fsync and fdatasync that succeed before those that do not
 * sync_bad   calls that fail with EIO after those; -1: all
 * sync_ms    how long each of them takes
 * suffix     only files that end so, as `-wal` or `.db`; `*`: all
 *
 * Each failure, and the first write that is cut short, is a line in the file TRIAGE_FAULT_CONTROL with
 * `.hits` behind it. What is mapped into
 * memory (the index of the log) cannot be watched; growing it can, because SQLite writes to it first.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static long number = -1, space = -1, piece = -1, sync_good = 0, sync_bad = 0, sync_ms = 0, cut = 0;
static char suffix[16] = "*";

/* Whether this is one of the files; its name without the folder in `name`. */
static int watched(int fd, char name[PATH_MAX]) {
    static const char *files = NULL;
    char link[64];
    if (files == NULL) files = getenv("TRIAGE_FAULT_FILES");
    if (files == NULL) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, name, PATH_MAX - 1);
    if (length <= 0) return 0;
    name[length] = '\0';
    if (strncmp(name, files, strlen(files)) != 0) return 0;
    memmove(name, basename(name), strlen(basename(name)) + 1);
    return 1;
}

/* Reads what is wrong now. With the mutex held. */
static void look(void) {
    char text[256];
    const char *path = getenv("TRIAGE_FAULT_CONTROL");
    int fd = path == NULL ? -1 : (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return;
    long length = syscall(SYS_read, fd, text, sizeof text - 1);
    syscall(SYS_close, fd);
    if (length <= 0) return;
    text[length] = '\0';
    long now[6];
    char files[sizeof suffix];
    int read = sscanf(text, "%ld %ld %ld %ld %ld %ld %15s", &now[0], &now[1], &now[2], &now[3], &now[4], &now[5], files);
    if (read != 7) abort();
    if (now[0] == number) return;
    number = now[0], space = now[1], piece = now[2], sync_good = now[3], sync_bad = now[4], sync_ms = now[5], cut = 0;
    strcpy(suffix, files);
}

/* Whether what is wrong now is wrong with this file. With the mutex held. */
static int meant(const char *name) {
    size_t length = strlen(name), end = strlen(suffix);
    return strcmp(suffix, "*") == 0 || (end <= length && strcmp(name + length - end, suffix) == 0);
}

/* Writes down that a call failed. */
static void hit(const char *call, const char *name) {
    char path[PATH_MAX + 8], line[PATH_MAX + 64];
    snprintf(path, sizeof path, "%s.hits", getenv("TRIAGE_FAULT_CONTROL"));
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0) abort();
    int length = snprintf(line, sizeof line, "%s %s\n", call, name);
    if (syscall(SYS_write, fd, line, length) != length) abort();
    syscall(SYS_close, fd);
}

/* How many bytes of a write are taken; -1 with errno set where none is. */
static ssize_t room(int fd, size_t wanted, const char *call) {
    char name[PATH_MAX];
    int error = errno;
    if (wanted == 0 || !watched(fd, name)) {
        errno = error;
        return (ssize_t)wanted;
    }
    pthread_mutex_lock(&mutex);
    look();
    ssize_t taken = (ssize_t)wanted;
    int applies = meant(name);
    if (applies && 0 < piece && piece < taken) {
        taken = piece;
        if (cut++ == 0) hit("short", name);
    }
    if (applies && 0 <= space && space < taken) taken = space;
    if (applies && 0 <= space) space -= taken;
    /* Cut short by its end: the call itself succeeds, as the kernel's does, and the next one fails. */
    if (taken == 0) hit(call, name);
    pthread_mutex_unlock(&mutex);
    errno = taken == 0 ? ENOSPC : error;
    return taken == 0 ? -1 : taken;
}

ssize_t write(int fd, const void *bytes, size_t length) {
    ssize_t taken = room(fd, length, "write");
    return taken < 0 ? -1 : syscall(SYS_write, fd, bytes, taken);
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t at) {
    ssize_t taken = room(fd, length, "write");
    return taken < 0 ? -1 : syscall(SYS_pwrite64, fd, bytes, taken, at);
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t at) {
    return pwrite64(fd, bytes, length, at);
}

/* One vector at a time: fewer bytes than asked for are a right answer. */
ssize_t writev(int fd, const struct iovec *parts, int count) {
    char name[PATH_MAX];
    int error = errno;
    if (count < 1 || !watched(fd, name)) {
        errno = error;
        return syscall(SYS_writev, fd, parts, count);
    }
    return write(fd, parts[0].iov_base, parts[0].iov_len);
}

static int grow(int fd, off64_t to, const char *call) {
    struct stat64 now;
    if (fstat64(fd, &now) != 0 || to <= now.st_size) return 0;
    return room(fd, (size_t)(to - now.st_size), call) < to - now.st_size ? -1 : 0;
}

int ftruncate64(int fd, off64_t length) {
    if (grow(fd, length, "ftruncate") != 0) return errno = ENOSPC, -1;
    return (int)syscall(SYS_ftruncate, fd, length);
}

int ftruncate(int fd, off_t length) { return ftruncate64(fd, length); }

int fallocate64(int fd, int mode, off64_t at, off64_t length) {
    if (grow(fd, at + length, "fallocate") != 0) return errno = ENOSPC, -1;
    return (int)syscall(SYS_fallocate, fd, mode, at, length);
}

int fallocate(int fd, int mode, off_t at, off_t length) { return fallocate64(fd, mode, at, length); }

int posix_fallocate64(int fd, off64_t at, off64_t length) { return fallocate64(fd, 0, at, length) == 0 ? 0 : errno; }

int posix_fallocate(int fd, off_t at, off_t length) { return posix_fallocate64(fd, at, length); }

/* Whether a flush fails, after the time that it takes. */
static int sync_fails(int fd, const char *call) {
    char name[PATH_MAX];
    int error = errno, fails = 0;
    if (watched(fd, name)) {
        pthread_mutex_lock(&mutex);
        look();
        long ms = meant(name) ? sync_ms : 0;
        struct timespec pause = {ms / 1000, ms % 1000 * 1000000};
        if (meant(name) && 0 < sync_good) {
            sync_good--;
        } else if (meant(name) && sync_bad != 0) {
            fails = 1;
            if (0 < sync_bad) sync_bad--;
            hit(call, name);
        }
        pthread_mutex_unlock(&mutex);
        /* Not within the mutex: other files are written meanwhile. */
        nanosleep(&pause, NULL);
    }
    errno = fails ? EIO : error;
    return fails;
}

int fsync(int fd) { return sync_fails(fd, "fsync") ? -1 : (int)syscall(SYS_fsync, fd); }

int fdatasync(int fd) { return sync_fails(fd, "fdatasync") ? -1 : (int)syscall(SYS_fdatasync, fd); }
