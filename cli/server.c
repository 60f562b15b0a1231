/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Running nbdkit; see server.h. nbdkit stays in the foreground as our child, in a process group of
 * its own, so that Ctrl-C reaches it through us only and after a command has ended. It writes its
 * process ID, when it listens, into a FIFO: one poll() waits for that and, through a signalfd, for
 * signals and for the end of children.
 */
#include "server.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "report.h"
#include "scope.h"
#include "verb.h"

#define PLUGIN_FILE "nbdkit-vhdx-plugin.so"

/* ---- Words ---------------------------------------------------------------------------------- */

bool number_parse(const char *text, uint32_t max, uint32_t *ret)
{
    uint64_t number = 0;
    const char *at = text;

    for (; *at >= '0' && *at <= '9' && number <= max; at++)
        number = number * 10 + (uint64_t)(*at - '0');
    if (at == text || *at != '\0' || number > max)
        return false;
    *ret = (uint32_t)number;
    return true;
}

/* A path as it may stand in the query of a URI. */
static char *percent_encode(const char *text)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                "-._~/";
    char *out = demand(malloc(3 * strlen(text) + 1)), *end = out;

    for (; *text != '\0'; text++) {
        if (strchr(plain, *text)) {
            *end++ = *text;
        } else {
            snprintf(end, 4, "%%%02X", (unsigned)(unsigned char)*text);
            end += 3;
        }
    }
    *end = '\0';
    return out;
}

/* ---- One run -------------------------------------------------------------------------------- */

struct run {
    const struct server *server;
    char *folder;      /* private; holds the FIFO and perhaps the socket */
    char *ready_path;  /* the FIFO */
    char *socket_path; /* absolute; NULL with a port */
    char *uri;
    int ready_fd;      /* -1: closed */
    int signal_fd;
    sigset_t old_mask; /* what children get */
    pid_t nbdkit;      /* 0: not running */
    pid_t command;
    int nbdkit_status, command_status; /* as from waitpid(), once they have ended */
    bool is_listening;
    bool is_stopping;  /* nbdkit was told to end */
};

static int start(const struct run *run, char **argv, bool own_group, bool quiet, pid_t *ret)
{
    struct process_options options = { .own_group = own_group, .quiet = quiet,
                                       .mask = &run->old_mask };

    return process_start(argv, &options, ret);
}

/* "nbdkit" is not a verb of ours: say what to install. */
static void report_no_nbdkit(int number)
{
    if (number == ENOENT) {
        report("nbdkit, the server, is not installed");
        report_hint("on Debian, Ubuntu and Fedora the package is called nbdkit");
    } else {
        report("nbdkit: starting it: %s", strerror(number));
    }
}

/* False if there is no nbdkit, which was reported. *ret_knows: it finds the plugin by its name. */
static bool ask_nbdkit(const struct run *run, bool *ret_knows)
{
    char name[] = "nbdkit", plugin[] = "vhdx", dump[] = "--dump-plugin";
    char *argv[] = { name, plugin, dump, NULL };
    pid_t child;
    int r = start(run, argv, true, true, &child);

    if (r != 0) {
        report_no_nbdkit(r);
        return false;
    }
    int status = process_wait(child);
    *ret_knows = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    return true;
}

/*
 * The plugin beside this program in the build tree, or where it was installed, or by nbdkit's own
 * search. NULL: what is missing was reported.
 */
static char *find_plugin(const struct run *run)
{
    char self[4096];
    ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);
    bool is_known;

    if (!ask_nbdkit(run, &is_known))
        return NULL;
    if (len > 0) {
        self[len] = '\0';
        char *path = text_of("%s/../nbdkit/" PLUGIN_FILE, dirname(self));
        if (access(path, R_OK) == 0)
            return path;
        free(path);
    }
    char *path = text_of("%s/" PLUGIN_FILE, NBDKIT_PLUGINDIR);
    if (access(path, R_OK) == 0)
        return path;
    free(path);
    if (is_known)
        return text_of("vhdx");
    report("nbdkit has no plugin for VHDX (" PLUGIN_FILE ")");
    report_hint("it comes with vhdx when that is built where nbdkit's headers are "
                "(nbdkit-plugin-dev, nbdkit-devel)");
    return NULL;
}

/* ---- Places --------------------------------------------------------------------------------- */

static bool fits_socket(const char *path)
{
    struct sockaddr_un address;

    if (strlen(path) < sizeof(address.sun_path))
        return true;
    report("%s: a socket's path has at most %zu bytes", path, sizeof(address.sun_path) - 1);
    return false;
}

