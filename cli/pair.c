/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* Two disks that are compared; see pair.h. */

#include "pair.h"

#include <stdlib.h>

#include "interrupt.h"
#include "report.h"
#include "size.h"

#define THREADS_MAX 64

static bool take_threads(const char *arg, uint32_t *ret)
{
    uint64_t number;

    if (!size_parse_option("-m", arg, &number))
        return false;
    if (number < 1 || number > THREADS_MAX) {
        report("-m: %s is out of range, must be 1 to %d", arg, THREADS_MAX);
        return false;
    }
    *ret = (uint32_t)number;
    return true;
}

bool pair_take_option(int option, const char *arg, struct pair_options *options)
{
    switch (option) {
    case PAIR_FORMAT:
        options->formats[0] = arg;
        return true;
    case PAIR_SECOND_FORMAT:
        options->formats[1] = arg;
        return true;
    case PAIR_THREADS:
        return take_threads(arg, &options->threads);
    case PAIR_PROGRESS:
        options->progress_mode = PROGRESS_ALWAYS;
        return true;
    case PAIR_QUIET:
        options->quiet = true;
        if (options->progress_mode == PROGRESS_ON_TERMINAL)
            options->progress_mode = PROGRESS_NEVER;
        return true;
    default: /* PAIR_OUTPUT */
        return options_parse_output(arg, &options->json);
    }
}

bool pair_open(const struct common_options *common, const struct pair_options *options,
               struct pair *ret)
{
    for (unsigned i = 0; i < 2; i++) {
        const struct source_options of = { .format = options->formats[i], .common = common };
        const char *operand = common->operands[i];

        if (!source_open(operand, &of, &ret->sources[i]))
            return false;
    }
    return source_spool(&ret->sources[0], options->progress_mode) &&
           source_spool(&ret->sources[1], options->progress_mode);
}

void pair_close(struct pair *pair)
{
    source_close(&pair->sources[0]);
    source_close(&pair->sources[1]);
}

static int on_progress(uint64_t done, uint64_t total, void *opaque)
{
    progress_update(opaque, done, total);
    return interrupt_pending();
}

int pair_compare(struct pair *pair, const struct pair_options *own,
                 struct vhdx_compare_options *options, struct vhdx_compare_result *ret)
{
    struct progress progress;
    struct vhdx_error err;

    progress_init(&progress, own->progress_mode);
    options->threads = own->threads;
    options->progress.fn = on_progress;
    options->progress.opaque = &progress;
    interrupt_catch();
    int r = vhdx_compare(pair->sources[0].disk, pair->sources[1].disk, options, ret, &err);
    progress_finish(&progress);
    if (r < 0 && err.code == VHDX_E_CANCELLED) {
        pair_close(pair);
        interrupt_die();
    }
    if (r < 0) {
        report_error(&err);
        report_error_hint(&err);
    }
    return r;
}
