/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * A file in memory that is built from sparse pages and can go back to what it was, and a struct
 * vhdx_io over it that records every operation that changes it. A crash test rebuilds from the
 * record what a disk may hold after a loss of power. Not thread-safe.
 */
#ifndef TESTS_IO_RECORD_H
#define TESTS_IO_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vhdx.h"

/* ---- The file ------------------------------------------------------------------------------- */

struct memfile;

struct memfile *memfile_new(void);
void memfile_free(struct memfile *m); /* NULL is fine */

uint64_t memfile_size(const struct memfile *m);

/* The range lies inside the file. */
void memfile_read(const struct memfile *m, void *buf, size_t len, uint64_t offset);
/* buf NULL: zeros, whose pages are freed. Extends the file. */
void memfile_write(struct memfile *m, const void *buf, size_t len, uint64_t offset);
void memfile_truncate(struct memfile *m, uint64_t size);

bool memfile_equal(const struct memfile *a, const struct memfile *b);

/* Marks nest. Going back restores what the file was at the newest mark and forgets that mark. Costs
   what was changed in between, not what the file holds. */
void memfile_mark(struct memfile *m);
void memfile_back(struct memfile *m);

/* ---- The record ----------------------------------------------------------------------------- */

enum op_kind { OP_READ, OP_WRITE, OP_ZERO, OP_DISCARD, OP_TRUNCATE, OP_FLUSH, OP_SIZE };

struct op {
    enum op_kind kind;
    uint64_t offset; /* the new size for OP_TRUNCATE */
    uint64_t len;
    uint8_t *data;   /* OP_WRITE; owned */
    struct memfile *file; /* whose it was; one record may tell of several files */
};

struct record {
    struct op *ops; /* owned */
    size_t count, capacity;
};

void record_clear(struct record *r);

/* Does to the file what the operation did. */
void op_apply(const struct op *op, struct memfile *m);

/* The same for bytes [from, from + len) of it; nothing for a truncation or a flush. */
void op_apply_part(const struct op *op, struct memfile *m, uint64_t from, uint64_t len);

/* ---- The I/O table -------------------------------------------------------------------------- */

struct recorder {
    struct memfile *file;
    struct record *record; /* NULL: nothing is recorded */
    bool frozen;           /* whoever changes the file fails the test */
    bool no_discard;       /* discard is -EOPNOTSUPP */
    bool no_zero;          /* zero is -EOPNOTSUPP */
    /* Asked before every call: a non-zero return, -errno, is the call's result. May be NULL. */
    int (*before)(void *opaque, enum op_kind kind, uint64_t offset, uint64_t len);
    void *before_opaque;
};

/* The recorder and its file must outlive what uses the table; close ends neither. */
void recorder_io(struct recorder *r, struct vhdx_io *ret);

#endif
