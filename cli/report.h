/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Everything the tool says on standard error, one line at a time, each beginning with "vhdx: ".
 * Control characters in the text are escaped. Standard output is flushed first, so that both keep
 * their order where they go to the same place.
 */
#ifndef VHDX_CLI_REPORT_H
#define VHDX_CLI_REPORT_H

#include <vhdx.h>

/* "vhdx: TEXT" */
__attribute__((format(printf, 1, 2))) void report(const char *format, ...);

/* "vhdx: warning: TEXT" */
__attribute__((format(printf, 1, 2))) void report_warning(const char *format, ...);

/* "vhdx: note: TEXT": done, but not quite as was asked */
__attribute__((format(printf, 1, 2))) void report_note(const char *format, ...);

/* "vhdx: hint: TEXT": what to do next */
__attribute__((format(printf, 1, 2))) void report_hint(const char *format, ...);

/* "vhdx: MESSAGE (file offset N)", without a hint. */
void report_error(const struct vhdx_error *err);

/* What to do next about an error of this code, if there is something to say. */
void report_error_hint(const struct vhdx_error *err);

#endif /* VHDX_CLI_REPORT_H */
