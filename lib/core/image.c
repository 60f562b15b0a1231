/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* One image file: opening, the headers, the log, the tables; see image.h. */

#include "core/image.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/image-parts.h"
#include "core/writer.h"
#include "util/cleanup.h"
#include "util/limits.h"

const char *image_name(const struct image *img)
{
    return img->path ? img->path : "(custom file)";
}

uint32_t image_type(const struct image *img)
{
    if (img->metadata.has_parent)
        return VHDX_TYPE_DIFFERENCING;
    return img->metadata.leave_allocated ? VHDX_TYPE_FIXED : VHDX_TYPE_DYNAMIC;
}

const char *image_locator_value(const struct image *img, const char *key)
{
    for (uint32_t i = 0; i < img->locator_count; i++)
        if (strcmp(img->locator[i].key, key) == 0)
            return img->locator[i].value;
    return NULL;
}

int image_pread(const struct image *img, const char *what, void *buf, size_t len, uint64_t offset,
                struct vhdx_error *err)
{
    if (!range_fits(offset, len, image_size(img)))
        return fail(err, VHDX_E_TRUNCATED, offset,
                    "%s: file is %" PRIu64 " bytes long, must reach to %" PRIu64, what,
                    image_size(img), offset + len);
    if (img->overlay)
        return overlay_pread(img->overlay, &img->io, buf, len, offset, err);
    return io_pread(&img->io, buf, len, offset, err);
}

/* ---- Headers -------------------------------------------------------------------------------- */

static int read_ident(struct image *img, struct vhdx_error *err)
{
    struct ident_disk d = { 0 };
    size_t len = (size_t)min_u64(sizeof d, img->file_size);

    int r = io_pread(&img->io, &d, len, IDENT_OFFSET, err);
    if (r == 0)
        r = ident_verify(&d, len, err);
    if (r < 0)
        return r;
    img->creator = malloc(CREATOR_TEXT_SIZE);
    if (!img->creator)
        return fail_nomem(err);
    ident_creator(&d, img->creator);
    return 0;
}

void image_set_copy(struct copy_state *c, int r, const struct vhdx_error *problem)
{
    free(c->problem);
    *c = (struct copy_state){ .valid = r == 0, .is_damaged = r == -VHDX_E_CORRUPT ||
                                                             r == -VHDX_E_CHECKSUM };
    if (r < 0)
        c->problem = strdup(problem->message);
}

void image_keep_problem(enum vhdx_problem problem, const struct vhdx_error *what, void *opaque)
{
    struct copy_problem *kept = opaque;

    kept->problem = problem;
    kept->what = *what;
}

int image_report(const struct image *img, enum vhdx_problem id, int r,
                 const struct vhdx_error *what, struct vhdx_error *err)
{
    if (img->sink)
        img->sink->fn(id, what, img->sink->opaque);
    if (err)
        *err = *what;
    return r;
}

int image_fail_both(const struct image *img, enum vhdx_problem lost,
                    const struct copy_problem problems[2], struct vhdx_error *err)
{
    const struct vhdx_error *a = &problems[0].what, *b = &problems[1].what;
    bool second = b->code == VHDX_E_UNSUPPORTED ||
                  (a->code == VHDX_E_CHECKSUM && b->code != VHDX_E_CHECKSUM);
    const struct vhdx_error *p = second ? b : a;

    return problem_end(img->sink, lost, err, p->code, p->file_offset, "%s; and %s", a->message,
                       b->message);
}

static int read_header(struct image *img, int copy, struct header_disk *disk, struct header *ret,
                       struct copy_problem *ret_problem, struct vhdx_error *err)
{
    const struct problem_sink keep = { image_keep_problem, ret_problem };
    uint64_t at = HEADER_OFFSET((unsigned)copy);

    if (!range_fits(at, sizeof *disk, img->file_size))
        return problem_end(img->sink, VHDX_P_FILE_TOO_SHORT, err, VHDX_E_TRUNCATED, at,
                           "header %d: file is %" PRIu64 " bytes long, must be at least 1 MiB",
                           copy + 1, img->file_size);
    int r = io_pread(&img->io, disk, sizeof *disk, at, err);
    if (r < 0)
        return r;
    r = header_decode(disk, copy, &keep, ret, NULL);
    image_set_copy(&img->headers[copy], r, &ret_problem->what);
    if (r == 0)
        img->headers[copy].sequence_number = ret->sequence_number;
    return 0;
}

