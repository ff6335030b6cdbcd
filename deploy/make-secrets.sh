#!/bin/sh
# Creates the secrets that compose.yaml names, in `secrets/` or the given directory. Never replaces one.
#
# Each file has mode 0600 and belongs to the user of the container that reads it, because Compose mounts files as they
# are. A container sets the owners, so that you need not be root; to read a secret afterwards you must be.
set -eu
umask 077
directory=${1:-secrets}
service_files="AUTH_DATABASE_URL AUTH_MASTER_KEYS USERS_DATABASE_URL REDIS_URL"
postgres_files="POSTGRES_PASSWORD AUTH_DATABASE_PASSWORD USERS_DATABASE_PASSWORD"
redis_files="REDIS_CONFIG"
service_user=10001:10001 # USER in the Dockerfile

random() { head -c 32 /dev/urandom | base64 | tr '+/' '-_' | tr -d '=\n'; }
write() { printf '%s\n' "$2" >"$directory/$1"; }
image() { docker compose config --images "$1"; }
give() { # OWNER IMAGE FILE…
    owner=$1 image=$2
    shift 2
    docker run --rm --user 0:0 --network none --entrypoint "" --volume "$(cd "$directory" && pwd):/secrets" \
        --workdir /secrets "$image" chown "$owner" "$@"
}

there="" missing=""
for file in $service_files $postgres_files $redis_files; do
    if [ -e "$directory/$file" ]; then there="$there $file"; else missing="$missing $file"; fi
done
if [ -z "$missing" ]; then
    echo "$directory holds every secret already"
    exit 0
fi
if [ -n "$there" ]; then # a new password or key would not fit the existing databases
    echo "$directory: missing:$missing; restore them from your copies, or remove the directory and the databases" \
        "(docker compose down --volumes) and start over" >&2
    exit 1
fi

docker version >/dev/null # reports its own errors
postgres=$(image postgres) redis=$(image redis)
for image in "$postgres" "$redis"; do # before anything is written: files get their owners by them
    docker image inspect "$image" >/dev/null 2>&1 || docker pull --quiet "$image" >/dev/null
done
mkdir -p "$directory"
auth_password=$(random) users_password=$(random) redis_password=$(random)
write POSTGRES_PASSWORD "$(random)"
write AUTH_DATABASE_PASSWORD "$auth_password"
write AUTH_DATABASE_URL "postgresql://auth:$auth_password@postgres:5432/auth"
write USERS_DATABASE_PASSWORD "$users_password"
write USERS_DATABASE_URL "postgresql://users:$users_password@postgres:5432/users"
write REDIS_CONFIG "requirepass $redis_password"
write REDIS_URL "redis://:$redis_password@redis:6379/0"
write AUTH_MASTER_KEYS "k1:$(head -c 32 /dev/urandom | base64)"
give "$service_user" "$postgres" $service_files
give postgres "$postgres" $postgres_files
give redis "$redis" $redis_files
echo "created in $directory: keep a copy of AUTH_MASTER_KEYS elsewhere, or the auth database may become unreadable"
