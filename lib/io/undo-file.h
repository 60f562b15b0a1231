/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* The undo file as it stands on disk: its structures, and verifying it. See undo.c. */
#ifndef IO_UNDO_FILE_H
#define IO_UNDO_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/ranges.h"
#include "io/undo.h"
#include "util/bits.h"
#include "util/endian.h"

#define UNDO_VERSION 1u
#define UNDO_GRANULE (64 * KIB) /* what is saved together; one block of the image's tables */
#define UNDO_PIECE (1 * MIB)    /* the longest data record; a buffer's size */

/*
 * Whoever changes an image changes its headers first ([MS-VHDX] 2.2.2.1), and so a header's mark
 * tells who that was: its checksum, or 0 if it is no header that any reader takes.
 */
#define UNDO_MARKS 2

/* At offset 0. */
struct undo_header_disk {
    uint8_t signature[8]; /* "vhdxundo" */
    struct le32 version;
    struct le32 checksum; /* CRC-32C of this structure, with this field zero */
    struct le64 image_size;
    uint8_t identity[16];
    struct le32 marks[UNDO_MARKS]; /* of the image before its first change */
    uint8_t image_name[UNDO_NAME_SIZE]; /* ends with a NUL */
};
_Static_assert(sizeof(struct undo_header_disk) == 48 + UNDO_NAME_SIZE, "layout");

enum undo_kind {
    UNDO_DATA = 1,  /* length bytes of the image at offset, which follow */
    UNDO_ZEROS = 2, /* length zeros at offset; nothing follows */
    UNDO_SEAL = 3,  /* the changes are complete: the image had offset bytes, and data_checksum is
                       that of its first length bytes */
    UNDO_UNDOING = 4, /* restoring has begun: the image is no longer what was sealed */
    UNDO_MARK = 5, /* the header at offset comes to have data_checksum for its mark */
};

/* Records follow the header and one another without gaps. */
struct undo_record_disk {
    uint8_t signature[4]; /* "undo" */
    struct le32 checksum; /* CRC-32C of this structure, with this field zero */
    struct le32 kind;
    struct le32 data_checksum; /* CRC-32C of the bytes that follow; of what is sealed */
    struct le64 offset;
    struct le64 length;
    struct le64 settled; /* how much of the undo file was stable before this was written */
    uint8_t identity[16]; /* the header's */
};
_Static_assert(sizeof(struct undo_record_disk) == 56, "layout");
_Static_assert(offsetof(struct undo_record_disk, checksum) == 4, "layout");

/* A record for computing. */
struct undo_record {
    enum undo_kind kind;
    uint32_t data_checksum;
    uint64_t offset, length;
    uint64_t settled;
};

/* An undo file that has been verified. */
struct undo_state {
    struct undo_info info;
    struct undo_record seal;   /* if info.is_sealed */
    struct ranges saved;  /* what its records cover */
    uint32_t marks[UNDO_MARKS]; /* before the first change */
    uint64_t end;              /* behind its last whole record: the next one's place */
    uint64_t settled;          /* up to here it is known to have been stable */
};

/* Frees what a verified undo file holds in memory. Harmless when repeated. */
void undo_state_free(struct undo_state *state);

/* Fills a header that undo_load() accepts. name has at most UNDO_NAME_SIZE - 1 bytes. */
void undo_header_make(const struct undo_info *info, const uint32_t marks[UNDO_MARKS],
                      struct undo_header_disk *ret);

/* Fills a record that undo_load() accepts at offset at of the file with this header. */
void undo_record_make(const struct undo_info *info, const struct undo_record *r, uint64_t at,
                      struct undo_record_disk *ret);

/*
 * Verifies a whole undo file: every checksum, bound and length. At the end of one that is not
 * sealed, bytes that are no record are what a crash left of one. Memory grows with the number of
 * records, to 64 MiB at most; time with the file's length. To be freed with undo_state_free().
 */
int undo_load(const struct vhdx_io *file, struct undo_state *ret, struct vhdx_error *err);

/* Is this a file whose making was interrupted before its header was stable? Then nothing has been
   changed, and it may be begun anew; so may an empty one. */
int undo_is_blank(const struct vhdx_io *file, bool *ret_blank, struct vhdx_error *err);

/*
 * Calls fn for each record in a file that undo_load() has verified: with the bytes of a data
 * record, which are verified again, else NULL. A negative return of fn ends the walk.
 */
int undo_each(const struct vhdx_io *file, const struct undo_state *state,
              int (*fn)(const struct undo_record *r, const uint8_t *data, void *opaque,
                        struct vhdx_error *err),
              void *opaque, struct vhdx_error *err);

/* Passes on r, of a call on the undo file; if that failed, *err comes to say which file it was. */
int undo_file_result(int r, struct vhdx_error *err);

/* The mark of what stands in the image for header number (0 or 1), or would if len bytes of buf
   (zeros for NULL) were written at offset. */
int undo_mark(const struct vhdx_io *image, int number, const uint8_t *buf, uint64_t offset,
              uint64_t len, uint32_t *ret, struct vhdx_error *err);

/* VHDX_E_INVALID unless all headers of the image are such as it had, or as were written through
   undo_begin(): nobody else has changed it since. */
int undo_verify_marks(const struct vhdx_io *file, const struct undo_state *state,
                      const struct vhdx_io *image, struct vhdx_error *err);

/* What a seal says of the image as it is now: offset, length and data_checksum of *ret are set. */
int undo_fingerprint(const struct vhdx_io *image, struct undo_record *ret, struct vhdx_error *err);

#endif
