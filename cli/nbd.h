/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Disks behind NBD servers, through libnbd, as inputs and as outputs. Names begin with remote_, as
 * nbd_ is libnbd's. In a build without libnbd everything that opens fails, and says so.
 */
#ifndef VHDX_CLI_NBD_H
#define VHDX_CLI_NBD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <vhdx.h>

#define REMOTE_CONNECTIONS_MAX 16u
#define REMOTE_CONNECTIONS 4u /* where 0 is asked for */
#define REMOTE_REASON_TEXT 512

/* True in a build with libnbd. */
bool remote_supported(void);

/* Reports that this build is not. */
void remote_report_unsupported(const char *name);

/* How many connections to make where so many are asked for. */
unsigned remote_connections(unsigned asked);

/* True for what begins as an NBD URI does: nbd://, nbds+unix:// and so on. */
bool remote_is_uri(const char *text);

/*
 * A disk to read from. As many connections are made as the server takes, at most that many
 * (0: REMOTE_CONNECTIONS). name is for messages. False: the reason was reported.
 */
bool remote_open_source(const char *uri, const char *name, unsigned connections,
                        struct vhdx_disk **ret);

/*
 * A disk to write to, whose size stays: pread, pwrite, zero, flush and size, from any thread at
 * once. Close it with ret->close(ret->opaque). False: the reason was reported.
 */
bool remote_open_target(const char *uri, const char *name, unsigned connections,
                        struct vhdx_io *ret);

/*
 * The same over sockets that are connected already. They are closed with the disk, and also after a
 * failure, which is not reported: the reason goes to ret_reason.
 */
bool remote_adopt_source(const int *sockets, unsigned count, const char *name,
                         struct vhdx_disk **ret, char ret_reason[REMOTE_REASON_TEXT]);
bool remote_adopt_target(const int *sockets, unsigned count, struct vhdx_io *ret,
                         char ret_reason[REMOTE_REASON_TEXT]);

#endif /* VHDX_CLI_NBD_H */
