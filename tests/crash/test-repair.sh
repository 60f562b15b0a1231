#!/bin/sh
# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors

# Crash and fault tests of repair over damaged images, which MAKE (make-damaged.py, run by PYTHON)
# writes into a temporary folder first.
#
#     test-repair.sh PYTHON MAKE crash PROGRAM [ARG...]   the program passes
#     test-repair.sh PYTHON MAKE rules PROGRAM            each rule broken, it does not
python=$1 make=$2 how=$3 program=$4
shift 4
folder=$(mktemp -d) || exit 1
trap 'rm -rf "$folder"' EXIT
export PYTHONDONTWRITEBYTECODE=1
"$python" "$make" "$folder" || exit 1

if [ "$how" = crash ]; then
    "$program" "$@" "$folder"/*.vhdx
    exit
fi
failed=0
for rule in $("$program" --list-rules); do
    if "$program" --break "$rule" --states 400 "$folder"/*.vhdx >"$folder/out" 2>&1; then
        echo "FAILED: breaking $rule goes unnoticed"
        failed=1
    else
        echo "$rule: $(grep -m 1 FAILED "$folder/out" | cut -c 1-200)"
        grep -q FAILED "$folder/out" || { echo "FAILED: not for a reason of its own"; failed=1; }
    fi
done
exit $failed
