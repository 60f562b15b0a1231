#!/bin/sh
# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors

# Breaks one ordering rule after the other (lib/util/rules.h) and demands that the crash test
# notices each; with none broken it passes. Usage: test-rules.sh CRASH, which was built with
# VHDX_TEST_RULES.
crash=$1
seed=${VHDX_CRASH_SEED:-1}
out=$(mktemp) || exit 1
trap 'rm -f "$out"' EXIT
failed=0

if ! "$crash" --seed "$seed" --states 20000 >"$out" 2>&1; then
    echo "FAILED: with no rule broken"
    cat "$out"
    failed=1
fi
for rule in $("$crash" --list-rules); do
    if "$crash" --break "$rule" --unwatched 1 --seed "$seed" --states 200000 --jobs 1 \
        >"$out" 2>&1; then
        echo "FAILED: breaking $rule goes unnoticed"
        failed=1
    else
        echo "$rule: $(grep -m 1 FAILED "$out" | cut -c 1-150)"
        grep -q FAILED "$out" || { echo "FAILED: not for a reason of its own"; failed=1; }
    fi
done
exit $failed
