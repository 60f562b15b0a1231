/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Names of the library's enumerations. They are part of the JSON schema and do not change; the
 * human output uses the same words where there is no second function.
 */
#ifndef VHDX_CLI_WORDS_H
#define VHDX_CLI_WORDS_H

#include <stdint.h>

/* VHDX_TYPE_...: fixed, dynamic, differencing */
const char *word_of_type(uint32_t type);

/* VHDX_LOG_...: clean, dirty, empty */
const char *word_of_log_state(uint32_t log_state);

/* VHDX_LINK_...: ok, missing, mismatch, broken */
const char *word_of_link_status(uint32_t status);

/* VHDX_FOUND_...: given, relative-path, volume-path, absolute-path, own-folder, search-name,
   search-guid, not-found */
const char *word_of_found_by(uint32_t found_by);

/* The same for people: "found by its relative path". */
const char *phrase_of_found_by(uint32_t found_by);

/* VHDX_SEVERITY_...: note, leak, error, fatal */
const char *word_of_severity(uint32_t severity);

/* VHDX_REPAIR_...: none, safe, all */
const char *word_of_repair(uint32_t repair);

#endif /* VHDX_CLI_WORDS_H */
