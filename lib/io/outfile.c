/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* An output file that appears whole or not at all; see outfile.h. */

#include "io/outfile.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <limits.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "util/bits.h"
#include "util/cleanup.h"

#define NAME_TRIES 100
#define BLOCK_SIZE_DEFAULT UINT64_C(4096)
#define BLOCK_SIZE_MAX (1 * MIB)

struct outfile {
    int fd;
    char *path;      /* final name, symbolic links resolved */
    bool replaces;   /* something stands at path, whose mode and owner are kept */
    mode_t mode;
    uid_t owner;
    gid_t group;
    char *temporary; /* name until then */
};

/* Judges what stands at path already. */
static int verify_target(const char *path, const struct stat *st, bool replace,
                         const char *source, const struct file_id *forbidden, size_t
                         forbidden_count, struct vhdx_error *err)
{
    struct file_id id = { st->st_dev, st->st_ino };

    for (size_t i = 0; i < forbidden_count; i++)
        if (file_id_equal(&id, &forbidden[i]))
            return fail(err, VHDX_E_INVALID, VHDX_OFFSET_NONE,
                        i == 0 ? "%s: output is %s itself" : "%s: output is a parent of %s", path,
                        source);
    if (!S_ISREG(st->st_mode))
        return fail(err, VHDX_E_INVALID, VHDX_OFFSET_NONE,
                    "%s: output exists and is not a regular file", path);
    if (st->st_size > 0 && !replace)
        return fail(err, VHDX_E_INVALID, VHDX_OFFSET_NONE,
                    "%s: output exists and is not empty", path);
    return 0;
}

/* Finds the final name, with symbolic links resolved, so that rename() replaces the target. */
static int resolve_target(struct outfile *o, const char *path, bool replace,
                          const char *source, const struct file_id *forbidden, size_t
                          forbidden_count, struct vhdx_error *err)
{
    struct stat st;

    int found = stat(path, &st);
    if (found < 0 && errno != ENOENT)
        return fail_errno(err, errno, VHDX_OFFSET_NONE, "%s", path);
    if (found < 0) {
        if (lstat(path, &st) == 0)
            return fail(err, VHDX_E_INVALID, VHDX_OFFSET_NONE,
                        "%s: output is a symbolic link to nothing", path);
        o->path = strdup(path);
        return o->path ? 0 : fail_nomem(err);
    }
    int r = verify_target(path, &st, replace, source, forbidden, forbidden_count, err);
    if (r < 0)
        return r;
    o->replaces = true;
    o->mode = st.st_mode & 07777;
    o->owner = st.st_uid;
    o->group = st.st_gid;
    o->path = realpath(path, NULL);
    return o->path ? 0 : fail_errno(err, errno, VHDX_OFFSET_NONE, "%s", path);
}

/* "DIR/.BASE.0123abcd.part" */
static int temporary_name(const char *path, char **ret, struct vhdx_error *err)
{
    CLEANUP_FREE char *for_dir = strdup(path), *for_base = strdup(path);
    uint32_t random;

    if (!for_dir || !for_base)
        return fail_nomem(err);
    if (getrandom(&random, sizeof random, 0) != sizeof random)
        return fail_errno(err, errno, VHDX_OFFSET_NONE, "getrandom");
    /* The base is cut so that the whole name stays within NAME_MAX. */
    if (asprintf(ret, "%s/.%.200s.%08" PRIx32 ".part", dirname(for_dir), basename(for_base),
                 random) < 0)
        return fail_nomem(err);
    return 0;
}

static int create_temporary(struct outfile *o, struct vhdx_error *err)
{
    for (int i = 0; i < NAME_TRIES; i++) {
        int r = temporary_name(o->path, &o->temporary, err);
        if (r < 0)
            return r;
        o->fd = open(o->temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC,
                     o->replaces ? 0600 : 0666);
        if (o->fd >= 0)
            return 0;
        int errnum = errno;
        free(steal_ptr(o->temporary));
        if (errnum != EEXIST)
            return fail_errno(err, errnum, VHDX_OFFSET_NONE, "%s: creating", o->path);
    }
    return fail_errno(err, EEXIST, VHDX_OFFSET_NONE, "%s: creating", o->path);
}

