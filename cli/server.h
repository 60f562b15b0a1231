/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Running nbdkit as the server: finding it and the plugin, starting it, knowing when it listens,
 * ending it, and a command meanwhile.
 */
#ifndef VHDX_CLI_SERVER_H
#define VHDX_CLI_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "process.h"

/* Decimal digits only, at most max. */
bool number_parse(const char *text, uint32_t max, uint32_t *ret);

struct server {
    const char *socket_path; /* -k, or NULL: a private one is made unless there is a port */
    const char *address;     /* where to listen on the port; NULL: this machine only */
    uint32_t port;           /* 0: none */
    bool tls_required;       /* clients have to use it: the URI says so */
    const char *psk_file;    /* NULL: none */
    const char *command;     /* --run, or NULL: serve until a signal comes */
    bool (*is_ready)(void *opaque); /* asked when all else is; false after reporting why not; or
                                       NULL */
    void *opaque;
    struct word_list options; /* more options of nbdkit's */
    struct word_list parameters; /* of the plugin and of filters */
};

/*
 * Serves until SIGINT, SIGTERM or SIGHUP, or until the command ends. The URI goes to standard
 * output, or to the command as $uri. Returns the exit code: the command's, 0 after a signal, or
 * EXIT_FAILED after what went wrong was reported.
 */
int server_run(const struct server *server);

#endif /* VHDX_CLI_SERVER_H */
