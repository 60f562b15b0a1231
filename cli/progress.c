/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * The progress bar:
 *
 *     [=========>           ]  42.1%  1.21 GiB of 2.88 GiB  350 MiB/s  0:05 left
 */
#include "progress.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "interrupt.h"
#include "output.h"

#define BAR_MAX 24              /* characters between the brackets */
#define TERMINAL_INTERVAL 0.1   /* seconds between two drawings */
#define FILE_INTERVAL 1.0
#define JSON_INTERVAL 0.2
#define RATE_SETTLES 0.5        /* seconds before a rate and a time left mean something */

static double seconds_since(const struct timespec *start)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)(now.tv_sec - start->tv_sec) + (double)(now.tv_nsec - start->tv_nsec) / 1e9;
}

void progress_init(struct progress *progress, enum progress_mode mode)
{
    memset(progress, 0, sizeof(*progress));
    progress->terminal = isatty(STDERR_FILENO) == 1;
    progress->enabled =
        mode == PROGRESS_ALWAYS || mode == PROGRESS_JSON ||
        (mode == PROGRESS_ON_TERMINAL && progress->terminal);
    progress->json = mode == PROGRESS_JSON;
    if (progress->json)
        progress->terminal = false;
    clock_gettime(CLOCK_MONOTONIC, &progress->start);
    interrupt_catch_query();
}

/* "[===>   ]", or nothing when there is no room for it. */
static void format_bar(char text[BAR_MAX + 3], unsigned width, double fraction)
{
    unsigned filled = (unsigned)(fraction * width);

    text[0] = '\0';
    if (width == 0)
        return;
    text[0] = '[';
    for (unsigned i = 0; i < width; i++)
        text[1 + i] = i < filled ? '=' : i == filled ? '>' : ' ';
    text[1 + width] = ']';
    text[2 + width] = '\0';
}

/* "  350 MiB/s  1:05:09 left", or nothing as long as that would be a guess. */
static void format_rate(char text[64], uint64_t done, uint64_t total, double seconds)
{
    char rate[HUMAN_SIZE_TEXT];

    text[0] = '\0';
    if (seconds < RATE_SETTLES || done == 0)
        return;
    double per_second = (double)done / seconds;
    double left = (double)(total - done) / per_second;
    uint64_t left_seconds = left < 1e9 ? (uint64_t)(left + 0.5) : 1000000000;
    unsigned hours = (unsigned)(left_seconds / 3600);
    unsigned minutes = (unsigned)(left_seconds / 60 % 60);
    unsigned rest = (unsigned)(left_seconds % 60);

    human_size((uint64_t)per_second, rate);
    if (total == UINT64_MAX)
        snprintf(text, 64, "  %s/s", rate);
    else if (hours > 0)
        snprintf(text, 64, "  %s/s  %u:%02u:%02u left", rate, hours, minutes, rest);
    else
        snprintf(text, 64, "  %s/s  %u:%02u left", rate, minutes, rest);
}

void progress_format(char line[PROGRESS_LINE_TEXT], unsigned columns, uint64_t done,
                     uint64_t total, double seconds)
{
    char bar[BAR_MAX + 3], done_text[HUMAN_SIZE_TEXT], total_text[HUMAN_SIZE_TEXT], rate[64];
    char facts[PROGRESS_LINE_TEXT];

    if (done > total)
        done = total;
    double fraction = total > 0 ? (double)done / (double)total : 1;
    format_rate(rate, done, total, seconds);
    if (total == UINT64_MAX) {
        snprintf(line, PROGRESS_LINE_TEXT, "%s%s", human_size(done, done_text), rate);
        if (columns < PROGRESS_LINE_TEXT)
            line[columns] = '\0';
        return;
    }
    snprintf(facts, sizeof(facts), "%5.1f%%  %s of %s%s", fraction * 100,
             human_size(done, done_text), human_size(total, total_text), rate);

    /* The bar takes what the facts leave of the width. */
    unsigned used = (unsigned)strlen(facts) + 3;
    unsigned room = columns > used ? columns - used : 0;
    format_bar(bar, room < BAR_MAX ? room : BAR_MAX, fraction);
    snprintf(line, PROGRESS_LINE_TEXT, "%s%s%.100s", bar, bar[0] != '\0' ? " " : "", facts);
    if (columns < PROGRESS_LINE_TEXT)
        line[columns] = '\0';
}

/* One less than the width of the terminal: the last column would wrap. */
static unsigned terminal_columns(void)
{
    struct winsize size;

    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) < 0 || size.ws_col < 2)
        return 79;
    return size.ws_col - 1U;
}

/* An unknown total is null, and what follows from it too. */
static void print_json(uint64_t done, uint64_t total, double seconds)
{
    double rate = seconds > 0 ? (double)done / seconds : 0;

    fprintf(stderr, "{\"done\":%" PRIu64, done);
    if (total == UINT64_MAX)
        fputs(",\"total\":null,\"percent\":null", stderr);
    else
        fprintf(stderr, ",\"total\":%" PRIu64 ",\"percent\":%.1f", total,
                total > 0 ? 100 * (double)done / (double)total : 100.0);
    fprintf(stderr, ",\"bytes-per-second\":%.0f,\"seconds-left\":", rate);
    if (total == UINT64_MAX || rate < 1)
        fputs("null}\n", stderr);
    else
        fprintf(stderr, "%.0f}\n", done < total ? (double)(total - done) / rate : 0.0);
}

static void draw(struct progress *progress, uint64_t done, uint64_t total, double seconds)
{
    char line[PROGRESS_LINE_TEXT];

    if (progress->json) {
        print_json(done, total, seconds);
        fflush(stderr);
        return;
    }
    progress_format(line, progress->terminal ? terminal_columns() : 100, done, total, seconds);
    if (progress->terminal)
        fprintf(stderr, "\r%s\033[K", line);
    else
        fprintf(stderr, "%s\n", line);
    fflush(stderr);
}

static void answer_query(const struct progress *progress, uint64_t done, uint64_t total)
{
    char line[PROGRESS_LINE_TEXT];

    progress_format(line, 100, done, total, seconds_since(&progress->start));
    fprintf(stderr, "%s%s\n", progress->drawn ? "\r\033[K" : "", line);
    fflush(stderr);
}

void progress_update(struct progress *progress, uint64_t done, uint64_t total)
{
    if (interrupt_take_query())
        answer_query(progress, done, total);
    progress->updated = true;
    progress->done = done;
    progress->total = total;
    if (!progress->enabled)
        return;
    double seconds = seconds_since(&progress->start);
    double interval = progress->json       ? JSON_INTERVAL
                      : progress->terminal ? TERMINAL_INTERVAL
                                           : FILE_INTERVAL;
    bool last = done >= total && !progress->finished;
    if (seconds - progress->drawn_seconds < interval && !last)
        return;
    progress->finished |= last;
    progress->drawn_seconds = seconds;
    progress->drawn = progress->terminal;
    draw(progress, done, total, seconds);
}

void progress_finish(struct progress *progress)
{
    if (progress->json && progress->updated && !progress->finished)
        draw(progress, progress->done, progress->total, seconds_since(&progress->start));
    if (progress->drawn)
        fputs("\r\033[K", stderr);
    fflush(stderr);
    progress->drawn = false;
}
