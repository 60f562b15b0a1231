/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * The ordering rules of log/journal.c, ops/repair.h and io/undo.c, by name, so that a test build
 * can break one of them and show that the crash test notices. In every other build RULE_HOLDS() is
 * the constant true.
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

/* The same for repairs and undo files. */
#define REPAIR_RULES(X)                                                                            \
    X(REPAIR_ENTRY_BEFORE_PLACE, "a repair writes in place before its entry is stable")            \
    X(REPAIR_ENTRY_BEFORE_HEADER, "a header names a repair's log before that has an entry")        \
    X(REPAIR_LOG_SETTLED, "LogGuid is cleared before a repair's sectors are stable in place")      \
    X(REPAIR_HEADERS_APART, "a repair does not flush between the two copies of the header")        \
    X(REPAIR_LOG_KEPT, "LogGuid is cleared before the log is replayed")                            \
    X(REPAIR_DATA_GUID_KEPT, "a repair gives the image a new DataWriteGuid")                       \
    X(REPAIR_NOT_PAST_LOST, "the file grows past a block that it has lost")                        \
    X(REPAIR_LEAKS_LAST, "space is freed while something else is wrong")                           \
    X(UNDO_STABLE, "the image changes before what it was is stable in the undo file")              \
    X(UNDO_MARKED, "a header is written before the undo file knows it")                            \
    X(UNDO_BEGUN, "restoring begins before the undo file says so")

enum rule {
    RULE_NONE,
#define X(name, text) RULE_##name,
    RULES(X)
    REPAIR_RULES(X)
#undef X
};

#ifdef VHDX_TEST_RULES
int vhdx_rule_is_broken(enum rule rule); /* the test defines it */
#define RULE_HOLDS(rule) (!vhdx_rule_is_broken(rule))
#else
#define RULE_HOLDS(rule) 1
#endif

#endif
