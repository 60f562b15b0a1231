/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* Broken rules, as failures or as findings; see problem.h. */

#include "util/problem.h"

#include <stdarg.h>

int problem(const struct problem_sink *sink, enum vhdx_problem problem, struct vhdx_error *err,
            int code, uint64_t offset, const char *fmt, ...)
{
    struct vhdx_error what;
    va_list args;

    va_start(args, fmt);
    int r = fail_va(sink ? &what : err, code, offset, fmt, args);
    va_end(args);
    if (!sink)
        return r;
    sink->fn(problem, &what, sink->opaque);
    return 0;
}

int problem_end(const struct problem_sink *sink, enum vhdx_problem problem, struct vhdx_error *err,
                int code, uint64_t offset, const char *fmt, ...)
{
    struct vhdx_error what;
    va_list args;

    va_start(args, fmt);
    int r = fail_va(&what, code, offset, fmt, args);
    va_end(args);
    if (sink)
        sink->fn(problem, &what, sink->opaque);
    if (err)
        *err = what;
    return r;
}
