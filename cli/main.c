/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * vhdx: the table of verbs, and what surrounds them all: help, the version, and the check that
 * standard output took everything.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include <vhdx.h>

#include "interrupt.h"
#include "options.h"
#include "output.h"
#include "report.h"
#include "suggest.h"
#include "verb.h"

/* In the order in which help lists them. */
static const struct verb *const verbs[] = {
    &verb_info, &verb_chain, &verb_map, &verb_hash, &verb_convert, &verb_cat,
    &verb_compare, &verb_diff, &verb_measure, &verb_create, &verb_check, &verb_replay,
    &verb_recover, &verb_serve, &verb_mount, &verb_umount,
};

#define VERBS_COUNT (sizeof(verbs) / sizeof(verbs[0]))

/* What others call a thing that is an option of a verb here, or has another name. */
static const struct {
    const char *word, *meant;
} other_words[] = {
    { "repair", "check --repair" }, { "undo", "check --undo" },
    { "fsck", "check" }, { "verify", "check" },
};

static void print_help(FILE *stream)
{
    fputs("Usage: vhdx VERB [OPTION]... FILE...\n"
          "\n"
          "Reads, creates, checks, repairs and serves Microsoft VHDX disk images\n"
          "(.vhdx, .avhdx).\n"
          "\n"
          "Verbs:\n", stream);
    for (size_t i = 0; i < VERBS_COUNT; i++)
        fprintf(stream, "  %-9s %s\n", verbs[i]->name, verbs[i]->summary);
    fputs("\n"
          "'vhdx VERB --help' or 'vhdx help VERB' tells more of a verb, 'vhdx --version' which\n"
          "version this is, and 'man vhdx' everything.\n", stream);
}

static const struct verb *find_verb(const char *name)
{
    for (size_t i = 0; i < VERBS_COUNT; i++)
        if (strcmp(name, verbs[i]->name) == 0 ||
            (verbs[i]->alias && strcasecmp(name, verbs[i]->alias) == 0))
            return verbs[i];
    return NULL;
}

/* The word that was most likely meant; NULL when none is near. */
static const char *nearest_word(const char *typed)
{
    const char *nearest = NULL;
    size_t least = SUGGEST_WORD_MAX;

    for (size_t i = 0; i < sizeof(other_words) / sizeof(other_words[0]); i++)
        if (strcasecmp(typed, other_words[i].word) == 0)
            return other_words[i].meant;
    for (size_t i = 0; i <= VERBS_COUNT; i++) {
        const char *word = i < VERBS_COUNT ? verbs[i]->name : "help";
        size_t distance = suggest_distance(typed, word);
        if (suggest_is_near(typed, word) && (!nearest || distance < least)) {
            nearest = word;
            least = distance;
        }
    }
    return nearest;
}

static int unknown_verb(const char *name)
{
    const char *nearest = nearest_word(name);

    if (nearest)
        report("'%s' is not a verb; did you mean '%s'?", name, nearest);
    else
        report("'%s' is not a verb", name);
    report_hint("'vhdx --help' lists the verbs");
    return EXIT_FAILED;
}

static int help_on(const char *name)
{
    const struct verb *verb = find_verb(name);

    if (!verb)
        return unknown_verb(name);
    options_print_help(verb);
    return EXIT_FINE;
}

/* *ret_verb is set when a verb was run. */
static int dispatch(int argc, char **argv, const struct verb **ret_verb)
{
    char program[] = "vhdx"; /* what getopt_long begins its messages with */

    if (argc < 2) {
        print_help(stderr);
        return EXIT_FAILED;
    }
    const char *word = argv[1];
    if (strcmp(word, "help") == 0 && argc > 2)
        return help_on(argv[2]);
    if (strcmp(word, "help") == 0 || strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
        print_help(stdout);
        return EXIT_FINE;
    }
    if (strcmp(word, "--version") == 0 || strcmp(word, "-V") == 0) {
        printf("vhdx %s\n", vhdx_version());
        return EXIT_FINE;
    }
    if (word[0] == '-') {
        report("'%s': options stand after the verb", word);
        report_hint("'vhdx --help' lists the verbs");
        return EXIT_FAILED;
    }
    const struct verb *verb = find_verb(word);
    if (!verb)
        return unknown_verb(word);
    *ret_verb = verb;
    argv[1] = program;
    return verb->run(argc - 1, argv + 1);
}

/*
 * Makes sure that no file this program opens becomes standard output or standard error because the
 * caller had closed those. The stand-ins allow neither reading from the first nor writing to the
 * others: closed stays closed.
 */
static bool reserve_standard_files(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (fcntl(fd, F_GETFD) >= 0)
            continue;
        if (open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) != fd)
            return false;
    }
    return true;
}

int main(int argc, char **argv)
{
    const struct verb *verb = NULL;

    if (!reserve_standard_files())
        return EXIT_FAILED;
    interrupt_ignore_limits();
    setvbuf(stderr, NULL, _IOLBF, BUFSIZ); /* lines of programs that share it stay whole */
    int exit_code = dispatch(argc, argv, &verb);
    return output_finish(exit_code, verb_exit_error(verb));
}
