/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * What vhdx recover has found out and lost, for its two outputs.
 */
#ifndef VHDX_CLI_RECOVER_H
#define VHDX_CLI_RECOVER_H

#include <stddef.h>
#include <stdint.h>

#include <vhdx.h>

#include "lost.h"

struct json_object;

#define RECOVER_FACTS_MAX 64 /* about twenty are usual */
#define RECOVER_EVIDENCE_TEXT 512

/* A copy of a struct vhdx_recovered_fact. */
struct recover_fact {
    const char *name, *source; /* constants */
    uint32_t confidence;
    uint64_t file_offset, value;
    char evidence[RECOVER_EVIDENCE_TEXT];
};

struct recover_report {
    const char *path, *output; /* output: NULL in a dry run */
    struct recover_fact facts[RECOVER_FACTS_MAX];
    size_t facts_count;
    struct vhdx_recover_result result;
    struct lost_list lost;
};

struct json_object *recover_to_json(const struct recover_report *report);

#endif /* VHDX_CLI_RECOVER_H */
