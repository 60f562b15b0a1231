/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * vhdx serve: an image as an NBD export. nbdkit with our plugin is the server; the verb looks first
 * whether the image can be served, so that mistakes are told as everywhere else in this tool.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "children.h"
#include "opening.h"
#include "options.h"
#include "report.h"
#include "scope.h"
#include "server.h"
#include "verb.h"

enum {
    OPTION_BIND = 'b',
    OPTION_SHARED = 'e',
    OPTION_SOCKET = 'k',
    OPTION_PORT = 'p',
    OPTION_READ_ONLY = 'r',
    OPTION_RUN = OPTION_OWN,
    OPTION_TLS,
    OPTION_TLS_CERTIFICATES,
    OPTION_TLS_PSK,
    OPTION_TLS_VERIFY_PEER,
};

#define PORT_MAX 65535
#define CLIENTS_MAX 1000000

struct serve_run {
    struct server server;
    uint32_t clients; /* 0: any number */
    bool read_only;
};

static bool take_number(const char *name, const char *arg, uint32_t min, uint32_t max,
                        uint32_t *ret)
{
    uint32_t number;

    if (!number_parse(arg, max, &number) || number < min) {
        report("%s: '%s' is not a number from %u to %u", name, arg, min, max);
        return false;
    }
    *ret = number;
    return true;
}

static bool take_tls(struct serve_run *run, const char *arg)
{
    if (strcmp(arg, "on") != 0 && strcmp(arg, "off") != 0 && strcmp(arg, "require") != 0) {
        report("--tls: '%s' is neither on, off nor require", arg);
        return false;
    }
    run->server.tls_required = strcmp(arg, "require") == 0;
    word_add(&run->server.options, "--tls=%s", arg);
    return true;
}

/* nbdkit stays in our folder, but what the URI says must hold elsewhere too. */
static bool take_psk(struct serve_run *run, const char *arg, char **ret_owned)
{
    char *path = realpath(arg, NULL);

    if (!path) {
        report("--tls-psk: %s: %s", arg, strerror(errno));
        return false;
    }
    free(*ret_owned);
    *ret_owned = path;
    run->server.psk_file = path;
    word_add(&run->server.options, "--tls-psk=%s", path);
    return true;
}

/* What the options need during the run. */
struct serve_options {
    struct serve_run run;
    char *psk_file;
};

static bool take_option(int option, const char *arg, void *own)
{
    struct serve_options *options = own;
    struct serve_run *run = &options->run;

    switch (option) {
    case OPTION_BIND:
        run->server.address = arg;
        return true;
    case OPTION_SHARED:
        return take_number("-e", arg, 0, CLIENTS_MAX, &run->clients);
    case OPTION_SOCKET:
        run->server.socket_path = arg;
        return true;
    case OPTION_PORT:
        return take_number("-p", arg, 1, PORT_MAX, &run->server.port);
    case OPTION_READ_ONLY:
        run->read_only = true;
        return true;
    case OPTION_RUN:
        run->server.command = arg;
        return true;
    case OPTION_TLS:
        return take_tls(run, arg);
    case OPTION_TLS_CERTIFICATES:
        word_add(&run->server.options, "--tls-certificates=%s", arg);
        return true;
    case OPTION_TLS_PSK:
        return take_psk(run, arg, &options->psk_file);
    default: /* OPTION_TLS_VERIFY_PEER */
        word_add(&run->server.options, "--tls-verify-peer");
        return true;
    }
}

static bool check_combination(const struct server *server)
{
    if (server->socket_path && server->port) {
        report("-k and -p exclude each other: a socket in the file system, or a TCP port");
        return false;
    }
    if (server->address && !server->port) {
        report("-b needs a TCP port (-p)");
        return false;
    }
    return true;
}

/*
 * Looks whether the image can be served, and tells what is to be known of it. The image is closed
 * again: the server opens it for itself.
 */
static bool check_image(const char *path, bool read_only, const struct common_options *common)
{
    struct vhdx_info info;

    struct vhdx *v = image_open_content(path, common);

    bool fine = v && image_info(v, &info);
    if (fine && !read_only)
        children_warn(path, info.data_write_guid);
    vhdx_close(v);
    return fine;
}

/* Whether it can be written to. That replays a dirty log: when there is a server at last. */
static bool check_writing(void *opaque)
{
    const struct common_options *common = opaque;

    struct vhdx *v = image_open(common->operands[0], VHDX_OPEN_RDWR, common);
    if (!v)
        report_hint("-r serves the image read-only");
    vhdx_close(v);
    return v != NULL;
}

