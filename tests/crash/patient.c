/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* A damaged image and its repair; see patient.h. */

#include "patient.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io/undo.h"
#include "ops/repair-replay.h"

#define IMAGE_NAME "image.vhdx" /* in the undo file */

static const char *const treatments[] = { "safe", "all", "replay" };

void patient_die(const struct patient *p, const char *what, const struct vhdx_error *err)
{
    fprintf(stderr, "FAILED: %s, %s: %s: %s: %s\n", p->name, treatments[p->treatment], p->doing,
            what, err ? err->message : "");
    exit(1);
}

/* xorshift64* */
uint64_t patient_random(struct patient *p, uint64_t below)
{
    p->rng ^= p->rng >> 12;
    p->rng ^= p->rng << 25;
    p->rng ^= p->rng >> 27;
    return (p->rng * UINT64_C(2685821657736338717) >> 16) % below;
}

/* ---- Treating ------------------------------------------------------------------------------- */

static int treat(const struct patient *p, const struct vhdx_io *io, struct vhdx_repair_result *ret,
                 struct vhdx_error *err)
{
    struct vhdx_repair_options o = VHDX_REPAIR_OPTIONS_INIT;
    struct vhdx_check_options check = VHDX_CHECK_OPTIONS_INIT;

    struct vhdx_replay_result replayed;

    if (p->treatment == TREAT_REPLAY)
        return repair_replay_io(io, 0, &replayed, err);
    check.flags = VHDX_CHECK_NO_PARENT | VHDX_CHECK_NO_LOCK;
    o.check = &check;
    o.flags = VHDX_REPAIR_NO_UNDO;
    o.level = p->treatment == TREAT_SAFE ? VHDX_REPAIR_SAFE : VHDX_REPAIR_ALL;
    return vhdx_repair_io(io, &o, ret, err);
}

int patient_treat(const struct patient *p, struct recorder *r, struct recorder *undo,
                  struct vhdx_repair_result *ret, struct vhdx_error *err)
{
    struct vhdx_repair_result own = VHDX_REPAIR_RESULT_INIT;
    struct vhdx_io io, undo_io, wrapped;

    ret = ret ? ret : &own;
    recorder_io(r, &io);
    if (!undo)
        return treat(p, &io, ret, err);
    recorder_io(undo, &undo_io);
    int c = undo_begin(&io, &undo_io, IMAGE_NAME, &wrapped, err);
    if (c < 0)
        return c;
    c = treat(p, &wrapped, ret, err);
    if (c == 0)
        c = undo_seal(&wrapped, err);
    wrapped.close(wrapped.opaque);
    return c;
}

static void check_image(const struct patient *p, struct vhdx_check_result *ret)
{
    struct vhdx_check_options o = VHDX_CHECK_OPTIONS_INIT;
    struct recorder r = { .file = p->image, .frozen = true };
    struct vhdx_error err;
    struct vhdx_io io;

    recorder_io(&r, &io);
    o.flags = VHDX_CHECK_NO_PARENT | VHDX_CHECK_NO_LOCK;
    *ret = (struct vhdx_check_result)VHDX_CHECK_RESULT_INIT;
    if (vhdx_check_io(&io, &o, ret, &err) < 0)
        patient_die(p, "checking", &err);
}

static void read_image(const struct patient *p, struct content *ret)
{
    struct recorder r = { .file = p->image, .frozen = true };
    struct vhdx_io io;

    recorder_io(&r, &io);
    content_read(&io, VHDX_OPEN_RDONLY, ret);
}

/* ---- What must be so ------------------------------------------------------------------------ */

static bool is_among_stages(const struct patient *p, const struct content *c, size_t piece)
{
    for (size_t i = 0; i < p->stage_count; i++) {
        const struct content *s = &p->stages[i];
        if (s->is_open && s->size == c->size && s->digests[piece] == c->digests[piece])
            return true;
    }
    return false;
}

static void add_place(struct patient *p, uint64_t offset)
{
    snprintf(p->doing + strlen(p->doing), 48, ", the disk at %#" PRIx64, offset);
}

