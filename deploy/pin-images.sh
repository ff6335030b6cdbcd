#!/bin/sh
# Pins the base images in `.env` by the digests that their tags have today, for all builds and starts. Run it again for
# newer ones. An image that `.env` already names keeps its name and tag.
set -eu

pinned() { # VARIABLE TAG
    digest=$(docker pull "$2" | sed -n 's/^Digest: //p')
    [ -n "$digest" ] || { echo "$2: no digest found; .env is unchanged" >&2; exit 1; }
    echo "$1=$2@$digest"
}

touch .env
images=$(
    sed -n 's/.*${\([A-Z]*_IMAGE\):-\([^}]*\)}.*/\1 \2/p' compose.yaml | while read -r variable tag; do
        chosen=$(sed -n "s/^$variable=//p" .env)
        chosen=${chosen:-$tag}
        pinned "$variable" "${chosen%@*}"
    done
)
names=$(echo "$images" | cut -d= -f1 | paste -sd'|' -)
{ grep -Ev "^($names)=" .env || true; echo "$images"; } >.env.unfinished
mv .env.unfinished .env
echo "$images"
