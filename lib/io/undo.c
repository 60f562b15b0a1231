/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Saving what is overwritten before it is; see undo.h. undo-file.c knows the structures on disk,
 * undo-apply.c restores.
 *
 * The file:
 *
 *      +--------+--------+------+--------+------+--------+ - - +--------+----------+
 *      | header | record | data | record | data | record |     |  seal  | undoing  |
 *      |        |  DATA  |      |  DATA  |      | ZEROS  |     |        |          |
 *      +--------+--------+------+--------+------+--------+ - - +--------+----------+
 *       flush 1  flush 2 ............... flush 3 ........       once     once
 *
 * A batch of records is what one change needed; one flush makes it stable, then the change happens.
 * Every record carries the file's identity and tells how much was stable before its batch. So an
 * invalid record with a later batch behind it was once stable and is damage: nothing is restored.
 * One without is what a crash left, and the image was not changed for its sake: it is cut off.
 *
 *      (empty) --undo_begin--> open --undo_seal--> sealed
 *                             ^    |                  |
 *         undo_begin, after   |    |undo_apply        | undo_apply, if the image is what
 *         an interruption     +----+                  | was sealed, or by force
 *                                  v                  v
 *                               undoing <-------------+
 *                                  | undo_apply: all is written again
 *                                  +--> the image is what it was; the undo file may go
 *
 * Invariants:
 * 1. A byte inside the original size is changed only when a stable record covers it: with the old
 *    content, since a granule is read for saving only while it is not covered.
 * 2. Records do not overlap. They are whole granules of 64 KiB, or end with the image. A batch that
 *    failed is cut off again; if that fails too, nothing more is changed (broken).
 * 3. saved is what stable records cover: it grows after the flush.
 * 4. What lies past the image's current size is covered: a cut saves all behind it. So whatever is
 *    to be saved can be read, and growing needs no save.
 * 5. After a failed flush of the undo file nothing more is changed: the system may take lost pages
 *    for written. undo_begin() writes the last batch again for the same reason.
 * 6. Behind a seal nothing is saved and nothing is changed.
 * 7. A header is written only when a stable record tells its mark. So a header of the image that is
 *    neither known from there nor from the undo file's header is another program's, which has
 *    changed what must not be changed back.
 */

#include "io/undo.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "format/ondisk.h"
#include "io/io.h"
#include "io/undo-file.h"
#include "util/cleanup.h"
#include "util/crc32c.h"
#include "util/guid.h"
#include "util/iszero.h"
#include "util/limits.h"
#include "util/rules.h"

struct undo {
    struct vhdx_io image, file; /* not owned */
    pthread_mutex_t lock;       /* guards what follows */
    struct undo_info info;
    struct ranges saved;
    uint64_t end;     /* of the undo file: where the next record goes */
    uint64_t settled; /* up to here the undo file is stable */
    int broken;       /* the -errno of every further change, or 0 */
    uint8_t *data;    /* UNDO_PIECE bytes */
};

/* ---- Saving --------------------------------------------------------------------------------- */

static int append(struct undo *u, const struct undo_record *r, const uint8_t *data)
{
    struct undo_record_disk d;

    undo_record_make(&u->info, r, u->end, &d);
    int code = u->file.pwrite(u->file.opaque, &d, sizeof d, u->end);
    if (code == 0 && data)
        code = u->file.pwrite(u->file.opaque, data, (size_t)r->length, u->end + sizeof d);
    if (code == 0)
        u->end += sizeof d + (data ? r->length : 0);
    return code;
}

/* Appends the zeros gathered so far, if any, and forgets them. */
static int append_zeros(struct undo *u, struct range *zeros)
{
    struct undo_record r = { .kind = UNDO_ZEROS, .offset = zeros->start,
                             .length = zeros->end - zeros->start, .settled = u->settled };

    *zeros = (struct range){ 0 };
    return r.length > 0 ? append(u, &r, NULL) : 0;
}

/* The granules from the beginning of buf that are all zero, or all not, in bytes. */
static size_t run_length(const uint8_t *buf, size_t len, bool *ret_zero)
{
    bool zero = is_zero(buf, (size_t)min_u64(len, UNDO_GRANULE));
    size_t n = (size_t)min_u64(len, UNDO_GRANULE);

    while (n < len && is_zero(buf + n, (size_t)min_u64(len - n, UNDO_GRANULE)) == zero)
        n += (size_t)min_u64(len - n, UNDO_GRANULE);
    *ret_zero = zero;
    return n;
}

