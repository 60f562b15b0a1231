/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* What is written to from its beginning to its end: a pipe, or a file. */
#ifndef OPS_CONVERT_SINK_H
#define OPS_CONVERT_SINK_H

#include <stdbool.h>

#include "disk/disk.h"
#include "io/file.h"

struct sink {
    int fd;            /* borrowed */
    int own_fd;        /* a pipe's, which does not block; or -1 */
    bool is_pipe, is_socket;
    uint32_t grain;    /* of holes, bytes */
    const struct disk_wait *wait; /* told while nobody reads; borrowed, or NULL */
    bool has_holes;    /* a file that was empty: zeros are left out */
    uint64_t position; /* bytes so far */
    int code;          /* of the first failure; 0: none */
    struct vhdx_error error;
    uint8_t *zeros;
};

/* VHDX_E_INVALID if fd is one of these files, which are the input's, or cannot be written to. */
int sink_verify(int fd, const struct file_id *forbidden, size_t count, struct vhdx_error *err);

/* is_dense: zeros are written, whatever fd is. grain: what is left out in a file; 0: 4 KiB. */
int sink_open(int fd, bool is_dense, uint32_t grain, struct sink **ret, struct vhdx_error *err);

/*
 * Appends bytes, or zeros up to a position. A reader that has gone is a failure and no signal.
 * One thread at a time.
 */
int sink_write(struct sink *s, const void *buf, size_t len, struct vhdx_error *err);
int sink_zeros_to(struct sink *s, uint64_t position, struct vhdx_error *err);

/* All is written: gives a file its size. */
int sink_end(struct sink *s, struct vhdx_error *err);

/* The sink as a file for those who write forward only; what they leave out is zeros. */
void sink_io(struct sink *s, struct vhdx_io *ret);

/* In place of the error of such a file: the sink's own, which says more. */
int sink_failure(const struct sink *s, int r, struct vhdx_error *err);

/* NULL is fine. */
void sink_free(struct sink *s);

#endif
