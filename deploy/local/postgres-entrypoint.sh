#!/bin/sh
# Makes the cluster at the first start from POSTGRES_USER, POSTGRES_PASSWORD and POSTGRES_DB, as the official image does.
set -eu

user=${POSTGRES_USER:-postgres}
database=${POSTGRES_DB:-$user}
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  password_file=$(mktemp)
  printf '%s\n' "${POSTGRES_PASSWORD:?a password is needed to make the cluster}" >"$password_file"
  initdb --pgdata="$PGDATA" --username="$user" --pwfile="$password_file" --encoding=UTF8 --locale=C.UTF-8 \
    --auth-local=trust --auth-host=scram-sha-256
  rm "$password_file"
  echo "host all all all scram-sha-256" >>"$PGDATA/pg_hba.conf"
  echo "listen_addresses = '*'" >>"$PGDATA/postgresql.conf"
  [ "$database" = postgres ] || printf 'CREATE DATABASE "%s";\n' "$database" | postgres --single -j -D "$PGDATA" postgres
fi
exec "$@"
