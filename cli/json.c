/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * JSON through json-c. json-c copies the bytes of strings as they are, except for quotes,
 * backslashes and what lies below 0x20. So bytes that are not UTF-8 are replaced on the way in,
 * and other control characters are written as \uNNNN on the way out.
 */
#include "json.h"

#include <stdio.h>
#include <string.h>

#include <json-c/json.h>

#include "output.h"
#include "report.h"
#include "scope.h"
#include "verb.h"

bool json_supported(void)
{
    return true;
}

/* There is nothing left to do for a program that only prints. */
__attribute__((noreturn)) static void out_of_memory(void)
{
    report("out of memory");
    exit(EXIT_FAILED);
}

static struct json_object *checked(struct json_object *object)
{
    if (!object)
        out_of_memory();
    return object;
}

struct json_object *json_new_object(void)
{
    return checked(json_object_new_object());
}

struct json_object *json_new_array(void)
{
    return checked(json_object_new_array());
}

/* A copy of text with U+FFFD for each byte that is not UTF-8. */
static struct json_object *new_text(const char *text)
{
    static const char replacement[] = "\xEF\xBF\xBD";
    SCOPED_FREE char *valid = malloc(strlen(text) * (sizeof(replacement) - 1) + 1);
    char *end = valid;

    if (!valid)
        out_of_memory();
    while (*text != '\0') {
        uint32_t code_point;
        size_t len = utf8_next(text, &code_point);
        const char *from = len > 0 ? text : replacement;
        size_t copied = len > 0 ? len : sizeof(replacement) - 1;

        memcpy(end, from, copied);
        end += copied;
        text += len > 0 ? len : 1;
    }
    *end = '\0';
    return checked(json_object_new_string(valid));
}

void json_add(struct json_object *object, const char *key, struct json_object *value)
{
    if (json_object_object_add(object, key, checked(value)) != 0)
        out_of_memory();
}

void json_add_text(struct json_object *object, const char *key, const char *text)
{
    if (text)
        json_add(object, key, new_text(text));
}

void json_add_number(struct json_object *object, const char *key, uint64_t number)
{
    json_add(object, key, json_object_new_uint64(number));
}

void json_add_bool(struct json_object *object, const char *key, bool truth)
{
    json_add(object, key, json_object_new_boolean(truth));
}

void json_append(struct json_object *array, struct json_object *value)
{
    if (json_object_array_add(array, checked(value)) != 0)
        out_of_memory();
}

void json_append_text(struct json_object *array, const char *text)
{
    json_append(array, new_text(text));
}

/* Writes serialized JSON. A code point that is unprintable and not part of the layout stands in a
   string: \uNNNN means the same there. All of them fit four digits. */
static void print_serialized(FILE *stream, const char *text)
{
    while (*text != '\0') {
        uint32_t code_point = 0;
        size_t len = utf8_next(text, &code_point);

        if (len == 0) /* cannot be: all strings came through new_text() */
            len = 1;
        if (code_point >= 0x20 && is_unprintable(code_point))
            fprintf(stream, "\\u%04x", code_point);
        else
            fwrite(text, 1, len, stream);
        text += len;
    }
}

struct json_object *json_first(struct json_object *array)
{
    return json_object_array_get_idx(array, 0);
}

void json_write(FILE *stream, struct json_object *value)
{
    const int layout = JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED |
                       JSON_C_TO_STRING_NOSLASHESCAPE;
    const char *text = json_object_to_json_string_ext(value, layout);

    if (!text)
        out_of_memory();
    print_serialized(stream, text);
    fputc('\n', stream);
}

void json_print(struct json_object *value)
{
    json_write(stdout, value);
}

void json_free(struct json_object *value)
{
    json_object_put(value);
}