void patient_verify_content(struct patient *p)
{
    const struct content *before = &p->stages[0], *after = &p->stages[p->stage_count - 1];
    struct content now;

    read_image(p, &now);
    if (before->is_open && !now.is_open)
        patient_die(p, "can no longer be opened", &now.err);
    for (size_t i = 0; now.is_open && i < now.count; i++) {
        uint64_t d = now.digests[i], old = before->is_open ? before->digests[i]
                                                           : CONTENT_UNREADABLE;
        bool is_old = before->is_open && d == old;
        if (is_old)
            continue;
        if (old != CONTENT_UNREADABLE &&
            (p->treatment != TREAT_ALL || d != after->digests[i])) {
            add_place(p, i * now.piece);
            patient_die(p, d == CONTENT_UNREADABLE ? "can no longer be read" : "reads as another",
                        d == CONTENT_UNREADABLE ? &now.err : NULL);
        }
        if (d != CONTENT_UNREADABLE && !is_among_stages(p, &now, i)) {
            add_place(p, i * now.piece);
            patient_die(p, "what could not be read reads as what it never was", NULL);
        }
    }
    if (before->is_open && strcmp(before->data_write_guid, now.data_write_guid) != 0)
        patient_die(p, "another DataWriteGuid", NULL);
    content_end(&now);
}

static bool same_verdict(const struct vhdx_check_result *a, const struct vhdx_check_result *b)
{
    return a->fatals == b->fatals && a->errors == b->errors && a->leaks == b->leaks &&
           a->complete == b->complete && a->lost_bytes == b->lost_bytes;
}

static void verify_final(struct patient *p)
{
    struct vhdx_check_result check;
    struct vhdx_error text;
    struct content now;

    check_image(p, &check);
    if (!same_verdict(&check, &p->after)) {
        snprintf(text.message, sizeof text.message,
                 "%d fatal, %d errors, %d leaks, complete %d, must be %d, %d, %d, %d",
                 (int)check.fatals, (int)check.errors, (int)check.leaks, (int)check.complete,
                 (int)p->after.fatals, (int)p->after.errors, (int)p->after.leaks,
                 (int)p->after.complete);
        patient_die(p, "repaired again it is not what it must be", &text);
    }
    read_image(p, &now);
    if (!content_equal(&now, &p->stages[p->stage_count - 1]))
        patient_die(p, "repaired again it holds something else", NULL);
    content_end(&now);
}

void patient_verify_finish(struct patient *p)
{
    struct recorder r = { .file = p->image };
    struct vhdx_error err;

    memfile_mark(p->image);
    if (patient_treat(p, &r, NULL, NULL, &err) < 0)
        patient_die(p, "repairing again", &err);
    verify_final(p);
    memfile_back(p->image);
}

/* ---- Undo ----------------------------------------------------------------------------------- */

/* An undo file that says nothing: nothing was changed. */
static bool undo_says_nothing(const struct patient *p)
{
    struct recorder u = { .file = p->undo, .frozen = true };
    struct vhdx_error err;
    struct vhdx_io io;
    struct undo_info *info = malloc(sizeof *info);

    if (!info)
        abort();
    recorder_io(&u, &io);
    int c = undo_read_header(&io, info, &err);
    free(info);
    return c < 0;
}

static void apply_undo(struct patient *p, struct record *record)
{
    struct recorder r = { .file = p->image, .record = record };
    struct recorder u = { .file = p->undo, .record = record };
    struct vhdx_io io, undo_io;
    struct vhdx_error err;

    recorder_io(&r, &io);
    recorder_io(&u, &undo_io);
    if (undo_apply(&undo_io, &io, false, &err) < 0)
        patient_die(p, "undoing", &err);
    if (!memfile_equal(p->image, p->original))
        patient_die(p, "undone it is not what it was", NULL);
}

/* Some instants of an undo whose operations are known. */
static void crash_undo(struct patient *p, const struct record *record)
{
    for (int n = 0; n < 6 && record->count > 0; n++) {
        size_t prefix = 1 + patient_random(p, record->count), flushed[2] = { 0, 0 };
        for (size_t i = 0; i < prefix; i++)
            if (record->ops[i].kind == OP_FLUSH)
                flushed[record->ops[i].file == p->undo] = i;
        memfile_mark(p->image);
        memfile_mark(p->undo);
        for (size_t i = 0; i < prefix; i++) {
            const struct op *op = &record->ops[i];
            if (i < flushed[op->file == p->undo] || patient_random(p, 2))
                op_apply(op, op->file);
            else if (patient_random(p, 2))
                patient_tear(p, op);
        }
        apply_undo(p, NULL);
        memfile_back(p->undo);
        memfile_back(p->image);
    }
}

