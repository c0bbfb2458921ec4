# A hub in a container: docs/how-to/container.md says how to run it.

FROM python:3.13-slim AS build
WORKDIR /build
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN pip wheel --no-cache-dir --no-deps --wheel-dir dist .

FROM python:3.13-slim
COPY --from=build /build/dist /tmp/dist
# With what a log in Redis or PostgreSQL needs, and keys of an identity provider.
RUN pip install --no-cache-dir "$(echo /tmp/dist/*.whl)[redis,postgres,crypto]" && rm -r /tmp/dist

RUN useradd --uid 1000 --no-create-home --home-dir /var/lib/tidewire tidewire \
    && install --directory --owner tidewire --group tidewire /var/lib/tidewire
# A number, so that Kubernetes can see that it is not root.
USER 1000
WORKDIR /var/lib/tidewire
VOLUME /var/lib/tidewire

# TIDEWIRE_TOKEN_KEY or TIDEWIRE_OPEN is left to the user: the one demands tokens, the other lets everyone who
# reaches the hub publish and subscribe. Without both `tidewire serve` refuses to listen on this host, and says why.
ENV TIDEWIRE_HOST=0.0.0.0
ENV TIDEWIRE_PORT=8000
ENV TIDEWIRE_ENGINE=sqlite:////var/lib/tidewire/tidewire.db
EXPOSE 8000

HEALTHCHECK CMD python -c "from os import environ; from urllib.request import urlopen; urlopen('http://127.0.0.1:' + environ['TIDEWIRE_PORT'] + '/health/live', timeout=5)"

ENTRYPOINT ["tidewire"]
CMD ["serve"]
