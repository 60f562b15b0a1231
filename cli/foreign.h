/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* Images of the formats that QEMU knows, through qemu-nbd, as inputs and as outputs. */
#ifndef VHDX_CLI_FOREIGN_H
#define VHDX_CLI_FOREIGN_H

#include <stdbool.h>
#include <stdint.h>

#include <vhdx.h>

struct qemu_server;
struct source;

/* QEMU's name of a format ("vhd" is its "vpc"), or NULL if it is none that is handled here. */
const char *foreign_format(const char *format);

struct foreign_input {
    const char *path;
    const char *format;   /* from foreign_format() */
    uint32_t open_flags;  /* VHDX_OPEN_NO_LOCK counts */
    unsigned connections; /* 0: a few */
};

/* Opens an image for reading, with what it is based on. After the disk the server is to be ended
   with qemu_end(). False: the reason was reported. */
bool foreign_open(const struct foreign_input *input, struct qemu_server **ret,
                  struct vhdx_disk **ret_disk);

struct foreign_output {
    const char *path;
    const char *format;   /* from foreign_format() */
    uint64_t size;        /* of the disk, bytes; QEMU rounds it up to whole sectors, or more */
    const char *options;  /* as for qemu-img create -o, or NULL */
    bool replace;         /* what stands at path may be replaced */
    unsigned connections; /* 0: a few */
    const struct source *from; /* whose files are not written over; may be NULL */
};

struct foreign_target;

/*
 * Makes an image in a hidden folder beside path, to be written through *ret_io, which stays the
 * target's. It begins as zeros: no byte may be written or zeroed twice, as zeroing does nothing.
 * interrupt_catch() was called, since a signal's default would leave the folder. False: the reason
 * was reported.
 */
bool foreign_create(const struct foreign_output *output, struct foreign_target **ret,
                    struct vhdx_io *ret_io);

/* Makes the image stable and gives it its name; or reports why not, and removes it. The target is
   gone in either case. */
bool foreign_commit(struct foreign_target *target);

/* Removes it. NULL is fine. */
void foreign_discard(struct foreign_target *target);

#endif /* VHDX_CLI_FOREIGN_H */