int outfile_open(const char *path, uint64_t size, bool replace, const char *source,
                 const struct file_id *forbidden, size_t forbidden_count, struct outfile **ret,
                 struct vhdx_error *err)
{
    struct outfile *o = calloc(1, sizeof *o);

    if (!o)
        return fail_nomem(err);
    o->fd = -1;
    int r = resolve_target(o, path, replace, source, forbidden, forbidden_count, err);
    if (r == 0)
        r = create_temporary(o, err);
    if (r == 0)
        r = outfile_truncate(o, size, err);
    if (r < 0) {
        outfile_discard(o);
        return r;
    }
    *ret = o;
    return 0;
}

/* Where a file system knows no unnamed files, one whose name is taken away at once. */
static int open_unnamed(const char *dir, struct vhdx_error *err)
{
    CLEANUP_FREE char *name = NULL;
    int fd = open(dir, O_RDWR | O_TMPFILE | O_EXCL | O_CLOEXEC, 0600);

    if (fd >= 0)
        return fd;
    if (asprintf(&name, "%s/vhdx.XXXXXX", dir) < 0)
        return fail_nomem(err);
    fd = mkostemp(name, O_CLOEXEC);
    if (fd < 0)
        return fail_errno(err, errno, VHDX_OFFSET_NONE, "%s: creating an unnamed file", dir);
    unlink(name);
    return fd;
}

int outfile_open_unnamed(struct outfile **ret, struct vhdx_error *err)
{
    const char *dir = secure_getenv("TMPDIR");
    struct outfile *o = calloc(1, sizeof *o);

    if (!dir || !*dir)
        dir = "/var/tmp";
    if (!o)
        return fail_nomem(err);
    o->fd = -1;
    if (asprintf(&o->path, "unnamed file in %s", dir) < 0) {
        o->path = NULL;
        outfile_discard(o);
        return fail_nomem(err);
    }
    int r = open_unnamed(dir, err);
    if (r < 0) {
        outfile_discard(o);
        return r;
    }
    o->fd = r;
    *ret = o;
    return 0;
}

int outfile_io(struct outfile *o, struct vhdx_io *ret, struct vhdx_error *err)
{
    int fd = fcntl(o->fd, F_DUPFD_CLOEXEC, 0);

    if (fd < 0)
        return fail_errno(err, errno, VHDX_OFFSET_NONE, "%s: duplicating the descriptor", o->path);
    return file_adopt(fd, true, ret, err);
}

int outfile_allocate(struct outfile *o, uint64_t offset, uint64_t len, struct vhdx_error *err)
{
    int r;

    do
        r = posix_fallocate(o->fd, (off_t)offset, (off_t)len);
    while (r == EINTR);
    if (r != 0)
        return fail_errno(err, r, VHDX_OFFSET_NONE, "%s: setting aside %" PRIu64 " bytes", o->path,
                          len);
    return 0;
}

int outfile_pwrite(struct outfile *o, const void *buf, size_t len, uint64_t offset,
                   struct vhdx_error *err)
{
    const char *p = buf;

