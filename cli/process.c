/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Running other programs; see process.h. posix_spawn() cannot ask for a signal at the parent's end
 * nor name the child in its own environment: this forks. Between fork() and exec() only calls are
 * made that a signal handler may make. That exec() failed comes back through a pipe that success
 * closes.
 */
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "report.h"
#include "scope.h"
#include "verb.h"

/* Where systemd's convention has the first socket. What must not be there is moved above. */
#define LISTEN_FD 3
#define FIRST_FREE_FD 10

#define LISTEN_PID "LISTEN_PID="
#define LISTEN_PID_DIGITS 20

extern char **environ;

/* ---- Words ---------------------------------------------------------------------------------- */

void *demand(void *memory)
{
    if (memory)
        return memory;
    report("out of memory");
    exit(EXIT_FAILED);
}

char *text_of(const char *format, ...)
{
    va_list args;
    char *text = NULL;

    va_start(args, format);
    int r = vasprintf(&text, format, args);
    va_end(args);
    return demand(r < 0 ? NULL : text);
}

void word_add(struct word_list *words, const char *format, ...)
{
    va_list args;
    char *word = NULL;

    words->items = demand(reallocarray(words->items, words->count + 2, sizeof(*words->items)));
    va_start(args, format);
    int r = vasprintf(&word, format, args);
    va_end(args);
    words->items[words->count++] = demand(r < 0 ? NULL : word);
    words->items[words->count] = NULL;
}

void word_add_all(struct word_list *words, const struct word_list *more)
{
    for (size_t i = 0; i < more->count; i++)
        word_add(words, "%s", more->items[i]);
}

void word_list_free(struct word_list *words)
{
    for (size_t i = 0; i < words->count; i++)
        free(words->items[i]);
    free(words->items);
}

/* ---- Places --------------------------------------------------------------------------------- */

char *folder_make_private(void)
{
    const char *base = getenv("XDG_RUNTIME_DIR");

    if (!base || access(base, W_OK | X_OK) < 0)
        base = getenv("TMPDIR");
    if (!base || *base == '\0')
        base = "/tmp";
    char *folder = text_of("%s/vhdx-XXXXXX", base);
    if (mkdtemp(folder))
        return folder;
    report("%s: making a folder for the socket: %s", base, strerror(errno));
    free(folder);
    return NULL;
}

/* ---- Starting ------------------------------------------------------------------------------- */

/* What the child needs to know and cannot find out itself. */
struct start {
    char **argv;
    const struct process_options *options;
    struct word_list environment;
    char *pid_text; /* within the environment, for the child to fill in; or NULL */
    pid_t parent;
    int error_fd;   /* where an errno value goes */
};

static void make_environment(struct start *start)
{
    for (char **item = environ; *item; item++)
        if (!start->options->listen_fd || strncmp(*item, "LISTEN_", strlen("LISTEN_")) != 0)
            word_add(&start->environment, "%s", *item);
    if (!start->options->listen_fd)
        return;
    word_add(&start->environment, "LISTEN_FDS=1");
    word_add(&start->environment, LISTEN_PID "%0*d", LISTEN_PID_DIGITS, 0);
    start->pid_text = start->environment.items[start->environment.count - 1] + strlen(LISTEN_PID);
}

/* Leading zeros would be taken for octal digits by some: the digits go to the left. */
static void write_pid(char *text, pid_t pid)
{
    char digits[LISTEN_PID_DIGITS];
    size_t count = 0;

    for (; pid > 0 && count < sizeof(digits); pid /= 10)
        digits[count++] = (char)('0' + pid % 10);
    while (count > 0)
        *text++ = digits[--count];
    *text = '\0';
}

static bool redirect(int number, const char *path, int flags)
{
    int fd = open(path, flags);

    if (fd < 0)
        return false;
    if (fd == number)
        return true;
    int r = dup2(fd, number);
    close(fd);
    return r >= 0;
}

static bool set_files(const struct process_options *options)
{
    bool fine = true;

    if (options->listen_fd == LISTEN_FD)
        fine = fcntl(LISTEN_FD, F_SETFD, 0) == 0;
    else if (options->listen_fd)
        fine = dup2(options->listen_fd, LISTEN_FD) >= 0;
    if (options->stderr_fd)
        fine = fine && dup2(options->stderr_fd, STDERR_FILENO) >= 0;
    if (options->own_group)
        fine = fine && redirect(STDIN_FILENO, "/dev/null", O_RDONLY);
    if (options->quiet)
        fine = fine && redirect(STDOUT_FILENO, "/dev/null", O_WRONLY) &&
               redirect(STDERR_FILENO, "/dev/null", O_WRONLY);
    return fine;
}

static _Noreturn void run_child(const struct start *start)
{
    const struct process_options *options = start->options;
    bool fine = !options->own_group || setpgid(0, 0) == 0;

    if (options->death_signal) {
        fine = fine && prctl(PR_SET_PDEATHSIG, options->death_signal) == 0;
        if (getppid() != start->parent)
            _exit(EXIT_FAILED);
    }
    if (fine && set_files(options)) {
        if (start->pid_text)
            write_pid(start->pid_text, getpid());
        if (options->mask)
            sigprocmask(SIG_SETMASK, options->mask, NULL);
        execvpe(start->argv[0], start->argv, start->environment.items);
    }
    int number = errno;
    (void)!write(start->error_fd, &number, sizeof(number));
    _exit(EXIT_FAILED);
}

/* 0 once the program runs, else why it does not. */
static int read_outcome(int fd)
{
    int number = 0;
    ssize_t n;

    do
        n = read(fd, &number, sizeof(number));
    while (n < 0 && errno == EINTR);
    return n == (ssize_t)sizeof(number) ? number : 0;
}

int process_start(char **argv, const struct process_options *options, pid_t *ret)
{
    struct start start = { .argv = argv, .options = options, .parent = getpid() };
    int fds[2];

    if (pipe2(fds, O_CLOEXEC) < 0)
        return errno;
    start.error_fd = fcntl(fds[1], F_DUPFD_CLOEXEC, FIRST_FREE_FD);
    close(fds[1]);
    make_environment(&start);
    pid_t child = start.error_fd < 0 ? -1 : fork();
    if (child == 0)
        run_child(&start);
    int number = child < 0 ? errno : 0;
    if (start.error_fd >= 0)
        close(start.error_fd);
    if (child > 0)
        number = read_outcome(fds[0]);
    if (child > 0 && number != 0)
        process_wait(child);
    close(fds[0]);
    word_list_free(&start.environment);
    if (number == 0)
        *ret = child;
    return number;
}

int process_wait(pid_t child)
{
    int status = 0;

    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    return status;
}
