/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Failing: the one way to fill a struct vhdx_error. The text says object, field, found, required;
 * a lower layer's text is never replaced, only prefixed with what it could not know.
 */
#ifndef UTIL_FAIL_H
#define UTIL_FAIL_H

#include <stdarg.h>
#include <stdint.h>
#include <vhdx.h>

/*
 * Fills *err (unless NULL) and returns -code. offset: where in the file the offending bytes stand,
 * or VHDX_OFFSET_NONE. Control characters in the text become '?' (text_clean()), so that it stays
 * one line whatever a file put into it.
 */
int fail(struct vhdx_error *err, int code, uint64_t offset, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

int fail_va(struct vhdx_error *err, int code, uint64_t offset, const char *fmt, va_list args)
    __attribute__((format(printf, 4, 0)));

/* The same for a failed system call: VHDX_E_NOSPACE or VHDX_E_NOMEM where errnum (positive) says
   so, else VHDX_E_SYSTEM; ": " and the system's text are appended. */
int fail_errno(struct vhdx_error *err, int errnum, uint64_t offset, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* VHDX_E_NOMEM. */
int fail_nomem(struct vhdx_error *err);

/* Puts text in front of the message of an error that a callee has filled. */
void fail_prefix(struct vhdx_error *err, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

#endif