/* Appends a piece of the image, len bytes at offset. Zeros at its end are left in *zeros, so that
   the next piece's join them. */
static int append_piece(struct undo *u, uint64_t offset, size_t len, struct range *zeros)
{
    int code = u->image.pread(u->image.opaque, u->data, len, offset);

    for (size_t done = 0, n; code == 0 && done < len; done += n) {
        bool zero;
        n = run_length(u->data + done, len - done, &zero);
        if (zero) {
            if (zeros->end == 0)
                zeros->start = offset + done;
            zeros->end = offset + done + n;
            continue;
        }
        struct undo_record r = { .kind = UNDO_DATA, .offset = offset + done, .length = n,
                                 .data_checksum = crc32c(0, u->data + done, n),
                                 .settled = u->settled };
        code = append_zeros(u, zeros);
        if (code == 0)
            code = append(u, &r, u->data + done);
    }
    return code;
}

static int append_range(struct undo *u, const struct range *range)
{
    struct range zeros = { 0 };
    int code = 0;

    for (uint64_t at = range->start, n; code == 0 && at < range->end; at += n) {
        n = min_u64(range->end - at, UNDO_PIECE);
        code = append_piece(u, at, (size_t)n, &zeros);
    }
    return code == 0 ? append_zeros(u, &zeros) : code;
}

/* Removes a batch that failed: a record of it that stayed would overlap the next attempt's. */
static void take_back(struct undo *u)
{
    u->end = u->settled;
    int code = u->file.truncate(u->file.opaque, u->end);
    if (code == 0) /* as in note_beginning(): the next record must not tear over this one */
        code = u->file.flush(u->file.opaque);
    if (code < 0)
        u->broken = -EIO;
}

static int make_stable(struct undo *u)
{
    int code = RULE_HOLDS(RULE_UNDO_STABLE) ? u->file.flush(u->file.opaque) : 0;

    if (code < 0) {
        u->broken = -EIO;
        return code;
    }
    u->settled = u->end;
    return 0;
}

/* Saves what is not saved yet of [start, end), whole granules inside the original size. */
static int save_locked(struct undo *u, uint64_t start, uint64_t end)
{
    struct range gap;
    uint64_t at = start;
    int code = ranges_reserve(&u->saved);

    while (code == 0 && ranges_gap(&u->saved, at, end, &gap)) {
        code = append_range(u, &gap);
        at = gap.end;
    }
    if (code < 0) {
        take_back(u);
        return code;
    }
    if (u->end == u->settled)
        return 0;
    code = make_stable(u);
    if (code == 0)
        ranges_add(&u->saved, start, end);
    return code;
}

/* To be called before [offset, offset + len) changes. */
static int save(struct undo *u, uint64_t offset, uint64_t len)
{
    LOCK_FOR_SCOPE(&u->lock);
    if (u->broken < 0)
        return u->broken;
    if (len == 0 || offset >= u->info.image_size)
        return 0;
    uint64_t end = offset + min_u64(len, u->info.image_size - offset);
    return save_locked(u, align_down(offset, UNDO_GRANULE),
                       min_u64(align_up(end, UNDO_GRANULE), u->info.image_size));
}

/* To be called before that range becomes what buf holds: if that makes a header, its mark becomes
   stable first, so that the header is known for this file's own. */
static int save_mark(struct undo *u, const uint8_t *buf, uint64_t offset, uint64_t len)
{
    struct vhdx_error err;
    int code = 0;

    if (offset >= HEADER_OFFSET(UNDO_MARKS))
        return 0;
    LOCK_FOR_SCOPE(&u->lock);
    if (u->broken < 0)
        return u->broken;
    for (int i = 0; i < UNDO_MARKS && code == 0; i++) {
        struct undo_record mark = { .kind = UNDO_MARK, .offset = HEADER_OFFSET(i),
                                    .length = sizeof(struct header_disk),
                                    .settled = u->settled };
        if (!ranges_overlap(offset, len, mark.offset, mark.length))
            continue;
        if (undo_mark(&u->image, i, buf, offset, len, &mark.data_checksum, &err) < 0)
            code = err.sys_errno > 0 ? -err.sys_errno : -EIO;
        else if (mark.data_checksum != 0)
            code = append(u, &mark, NULL);
    }
    if (code < 0)
        take_back(u);
    else if (u->end > u->settled && RULE_HOLDS(RULE_UNDO_MARKED))
        code = make_stable(u);
    return code;
}

