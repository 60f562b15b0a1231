/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Running QEMU's programs; see qemu.h. qemu-nbd is handed a socket that listens already, to
 * which we are connected already: there is nothing to wait for, and the socket's name in the file
 * system is gone before qemu-nbd starts, so that no one else connects and nothing is left behind.
 * What it says goes to a file in memory, and to the user when it fails.
 *
 * It ends when asked to, when its last client leaves, and when this program ends, however that
 * happens.
 */
#include "qemu.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "nbd.h"
#include "process.h"
#include "report.h"
#include "scope.h"

#define TEXT_MAX 4096 /* of what a program said, bytes */
#define LINES_MAX 10

struct qemu_file {
    dev_t device;
    ino_t inode;
};

struct qemu_server {
    pid_t process;
    int text_fd;             /* what it said */
    struct qemu_file *files; /* that it had open when it began to serve */
    size_t files_count;
};

/* ---- What a program said -------------------------------------------------------------------- */

/* Without "qemu-nbd: Failed to blk_new_open 'driver=qcow2,...': ", which says nothing. */
static const char *skip_preamble(const char *line)
{
    static const char preamble[] = "qemu-nbd: Failed to blk_new_open '";
    const char *end = strstr(line, "': ");

    return end && strncmp(line, preamble, strlen(preamble)) == 0 ? end + strlen("': ") : line;
}

/* Its lines as messages of ours; false if there are none. */
static bool report_text(int fd, const char *name)
{
    bool is_locked = false;
    char text[TEXT_MAX + 1], *rest = text;
    ssize_t len = pread(fd, text, TEXT_MAX, 0);
    int lines = 0;

    text[len > 0 ? len : 0] = '\0';
    for (char *line; lines < LINES_MAX && (line = strsep(&rest, "\n"));) {
        if (*line == '\0')
            continue;
        report("%s: %s", name, skip_preamble(line));
        is_locked = is_locked || strstr(line, "Failed to get ");
        lines++;
    }
    if (is_locked)
        report_hint("-U reads it without a lock; what it reads may be a mixture of old and new");
    return lines > 0;
}

static void report_not_started(const char *program, const char *name, int number)
{
    if (number == ENOENT) {
        report("%s: %s, which is needed for that format, is not installed", name, program);
        report_hint("on Debian and Ubuntu the package is called qemu-utils, on Fedora qemu-img");
    } else {
        report("%s: starting %s: %s", name, program, strerror(number));
    }
}

static bool report_status(int status, const char *program, const char *name)
{
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return true;
    if (WIFSIGNALED(status))
        report("%s: %s was ended by signal %d (%s)", name, program, WTERMSIG(status),
               strsignal(WTERMSIG(status)));
    else
        report("%s: %s ended with exit code %d", name, program, WEXITSTATUS(status));
    return false;
}

bool qemu_run(char **argv, const char *name)
{
    int fd = memfd_create("messages", MFD_CLOEXEC);
    struct process_options options = { .death_signal = SIGTERM, .stderr_fd = fd };
    pid_t child;

    if (fd < 0) {
        report("%s: memfd_create: %s", name, strerror(errno));
        return false;
    }
    int r = process_start(argv, &options, &child);
    bool fine = false;
    if (r != 0) {
        report_not_started(argv[0], name, r);
    } else {
        int status = process_wait(child);
        fine = WIFEXITED(status) && WEXITSTATUS(status) == 0;
        if (!fine && !report_text(fd, name))
            report_status(status, argv[0], name);
    }
    close(fd);
    return fine;
}

/* ---- Sockets -------------------------------------------------------------------------------- */

static void close_all(const int *fds, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (fds[i] >= 0)
            close(fds[i]);
}

/* One that listens, and count ones that are connected to it. The errno value, or 0. */
static int connect_sockets(const char *path, unsigned count, int *ret_listen, int *ret_clients)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    const struct sockaddr *generic = (const struct sockaddr *)&address;

    if (strlen(path) >= sizeof(address.sun_path))
        return ENAMETOOLONG;
    memcpy(address.sun_path, path, strlen(path));
    *ret_listen = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (*ret_listen < 0 || bind(*ret_listen, generic, sizeof(address)) < 0 ||
        listen(*ret_listen, (int)count) < 0)
        return errno;
    for (unsigned i = 0; i < count; i++) {
        ret_clients[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (ret_clients[i] < 0 || connect(ret_clients[i], generic, sizeof(address)) < 0)
            return errno;
    }
    return 0;
}

static bool make_in_folder(const char *name, unsigned count, int *ret_listen, int *ret_clients)
{
    SCOPED_FREE char *folder = folder_make_private();

    *ret_listen = -1;
    for (unsigned i = 0; i < count; i++)
        ret_clients[i] = -1;
    if (!folder)
        return false;
    SCOPED_FREE char *path = text_of("%s/socket", folder);
    int r = connect_sockets(path, count, ret_listen, ret_clients);
    unlink(path);
    rmdir(folder);
    if (r == 0)
        return true;
    report("%s: %s: %s", name, path, strerror(r));
    close_all(ret_listen, 1);
    close_all(ret_clients, count);
    return false;
}

/* Stopping in between would leave the folder; none of this waits for anyone. */
static bool make_sockets(const char *name, unsigned count, int *ret_listen, int *ret_clients)
{
    sigset_t stops, before;

    sigemptyset(&stops);
    sigaddset(&stops, SIGINT);
    sigaddset(&stops, SIGTERM);
    sigaddset(&stops, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &stops, &before);
    bool fine = make_in_folder(name, count, ret_listen, ret_clients);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return fine;
}

/* ---- The server ----------------------------------------------------------------------------- */