    while (len > 0) {
        ssize_t n = pwrite(o->fd, p, len, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail_errno(err, errno, offset, "%s: writing %zu bytes", o->path, len);
        p += n;
        offset += (size_t)n;
        len -= (size_t)n;
    }
    return 0;
}

int outfile_clone(struct outfile *o, const struct file_clone_range *range)
{
    int r;

    do
        r = ioctl(o->fd, FICLONERANGE, range);
    while (r < 0 && errno == EINTR);
    return r;
}

int outfile_copy_range(struct outfile *o, int fd, uint64_t from, size_t len, uint64_t offset,
                       size_t *ret_len, struct vhdx_error *err)
{
    off_t in = (off_t)from, out = (off_t)offset;
    ssize_t n;

    do
        n = copy_file_range(fd, &in, o->fd, &out, len, 0);
    while (n < 0 && errno == EINTR);
    *ret_len = n > 0 ? (size_t)n : 0;
    if (n < 0 && errno != EXDEV && errno != EINVAL && errno != EOPNOTSUPP && errno != ENOSYS &&
        errno != EIO)
        return fail_errno(err, errno, offset, "%s: writing %zu bytes", o->path, len);
    return 0;
}

uint64_t outfile_block_size(const struct outfile *o)
{
    struct statfs st;

    if (fstatfs(o->fd, &st) < 0 || st.f_bsize <= 0 || !is_pow2((uint64_t)st.f_bsize) ||
        (uint64_t)st.f_bsize > BLOCK_SIZE_MAX)
        return BLOCK_SIZE_DEFAULT;
    return (uint64_t)st.f_bsize;
}

bool outfile_is_remote(const struct outfile *o)
{
    static const uint32_t types[] = { 0x6969 /* NFS */, 0xFF534D42 /* CIFS */,
                                      0xFE534D42 /* SMB2 */, 0x00C36400 /* Ceph */ };
    struct statfs st;

    if (fstatfs(o->fd, &st) < 0)
        return false;
    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        if ((uint32_t)st.f_type == types[i])
            return true;
    return false;
}

int outfile_truncate(struct outfile *o, uint64_t size, struct vhdx_error *err)
{
    if (ftruncate(o->fd, (off_t)size) < 0)
        return fail_errno(err, errno, VHDX_OFFSET_NONE, "%s: setting the size to %" PRIu64,
                          o->path, size);
    return 0;
}

/* [offset, end) */
static int fill(struct outfile *o, off_t offset, off_t end, struct vhdx_error *err)
{
    static const char zeros[64 * KIB];
    int r = 0;

    for (size_t n; offset < end && r == 0; offset += (off_t)n) {
        n = (size_t)min_u64((uint64_t)(end - offset), sizeof zeros);
        r = outfile_pwrite(o, zeros, n, (uint64_t)offset, err);
    }
    return r;
}

int outfile_fill_holes(struct outfile *o, struct vhdx_error *err)
{
    off_t size = lseek(o->fd, 0, SEEK_END), hole = 0;
    int r = 0;

    while (r == 0 && hole < size) {
        hole = lseek(o->fd, hole, SEEK_HOLE);
        if (hole < 0 || hole >= size)
            break;
        off_t data = lseek(o->fd, hole, SEEK_DATA);
        if (data < 0)
            data = size;
        r = fill(o, hole, data, err);
        hole = data;
    }
    if (size < 0 || hole < 0)
        return fail_errno(err, errno, VHDX_OFFSET_NONE, "%s: looking for holes", o->path);
    return r;
}

int outfile_descriptor(const struct outfile *o)
{
    return o->fd;
}

/* A file system may refuse to sync a folder; the rename has happened all the same. */
static void sync_folder(char *path)
{
    CLEANUP_CLOSE int fd = open(dirname(path), O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd >= 0)
        (void)fsync(fd);
}

/* What replaces a file is as private as that was. Only root can give a file away. */
static int keep_mode(const struct outfile *o)
{
    if (!o->replaces)
        return 0;
    if (fchown(o->fd, o->owner, o->group) < 0 && errno != EPERM)
        return -1;
    return fchmod(o->fd, o->mode);
}

/* A file that has appeared at the final name since the beginning is not overwritten, where the file
   system can tell. */
static int give_name(const struct outfile *o)
{
    if (!o->replaces) {
        int r = renameat2(AT_FDCWD, o->temporary, AT_FDCWD, o->path, RENAME_NOREPLACE);
        if (r == 0 || (errno != EINVAL && errno != ENOSYS))
            return r;
    }
    return rename(o->temporary, o->path);
}

int outfile_commit(struct outfile *o, struct vhdx_error *err)
{
    int r = 0;

    if (keep_mode(o) < 0)
        r = fail_errno(err, errno, VHDX_OFFSET_NONE, "%s: setting the output's mode", o->path);
    else if (fsync(o->fd) < 0)
        r = fail_errno(err, errno, VHDX_OFFSET_NONE, "%s: making the output stable", o->path);
    else if (give_name(o) < 0)
        r = fail_errno(err, errno, VHDX_OFFSET_NONE, "%s: giving the output its name", o->path);
    if (r == 0) {
        free(steal_ptr(o->temporary));
        sync_folder(o->path);
    }
    outfile_discard(o);
    return r;
}

void outfile_discard(struct outfile *o)
{
    if (!o)
        return;
    if (o->temporary)
        unlink(o->temporary);
    if (o->fd >= 0)
        close(o->fd);
    free(o->temporary);
    free(o->path);
    free(o);
}
