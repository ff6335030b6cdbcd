#!/bin/sh
# Keeps what containers have written in `logs/`, a file for each, since Docker deletes a container's log with it. Without
# arguments these are all containers of the stack. When the files exceed PARLEY_LOGS_MB, the oldest are deleted.
#
# What a log driver sends elsewhere is not kept: docs/logs.md says how to choose one.
set -eu
umask 077

setting() { # NAME DEFAULT; from the environment or `.env`
    value=$(printenv "$1" || sed -n "s/^$1=//p" .env 2>/dev/null || true)
    echo "${value:-$2}"
}

keep() { # CONTAINER
    form='{{.HostConfig.LogConfig.Type}} {{index .Config.Labels "com.docker.compose.service"}} {{slice .Created 0 19}}'
    docker inspect --format "$form" "$1" | while read -r driver service created; do
        case $driver in json-file | local) ;; *) continue ;; esac
        file=$directory/$service-$created-$(printf %.12s "$1").log.gz
        docker logs "$1" 2>&1 | gzip >"$file.unfinished"
        mv "$file.unfinished" "$file"
    done
}

directory=$(setting PARLEY_LOGS logs) limit=$(($(setting PARLEY_LOGS_MB 500) * 1000000))
mkdir -p "$directory"
for container in ${*:-$(docker compose ps --all --quiet)}; do
    keep "$container"
done
taken=0
ls -t "$directory" | while read -r file; do
    taken=$((taken + $(wc -c <"$directory/$file")))
    [ "$taken" -le "$limit" ] || rm "$directory/$file"
done
