/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Distance between words by the restricted Damerau-Levenshtein measure, in a table of three rows.
 */
#include "suggest.h"

#include <string.h>

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

size_t suggest_distance(const char *typed, const char *word)
{
    size_t rows[3][SUGGEST_WORD_MAX + 1];
    size_t typed_len = strlen(typed), word_len = strlen(word);

    if (typed_len >= SUGGEST_WORD_MAX || word_len >= SUGGEST_WORD_MAX)
        return SUGGEST_WORD_MAX;
    for (size_t j = 0; j <= word_len; j++)
        rows[0][j] = j;
    /* rows[i % 3][j]: the distance between the first i letters of typed and the first j of word. */
    for (size_t i = 1; i <= typed_len; i++) {
        size_t *row = rows[i % 3], *above = rows[(i + 2) % 3], *above2 = rows[(i + 1) % 3];
        row[0] = i;
        for (size_t j = 1; j <= word_len; j++) {
            size_t replaced = above[j - 1] + (typed[i - 1] != word[j - 1]);
            row[j] = smaller(replaced, smaller(above[j], row[j - 1]) + 1);
            if (i > 1 && j > 1 && typed[i - 1] == word[j - 2] && typed[i - 2] == word[j - 1])
                row[j] = smaller(row[j], above2[j - 2] + 1);
        }
    }
    return rows[typed_len % 3][word_len];
}

bool suggest_is_near(const char *typed, const char *word)
{
    size_t typed_len = strlen(typed);

    /* The beginning of a word, or up to two mistakes that leave some of what was typed. */
    if (typed_len >= 2 && strncmp(typed, word, typed_len) == 0)
        return true;
    size_t distance = suggest_distance(typed, word);
    return distance <= 2 && distance < typed_len && distance < strlen(word) - 1;
}
