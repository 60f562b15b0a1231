#!/bin/sh
# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors

# Runs fuzz targets over damaged images, packed. Usage: test-corpus.sh PYTHON TESTS-FOLDER TARGET...
python=$1 tests=$2
shift 2
folder=$(mktemp -d) || exit 1
trap 'rm -rf "$folder"' EXIT
export PYTHONDONTWRITEBYTECODE=1
mkdir "$folder/damaged"
"$python" "$tests/crash/make-damaged.py" "$folder/damaged" &&
    "$python" "$tests/fuzz/pack.py" "$folder/images" "$folder"/damaged/* &&
    "$python" "$tests/fuzz/pack.py" --undo "$folder/undo" || exit 1
for target in "$@"; do
    case $target in
    *undo*) corpus=$folder/undo ;;
    *) corpus=$folder/images ;;
    esac
    echo "$target" && "$target" "$corpus" || exit 1
done
