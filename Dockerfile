# syntax=docker/dockerfile:1
# Builds natively for amd64 and arm64: `docker buildx build --platform linux/amd64,linux/arm64 .`

FROM node:20-bookworm-slim AS web
WORKDIR /web
COPY web/package.json web/package-lock.json ./
RUN npm ci --no-audit --no-fund
COPY web ./
RUN npm run build

FROM rust:1.95-bookworm AS build
WORKDIR /src
# Dependencies first, in a layer of their own: they change seldom and take minutes.
COPY Cargo.toml Cargo.lock build.rs ./
RUN mkdir -p src migrations && echo 'fn main() {}' > src/main.rs && touch src/lib.rs \
    && cargo build --release --locked && rm -rf src target/release/deps/*vedette* target/release/.fingerprint/vedette-*
COPY migrations migrations
COPY src src
COPY --from=web /web/dist web/dist
RUN cargo build --release --locked && strip target/release/vedette

FROM debian:bookworm-slim
LABEL org.opencontainers.image.title="Vedette" \
      org.opencontainers.image.description="Network video recorder: RTSP cameras in, segment files on disk, live and recorded RTSP out" \
      org.opencontainers.image.licenses="MIT"
RUN groupadd --system --gid 10001 vedette \
    && useradd --system --uid 10001 --gid vedette --home-dir /var/lib/vedette --shell /usr/sbin/nologin vedette \
    && install -d -o vedette -g vedette -m 0750 /var/lib/vedette /var/lib/vedette/footage
COPY --from=build /src/target/release/vedette /usr/local/bin/vedette
COPY config/vedette.toml /etc/vedette/vedette.toml
# As exposed below; a thousand published ports would make Docker start slowly.
ENV VEDETTE_RTSP__UDP_PORTS=20000-20199
USER 10001:10001
WORKDIR /var/lib/vedette
VOLUME ["/var/lib/vedette"]
EXPOSE 8080/tcp 8554/tcp 8322/tcp 20000-20199/udp
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=20s --retries=3 CMD ["vedette", "healthcheck", "--alive"]
ENTRYPOINT ["vedette"]
CMD ["serve", "--config", "/etc/vedette/vedette.toml"]
