#!/bin/sh
# Makes what is missing in a directory of secrets, `secrets/` where none is named. What is there is left as it is.
#
# Each file has mode 0600 and belongs to the user that the one container runs as which reads it: compose mounts files as
# they are. Their owners are given by a container, so that you need not be root; to read one afterwards you must be.
set -eu
umask 077
directory=${1:-secrets}
service_user=10001:10001 # USER in the Dockerfile

random() { head -c 32 /dev/urandom | base64 | tr '+/' '-_' | tr -d '=\n'; }
write() { # FILE TEXT
    printf '%s\n' "$2" >"$directory/$1.unfinished"
    mv "$directory/$1.unfinished" "$directory/$1"
    made="$made $1"
}
missing() { [ ! -e "$directory/$1" ]; }
in_container() { # IMAGE COMMAND…
    image=$1
    shift
    docker run --rm --user 0:0 --network none --entrypoint "" --volume "$(cd "$directory" && pwd):/secrets" \
        --workdir /secrets "$image" "$@"
}

docker version >/dev/null # it says itself what is wrong
mkdir -p "$directory"
made=""

# The two files of a password belong together: with one of them alone nobody gets in.
for service in AUTH USERS; do
    role=$(echo "$service" | tr '[:upper:]' '[:lower:]')
    if missing "${service}_DATABASE_PASSWORD" || missing "${service}_DATABASE_URL"; then
        password=$(random)
        write "${service}_DATABASE_PASSWORD" "$password"
        write "${service}_DATABASE_URL" "postgresql://$role:$password@postgres:5432/$role"
    fi
done
if missing REDIS_CONFIG || missing REDIS_URL; then
    password=$(random)
    write REDIS_CONFIG "requirepass $password"
    write REDIS_URL "redis://:$password@redis:6379/0"
fi
if missing POSTGRES_PASSWORD; then write POSTGRES_PASSWORD "$(random)"; fi
if missing AUTH_MASTER_KEYS; then write AUTH_MASTER_KEYS "k1:$(head -c 32 /dev/urandom | base64)"; fi

in_container postgres:17-trixie chown postgres POSTGRES_PASSWORD AUTH_DATABASE_PASSWORD USERS_DATABASE_PASSWORD
in_container postgres:17-trixie chown "$service_user" AUTH_DATABASE_URL USERS_DATABASE_URL REDIS_URL AUTH_MASTER_KEYS
in_container redis:8-trixie chown redis REDIS_CONFIG
echo "made in $directory:${made:- nothing, everything was there}"
