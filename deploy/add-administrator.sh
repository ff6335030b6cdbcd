#!/bin/sh
# Adds an administrator to the running stack. Prompts for the password on a terminal, or reads it from standard input.
set -eu
email=$1
[ -n "$email" ] || { echo 'usage: make admin EMAIL=you@example.com' >&2; exit 2; }

if [ -t 0 ]; then
    printf 'Password for %s (15 characters or more): ' "$email" >&2
    trap 'stty echo' EXIT
    stty -echo
    read -r password
    echo >&2
else
    read -r password
fi
printf '%s\n' "$password" |
    docker compose exec -T user-service python -m user_service users add --email "$email" --role admin --password-stdin