static bool make_folder(struct run *run)
{
    run->folder = folder_make_private();
    if (!run->folder)
        return false;
    run->ready_path = text_of("%s/ready", run->folder);
    if (mkfifo(run->ready_path, 0600) == 0)
        run->ready_fd = open(run->ready_path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (run->ready_fd < 0)
        report("%s: %s", run->ready_path, strerror(errno));
    return run->ready_fd >= 0;
}

/* The socket that the user named, as an absolute path. */
static char *absolute_socket(const char *path)
{
    SCOPED_FREE char *folder_copy = demand(strdup(path));
    SCOPED_FREE char *name_copy = demand(strdup(path));
    SCOPED_FREE char *folder = realpath(dirname(folder_copy), NULL);
    struct stat st;

    if (!folder) {
        report("%s: %s", path, strerror(errno));
        return NULL;
    }
    if (lstat(path, &st) == 0) {
        report("%s: exists already", path);
        report_hint("remove it if no server uses it");
        return NULL;
    }
    return text_of("%s/%s", strcmp(folder, "/") == 0 ? "" : folder, basename(name_copy));
}

static char *unix_uri(const struct server *server, const char *socket_path)
{
    SCOPED_FREE char *socket = percent_encode(socket_path);
    SCOPED_FREE char *psk = server->psk_file ? percent_encode(server->psk_file) : NULL;

    return text_of("nbd%s+unix:///?socket=%s%s%s", server->tls_required ? "s" : "", socket,
                   psk ? "&tls-psk-file=" : "", psk ? psk : "");
}

static char *tcp_uri(const struct server *server)
{
    SCOPED_FREE char *psk = server->psk_file ? percent_encode(server->psk_file) : NULL;
    const char *host = server->address;

    if (!host || strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0)
        host = "localhost";
    bool is_ipv6 = strchr(host, ':') != NULL;
    return text_of("nbd%s://%s%s%s:%u%s%s", server->tls_required ? "s" : "", is_ipv6 ? "[" : "",
                   host, is_ipv6 ? "]" : "", server->port, psk ? "/?tls-psk-file=" : "",
                   psk ? psk : "");
}

static bool make_places(struct run *run)
{
    const struct server *server = run->server;

    if (!make_folder(run))
        return false;
    if (server->port) {
        run->uri = tcp_uri(server);
        return true;
    }
    run->socket_path = server->socket_path ? absolute_socket(server->socket_path)
                                           : text_of("%s/socket", run->folder);
    if (!run->socket_path || !fits_socket(run->socket_path))
        return false;
    run->uri = unix_uri(server, run->socket_path);
    return true;
}

static void remove_places(struct run *run)
{
    if (run->socket_path && run->is_listening)
        unlink(run->socket_path);
    if (run->ready_fd >= 0)
        close(run->ready_fd);
    if (run->ready_path)
        unlink(run->ready_path);
    if (run->folder)
        rmdir(run->folder);
    free(run->socket_path);
    free(run->ready_path);
    free(run->folder);
    free(run->uri);
}

/* ---- Signals -------------------------------------------------------------------------------- */

/* From here on signals come through run->signal_fd. What is ignored (by nohup) stays ignored. */
static bool catch_signals(struct run *run)
{
    static const int ending[] = { SIGINT, SIGTERM, SIGHUP };
    struct sigaction old;
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    for (size_t i = 0; i < sizeof(ending) / sizeof(ending[0]); i++)
        if (sigaction(ending[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN)
            sigaddset(&set, ending[i]);
    sigprocmask(SIG_BLOCK, &set, &run->old_mask);
    run->signal_fd = signalfd(-1, &set, SFD_CLOEXEC);
    if (run->signal_fd < 0)
        report("signalfd: %s", strerror(errno));
    return run->signal_fd >= 0;
}

/*
 * Ends the connection behind one of nbdkit's files, if it is one: nbdkit then reads the end of it,
 * as if the client had left, after what it had received.
 */
static void hang_up(int nbdkit, int number)
{
    int fd = (int)syscall(SYS_pidfd_getfd, nbdkit, number, 0);
    struct sockaddr_storage peer;
    socklen_t peer_len = sizeof(peer);

    if (fd < 0)
        return;
    if (getpeername(fd, (struct sockaddr *)&peer, &peer_len) == 0)
        shutdown(fd, SHUT_RD);
    close(fd);
}

/* nbdkit, told to end, waits until its clients have left, also those that say nothing. */
static void hang_up_all(pid_t nbdkit)
{
    SCOPED_FREE char *folder = text_of("/proc/%ld/fd", (long)nbdkit);
    int process = (int)syscall(SYS_pidfd_open, nbdkit, 0);
    DIR *files = opendir(folder);
    struct dirent *entry;
    uint32_t number;

    while (process >= 0 && files && (entry = readdir(files)))
        if (number_parse(entry->d_name, INT32_MAX, &number))
            hang_up(process, (int)number);
    if (files)
        closedir(files);
    if (process >= 0)
        close(process);
}

/* Asked once, nbdkit finishes the image; asked again, it ends at once: what was flushed stays. */
static void stop_nbdkit(struct run *run)
{
    if (!run->nbdkit)
        return;
    kill(run->nbdkit, run->is_stopping ? SIGKILL : SIGTERM);
    run->is_stopping = true;
    hang_up_all(run->nbdkit);
}

static void collect_children(struct run *run)
{
    int status;
    pid_t child;

    while ((child = waitpid(-1, &status, WNOHANG)) > 0) {
        if (child == run->nbdkit) {
            run->nbdkit = 0;
            run->nbdkit_status = status;
        } else if (child == run->command) {
            run->command = 0;
            run->command_status = status;
        }
    }
}

/*
 * A command decides itself what Ctrl-C means, which the terminal sends to it too; the other signals
 * are passed on to it.
 */
static void take_signal(struct run *run, int number)
{
    if (number == SIGCHLD)
        collect_children(run);
    else if (!run->command)
        stop_nbdkit(run);
    else if (number != SIGINT)
        kill(run->command, number);
}

/* Waits for something to happen, and takes note of it. */
static void wait_for_event(struct run *run)
{
    struct pollfd fds[2] = {
        { .fd = run->signal_fd, .events = POLLIN },
        { .fd = run->ready_fd, .events = POLLIN },
    };
    struct signalfd_siginfo info;

    if (poll(fds, 2, -1) < 0)
        return;
    if (fds[0].revents && read(run->signal_fd, &info, sizeof(info)) == sizeof(info))
        take_signal(run, (int)info.ssi_signo);
    if (fds[1].revents) {
        run->is_listening = true;
        close(run->ready_fd);
        run->ready_fd = -1;
    }
}

/* ---- Serving -------------------------------------------------------------------------------- */

static bool start_nbdkit(struct run *run, const char *plugin)
{
    SCOPED(word_list_free) struct word_list words = { 0 };
    const struct server *server = run->server;

    word_add(&words, "nbdkit");
    word_add(&words, "--foreground");
    word_add(&words, "--exit-with-parent");
    word_add(&words, "--pidfile=%s", run->ready_path);
    if (run->socket_path) {
        word_add(&words, "--unix=%s", run->socket_path);
    } else {
        word_add(&words, "--ipaddr=%s", server->address ? server->address : "localhost");
        word_add(&words, "--port=%u", server->port);
    }
    word_add_all(&words, &server->options);
    word_add(&words, "%s", plugin);
    word_add_all(&words, &server->parameters);
    int r = start(run, words.items, true, false, &run->nbdkit);
    if (r == 0)
        return true;
    report_no_nbdkit(r);
    return false;
}

static bool start_command(struct run *run)
{
    char shell[] = "/bin/sh", option[] = "-c";
    SCOPED_FREE char *command = demand(strdup(run->server->command));
    char *argv[] = { shell, option, command, NULL };
    char port[16];

    snprintf(port, sizeof(port), "%u", run->server->port);
    setenv("uri", run->uri, 1);
    setenv("unixsocket", run->socket_path ? run->socket_path : "", 1);
    setenv("port", run->server->port ? port : "", 1);
    int r = start(run, argv, false, false, &run->command);
    if (r != 0)
        report("%s: %s", shell, strerror(r));
    return r == 0;
}

/* The exit code after both have ended. */
static int exit_code(const struct run *run)
{
    int status = run->nbdkit_status;

    if (!(WIFEXITED(status) && WEXITSTATUS(status) == 0) || !run->is_stopping) {
        if (WIFSIGNALED(status))
            report("nbdkit was ended by signal %d (%s)", WTERMSIG(status),
                   strsignal(WTERMSIG(status)));
        else
            report("nbdkit ended with exit code %d", WEXITSTATUS(status));
        return EXIT_FAILED;
    }
    if (!run->server->command)
        return EXIT_FINE;
    if (WIFSIGNALED(run->command_status))
        return 128 + WTERMSIG(run->command_status);
    return WEXITSTATUS(run->command_status);
}

static int serve(struct run *run)
{
    bool fine = true;

    while (run->nbdkit && !run->is_listening)
        wait_for_event(run);
    if (run->nbdkit && !run->is_stopping) {
        if (run->server->command)
            fine = start_command(run);
        else
            fine = printf("%s\n", run->uri) >= 0 && fflush(stdout) == 0;
        if (!fine)
            stop_nbdkit(run);
    }
    while (run->command)
        wait_for_event(run);
    if (run->server->command && !run->is_stopping)
        stop_nbdkit(run);
    while (run->nbdkit)
        wait_for_event(run);
    return fine ? exit_code(run) : EXIT_FAILED;
}

int server_run(const struct server *server)
{
    struct run run = { .server = server, .ready_fd = -1, .signal_fd = -1 };
    int code = EXIT_FAILED;

    if (catch_signals(&run)) {
        SCOPED_FREE char *plugin = find_plugin(&run);
        if (plugin && make_places(&run) &&
            (!server->is_ready || server->is_ready(server->opaque)) && start_nbdkit(&run, plugin))
            code = serve(&run);
        remove_places(&run);
        close(run.signal_fd);
    }
    sigprocmask(SIG_SETMASK, &run.old_mask, NULL);
    return code;
}
