# Two images: the server (default) and the training job.
#   docker build -t baton .
#   docker build -t baton-train --target trainer .
ARG DEBIAN=12

FROM debian:${DEBIAN}-slim AS build
WORKDIR /src
COPY deploy/install-deps.sh deploy/
RUN deploy/install-deps.sh build
COPY CMakeLists.txt CMakePresets.json ./
COPY cmake cmake
COPY proto proto
COPY engine engine
COPY server server
COPY client client
COPY trainer trainer
RUN cmake --preset release -DBATON_TESTS=OFF \
    && cmake --build --preset release \
    && strip build/release/bin/*
COPY deploy/runtime-deps.sh deploy/
RUN deploy/runtime-deps.sh build/release/bin/* > runtime-packages

# What both images share: the libraries, and a user of their own that owns the models.
FROM debian:${DEBIAN}-slim AS runtime
COPY --from=build /src/runtime-packages /tmp/
RUN apt-get update \
    && xargs -a /tmp/runtime-packages apt-get install -y --no-install-recommends \
    && rm -rf /var/lib/apt/lists/* /tmp/runtime-packages \
    && useradd --system --uid 10001 --user-group --home-dir /nonexistent baton \
    && install -d -o baton -g baton /models
USER baton
VOLUME /models

FROM debian:${DEBIAN}-slim AS mnist
COPY deploy/install-deps.sh deploy/fetch-mnist.sh /deploy/
RUN /deploy/install-deps.sh fetch && /deploy/fetch-mnist.sh /mnist

FROM runtime AS trainer
COPY --from=mnist /mnist/ /usr/share/mnist/
COPY --from=build /src/build/release/bin/baton-train /usr/local/bin/
ENTRYPOINT ["baton-train"]
CMD ["--preset=mnist-mlp", "--repository=/models", "--data=/usr/share/mnist"]

FROM runtime AS server
COPY --from=build /src/build/release/bin/baton-server /src/build/release/bin/baton \
     /src/build/release/bin/baton-model /usr/local/bin/
# gRPC, and HTTP: metrics, health, REST.
EXPOSE 8500 8501
# Writes nothing: runs with --read-only; --tmpfs /tmp is for a --grpc_socket_path there.
HEALTHCHECK --interval=5s --timeout=3s --start-period=60s --retries=3 \
    CMD baton status --json | grep -q '"ready": true'
STOPSIGNAL SIGTERM
ENTRYPOINT ["baton-server"]
CMD ["--model_repository=/models"]
