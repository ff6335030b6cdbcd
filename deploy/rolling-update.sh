#!/bin/sh
# Replaces every replica, one after another, by one with the newest image and settings. A new one is healthy, and known
# to everyone who resolves its name, before an old one is stopped. The arguments are services; the default is all.
#
# The container `port`, which holds the public port for all gateways, is not replaced.
set -eu
NAME_KNOWN_AFTER=3 # seconds; gateways resolve names every two (GATEWAY_DNS_INTERVAL: raise both together)
HEALTHY_WITHIN=120

say() { echo "deploy: $*"; }
replicas() { docker compose ps --quiet "$1"; }
count() { echo "$1" | wc -w; }
keep_log() { "$(dirname "$0")/keep-logs.sh" "$1" || true; } # it reports its own errors

start_one_more() { # SERVICE OLD_REPLICAS; prints the new one
    output=$(docker compose up --detach --no-deps --no-recreate --scale "$1=$(($(count "$2") + 1))" "$1" 2>&1) ||
        { echo "$output" >&2; exit 1; }
    for replica in $(replicas "$1"); do
        case $2 in *"$replica"*) ;; *) echo "$replica" ;; esac
    done
}

until_healthy() { # REPLICA
    tries=$HEALTHY_WITHIN
    until [ "$(docker inspect --format '{{.State.Health.Status}}' "$1")" = healthy ]; do
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || return 1
        sleep 1
    done
}

replace_all() { # SERVICE
    # `up` would start these, left by an interrupted update or stopped by hand, instead of a new one.
    for stopped in $(docker compose ps --all --quiet --status exited --status created --status dead "$1"); do
        keep_log "$stopped"
        docker rm "$stopped" >/dev/null
    done
    old_ones=$(replicas "$1")
    [ -n "$old_ones" ] || docker compose up --detach --no-deps --wait "$1"
    for old in $old_ones; do
        new=$(start_one_more "$1" "$(replicas "$1")")
        if ! until_healthy "$new"; then
            docker logs --tail 5 "$new" >&2
            keep_log "$new"
            docker rm --force "$new" >/dev/null
            say "$1: the new replica is not healthy after $HEALTHY_WITHIN s; it was removed, the old ones continue" >&2
            exit 1
        fi
        sleep $NAME_KNOWN_AFTER
        docker stop "$old" >/dev/null # with the grace period in compose.yaml
        keep_log "$old"
        docker rm "$old" >/dev/null
        say "$1: $(printf %.12s "$new") in place of $(printf %.12s "$old")"
    done
}

docker compose build --quiet
for migrations in auth-migrate users-migrate; do # they work while the previous version runs
    docker compose run --rm --no-deps "$migrations"
done
docker compose up --detach --no-deps --no-recreate --wait port
# user-service and the gateway of this version need what only auth-service of this version sends.
for service in ${*:-auth-service user-service gateway}; do
    replace_all "$service"
done
