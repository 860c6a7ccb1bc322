# The gateway. Build: docker build -t fanlight .   Run: docker run -p 8080:8080 -e FANLIGHT_REDIS_URL=... fanlight
# Every setting is a variable FANLIGHT_...; `docker run fanlight serve --help` lists them.

FROM python:3.13-slim AS build
# Without pip: what runs needs none, and what is not there has no holes. What is there says so: an SBOM scanner
# reads it from the packages' own metadata.
RUN python -m venv --without-pip /opt/fanlight
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY publisher ./publisher
COPY gateway ./gateway
# With traces (docs/tracing.md): --build-arg EXTRAS=gateway,otel
ARG EXTRAS=gateway
RUN pip --python /opt/fanlight/bin/python install --no-cache-dir --disable-pip-version-check --compile ".[$EXTRAS]"

FROM python:3.13-slim
LABEL org.opencontainers.image.title="fanlight" \
    org.opencontainers.image.description="A Server-Sent Events gateway over Redis" \
    org.opencontainers.image.licenses="Apache-2.0"
# A number, so that Kubernetes' runAsNonRoot can check it; no home, no shell.
RUN useradd --uid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin fanlight
COPY --from=build /opt/fanlight /opt/fanlight
# The root file system may be read-only. With FANLIGHT_WORKERS above 1, /tmp takes their sockets: mount a tmpfs there.
ENV PATH=/opt/fanlight/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    FANLIGHT_LOG_FORMAT=json
USER 10001:10001
EXPOSE 8080 9090
# Liveness, not readiness: a node that drains or waits for Redis is alive. The standard library does;
# the image has no curl.
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen('http://127.0.0.1:' + os.environ.get('FANLIGHT_ADMIN_PORT', '9090') + '/livez', timeout=2)"]
STOPSIGNAL SIGTERM
# The exec form: SIGTERM reaches the gateway, which drains. Give it more than drain_wait_seconds and drain_seconds
# (docker stop -t 20, terminationGracePeriodSeconds: 20).
ENTRYPOINT ["fanlight"]
CMD ["serve"]
