/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Disks of any format, open for reading: the flattened disk of an image, a raw file, a stream, or
 * what a caller can read. What converts, compares and measures sees nothing else of its inputs.
 */
#ifndef DISK_DISK_H
#define DISK_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/handle.h"
#include "io/file.h"
#include "util/fail.h"

/* A stretch of a disk. */
struct disk_extent {
    uint64_t offset, length; /* of the disk; length > 0 */
    uint32_t kind;           /* VHDX_EXTENT_... */
    bool has_file;           /* DATA: the bytes are those of a file, unchanged, at file_offset */
    struct file_id file;
    int fd;                  /* of that file */
    uint64_t file_offset;
};

struct disk_walk;
struct disk_wait;

/* What a kind of disk can do. */
struct disk_kind {
    int (*read)(struct vhdx_disk *d, void *buf, size_t len, uint64_t offset,
                struct vhdx_error *err);
    int (*walk_begin)(struct vhdx_disk *d, struct disk_walk *w, struct vhdx_error *err);
    int (*walk_next)(struct disk_walk *w, struct disk_extent *ret, struct vhdx_error *err);
    void (*walk_end)(struct disk_walk *w);
    size_t (*file_ids)(const struct vhdx_disk *d, struct file_id ret_ids[LIMIT_CHAIN_LENGTH]);
    int (*verify_end)(struct vhdx_disk *d, struct vhdx_error *err);
    int (*read_next)(struct vhdx_disk *d, void *buf, size_t len, const struct disk_wait *wait,
                     size_t *ret_len, struct vhdx_error *err);
    void (*close)(struct vhdx_disk *d);
};

/* The beginning of every kind's own struct. */
struct vhdx_disk {
    const struct disk_kind *kind;
    uint64_t size; /* bytes, or VHDX_SIZE_UNKNOWN: a stream */
    char *name;    /* owned; for messages */
    uint32_t logical_sector_size, physical_sector_size; /* 0: not known */
};

/* A walk over [position, end) of a disk. */
struct disk_walk {
    struct vhdx_disk *disk;
    uint64_t position, end;
    void *state; /* the kind's */
};

int disk_of_image(struct vhdx *v, struct vhdx_disk **ret, struct vhdx_error *err);
int disk_open_raw(const char *path, bool lock, struct vhdx_disk **ret, struct vhdx_error *err);
int disk_open_stream(int fd, struct vhdx_disk **ret, struct vhdx_error *err);
int disk_open_custom(struct vhdx_io *io, vhdx_io_extents *extents, const char *name,
                     struct vhdx_disk **ret, struct vhdx_error *err);

/* A raw disk of size bytes that lies at offset base of an open file, which stays the caller's. */
int disk_of_file(int fd, uint64_t base, uint64_t size, const char *name, struct vhdx_disk **ret,
                 struct vhdx_error *err);

/* The same of a whole file of the operating system's, which then belongs to the disk, also if the
   call fails. */
int disk_take_file(struct vhdx_io *io, uint64_t size, const char *name, struct vhdx_disk **ret,
                   struct vhdx_error *err);

/* NULL is fine. */
void disk_close(struct vhdx_disk *d);

bool disk_is_stream(const struct vhdx_disk *d);

/* Reads [offset, offset + len), which lies inside the disk. Any thread may call. Not for
   streams. */
int disk_read(struct vhdx_disk *d, void *buf, size_t len, uint64_t offset, struct vhdx_error *err);

/* Called now and then while a stream has nothing to give; a failure ends the wait. */
struct disk_wait {
    int (*fn)(void *opaque, struct vhdx_error *err); /* or NULL */
    void *opaque;
};

/* Reads a stream on: *ret_len is less than len only at its end. */
int disk_read_next(struct vhdx_disk *d, void *buf, size_t len, const struct disk_wait *wait,
                   size_t *ret_len, struct vhdx_error *err);

/*
 * Walks over the extents of [offset, offset + len), which lies inside the disk, in order and
 * without gaps; neighbours may be of one kind. disk_walk_next() gives 1 with *ret filled, 0 at the
 * end, negative on failure. Several walks may be under way. Not for streams.
 */
int disk_walk_begin(struct vhdx_disk *d, uint64_t offset, uint64_t len, struct disk_walk *ret,
                    struct vhdx_error *err);
int disk_walk_next(struct disk_walk *w, struct disk_extent *ret, struct vhdx_error *err);
void disk_walk_end(struct disk_walk *w); /* zeroed, or repeated: harmless */

/* The files the disk lies in, which must not be written over; returns how many. */
size_t disk_file_ids(const struct vhdx_disk *d, struct file_id ret_ids[LIMIT_CHAIN_LENGTH]);

/* After all was read: fails if the disk cannot have stayed the same meanwhile. */
int disk_verify_end(struct vhdx_disk *d, struct vhdx_error *err);

#endif
