/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* An image in memory, what it may hold, and random work done on it through the public API. */
#ifndef TESTS_CRASH_SCENE_H
#define TESTS_CRASH_SCENE_H

#include "io-order.h"
#include "io-record.h"
#include "model.h"

enum scene_kind {
    SCENE_FIXED,
    SCENE_DYNAMIC,    /* a few blocks */
    SCENE_PAGES,      /* several pages of the BAT */
    SCENE_WIDE,       /* so many pages that three commits fill the log */
    SCENE_CHILD,      /* differencing, a few blocks */
    SCENE_CHUNKS,     /* differencing, several chunks, many pages of sector bitmaps */
    SCENE_KINDS
};

/* A call of the API, as the model sees it. */
struct event {
    bool is_flush;
    size_t at;         /* length of the record when the call began; when it ended for a flush */
    struct span span;
    uint64_t value;
};

struct scene {
    enum scene_kind kind;
    uint64_t rng;
    uint32_t sector_size;
    struct memfile *file;
    struct recorder recorder;
    struct record record;       /* of the round */
    struct order order;
    bool is_unwatched;          /* leave it to the crashes to notice what is wrong */
    struct model model;
    uint64_t *live;             /* owned; each sector's value as of now */
    uint64_t last_value;        /* of a write */
    struct event *events;       /* owned; of the round */
    size_t event_count, event_capacity;
    bool was_reopened;          /* in this round, without a flush of the file since */
    size_t reopened_at;         /* length of the record then */
    struct vhdx *v;
    uint64_t metadata_end;      /* where the file's payload begins */
    char folder[64];            /* temporary, holds the parent; empty: none */
    char parent_path[128];
    const char *parents[1];
    struct vhdx_open_options options;
    uint8_t *buf;               /* owned; two blocks */
    const char *doing;          /* for messages */
    uint64_t verified;          /* states so far */
    uint64_t checked;           /* of these, looked at by vhdx_check_io() */
    uint64_t torn;              /* of these, before the replay, with a torn header */
    uint64_t trailing;          /* of these, replayed, with space at the end that nothing owns */
};

/* Ends the program with a message when something that must work does not. */
void scene_die(const struct scene *s, const char *what, const struct vhdx_error *err)
    __attribute__((noreturn));

uint64_t scene_random(struct scene *s, uint64_t below);

void scene_begin(struct scene *s, enum scene_kind kind, uint64_t seed);
void scene_end(struct scene *s);

/* Opens the file of io, or the scene's own through the recorder if it is NULL. */
int scene_open(const struct scene *s, struct recorder *r, uint32_t flags, struct vhdx **ret,
               struct vhdx_error *err);

/* Opens the image, works, and closes it; the record and the events tell of it. */
void scene_work(struct scene *s, const char *what);

#endif