/* What the check says of the two copies once one of them is chosen. */
static void report_headers(const struct image *img, const struct copy_problem problems[2],
                           bool identical)
{
    const struct header *h = &img->header;
    uint64_t at = HEADER_OFFSET((unsigned)img->header_copy);
    int n = img->header_copy + 1;

    for (int i = 0; i < 2; i++)
        if (problems[i].problem != 0)
            img->sink->fn(problems[i].problem, &problems[i].what, img->sink->opaque);
    if (identical)
        FOUND(img, VHDX_P_HEADERS_IDENTICAL, HEADER_OFFSET(1),
              "header 2: is identical to header 1, the sequence number %" PRIu64 " included",
              h->sequence_number);
    if (h->sequence_number > UINT64_MAX - HEADER_NUMBERS_KEPT)
        FOUND(img, VHDX_P_HEADER_SEQUENCE, at + offsetof(struct header_disk, sequence_number),
              "header %d: sequence number is %" PRIu64 ": no higher one is left", n,
              h->sequence_number);
    if (guid_is_zero(&h->file_write_guid) || guid_is_zero(&h->data_write_guid))
        FOUND(img, VHDX_P_HEADER_GUID, at + offsetof(struct header_disk, file_write_guid),
              "header %d: %s write GUID is zero", n,
              guid_is_zero(&h->data_write_guid) ? "data" : "file");
    if (h->log_length == 0 && guid_is_zero(&h->log_guid))
        FOUND(img, VHDX_P_HEADER_NO_LOG, at + offsetof(struct header_disk, log_length),
              "header %d: log length is 0, must be at least 1 MiB to write to the image", n);
}

static int read_headers(struct image *img, struct vhdx_error *err)
{
    struct copy_problem problems[2] = { 0 };
    struct header_disk disk[2];
    struct header headers[2];
    struct vhdx_error what;

    for (int i = 0; i < 2; i++) {
        int r = read_header(img, i, &disk[i], &headers[i], &problems[i], err);
        if (r < 0)
            return r;
    }
    bool valid[2] = { img->headers[0].valid, img->headers[1].valid };
    if (!valid[0] && !valid[1])
        return image_fail_both(img, VHDX_P_HEADERS_LOST, problems, err);

    bool identical = memcmp(&disk[0], &disk[1], sizeof disk[0]) == 0;
    int r = header_choose(headers, valid, identical, &img->header_copy, &what);
    if (r < 0)
        return image_report(img, VHDX_P_HEADERS_AMBIGUOUS, r, &what, err);
    img->header = headers[img->header_copy];
    img->headers[img->header_copy].in_use = true;
    if (img->sink)
        report_headers(img, problems, identical);
    return 0;
}

/* ---- Opening -------------------------------------------------------------------------------- */

static int read_size(struct image *img, struct vhdx_error *err)
{
    int r = io_size(&img->io, &img->file_size, err);

    img->size = img->file_size;
    if (r == 0 && img->file_size > LIMIT_FILE_SIZE)
        r = fail(err, VHDX_E_LIMIT, VHDX_OFFSET_NONE,
                 "file is %" PRIu64 " bytes long, must be at most 256 TiB", img->file_size);
    return r;
}

static int read_beginning(struct image *img, struct vhdx_error *err)
{
    int r = read_size(img, err);

    if (r == 0)
        r = read_ident(img, err);
    if (r == 0)
        r = read_headers(img, err);
    return r;
}

/*
 * A file without an identifier whose headers are those of an image is one whose identifier was
 * damaged.
 */
