/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Restoring an image from an undo file; see undo.h, and undo.c for how the file works. All is
 * verified first; then the undo file is made to say that restoring has begun, since from the first
 * write on the image is neither what was sealed nor what it was; then everything is written,
 * however much of it was written before: records do not overlap, so their order does not matter.
 */

#include "io/undo.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "format/ondisk.h"
#include "io/io.h"
#include "io/undo-file.h"
#include "util/cleanup.h"
#include "util/crc32c.h"
#include "util/rules.h"

int undo_fingerprint(const struct vhdx_io *image, struct undo_record *ret, struct vhdx_error *err)
{
    CLEANUP_FREE uint8_t *data = malloc(UNDO_PIECE);
    uint64_t size;

    if (!data)
        return fail_nomem(err);
    int r = io_size(image, &size, err);
    if (r < 0)
        return r;
    size_t len = (size_t)min_u64(size, UNDO_PIECE);
    if (len > 0 && (r = io_pread(image, data, len, 0, err)) < 0)
        return r;
    ret->offset = size;
    ret->length = len;
    ret->data_checksum = crc32c(0, data, len);
    return 0;
}

static int verify_unchanged(const struct vhdx_io *image, const struct undo_record *seal,
                            struct vhdx_error *err)
{
    struct undo_record now;

    int r = undo_fingerprint(image, &now, err);
    if (r < 0)
        return r;
    if (now.offset != seal->offset)
        return fail(err, VHDX_E_INVALID, VHDX_OFFSET_NONE,
                    "undo: image size is %" PRIu64 ", must be %" PRIu64
                    ": the image was changed after the repair", now.offset, seal->offset);
    if (now.data_checksum != seal->data_checksum)
        return fail(err, VHDX_E_INVALID, 0,
                    "undo: checksum of the image's first %" PRIu64 " bytes is %#" PRIx32
                    ", must be %#" PRIx32 ": the image was changed after the repair", now.length,
                    now.data_checksum, seal->data_checksum);
    return 0;
}

/* ---- Marks ---------------------------------------------------------------------------------- */

int undo_mark(const struct vhdx_io *image, int number, const uint8_t *buf, uint64_t offset,
              uint64_t len, uint32_t *ret, struct vhdx_error *err)
{
    const uint64_t place = HEADER_OFFSET(number);
    uint8_t bytes[sizeof(struct header_disk)] = { 0 };
    const struct header_disk *d = (const struct header_disk *)bytes;
    uint64_t size;

    *ret = 0;
    int r = io_size(image, &size, err);
    if (r == 0 && size > place)
        r = io_pread(image, bytes, (size_t)min_u64(size - place, sizeof bytes), place, err);
    if (r < 0)
        return r;
    uint64_t first = max_u64(offset, place), end = min_u64(offset + len, place + sizeof bytes);
    if (first < end && buf)
        memcpy(bytes + (first - place), buf + (first - offset), (size_t)(end - first));
    else if (first < end)
        memset(bytes + (first - place), 0, (size_t)(end - first));
    uint32_t checksum = crc32c_without(d, sizeof *d, offsetof(struct header_disk, checksum));
    if (memcmp(d->signature, "head", sizeof d->signature) == 0 &&
        le32_get(d->checksum) == checksum)
        *ret = checksum;
    return 0;
}

struct marks {
    uint32_t now[UNDO_MARKS];
    bool known[UNDO_MARKS];
};

static int compare_mark(const struct undo_record *r, const uint8_t *data, void *opaque,
                        struct vhdx_error *err)
{
    struct marks *m = opaque;

    (void)data;
    (void)err;
    for (int i = 0; i < UNDO_MARKS; i++)
        if (r->kind == UNDO_MARK && r->offset == HEADER_OFFSET(i) && r->data_checksum == m->now[i])
            m->known[i] = true;
    return 0;
}

int undo_verify_marks(const struct vhdx_io *file, const struct undo_state *state,
                      const struct vhdx_io *image, struct vhdx_error *err)
{
    struct marks m = { 0 };
    int r = 0;

    for (int i = 0; i < UNDO_MARKS && r == 0; i++) {
        r = undo_mark(image, i, NULL, 0, 0, &m.now[i], err);
        m.known[i] = m.now[i] == 0 || m.now[i] == state->marks[i];
    }
    if (r == 0)
        r = undo_each(file, state, compare_mark, &m, err);
    for (int i = 0; i < UNDO_MARKS && r == 0; i++)
        if (!m.known[i])
            r = fail(err, VHDX_E_INVALID, HEADER_OFFSET(i),
                     "undo: header %d is not the repair's: the image was changed after the repair, "
                     "which was interrupted, or is another one", i + 1);
    return r;
}

