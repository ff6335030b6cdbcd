#!/bin/sh
# Saves containers' logs to `logs/`, one file each, because Docker deletes a log together with its container. Without
# arguments it saves those of all containers of the stack. When the files exceed PARLEY_LOGS_MB, it deletes the oldest.
#
# It saves nothing that a log driver sends elsewhere: see docs/handbook/observe.md.
set -eu
umask 077

setting() { # NAME DEFAULT; from the environment or `.env`
    value=$(printenv "$1" || sed -n "s/^$1=//p" .env 2>/dev/null | tr -d "\"'" || true)
    echo "${value:-$2}"
}

keep() { # CONTAINER
    form='{{.HostConfig.LogConfig.Type}} {{index .Config.Labels "com.docker.compose.service"}} {{slice .Created 0 19}}'
    facts=$(docker inspect --format "$form" "$1") || return 1
    container=$1
    # shellcheck disable=SC2086 # three words
    set -- $facts
    case $1 in json-file | local) ;; *) return 0 ;; esac
    file=$directory/$2-$3-$(printf %.12s "$container").log
    docker logs "$container" >"$file" 2>&1 || { rm "$file"; return 1; }
    gzip --force "$file"
}

directory=$(setting PARLEY_LOGS logs) megabytes=$(setting PARLEY_LOGS_MB 500)
case $megabytes in '' | 0* | *[!0-9]*) echo "PARLEY_LOGS_MB must be a number of megabytes, 1 or more" >&2; exit 2 ;; esac
mkdir -p "$directory"
failed=0
for one in ${*:-$(docker compose ps --all --quiet)}; do
    keep "$one" || { echo "cannot save the log of container $one" >&2; failed=1; }
done
taken=0
ls -t "$directory" | { grep -E '^[a-z-]+-[0-9T:-]{19}-[0-9a-f]{12}\.log\.gz$' || true; } | while read -r file; do
    taken=$((taken + $(wc -c <"$directory/$file")))
    [ "$taken" -le $((megabytes * 1000000)) ] || rm "$directory/$file"
done
exit $failed
