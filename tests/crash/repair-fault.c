/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Fault test of repair, replay and undo: calls that a repair makes to the image or to its undo file
 * fail, once or for want of space. The repair reports it; whatever happened, what could be read can
 * be read and is the same, the repair can be done again, and the undo file restores every bit. So
 * it is with every call of that undo.
 *
 *     repair-fault [--step N] FILE...     every Nth call; for want of space every one
 */

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "io/undo.h"
#include "patient.h"

struct fault {
    int code;          /* -EIO, -ENOSPC */
    int64_t countdown; /* calls until it happens */
    bool happened;
    enum op_kind kind; /* of the call that failed */
    uint64_t calls;
};

struct run {
    struct patient *p;
    uint64_t step;
    uint64_t faults;
};

static int inject(void *opaque, enum op_kind kind, uint64_t offset, uint64_t len)
{
    struct fault *f = opaque;
    bool takes_space = kind == OP_WRITE || kind == OP_TRUNCATE || kind == OP_ZERO;

    (void)offset;
    (void)len;
    if (f->code == -ENOSPC && !takes_space)
        return 0;
    f->calls++;
    if (f->happened || f->countdown-- > 0)
        return 0;
    f->happened = true;
    f->kind = kind;
    return f->code;
}

static void recorders(struct patient *p, struct fault *f, struct recorder *image,
                      struct recorder *undo)
{
    *image = (struct recorder){ .file = p->image, .before = inject, .before_opaque = f };
    *undo = (struct recorder){ .file = p->undo, .before = inject, .before_opaque = f };
}

static void demand_error(struct patient *p, int code, const struct vhdx_error *err)
{
    if (code == 0)
        patient_die(p, "hides a failure", NULL);
    if (err->code != -code || err->message[0] == 0)
        patient_die(p, "does not say what failed", err);
}

/* One call of a repair fails. False if there are no more calls. */
static bool fail_repair(struct run *run, int code, uint64_t n)
{
    static const char *const kinds[] = { "read", "write", "zero", "discard", "truncate", "flush",
                                         "size" };
    struct fault f = { .code = code, .countdown = (int64_t)n };
    struct vhdx_error err = { 0 };
    struct patient *p = run->p;
    struct recorder r, u;

    recorders(p, &f, &r, &u);
    snprintf(p->doing, sizeof p->doing, "call %" PRIu64 " fails with %s", n, strerror(-code));
    memfile_mark(p->image);
    memfile_mark(p->undo);
    int c = patient_treat(p, &r, &u, NULL, &err);
    if (f.happened) {
        snprintf(p->doing + strlen(p->doing), 32, " (%s)", kinds[f.kind]);
        demand_error(p, c, &err);
        patient_verify_content(p);
        if (run->faults % 3 == 0)
            patient_verify_finish(p);
        patient_verify_undo(p, false);
        if (run->faults % 3 == 1)
            patient_verify_resume(p);
        run->faults++;
    }
    memfile_back(p->undo);
    memfile_back(p->image);
    return f.happened;
}

/* The undo of a whole repair, one call of which fails; the next one must do it. */
static bool fail_undo(struct run *run, int code, uint64_t n)
{
    struct fault f = { .code = code, .countdown = (int64_t)n };
    struct vhdx_error err = { 0 };
    struct patient *p = run->p;
    struct vhdx_io io, undo_io;
    struct recorder r, u;

    recorders(p, &f, &r, &u);
    recorder_io(&r, &io);
    recorder_io(&u, &undo_io);
    snprintf(p->doing, sizeof p->doing, "undo: call %" PRIu64 " fails with %s", n,
             strerror(-code));
    memfile_mark(p->image);
    memfile_mark(p->undo);
    int c = undo_apply(&undo_io, &io, false, &err);
    if (f.happened) {
        demand_error(p, c, &err);
        patient_verify_undo(p, false);
        run->faults++;
    }
    memfile_back(p->undo);
    memfile_back(p->image);
    return f.happened;
}

static void fail_all_undo(struct run *run)
{
    struct patient *p = run->p;
    struct recorder r = { .file = p->image }, u = { .file = p->undo };
    struct vhdx_error err;

    memfile_mark(p->image);
    memfile_mark(p->undo);
    if (patient_treat(p, &r, &u, NULL, &err) < 0)
        patient_die(p, "repairing", &err);
    for (uint64_t n = 0; fail_undo(run, -EIO, n); n++)
        ;
    for (uint64_t n = 0; fail_undo(run, -ENOSPC, n); n++)
        ;
    memfile_back(p->undo);
    memfile_back(p->image);
}

static uint64_t run_one(const char *path, enum treatment treatment, uint64_t step)
{
    struct patient *p = calloc(1, sizeof *p);
    struct run run = { .p = p, .step = step };

    if (!p)
        abort();
    if (patient_begin(p, path, treatment, 1)) {
        for (uint64_t n = treatment % step; fail_repair(&run, -EIO, n); n += step)
            ;
        for (uint64_t n = 0; fail_repair(&run, -ENOSPC, n); n++)
            ;
        fail_all_undo(&run);
    }
    patient_end(p);
    free(p);
    return run.faults;
}

int main(int argc, char **argv)
{
    uint64_t step = 1, faults = 0;
    int first = 1, failed = 0, status;
    enum { JOBS = 2 };

    if (argc > 2 && strcmp(argv[1], "--step") == 0) {
        if (sscanf(argv[2], "%" SCNu64, &step) != 1 || step == 0)
            return 2;
        first = 3;
    }
    for (int job = 0; job < JOBS; job++) {
        pid_t pid = fork();
        if (pid < 0)
            return 1;
        if (pid > 0)
            continue;
        for (int i = first * TREATMENTS + job; i < argc * TREATMENTS; i += JOBS)
            faults += run_one(argv[i / TREATMENTS], (enum treatment)(i % TREATMENTS), step);
        fprintf(stderr, "job %d: %" PRIu64 " faults\n", job, faults);
        exit(0);
    }
    while (wait(&status) > 0)
        failed |= !WIFEXITED(status) || WEXITSTATUS(status) != 0;
    return failed;
}
