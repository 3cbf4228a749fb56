#!/usr/bin/env bash
# make -s public-images: print every public image of the stack and its builds, one a line, for a mirror.
#
# It reads files only, and needs no Docker engine.
set -euo pipefail
cd "$(dirname "$0")/.."
shopt -s nullglob

# The images of services, without those built here (their names begin with a variable of ours); and the base images of
# builds, without their own stages.
sed -nE -e 's/\$\{BASE_PREFIX:?-?\}//' -e 's/^ *(image:|FROM) ([^ #$]+).*/\2/p' \
    compose*.yaml tests/stack/compose*.yaml services/Dockerfile certificates/Dockerfile dev/Dockerfile |
    grep -E '[:/]' | grep -v '^todo-' | sort -u