/* ---- The calls ------------------------------------------------------------------------------ */

static int undo_pread(void *opaque, void *buf, size_t len, uint64_t offset)
{
    const struct undo *u = opaque;

    return u->image.pread(u->image.opaque, buf, len, offset);
}

static int undo_size(void *opaque, uint64_t *ret_size)
{
    const struct undo *u = opaque;

    return u->image.size(u->image.opaque, ret_size);
}

static int undo_pwrite(void *opaque, const void *buf, size_t len, uint64_t offset)
{
    struct undo *u = opaque;
    int code = save(u, offset, len);

    if (code == 0)
        code = save_mark(u, buf, offset, len);
    return code < 0 ? code : u->image.pwrite(u->image.opaque, buf, len, offset);
}

static int undo_flush(void *opaque)
{
    const struct undo *u = opaque;

    return u->image.flush(u->image.opaque);
}

static int undo_truncate(void *opaque, uint64_t size)
{
    struct undo *u = opaque;
    int code = save(u, size, UINT64_MAX);

    return code < 0 ? code : u->image.truncate(u->image.opaque, size);
}

static int undo_zero(void *opaque, uint64_t offset, uint64_t len)
{
    struct undo *u = opaque;
    int code = save(u, offset, len);

    return code < 0 ? code : u->image.zero(u->image.opaque, offset, len);
}

static int undo_discard(void *opaque, uint64_t offset, uint64_t len)
{
    struct undo *u = opaque;
    int code = save(u, offset, len);

    return code < 0 ? code : u->image.discard(u->image.opaque, offset, len);
}

static void undo_close(void *opaque)
{
    struct undo *u = opaque;

    ranges_free(&u->saved);
    pthread_mutex_destroy(&u->lock);
    free(u->data);
    free(u);
}

/* ---- Beginning ------------------------------------------------------------------------------ */

static int begin_new(struct undo *u, const char *image_name, struct vhdx_error *err)
{
    CLEANUP_FREE struct undo_header_disk *d = malloc(sizeof *d);
    uint32_t marks[UNDO_MARKS];
    struct guid identity;

    if (!d)
        return fail_nomem(err);
    int r = io_size(&u->image, &u->info.image_size, err);
    for (int i = 0; i < UNDO_MARKS && r == 0; i++)
        r = undo_mark(&u->image, i, NULL, 0, 0, &marks[i], err);
    if (r < 0)
        return r;
    if (u->info.image_size > LIMIT_FILE_SIZE)
        return fail(err, VHDX_E_LIMIT, VHDX_OFFSET_NONE,
                    "undo: image size is %" PRIu64 ", must be at most %" PRIu64,
                    u->info.image_size, (uint64_t)LIMIT_FILE_SIZE);
    if (!guid_random(&identity))
        return fail(err, VHDX_E_SYSTEM, VHDX_OFFSET_NONE, "undo: no random numbers");
    memcpy(u->info.identity, identity.bytes, sizeof u->info.identity);
    memcpy(u->info.image_name, image_name, strlen(image_name));
    undo_header_make(&u->info, marks, d);
    if ((r = io_truncate(&u->file, 0, err)) < 0 ||
        (r = io_pwrite(&u->file, d, sizeof *d, 0, err)) < 0 ||
        (r = io_flush(&u->file, err)) < 0)
        return undo_file_result(r, err);
    u->end = u->settled = sizeof *d;
    return 0;
}

static int verify_goes_on(const struct undo_info *info, const char *image_name,
                          struct vhdx_error *err)
{
    if (info->is_undoing || info->is_sealed)
        return fail(err, VHDX_E_INVALID, VHDX_OFFSET_NONE,
                    "undo file: is %s, must be empty or that of an interrupted change",
                    info->is_undoing ? "being applied" : "sealed");
    if (strcmp(info->image_name, image_name) != 0)
        return fail(err, VHDX_E_INVALID, offsetof(struct undo_header_disk, image_name),
                    "undo file: image name is \"%.150s\", must be \"%.150s\"", info->image_name,
                    image_name);
    return 0;
}

