# nats-server for machines that cannot pull the official image. wget is there for the health check of compose.yaml.
ARG BASE_IMAGE
FROM ${BASE_IMAGE}
COPY nats-server /usr/local/bin/
RUN ln -s /bin/busybox /usr/local/bin/wget && useradd --uid 1000 --no-create-home nats && install -d -o nats -g nats /data
USER nats
VOLUME /data
ENTRYPOINT ["nats-server"]
