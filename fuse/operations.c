/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * The operations. Any of them may run in several threads at once, as the library allows.
 *
 * What the kernel may keep:
 *
 *                    read-only mount              --rw, --overlay
 *     attributes     for a day                    not at all
 *     content        for as long as it likes      not at all (FOPEN_DIRECT_IO)
 *     writes         -                            not at all: no write-back
 *
 * The same sector can be read and written through disk and through a partition. The kernel knows
 * nothing of that: with a page cache it would show one file's old content after a write through the
 * other, and it would hold back what was written through a mapping. So writable files have no page
 * cache, every write is here before write() returns, and shared mappings are refused by the kernel.
 *
 * Punching must leave zeros. vhdx_trim() alone leaves the parent's data where this image holds
 * nothing: with parents vhdx_zero() goes before it.
 */
#include "operations.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "ask.h"
#include "report.h"

#define KEEP_SECONDS 86400.0
#define FRAGMENT 512 /* statfs: unit of blocks, so that any size comes out exact */

static struct mount *mount_of(fuse_req_t req)
{
    return fuse_req_userdata(req);
}

/* ---- Problems ------------------------------------------------------------------------------- */

int mount_errno(const struct vhdx_error *err)
{
    switch (err->code) {
    case VHDX_E_NOMEM:
        return ENOMEM;
    case VHDX_E_INVALID:
        return EINVAL;
    case VHDX_E_READ_ONLY:
        return EROFS;
    case VHDX_E_NOSPACE: /* a quota says EDQUOT */
        return err->sys_errno != 0 ? err->sys_errno : ENOSPC;
    default:
        return EIO;
    }
}

void mount_report(struct mount *mount, const struct vhdx_error *err)
{
    struct timespec now;
    int64_t last = atomic_load(&mount->reported_seconds);

    clock_gettime(CLOCK_MONOTONIC, &now);
    if (last == now.tv_sec + 1 ||
        !atomic_compare_exchange_strong(&mount->reported_seconds, &last, now.tv_sec + 1))
        return;
    if (atomic_load(&mount->in_background))
        syslog(LOG_DAEMON | LOG_ERR, "vhdx: %s", err->message);
    else
        report_error(err);
}

static void reply_failure(fuse_req_t req, const struct vhdx_error *err)
{
    mount_report(mount_of(req), err);
    fuse_reply_err(req, mount_errno(err));
}

/* The image's file cannot grow, because of a limit: that is no failure of the disk. */
static void reply_write_failure(fuse_req_t req, const struct vhdx_error *err)
{
    bool is_full = err->code == VHDX_E_SYSTEM && err->sys_errno == EFBIG;

    mount_report(mount_of(req), err);
    fuse_reply_err(req, is_full ? ENOSPC : mount_errno(err));
}

/* ---- Names and attributes ------------------------------------------------------------------- */

static double keep_seconds(const struct mount *mount)
{
    return mount->tree.writable ? 0 : KEEP_SECONDS;
}

static void op_init(void *userdata, struct fuse_conn_info *conn)
{
    (void)userdata;
    conn->max_readahead = UINT32_MAX; /* as much as the kernel cares to */
    conn->max_background = 64;
    conn->want &= ~(unsigned)FUSE_CAP_WRITEBACK_CACHE;
}

static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct mount *mount = mount_of(req);
    struct fuse_entry_param entry = { 0 };
    struct tree_file file;

    if (parent != INODE_ROOT || !tree_find_name(&mount->tree, name, &file)) {
        fuse_reply_err(req, ENOENT);
        return;
    }
    entry.ino = file.inode;
    entry.attr_timeout = keep_seconds(mount);
    entry.entry_timeout = KEEP_SECONDS; /* names never go away */
    tree_stat(&mount->tree, &file, &entry.attr);
    fuse_reply_entry(req, &entry);
}

static void reply_attributes(fuse_req_t req, const struct tree_file *file)
{
    struct mount *mount = mount_of(req);
    struct stat st;

    tree_stat(&mount->tree, file, &st);
    fuse_reply_attr(req, &st, keep_seconds(mount));
}

static void op_getattr(fuse_req_t req, fuse_ino_t inode, struct fuse_file_info *fi)
{
    struct tree_file file;

    (void)fi;
    if (inode == INODE_ROOT)
        reply_attributes(req, NULL);
    else if (tree_find_inode(&mount_of(req)->tree, inode, &file))
        reply_attributes(req, &file);
    else
        fuse_reply_err(req, ENOENT);
}

