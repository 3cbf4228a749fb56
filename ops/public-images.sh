#!/usr/bin/env bash
# make -s public-images: every public image that the stack and its builds name, one a line, for whoever mirrors them.
#
# It reads files only: no engine is asked.
set -euo pipefail
cd "$(dirname "$0")/.."
shopt -s nullglob

# Services, but not what is built here (its name begins with a variable of ours); and what builds begin with, but not
# their own stages.
sed -nE -e 's/\$\{BASE_PREFIX:?-?\}//' -e 's/^ *(image:|FROM) ([^ #$]+).*/\2/p' \
    compose*.yaml tests/stack/compose*.yaml services/Dockerfile certificates/Dockerfile dev/Dockerfile |
    grep -E '[:/]' | grep -v '^todo-' | sort -u
