#!/bin/sh
# Sets the number of a service's replicas, and keeps it in `.env` for `make up`.
set -eu
service=$1 number=$2
case $service in gateway | auth-service | user-service) ;; *)
    echo 'usage: make scale SERVICE=gateway|auth-service|user-service N=3' >&2
    exit 2
    ;;
esac
case $number in '' | *[!0-9]* | 0*)
    echo 'N must be a number, 1 or more' >&2
    exit 2
    ;;
esac

variable=$(echo "${service}_REPLICAS" | tr 'a-z-' 'A-Z_')
touch .env
{ grep -v "^$variable=" .env || true; echo "$variable=$number"; } >.env.unfinished
mv .env.unfinished .env
"$(dirname "$0")/keep-logs.sh" || true
docker compose up --detach --no-deps --no-recreate --wait "$service"