/* A disk keeps its size; the rest is not stored in it. */
static void op_setattr(fuse_req_t req, fuse_ino_t inode, struct stat *attr, int to_set,
                       struct fuse_file_info *fi)
{
    struct tree_file file;

    (void)fi;
    if ((to_set & FUSE_SET_ATTR_SIZE) && !(to_set & (FUSE_SET_ATTR_MODE | FUSE_SET_ATTR_UID |
                                                     FUSE_SET_ATTR_GID)) &&
        tree_find_inode(&mount_of(req)->tree, inode, &file) && file.is_view &&
        (uint64_t)attr->st_size == file.length)
        reply_attributes(req, &file);
    else
        fuse_reply_err(req, EPERM);
}

static void op_readdir(fuse_req_t req, fuse_ino_t inode, size_t size, off_t offset,
                       struct fuse_file_info *fi)
{
    struct mount *mount = mount_of(req);
    struct stat st = { .st_ino = INODE_ROOT, .st_mode = S_IFDIR };
    struct tree_file file;
    size_t used = 0;
    char *buf = malloc(size);

    (void)fi;
    if (!buf || inode != INODE_ROOT) {
        free(buf);
        fuse_reply_err(req, inode != INODE_ROOT ? ENOTDIR : ENOMEM);
        return;
    }
    for (size_t i = (size_t)offset;; i++) {
        const char *name = i == 0 ? "." : "..";
        if (i >= 2) {
            if (!tree_file_at(&mount->tree, i - 2, &file))
                break;
            name = file.name;
            st.st_ino = file.inode;
            st.st_mode = S_IFREG;
        }
        size_t len = fuse_add_direntry(req, buf + used, size - used, name, &st, (off_t)(i + 1));
        if (len > size - used)
            break;
        used += len;
    }
    fuse_reply_buf(req, buf, used);
    free(buf);
}

static void op_statfs(fuse_req_t req, fuse_ino_t inode)
{
    struct mount *mount = mount_of(req);
    struct tree_file file;
    struct statvfs st = {
        .f_bsize = 4096,
        .f_frsize = FRAGMENT,
        .f_blocks = vhdx_size(mount->v) / FRAGMENT,
        .f_namemax = TREE_NAME - 1,
    };

    (void)inode;
    while (tree_file_at(&mount->tree, st.f_files, &file))
        st.f_files++;
    fuse_reply_statfs(req, &st);
}

/* No file comes or goes. The kernel asks on behalf of root only: the folder's mode is 0555. */

static void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
    (void)parent;
    (void)name;
    (void)mode;
    (void)rdev;
    fuse_reply_err(req, EPERM);
}

static void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
    (void)parent;
    (void)name;
    (void)mode;
    fuse_reply_err(req, EPERM);
}

static void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    (void)parent;
    (void)name;
    fuse_reply_err(req, EPERM);
}

static void op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
    (void)target;
    (void)parent;
    (void)name;
    fuse_reply_err(req, EPERM);
}

static void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
                      const char *new_name, unsigned flags)
{
    (void)parent;
    (void)name;
    (void)new_parent;
    (void)new_name;
    (void)flags;
    fuse_reply_err(req, EPERM);
}

static void op_link(fuse_req_t req, fuse_ino_t inode, fuse_ino_t new_parent, const char *name)
{
    (void)inode;
    (void)new_parent;
    (void)name;
    fuse_reply_err(req, EPERM);
}

/* Answers MOUNT_ASK_PID. */
static void op_ioctl(fuse_req_t req, fuse_ino_t inode, unsigned int cmd, void *arg,
                     struct fuse_file_info *fi, unsigned flags, const void *in_buf,
                     size_t in_size, size_t out_size)
{
    int32_t pid = (int32_t)getpid();

    (void)arg;
    (void)fi;
    (void)flags;
    (void)in_buf;
    (void)in_size;
    if (inode == INODE_ROOT && cmd == MOUNT_ASK_PID && out_size >= sizeof(pid))
        fuse_reply_ioctl(req, 0, &pid, sizeof(pid));
    else
        fuse_reply_err(req, ENOTTY);
}

/* ---- Reading -------------------------------------------------------------------------------- */