static void add_parameters(const char *path, const struct serve_run *run,
                           const struct common_options *common, struct server *server)
{
    struct word_list *words = &server->parameters;

    if (run->read_only)
        word_add(&server->options, "--readonly");
    if (run->clients) {
        /* One connection each, so that connections are clients. */
        word_add(&server->options, "--filter=limit");
        word_add(&server->options, "--filter=multi-conn");
        word_add(words, "limit=%u", run->clients);
        word_add(words, "multi-conn-mode=disable");
    }
    word_add(words, "file=%s", path);
    for (size_t i = 0; i < common->parents_count; i++)
        word_add(words, "parent=%s", common->parents[i]);
    for (size_t i = 0; i < common->search_dirs_count; i++)
        word_add(words, "search-dir=%s", common->search_dirs[i]);
    for (size_t i = 0; i < common->path_maps_count; i++)
        word_add(words, "map-path=%s=%s", common->path_maps[i].windows,
                 common->path_maps[i].local);
    if (common->open_flags & VHDX_OPEN_NO_PARENT)
        word_add(words, "no-parent=true");
    if (common->open_flags & VHDX_OPEN_ANY_PARENT)
        word_add(words, "any-parent=true");
    if (common->open_flags & VHDX_OPEN_NO_LOCK)
        word_add(words, "force-share=true");
}

static void serve_options_free(struct serve_options *options)
{
    word_list_free(&options->run.server.options);
    word_list_free(&options->run.server.parameters);
    free(options->psk_file);
}

static int run_serve(int argc, char **argv)
{
    SCOPED_OPTIONS struct common_options common = { 0 };
    SCOPED(serve_options_free) struct serve_options options = { 0 };
    struct serve_run *run = &options.run;
    int exit_code;

    if (!options_parse(argc, argv, &verb_serve, &common, &options, &exit_code))
        return exit_code;
    const char *path = common.operands[0];
    if (!check_combination(&run->server))
        return EXIT_FAILED;
    if ((common.open_flags & VHDX_OPEN_NO_PARENT) && !run->read_only) {
        report_note("--no-parent: served read-only");
        run->read_only = true;
    }
    if (!check_image(path, run->read_only, &common))
        return EXIT_FAILED;
    if (!run->read_only) {
        run->server.is_ready = check_writing;
        run->server.opaque = &common;
    }
    add_parameters(path, run, &common, &run->server);
    return server_run(&run->server);
}

static const struct option longs[] = {
    { "bind", required_argument, NULL, OPTION_BIND },
    { "shared", required_argument, NULL, OPTION_SHARED },
    { "socket", required_argument, NULL, OPTION_SOCKET },
    { "port", required_argument, NULL, OPTION_PORT },
    { "read-only", no_argument, NULL, OPTION_READ_ONLY },
    { "run", required_argument, NULL, OPTION_RUN },
    { "tls", required_argument, NULL, OPTION_TLS },
    { "tls-certificates", required_argument, NULL, OPTION_TLS_CERTIFICATES },
    { "tls-psk", required_argument, NULL, OPTION_TLS_PSK },
    { "tls-verify-peer", no_argument, NULL, OPTION_TLS_VERIFY_PEER },
    { NULL, 0, NULL, 0 },
};

const struct verb verb_serve = {
    .name = "serve",
    .operands = "FILE",
    .summary = "serve the disk over NBD, with nbdkit",
    .help =
        "Serves the disk to NBD clients, for reading and writing, until Ctrl-C or SIGTERM. The\n"
        "server is nbdkit with the plugin that comes with vhdx. Prints the URI to connect to:\n"
        "without -k and -p, that of a socket only this user can reach.\n"
        "\n"
        "Options:\n"
        "  -k, --socket PATH        listen on this socket\n"
        "  -p, --port PORT          listen on this TCP port\n"
        "  -b, --bind ADDRESS       with -p: on this address (default: localhost)\n"
        "  -r, --read-only          serve read-only, without changing the file in any way\n"
        "  -e, --shared N           at most N clients at a time; 0, the default: any number\n"
        "      --tls on|require|off encryption: offered, demanded, or not there (default)\n"
        "      --tls-certificates DIR, --tls-psk FILE, --tls-verify-peer\n"
        "                           as for nbdkit\n"
        "      --run COMMAND        run COMMAND in a shell, with the URI in $uri, and end with it\n"
        "                           and with its exit code\n",
    .shorts = "b:e:k:p:r",
    .longs = longs,
    .take_option = take_option,
    .operands_min = 1,
    .operands_max = 1,
    .run = run_serve,
};
