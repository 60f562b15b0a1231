/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Building JSON with json-c: additions that cannot half succeed, and a printer whose output is
 * valid UTF-8 and harmless on a terminal whatever an image or a file name contains. In a build
 * without json-c only json_supported() may be called.
 */
#ifndef VHDX_CLI_JSON_H
#define VHDX_CLI_JSON_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct json_object;

/* True in a build with json-c. */
bool json_supported(void);

/* New containers. Like everything here they end the program when memory runs out. */
struct json_object *json_new_object(void);
struct json_object *json_new_array(void);

/* Adds a member to an object, which comes to own a value given as an object. A NULL text is
   left out. */
void json_add(struct json_object *object, const char *key, struct json_object *value);
void json_add_text(struct json_object *object, const char *key, const char *text);
void json_add_number(struct json_object *object, const char *key, uint64_t number);
void json_add_bool(struct json_object *object, const char *key, bool truth);

/* Appends to an array, which comes to own a value given as an object. */
void json_append(struct json_object *array, struct json_object *value);
void json_append_text(struct json_object *array, const char *text);

/* The first element, which stays the array's; NULL when there is none. */
struct json_object *json_first(struct json_object *array);

/* Writes value and a newline, to a stream or to standard output. */
void json_write(FILE *stream, struct json_object *value);
void json_print(struct json_object *value);

void json_free(struct json_object *value);

#endif /* VHDX_CLI_JSON_H */
