/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* Filling struct vhdx_error; see fail.h. */

#include "util/fail.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Keeps the message one printable line, and whole UTF-8 characters where it had to be cut. */
static void sanitise(char *s, size_t size)
{
    size_t len = strnlen(s, size);

    for (size_t i = 0; i < len; i++)
        if ((unsigned char)s[i] < 0x20 || s[i] == 0x7f)
            s[i] = '?';
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
    sanitise(err->message, sizeof err->message);
}

int fail(struct vhdx_error *err, int code, uint64_t offset, const char *fmt, ...)
{
    if (err) {
        va_list args;
        va_start(args, fmt);
        set(err, code, 0, offset, fmt, args);
        va_end(args);
    }
    return -code;
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

void fail_prefix(struct vhdx_error *err, const char *fmt, ...)
{
    if (!err)
        return;

    char rest[sizeof err->message];
    va_list args;

    memcpy(rest, err->message, sizeof rest);
    va_start(args, fmt);
    vsnprintf(err->message, sizeof err->message, fmt, args);
    va_end(args);
    size_t len = strlen(err->message);
    memcpy(err->message + len, rest, sizeof rest - len);
    err->message[sizeof err->message - 1] = '\0';
    sanitise(err->message, sizeof err->message);
}