void patient_verify_undo(struct patient *p, bool steps)
{
    struct record record = { 0 };

    if (undo_says_nothing(p)) {
        if (!memfile_equal(p->image, p->original))
            patient_die(p, "changed before there was an undo file", NULL);
        return;
    }
    memfile_mark(p->image);
    memfile_mark(p->undo);
    apply_undo(p, &record);
    memfile_back(p->undo);
    memfile_back(p->image);
    if (steps) {
        snprintf(p->doing + strlen(p->doing), 64, ", then in the midst of undoing");
        crash_undo(p, &record);
    }
    record_clear(&record);
}

static bool is_sealed(const struct patient *p)
{
    struct recorder u = { .file = p->undo, .frozen = true };
    struct undo_info *info = malloc(sizeof *info);
    struct vhdx_io io;

    if (!info)
        abort();
    recorder_io(&u, &io);
    bool sealed = undo_read_header(&io, info, NULL) == 0 && info->is_sealed;
    free(info);
    return sealed;
}

void patient_verify_resume(struct patient *p)
{
    struct recorder r = { .file = p->image }, u = { .file = p->undo };
    struct vhdx_error err;

    if (is_sealed(p)) {
        verify_final(p);
        return;
    }
    memfile_mark(p->image);
    memfile_mark(p->undo);
    if (patient_treat(p, &r, &u, NULL, &err) < 0)
        patient_die(p, "repairing again with the same undo file", &err);
    verify_final(p);
    apply_undo(p, NULL);
    memfile_back(p->undo);
    memfile_back(p->image);
}

/* ---- Tearing -------------------------------------------------------------------------------- */

void patient_tear(struct patient *p, const struct op *op)
{
    static const uint64_t log_unit[] = { 1, 512, 4096 };
    uint64_t unit = log_unit[patient_random(p, 3)], how = patient_random(p, 3);
    uint64_t units = (op->len + unit - 1) / unit;

    if (op->kind == OP_TRUNCATE || op->kind == OP_FLUSH || units < 2)
        return;
    uint64_t cut = (1 + patient_random(p, units - 1)) * unit;
    if (unit == 1 && patient_random(p, 2)) /* in the fields at the beginning of a structure */
        cut = 1 + patient_random(p, op->len < 96 ? op->len - 1 : 96);
    if (how == 0) {
        op_apply_part(op, op->file, 0, cut);
    } else if (how == 1) {
        op_apply_part(op, op->file, cut, op->len - cut);
    } else {
        unit = unit == 1 ? 512 : unit;
        for (uint64_t at = 0; at < op->len; at += unit)
            if (patient_random(p, 2))
                op_apply_part(op, op->file, at, op->len - at < unit ? op->len - at : unit);
    }
}

/* ---- The beginning -------------------------------------------------------------------------- */

static void load_file(struct memfile *file, const char *path)
{
    uint8_t page[4096];
    int fd = open(path, O_RDONLY);
    off_t size = fd < 0 ? -1 : lseek(fd, 0, SEEK_END), at = 0;
    ssize_t n = 1;

    while (n > 0 && size >= 0 && (at = lseek(fd, at, SEEK_DATA)) >= 0) {
        n = pread(fd, page, sizeof page, at);
        if (n > 0)
            memfile_write(file, page, (size_t)n, (uint64_t)at);
        at += n;
    }
    if (size < 0 || n < 0) {
        fprintf(stderr, "FAILED: cannot read %s\n", path);
        exit(1);
    }
    memfile_truncate(file, (uint64_t)size);
    close(fd);
}

static void add_stage(struct patient *p)
{
    if (p->stage_count == STAGES_MAX)
        patient_die(p, "too many flushes", NULL);
    read_image(p, &p->stages[p->stage_count++]);
}

