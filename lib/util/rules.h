/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * The ordering rules of log/journal.c, by name, so that a test build can break one of them and show
 * that the crash test notices. In every other build RULE_HOLDS() is the constant true.
 */
#ifndef UTIL_RULES_H
#define UTIL_RULES_H

/* X(name, what the library does wrong when the rule is broken) */
#define RULES(X)                                                                                   \
    X(ENTRY_BEFORE_HEADER, "a header names the LogGuid before the empty entry is stable")          \
    X(HEADERS_APART, "no flush between the two copies of the header")                              \
    X(ENTRY_BEFORE_PLACE, "sectors are written in place before their entry is stable")             \
    X(TAIL_SETTLED, "Tail passes an entry whose sectors are not stable in place")                  \
    X(PAYLOAD_FIRST, "one flush for a child or recycled space instead of two")                     \
    X(PLACE_EMPTIED, "a kept place is written again without being emptied")                        \
    X(FULL_LOG, "a full log overwrites entries that are still needed")                             \
    X(FINISH_SETTLED, "finish clears LogGuid before the sectors are stable in place")              \
    X(FLUSHED_SIZE, "FlushedFileOffset is a size that is not stable")                              \
    X(REPLAY_STABLE, "the replay clears LogGuid before its writes are stable")                     \
    X(SLACK_CUT, "what a crash left behind the last structure is given out as it is")

enum rule {
    RULE_NONE,
#define X(name, text) RULE_##name,
    RULES(X)
#undef X
};

#ifdef VHDX_TEST_RULES
int vhdx_rule_is_broken(enum rule rule); /* the test defines it */
#define RULE_HOLDS(rule) (!vhdx_rule_is_broken(rule))
#else
#define RULE_HOLDS(rule) 1
#endif

#endif