/* In a list of options a comma is written twice. */
static char *double_commas(const char *text)
{
    char *out = demand(malloc(2 * strlen(text) + 1)), *end = out;

    for (; *text != '\0'; text++) {
        if (*text == ',')
            *end++ = ',';
        *end++ = *text;
    }
    *end = '\0';
    return out;
}

/*
 * The image in QEMU's terms. A path alone might be taken for something else, such as "nbd:...". The
 * size of a VHD is its footer's, which is Azure's rule, not what its geometry would give.
 */
static char *image_options(const struct qemu_image *image)
{
    SCOPED_FREE char *path = double_commas(image->path);
    struct stat st;
    bool is_device = stat(image->path, &st) == 0 && S_ISBLK(st.st_mode);

    return text_of("driver=%s%s%s,file.driver=%s,file.filename=%s", image->format,
                   strcmp(image->format, "vpc") == 0 ? ",force_size_calc=current_size" : "",
                   image->force_share ? ",force-share=on" : "", is_device ? "host_device" : "file",
                   path);
}

/* qemu-nbd loses a SIGTERM that comes while it starts, and what it is to write nobody wants without
   us: SIGKILL. */
static int start(const struct qemu_image *image, int listen_fd, struct qemu_server *server)
{
    SCOPED(word_list_free) struct word_list words = { 0 };
    SCOPED_FREE char *options_text = image_options(image);
    struct process_options options = { .own_group = true, .death_signal = SIGKILL,
                                       .stderr_fd = server->text_fd, .listen_fd = listen_fd };

    word_add(&words, "qemu-nbd");
    if (!image->writable)
        word_add(&words, "--read-only");
    else
        word_add(&words, "--discard=unmap");
    word_add(&words, "--shared=%u", REMOTE_CONNECTIONS_MAX);
    word_add(&words, "--image-opts");
    word_add(&words, "%s", options_text);
    return process_start(words.items, &options, &server->process);
}

/* Whether a descriptor of the process is one that it has from us, such as our standard output. */
static bool is_inherited(const char *number, const struct stat *st)
{
    struct stat own;

    return number[0] <= '0' + STDERR_FILENO && number[1] == '\0' &&
           fstat(number[0] - '0', &own) == 0 && own.st_dev == st->st_dev &&
           own.st_ino == st->st_ino;
}

/* Notes which files the process has opened: the image, what it is based on, its extents. */
static void learn_files(struct qemu_server *server)
{
    SCOPED_FREE char *folder = text_of("/proc/%ld/fd", (long)server->process);
    DIR *dir = opendir(folder);
    struct dirent *entry;
    struct stat st;

    while (dir && (entry = readdir(dir))) {
        if (!isdigit((unsigned char)entry->d_name[0]) ||
            fstatat(dirfd(dir), entry->d_name, &st, 0) < 0 ||
            !(S_ISREG(st.st_mode) || S_ISBLK(st.st_mode)) ||
            is_inherited(entry->d_name, &st))
            continue;
        server->files = demand(reallocarray(server->files, server->files_count + 1,
                                            sizeof(*server->files)));
        server->files[server->files_count++] = (struct qemu_file){ st.st_dev, st.st_ino };
    }
    if (dir)
        closedir(dir);
}

bool qemu_has_file(const struct qemu_server *server, const struct stat *st)
{
    for (size_t i = 0; i < server->files_count; i++)
        if (server->files[i].device == st->st_dev && server->files[i].inode == st->st_ino)
            return true;
    return false;
}

static int stop(const struct qemu_server *server)
{
    kill(server->process, SIGTERM);
    return process_wait(server->process);
}

static void free_server(struct qemu_server *server)
{
    if (server->text_fd >= 0)
        close(server->text_fd);
    free(server->files);
    free(server);
}

bool qemu_end(struct qemu_server *server, const char *name)
{
    bool fine = true;

    if (!server)
        return true;
    int status = stop(server);
    if (name)
        fine = report_status(status, "qemu-nbd", name);
    if (!fine)
        report_text(server->text_fd, name);
    free_server(server);
    return fine;
}

/* The sockets' connections were refused: by a qemu-nbd that says more about it, as a rule. */
static void report_refusal(struct qemu_server *server, const char *name, const char *reason)
{
    int status = stop(server);

    if (report_text(server->text_fd, name))
        return;
    if (report_status(status, "qemu-nbd", name))
        report("%s: %s", name, reason);
}

bool qemu_start(const struct qemu_image *image, struct qemu_server **ret,
                struct vhdx_disk **ret_disk, struct vhdx_io *ret_io)
{
    int listen_fd, clients[REMOTE_CONNECTIONS_MAX];
    unsigned count = remote_connections(image->connections);
    char reason[REMOTE_REASON_TEXT];

    if (!remote_supported()) {
        remote_report_unsupported(image->name);
        return false;
    }
    if (!make_sockets(image->name, count, &listen_fd, clients))
        return false;
    struct qemu_server *server = demand(calloc(1, sizeof(*server)));
    server->text_fd = memfd_create("messages", MFD_CLOEXEC);
    int r = server->text_fd < 0 ? errno : start(image, listen_fd, server);
    close(listen_fd);
    if (r != 0) {
        report_not_started("qemu-nbd", image->name, r);
        close_all(clients, count);
        free_server(server);
        return false;
    }
    bool fine = ret_disk ? remote_adopt_source(clients, count, image->name, ret_disk, reason)
                         : remote_adopt_target(clients, count, ret_io, reason);
    if (!fine) {
        report_refusal(server, image->name, reason);
        free_server(server);
        return false;
    }
    learn_files(server);
    *ret = server;
    return true;
}