/* What could be read after each flush, nothing being lost. */
static void read_stages(struct patient *p)
{
    memfile_mark(p->image);
    add_stage(p);
    for (size_t i = 0; i < p->record.count; i++) {
        const struct op *op = &p->record.ops[i];
        if (op->file != p->image)
            continue;
        op_apply(op, p->image);
        if (op->kind == OP_FLUSH)
            add_stage(p);
    }
    add_stage(p);
    memfile_back(p->image);
}

/* What only a careless repair makes: lost blocks that read as zeros without having been given
   up, or less to be had by a bolder repair. */
static void verify_care(struct patient *p, const struct vhdx_repair_result *result)
{
    struct patient other = *p;
    struct recorder r = { .file = p->image };
    struct content direct;
    struct vhdx_error err;

    if (p->before.complete && p->before.fatals == 0 &&
        p->before.lost_bytes > p->after.lost_bytes + result->lost_bytes)
        patient_die(p, "lost blocks are passed off as whole", NULL);
    if (p->treatment != TREAT_SAFE)
        return;
    other.treatment = TREAT_ALL;
    memfile_mark(p->image);
    if (patient_treat(&other, &r, NULL, NULL, &err) < 0)
        patient_die(p, "a bolder repair", &err);
    read_image(p, &direct);
    memfile_back(p->image);
    for (size_t i = 0; i < p->record.count; i++)
        if (p->record.ops[i].file == p->image)
            op_apply(&p->record.ops[i], p->image);
    if (patient_treat(&other, &r, NULL, NULL, &err) < 0)
        patient_die(p, "a bolder repair after the safe one", &err);
    struct content later;
    read_image(p, &later);
    if (!content_equal(&direct, &later))
        patient_die(p, "the safe repair takes from what a bolder one could mend", NULL);
    content_end(&later);
    content_end(&direct);
}

/* Treats the image once, as it must go; what is treated is left as it was. */
static void treat_once(struct patient *p)
{
    struct recorder r = { .file = p->image, .record = &p->record };
    struct recorder u = { .file = p->undo, .record = &p->record };
    struct vhdx_repair_result result = VHDX_REPAIR_RESULT_INIT;
    struct vhdx_error err;

    memfile_mark(p->image);
    memfile_mark(p->undo);
    check_image(p, &p->before);
    if (patient_treat(p, &r, &u, &result, &err) < 0)
        patient_die(p, "repairing", &err);
    check_image(p, &p->after);
    for (size_t i = 0; i < p->record.count; i++)
        p->is_changed = p->is_changed || (p->record.ops[i].file == p->image &&
                                          p->record.ops[i].kind != OP_FLUSH);
    if (p->treatment != TREAT_REPLAY && !same_verdict(&p->after, &result.after))
        patient_die(p, "the repair's own verdict is another than the check's", NULL);
    memfile_back(p->undo);
    memfile_back(p->image);
    if (p->treatment == TREAT_REPLAY)
        return;
    memfile_mark(p->image);
    verify_care(p, &result);
    memfile_back(p->image);
}

static bool can_be_opened(const struct patient *p)
{
    struct content now;

    read_image(p, &now);
    bool can = now.is_open;
    content_end(&now);
    return can;
}

bool patient_begin(struct patient *p, const char *path, enum treatment treatment, uint64_t seed)
{
    const char *slash = strrchr(path, '/');

    *p = (struct patient){ .name = slash ? slash + 1 : path, .treatment = treatment,
                           .rng = seed * UINT64_C(0x9e3779b97f4a7c15) | 1,
                           .doing = "without interruption" };
    for (int i = 0; i < 8; i++)
        patient_random(p, 2);
    p->image = memfile_new();
    p->original = memfile_new();
    p->undo = memfile_new();
    load_file(p->image, path);
    load_file(p->original, path);
    if (treatment == TREAT_REPLAY && !can_be_opened(p))
        return false;
    treat_once(p);
    if (!p->is_changed)
        return false;
    read_stages(p);
    return true;
}

void patient_end(struct patient *p)
{
    for (size_t i = 0; i < p->stage_count; i++)
        content_end(&p->stages[i]);
    record_clear(&p->record);
    memfile_free(p->image);
    memfile_free(p->original);
    memfile_free(p->undo);
}
