/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * The life of a mount:
 *
 *     mount ---> serve -----------------------------------> unmounted, or a signal came
 *                  |                                                   |
 *                  +--> startup thread: reads the partitions   join the thread, unmount if
 *                       through the mount itself, publishes    need be, finish the image
 *                       them, says that all is ready
 *
 * The startup thread is a client like any other: should it hang or fail, the mount goes on. It
 * leaves signals to the main thread. Once the loop is over no operation runs any more, and closing
 * the connection ends what clients, the startup thread among them, are still waiting for. Nothing
 * is lost by that: the kernel holds no writes back (see operations.c).
 */
#include "serve.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "background.h"
#include "capture.h"
#include "operations.h"
#include "report.h"
#include "scope.h"
#include "verb.h"

#define IDLE_THREADS 10 /* kept waiting for work */

/* All that one mount consists of. */
struct service {
    struct mount mount;
    const struct mount_plan *plan;
    struct fuse_session *session;
    pthread_t startup;
    struct partition_table table; /* filled by the startup thread, then constant */
};

bool mount_supported(void)
{
    return true;
}

/* ---- The startup thread --------------------------------------------------------------------- */

static void read_partitions(struct service *s)
{
    SCOPED_FREE char *path = NULL;
    struct vhdx *v = s->mount.v;
    bool fine = false;

    if (asprintf(&path, "%s/disk", s->plan->dir) < 0)
        path = NULL;
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd >= 0) {
        fine = partitions_read(fd, vhdx_size(v), vhdx_logical_sector_size(v), &s->table);
        close(fd);
    }
    if (!fine)
        report_warning("%s: the partitions could not be read: there is the whole disk only",
                       s->plan->path);
}

static void *run_startup(void *opaque)
{
    struct service *s = opaque;

    read_partitions(s);
    atomic_store_explicit(&s->mount.tree.partitions, &s->table, memory_order_release);
    s->plan->on_ready(&s->table, s->plan->opaque);
    if (s->plan->background->ready_fd >= 0)
        atomic_store(&s->mount.in_background, true);
    background_ready(s->plan->background);
    return NULL;
}

/* The thread inherits a mask in which the signals are blocked. False: it could not be started. */
static bool start_startup(struct service *s)
{
    sigset_t all, before;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int r = pthread_create(&s->startup, NULL, run_startup, s);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (r != 0)
        report("%s: cannot start a thread: %s", s->plan->path, strerror(r));
    return r == 0;
}

/* ---- Mounting ------------------------------------------------------------------------------- */

/* -o with all that the kernel and /proc/self/mountinfo are to know. False: out of memory. */
static bool add_options(struct fuse_args *args, const struct mount_plan *plan)
{
    SCOPED_FREE char *name = NULL, *options = NULL, *real = realpath(plan->path, NULL);
    bool fine;

    if (asprintf(&name, "fsname=%s", real ? real : plan->path) < 0)
        name = NULL;
    fine = name && fuse_opt_add_opt_escaped(&options, name) == 0 &&
           fuse_opt_add_opt(&options, "subtype=vhdx") == 0 &&
           fuse_opt_add_opt(&options, "default_permissions") == 0 &&
           fuse_opt_add_opt(&options, plan->writable ? "rw" : "ro") == 0 &&
           (!plan->allow_other || fuse_opt_add_opt(&options, "allow_other") == 0) &&
           fuse_opt_add_arg(args, "vhdx") == 0 && fuse_opt_add_arg(args, "-o") == 0 &&
           fuse_opt_add_arg(args, options) == 0;
    return fine;
}

/* Sets s->session and mounts it. False: the reason was reported. */
static bool mount_session(struct service *s)
{
    struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
    struct capture capture;
    char text[CAPTURE_TEXT];
    bool mounted = false;

    capture_begin(&capture);
    if (add_options(&args, s->plan))
        s->session = fuse_session_new(&args, &mount_operations, sizeof(mount_operations),
                                      &s->mount);
    if (s->session)
        mounted = fuse_session_mount(s->session, s->plan->dir) == 0;
    int code = errno;
    capture_end(&capture, text);
    fuse_opt_free_args(&args);
    if (mounted)
        return true;
    report("%s: cannot mount: %s", s->plan->dir, text[0] != '\0' ? text : strerror(code));
    if (access("/dev/fuse", R_OK | W_OK) < 0)
        report_hint("/dev/fuse: %s: FUSE has to be there ('modprobe fuse') and yours to use",
                    strerror(errno));
    return false;
}

/* Serves until the end, with this signal mask; false after reporting why it could not. */
static bool serve(struct service *s, const sigset_t *mask)
{
    struct fuse_loop_config config = { .clone_fd = 0, .max_idle_threads = IDLE_THREADS };

    if (fuse_set_signal_handlers(s->session) < 0) {
        report("%s: signal handlers: %s", s->plan->path, strerror(errno));
        fuse_session_unmount(s->session);
        return false;
    }
    pthread_sigmask(SIG_SETMASK, mask, NULL); /* one that has come ends the loop at once */
    bool started = start_startup(s);
    int r = started ? fuse_session_loop_mt(s->session, &config) : 0;
    fuse_session_unmount(s->session); /* nothing to do if somebody else did */
    if (started)
        pthread_join(s->startup, NULL);
    fuse_remove_signal_handlers(s->session);
    if (r < 0)
        report("%s: %s", s->plan->path, strerror(-r));
    return started && r >= 0; /* positive: the number of a signal */
}

static bool finish(struct service *s)
{
    struct vhdx_error err;

    if (!s->plan->writable || s->plan->throw_away || vhdx_finish(s->mount.v, &err) == 0)
        return true;
    atomic_store(&s->mount.reported_seconds, 0);
    mount_report(&s->mount, &err);
    return false;
}

static struct service *new_service(struct vhdx *v, const struct mount_plan *plan)
{
    struct vhdx_info info = VHDX_INFO_INIT;
    struct service *s = calloc(1, sizeof(*s));

    if (!s || !mount_buffers_init(&s->mount)) {
        free(s);
        report("out of memory");
        return NULL;
    }
    s->plan = plan;
    s->mount.v = v;
    s->mount.throw_away = plan->throw_away;
    s->mount.has_parents = vhdx_get_info(v, &info, NULL) == 0 && info.chain_length > 1;
    s->mount.tree.v = v;
    s->mount.tree.writable = plan->writable;
    s->mount.tree.info = plan->info;
    s->mount.tree.info_len = plan->info_len;
    s->mount.tree.born = plan->born;
    pthread_mutex_init(&s->mount.tree.usage_lock, NULL);
    return s;
}

int mount_serve(struct vhdx *v, const struct mount_plan *plan)
{
    struct service *s = new_service(v, plan);
    bool fine = false;
    sigset_t mask;

    if (!s)
        return EXIT_FAILED;
    /* Whoever dies having mounted leaves a mount that is dead. */
    background_hold_signals(&mask);
    if (mount_session(s))
        fine = serve(s, &mask);
    pthread_sigmask(SIG_SETMASK, &mask, NULL);
    if (s->session)
        fuse_session_destroy(s->session);
    fine = finish(s) && fine;
    mount_buffers_destroy(&s->mount);
    pthread_mutex_destroy(&s->mount.tree.usage_lock);
    free(s);
    return fine ? EXIT_FINE : EXIT_FAILED;
}