/* Writes again what may be in the system's cache only, since a flush of it may have failed. */
static int write_again(struct undo *u, uint64_t start, uint64_t end, struct vhdx_error *err)
{
    int r = 0;

    for (uint64_t at = start, n; r == 0 && at < end; at += n) {
        n = min_u64(end - at, UNDO_PIECE);
        r = io_pread(&u->file, u->data, (size_t)n, at, err);
        if (r == 0)
            r = io_pwrite(&u->file, u->data, (size_t)n, at, err);
    }
    if (r == 0)
        r = io_flush(&u->file, err);
    return undo_file_result(r, err);
}

static int begin_again(struct undo *u, const char *image_name, struct vhdx_error *err)
{
    struct undo_state state;

    int r = undo_load(&u->file, &state, err);
    if (r < 0)
        return r;
    u->info = state.info;
    u->saved = state.saved;
    u->end = u->settled = state.end;
    r = verify_goes_on(&u->info, image_name, err);
    if (r == 0)
        r = undo_verify_marks(&u->file, &state, &u->image, err);
    if (r < 0 || (r = undo_file_result(io_truncate(&u->file, u->end, err), err)) < 0)
        return r;
    /* Where there are records the header was stable before them. */
    return write_again(u, state.saved.count > 0 ? state.settled : 0, u->end, err);
}

static int begin(struct undo *u, const char *image_name, struct vhdx_error *err)
{
    bool blank = false;

    if (!u->image.pwrite || !u->file.pwrite)
        return fail(err, VHDX_E_READ_ONLY, VHDX_OFFSET_NONE, "undo: %s is read-only",
                    u->image.pwrite ? "the undo file" : "the image");
    if (strlen(image_name) >= UNDO_NAME_SIZE)
        return fail(err, VHDX_E_INVALID, VHDX_OFFSET_NONE,
                    "undo: image name has %zu bytes, must be at most %d", strlen(image_name),
                    UNDO_NAME_SIZE - 1);
    int r = undo_is_blank(&u->file, &blank, err);
    if (r < 0)
        return r;
    return blank ? begin_new(u, image_name, err) : begin_again(u, image_name, err);
}

int undo_begin(const struct vhdx_io *image, const struct vhdx_io *undo_file,
               const char *image_name, struct vhdx_io *ret, struct vhdx_error *err)
{
    struct undo *u = calloc(1, sizeof *u);

    if (!u)
        return fail_nomem(err);
    u->image = *image;
    u->file = *undo_file;
    pthread_mutex_init(&u->lock, NULL);
    u->data = malloc(UNDO_PIECE);
    int r = u->data ? begin(u, image_name, err) : fail_nomem(err);
    if (r < 0) {
        undo_close(u);
        return r;
    }
    *ret = (struct vhdx_io){ .struct_size = sizeof *ret, .opaque = u, .pread = undo_pread,
                             .pwrite = undo_pwrite, .flush = undo_flush, .size = undo_size,
                             .truncate = undo_truncate, .zero = image->zero ? undo_zero : NULL,
                             .discard = image->discard ? undo_discard : NULL,
                             .close = undo_close };
    return 0;
}

/* ---- The end -------------------------------------------------------------------------------- */

static int append_seal(struct undo *u, const struct undo_record *seal, struct vhdx_error *err)
{
    LOCK_FOR_SCOPE(&u->lock);
    if (u->broken < 0)
        return fail_errno(err, -u->broken, VHDX_OFFSET_NONE, "sealing the undo file");
    int code = append(u, seal, NULL);
    if (code < 0)
        take_back(u);
    else
        code = make_stable(u);
    if (code < 0)
        return fail_errno(err, -code, u->end, "sealing the undo file");
    u->broken = -EROFS;
    return 0;
}

int undo_seal(const struct vhdx_io *wrapper, struct vhdx_error *err)
{
    assert(wrapper->pread == undo_pread);
    struct undo *u = wrapper->opaque;
    struct undo_record seal = { .kind = UNDO_SEAL, .settled = u->settled };

    int r = io_flush(&u->image, err); /* what is sealed must not be lost afterwards */
    if (r < 0 || (r = undo_fingerprint(&u->image, &seal, err)) < 0)
        return r;
    return append_seal(u, &seal, err);
}