/* Grows to the largest read that the kernel asks this thread for: 1 MiB at most. */
struct read_buffer {
    void *data;
    size_t size;
};

static void free_buffer(void *opaque)
{
    struct read_buffer *buffer = opaque;

    free(buffer->data);
    free(buffer);
}

bool mount_buffers_init(struct mount *mount)
{
    return pthread_key_create(&mount->buffer, free_buffer) == 0;
}

void mount_buffers_destroy(struct mount *mount)
{
    pthread_key_delete(mount->buffer);
}

/* This thread's buffer of at least size bytes; NULL: out of memory. */
static void *buffer_of_thread(struct mount *mount, size_t size)
{
    struct read_buffer *buffer = pthread_getspecific(mount->buffer);

    if (!buffer) {
        buffer = calloc(1, sizeof(*buffer));
        if (!buffer || pthread_setspecific(mount->buffer, buffer) != 0) {
            free(buffer);
            return NULL;
        }
    }
    if (buffer->size < size) {
        free(buffer->data);
        buffer->size = 0;
        if (posix_memalign(&buffer->data, 4096, size) != 0) {
            buffer->data = NULL;
            return NULL;
        }
        buffer->size = size;
    }
    return buffer->data;
}

/* The file behind an inode. False: an error was replied. */
static bool find_file(fuse_req_t req, fuse_ino_t inode, struct tree_file *ret)
{
    if (tree_find_inode(&mount_of(req)->tree, inode, ret))
        return true;
    fuse_reply_err(req, inode == INODE_ROOT ? EISDIR : ENOENT);
    return false;
}

static void op_open(fuse_req_t req, fuse_ino_t inode, struct fuse_file_info *fi)
{
    struct mount *mount = mount_of(req);
    struct tree_file file;

    if (!find_file(req, inode, &file))
        return;
    if ((fi->flags & O_ACCMODE) != O_RDONLY && (!mount->tree.writable || !file.is_view)) {
        fuse_reply_err(req, mount->tree.writable ? EACCES : EROFS);
        return;
    }
    if (fi->flags & O_TRUNC) {
        fuse_reply_err(req, EPERM); /* as setattr does */
        return;
    }
    if (mount->tree.writable)
        fi->direct_io = 1;
    else
        fi->keep_cache = 1;
    fuse_reply_open(req, fi);
}

static void op_read(fuse_req_t req, fuse_ino_t inode, size_t size, off_t offset,
                    struct fuse_file_info *fi)
{
    struct mount *mount = mount_of(req);
    struct tree_file file;
    struct vhdx_error err;
    uint64_t at = (uint64_t)offset;

    (void)fi;
    if (!find_file(req, inode, &file))
        return;
    if (at >= file.length) {
        fuse_reply_buf(req, NULL, 0);
        return;
    }
    if (size > file.length - at)
        size = (size_t)(file.length - at);
    if (!file.is_view) {
        fuse_reply_buf(req, mount->tree.info + at, size);
        return;
    }
    void *buf = buffer_of_thread(mount, size);
    if (!buf)
        fuse_reply_err(req, ENOMEM);
    else if (vhdx_pread(mount->v, buf, size, file.offset + at, &err) < 0)
        reply_failure(req, &err);
    else
        fuse_reply_buf(req, buf, size);
}

/* The search for data or a hole from an offset on. */
struct seek {
    bool for_data;
    uint64_t found; /* in the disk */
};

static int stop_at_wanted(const struct vhdx_extent *extent, void *opaque)
{
    struct seek *seek = opaque;

    if ((extent->kind == VHDX_EXTENT_DATA) != seek->for_data)
        return 0;
    seek->found = extent->offset;
    return 1;
}

static void op_lseek(fuse_req_t req, fuse_ino_t inode, off_t offset, int whence,
                     struct fuse_file_info *fi)
{
    struct mount *mount = mount_of(req);
    struct seek seek = { .for_data = whence == SEEK_DATA };
    struct tree_file file;
    struct vhdx_error err;
    uint64_t at = (uint64_t)offset;
    int r = 0;

