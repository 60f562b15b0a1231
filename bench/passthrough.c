/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * passthrough: the least that a FUSE file system can do, for `bench/run fuse` to compare with. One
 * file, disk, which is a raw file elsewhere. Reads are replied with the file's descriptor, as
 * libfuse's own example passthrough_ll does, so that libfuse may splice; what the kernel keeps is
 * what `vhdx mount` lets it keep.
 *
 * usage: passthrough [--splice] [--clone-fd] FILE DIR      stays in the foreground until unmounted
 */

#define FUSE_USE_VERSION 35

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fuse_lowlevel.h>

#define INODE_DISK 2
#define KEEP_SECONDS 86400.0

struct target {
    int fd;
    off_t size;
    bool splice;
};

static void op_init(void *userdata, struct fuse_conn_info *conn)
{
    const struct target *target = userdata;

    conn->max_readahead = UINT32_MAX;
    conn->max_background = 64;
    if (target->splice)
        conn->want |= conn->capable & (FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE);
}

static void fill(const struct target *target, fuse_ino_t inode, struct stat *st)
{
    memset(st, 0, sizeof(*st));
    st->st_ino = inode;
    st->st_mode = inode == INODE_DISK ? S_IFREG | 0444 : S_IFDIR | 0555;
    st->st_nlink = 1;
    st->st_size = inode == INODE_DISK ? target->size : 0;
}

static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct fuse_entry_param entry = { .ino = INODE_DISK, .attr_timeout = KEEP_SECONDS,
                                      .entry_timeout = KEEP_SECONDS };

    if (parent != FUSE_ROOT_ID || strcmp(name, "disk") != 0) {
        fuse_reply_err(req, ENOENT);
        return;
    }
    fill(fuse_req_userdata(req), INODE_DISK, &entry.attr);
    fuse_reply_entry(req, &entry);
}

static void op_getattr(fuse_req_t req, fuse_ino_t inode, struct fuse_file_info *fi)
{
    struct stat st;

    (void)fi;
    fill(fuse_req_userdata(req), inode, &st);
    fuse_reply_attr(req, &st, KEEP_SECONDS);
}

static void op_open(fuse_req_t req, fuse_ino_t inode, struct fuse_file_info *fi)
{
    (void)inode;
    fi->keep_cache = 1;
    fuse_reply_open(req, fi);
}

static void op_read(fuse_req_t req, fuse_ino_t inode, size_t size, off_t offset,
                    struct fuse_file_info *fi)
{
    const struct target *target = fuse_req_userdata(req);
    struct fuse_bufvec bufs = FUSE_BUFVEC_INIT(size);

    (void)inode;
    (void)fi;
    bufs.buf[0].flags = FUSE_BUF_IS_FD | FUSE_BUF_FD_SEEK;
    bufs.buf[0].fd = target->fd;
    bufs.buf[0].pos = offset;
    fuse_reply_data(req, &bufs, FUSE_BUF_SPLICE_MOVE);
}

static const struct fuse_lowlevel_ops operations = {
    .init = op_init, .lookup = op_lookup, .getattr = op_getattr, .open = op_open, .read = op_read,
};

static int serve(struct target *target, const char *dir, bool clone_fd)
{
    char program[] = "passthrough";
    char *arguments[] = { program, NULL };
    struct fuse_args args = FUSE_ARGS_INIT(1, arguments);
    struct fuse_loop_config config = { .clone_fd = clone_fd, .max_idle_threads = 10 };
    struct fuse_session *session = fuse_session_new(&args, &operations, sizeof(operations),
                                                    target);

    if (!session || fuse_set_signal_handlers(session) < 0 || fuse_session_mount(session, dir) < 0)
        return 1;
    int r = fuse_session_loop_mt(session, &config);
    fuse_session_unmount(session);
    fuse_remove_signal_handlers(session);
    fuse_session_destroy(session);
    return r < 0 ? 1 : 0;
}

int main(int argc, char **argv)
{
    struct target target = { .fd = -1 };
    bool clone_fd = false;
    struct stat st;
    int at = 1;

    for (; at < argc && argv[at][0] == '-'; at++) {
        target.splice = target.splice || strcmp(argv[at], "--splice") == 0;
        clone_fd = clone_fd || strcmp(argv[at], "--clone-fd") == 0;
    }
    if (argc - at != 2) {
        fprintf(stderr, "usage: passthrough [--splice] [--clone-fd] FILE DIR\n");
        return 2;
    }
    target.fd = open(argv[at], O_RDONLY | O_CLOEXEC);
    if (target.fd < 0 || fstat(target.fd, &st) < 0) {
        perror(argv[at]);
        return 1;
    }
    target.size = st.st_size;
    return serve(&target, argv[at + 1], clone_fd);
}