static int read_beginning_checked(struct image *img, struct vhdx_error *err)
{
    const struct problem_sink *sink = img->sink;
    struct vhdx_error what, ignored;

    int r = read_size(img, err);
    if (r < 0)
        return r;
    r = read_ident(img, &what);
    if (r == -VHDX_E_NOT_VHDX) {
        img->sink = NULL;
        bool has_headers = read_headers(img, &ignored) == 0;
        img->sink = sink;
        if (has_headers) {
            image_report(img, VHDX_P_IDENT_SIGNATURE, r, &what, NULL);
            r = 0;
        }
    }
    if (r < 0) {
        if (err)
            *err = what;
        return r;
    }
    if (img->file_size < HEADER_SECTION_SIZE)
        return problem_end(sink, VHDX_P_FILE_TOO_SHORT, err, VHDX_E_TRUNCATED, img->file_size,
                           "file is %" PRIu64 " bytes long, must be at least 1 MiB",
                           img->file_size);
    return read_headers(img, err);
}

static struct image *new_image(const struct vhdx_io *io)
{
    struct image *img = calloc(1, sizeof *img);

    if (img) {
        img->io = *io;
        pthread_mutex_init(&img->claim_lock, NULL);
    }
    return img;
}

int image_open_checked(const struct vhdx_io *io, const struct problem_sink *sink,
                       struct image **ret, struct vhdx_error *err)
{
    struct image *img = new_image(io);

    if (!img)
        return fail_nomem(err);
    img->io.close = NULL;
    img->sink = sink;
    int r = read_beginning_checked(img, err);
    if (r < 0) {
        image_close(img);
        return r;
    }
    *ret = img;
    return 0;
}

int image_open_io(const struct vhdx_io *io, struct image **ret, struct vhdx_error *err)
{
    struct image *img = new_image(io);

    if (!img) {
        if (io->close)
            io->close(io->opaque);
        return fail_nomem(err);
    }
    img->has_id = file_get_id(io, &img->id);
    int r = read_beginning(img, err);
    if (r < 0) {
        image_close(img);
        return r;
    }
    *ret = img;
    return 0;
}

static int open_path(const char *path, bool writable, const struct image_layer *layer,
                     struct image **ret, struct vhdx_error *err)
{
    CLEANUP_FREE char *copy = strdup(path);
    struct image *img = NULL;
    struct file_id id;
    struct vhdx_io io;

    if (!copy)
        return fail_nomem(err);
    int r = file_open(path, writable, &io, err);
    if (r == 0) {
        file_get_id(&io, &id);
        r = layer ? layer->open(&io, layer->opaque, err) : 0;
    }
    if (r == 0)
        r = image_open_io(&io, &img, err);
    if (r < 0) {
        fail_prefix(err, "%s: ", path);
        return r;
    }
    img->path = steal_ptr(copy);
    img->has_id = true;
    img->id = id;
    *ret = img;
    return 0;
}

int image_open_path(const char *path, bool writable, struct image **ret, struct vhdx_error *err)
{
    return open_path(path, writable, NULL, ret, err);
}

int image_open_layered(const char *path, const struct image_layer *layer, struct image **ret,
                       struct vhdx_error *err)
{
    return open_path(path, false, layer, ret, err);
}

int image_lock(struct image *img, struct vhdx_error *err)
{
    struct file_id id;
    bool supported;

    if (!file_get_id(&img->io, &id))
        return 0;
    int r = file_lock(&img->io, &supported, err);
    if (r == 0 && !supported)
        NOTE(img, "the file system has no locks: nothing keeps a writer away");
    if (r == 0)
        r = read_size(img, err);
    if (r == 0)
        r = read_headers(img, err);
    return r;
}

void image_close(struct image *img)
{
    if (!img)
        return;
    writer_close(img);
    for (int i = 0; i < 2; i++) {
        free(img->headers[i].problem);
        free(img->region_tables[i].problem);
    }
    free(img->locator);
    free(img->locator_text);
    pages_end(&img->bat);
    pages_end(&img->bitmaps);
    space_end(&img->space);
    free(img->bat_claimed);
    lines_end(&img->notes);
    overlay_free(img->overlay);
    free(img->regions);
    free(img->creator);
    free(img->path);
    pthread_mutex_destroy(&img->claim_lock);
    io_close(&img->io);
    free(img);
}