    (void)fi;
    if (!find_file(req, inode, &file))
        return;
    if (whence != SEEK_DATA && whence != SEEK_HOLE) {
        fuse_reply_err(req, EINVAL);
        return;
    }
    if (at >= file.length) {
        fuse_reply_err(req, ENXIO);
        return;
    }
    if (file.is_view) {
        r = vhdx_extents(mount->v, file.offset + at, file.length - at, stop_at_wanted, &seek, &err);
    } else if (seek.for_data) { /* all of it is data */
        seek.found = at;
        r = 1;
    }
    if (r < 0)
        reply_failure(req, &err);
    else if (r > 0)
        fuse_reply_lseek(req, (off_t)(seek.found - file.offset));
    else if (seek.for_data)
        fuse_reply_err(req, ENXIO);
    else
        fuse_reply_lseek(req, (off_t)file.length); /* the hole that every file ends with */
}

/* ---- Writing -------------------------------------------------------------------------------- */

/* The kernel asks for these on files that were opened for writing only. */

static void op_write(fuse_req_t req, fuse_ino_t inode, const char *buf, size_t size, off_t offset,
                     struct fuse_file_info *fi)
{
    struct mount *mount = mount_of(req);
    struct tree_file file;
    struct vhdx_error err;
    uint64_t at = (uint64_t)offset;
    uint32_t flags = (fi->flags & (O_SYNC | O_DSYNC)) && !mount->throw_away ? VHDX_FUA : 0;

    if (!find_file(req, inode, &file))
        return;
    if (at >= file.length) {
        fuse_reply_err(req, EFBIG);
        return;
    }
    if (size > file.length - at)
        size = (size_t)(file.length - at);
    int r = vhdx_pwrite(mount->v, buf, size, file.offset + at, flags, &err);
    tree_note_change(&mount->tree);
    if (r < 0)
        reply_write_failure(req, &err);
    else
        fuse_reply_write(req, size);
}

static void op_fsync(fuse_req_t req, fuse_ino_t inode, int datasync, struct fuse_file_info *fi)
{
    struct mount *mount = mount_of(req);
    struct vhdx_error err;

    (void)inode;
    (void)datasync;
    (void)fi;
    if (!mount->throw_away && vhdx_flush(mount->v, &err) < 0)
        reply_failure(req, &err);
    else
        fuse_reply_err(req, 0);
}

static int punch(struct mount *mount, uint64_t length, uint64_t offset, struct vhdx_error *err)
{
    int r = mount->has_parents ? vhdx_zero(mount->v, length, offset, 0, err) : 0;

    return r < 0 ? r : vhdx_trim(mount->v, length, offset, 0, err);
}

static void op_fallocate(fuse_req_t req, fuse_ino_t inode, int mode, off_t offset, off_t length,
                         struct fuse_file_info *fi)
{
    struct mount *mount = mount_of(req);
    struct tree_file file;
    struct vhdx_error err;
    uint64_t at = (uint64_t)offset, len = (uint64_t)length;
    int kind = mode & ~FALLOC_FL_KEEP_SIZE;
    int r = 0;

    (void)fi;
    if (!find_file(req, inode, &file))
        return;
    if (kind != FALLOC_FL_PUNCH_HOLE && kind != FALLOC_FL_ZERO_RANGE) {
        fuse_reply_err(req, EOPNOTSUPP);
        return;
    }
    if (!(mode & FALLOC_FL_KEEP_SIZE) && (at > file.length || len > file.length - at)) {
        fuse_reply_err(req, EFBIG);
        return;
    }
    if (at < file.length) {
        if (len > file.length - at)
            len = file.length - at;
        r = kind == FALLOC_FL_PUNCH_HOLE ? punch(mount, len, file.offset + at, &err)
                                         : vhdx_zero(mount->v, len, file.offset + at, 0, &err);
        tree_note_change(&mount->tree);
    }
    if (r < 0)
        reply_write_failure(req, &err);
    else
        fuse_reply_err(req, 0);
}

const struct fuse_lowlevel_ops mount_operations = {
    .init = op_init,
    .lookup = op_lookup,
    .getattr = op_getattr,
    .setattr = op_setattr,
    .readdir = op_readdir,
    .statfs = op_statfs,
    .mknod = op_mknod,
    .mkdir = op_mkdir,
    .unlink = op_unlink,
    .symlink = op_symlink,
    .rename = op_rename,
    .link = op_link,
    .ioctl = op_ioctl,
    .open = op_open,
    .read = op_read,
    .lseek = op_lseek,
    .write = op_write,
    .fsync = op_fsync,
    .fallocate = op_fallocate,
};
