/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * What libfuse and fusermount3 print on standard error, caught so that one orderly line can be made
 * of it. Not for programs with more than one thread.
 */
#ifndef VHDX_FUSE_CAPTURE_H
#define VHDX_FUSE_CAPTURE_H

#include <stdbool.h>

#define CAPTURE_TEXT 256

struct capture {
    int saved; /* the real standard error; negative: nothing is caught */
};

/* From here on standard error goes to memory. Where that is impossible it stays what it is. */
void capture_begin(struct capture *capture);

/* Standard error is itself again; text is the first line that was caught, without the name of the
   program that stands before a colon. Empty if there was none. */
void capture_end(struct capture *capture, char text[CAPTURE_TEXT]);

#endif /* VHDX_FUSE_CAPTURE_H */
