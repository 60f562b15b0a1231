/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* Filling struct vhdx_error; see fail.h. */

#include "util/fail.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "util/text.h"

#define PREFIX_MAX 200 /* bytes of a prefix: a long path must not push the cause out */

/* Where the text was cut, the last character may be a part of one. */
static void drop_partial(char *s, size_t size)
{
    size_t len = strlen(s);

    if (len + 1 < size)
        return;
    while (len > 0 && ((unsigned char)s[len - 1] & 0xc0) == 0x80)
        len--;
    if (len > 0 && (unsigned char)s[len - 1] >= 0xc0)
        len--;
    s[len] = '\0';
}

__attribute__((format(printf, 5, 0)))
static void set(struct vhdx_error *err, int code, int errnum, uint64_t offset, const char *fmt,
                va_list args)
{
    err->code = code;
    err->sys_errno = errnum;
    err->file_offset = offset;
    vsnprintf(err->message, sizeof err->message, fmt, args);
    drop_partial(err->message, sizeof err->message);
    text_clean(err->message);
}

int fail_va(struct vhdx_error *err, int code, uint64_t offset, const char *fmt, va_list args)
{
    if (err)
        set(err, code, 0, offset, fmt, args);
    return -code;
}

int fail(struct vhdx_error *err, int code, uint64_t offset, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    int r = fail_va(err, code, offset, fmt, args);
    va_end(args);
    return r;
}

static int code_of_errno(int errnum)
{
    switch (errnum) {
    case ENOMEM: return VHDX_E_NOMEM;
    case ENOSPC:
    case EDQUOT: return VHDX_E_NOSPACE;
    default: return VHDX_E_SYSTEM;
    }
}

int fail_errno(struct vhdx_error *err, int errnum, uint64_t offset, const char *fmt, ...)
{
    int code = code_of_errno(errnum);

    if (err) {
        char text[128];
        va_list args;
        va_start(args, fmt);
        set(err, code, errnum, offset, fmt, args);
        va_end(args);
        size_t len = strlen(err->message);
        snprintf(err->message + len, sizeof err->message - len, ": %s",
                 strerror_r(errnum, text, sizeof text));
    }
    return -code;
}

int fail_nomem(struct vhdx_error *err)
{
    return fail(err, VHDX_E_NOMEM, VHDX_OFFSET_NONE, "out of memory");
}

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

void fail_prefix(struct vhdx_error *err, const char *fmt, ...)
{
    char prefix[4096], rest[sizeof err->message];
    va_list args;

    if (!err)
        return;
    memcpy(rest, err->message, sizeof rest);
    va_start(args, fmt);
    vsnprintf(prefix, sizeof prefix, fmt, args);
    va_end(args);
    text_clean(prefix);

    size_t len = strlen(prefix);
    const char *tail = prefix, *dots = "";
    if (len > PREFIX_MAX) {
        dots = "...";
        tail = prefix + len - PREFIX_MAX;
        while (((unsigned char)*tail & 0xc0) == 0x80)
            tail++;
    }
    size_t used = (size_t)snprintf(err->message, sizeof err->message, "%s%.*s", dots, PREFIX_MAX,
                                   tail);
    memcpy(err->message + used, rest, sizeof rest - used);
    err->message[sizeof err->message - 1] = '\0';
    drop_partial(err->message, sizeof err->message);
}