/* ---- Restoring ------------------------------------------------------------------------------ */

/* Makes the undo file say that restoring has begun, in the place of a torn record if there is
   one. */
static int note_beginning(const struct vhdx_io *undo_file, const struct undo_state *state,
                          struct vhdx_error *err)
{
    const struct undo_record undoing = { .kind = UNDO_UNDOING, .settled = state->settled };
    struct undo_record_disk d;

    undo_record_make(&state->info, &undoing, state->end, &d);
    uint64_t size = 0;
    int r = io_size(undo_file, &size, err);
    if (r == 0 && size > state->end) {
        /* Stable before the note is written: a note that tears over a torn record could be taken
           for a damaged one. */
        r = io_truncate(undo_file, state->end, err);
        if (r == 0)
            r = io_flush(undo_file, err);
    }
    if (r == 0)
        r = io_pwrite(undo_file, &d, sizeof d, state->end, err);
    if (r == 0 && RULE_HOLDS(RULE_UNDO_BEGUN))
        r = io_flush(undo_file, err);
    return undo_file_result(r, err);
}

struct restoring {
    const struct vhdx_io *image;
    uint64_t size; /* of the image before it grew: behind it there are zeros already */
};

static int restore(const struct undo_record *r, const uint8_t *data, void *opaque,
                   struct vhdx_error *err)
{
    const struct restoring *to = opaque;

    if (r->kind == UNDO_DATA)
        return io_pwrite(to->image, data, (size_t)r->length, r->offset, err);
    if (r->kind != UNDO_ZEROS || r->offset >= to->size)
        return 0;
    return io_discard(to->image, r->offset, min_u64(r->length, to->size - r->offset), true, err);
}

static int restore_all(const struct vhdx_io *undo_file, const struct undo_state *state,
                       const struct vhdx_io *image, struct vhdx_error *err)
{
    struct restoring to = { .image = image };

    int r = io_size(image, &to.size, err);
    if (r < 0 || (r = io_truncate(image, state->info.image_size, err)) < 0)
        return r;
    to.size = min_u64(to.size, state->info.image_size);
    r = undo_each(undo_file, state, restore, &to, err);
    return r < 0 ? r : io_flush(image, err);
}

static int apply(const struct vhdx_io *undo_file, const struct undo_state *state,
                 const struct vhdx_io *image, bool force, struct vhdx_error *err)
{
    int r = 0;

    if (state->info.is_sealed && !state->info.is_undoing && !force)
        r = verify_unchanged(image, &state->seal, err);
    else if (!state->info.is_undoing && !force)
        r = undo_verify_marks(undo_file, state, image, err);
    if (r == 0 && !state->info.is_undoing)
        r = note_beginning(undo_file, state, err);
    return r < 0 ? r : restore_all(undo_file, state, image, err);
}

int undo_apply(const struct vhdx_io *undo_file, const struct vhdx_io *image, bool force,
               struct vhdx_error *err)
{
    struct undo_state state;

    if (!image->pwrite || !undo_file->pwrite)
        return fail(err, VHDX_E_READ_ONLY, VHDX_OFFSET_NONE, "undo: %s is read-only",
                    image->pwrite ? "the undo file" : "the image");
    int r = undo_load(undo_file, &state, err);
    if (r < 0)
        return r;
    r = apply(undo_file, &state, image, force, err);
    undo_state_free(&state);
    return r;
}

int undo_is_of(const struct vhdx_io *undo_file, const struct vhdx_io *image,
               struct vhdx_error *err)
{
    struct undo_state state;

    int r = undo_load(undo_file, &state, err);
    if (r < 0)
        return r;
    r = undo_verify_marks(undo_file, &state, image, err);
    undo_state_free(&state);
    return r;
}

int undo_read_header(const struct vhdx_io *undo_file, struct undo_info *ret,
                     struct vhdx_error *err)
{
    struct undo_state state;

    int r = undo_load(undo_file, &state, err);
    if (r < 0)
        return r;
    *ret = state.info;
    undo_state_free(&state);
    return 0;
}
