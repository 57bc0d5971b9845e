FROM python:3.11-slim-bookworm

RUN useradd --uid 10001 --create-home driftline \
 && install --directory --owner driftline --group driftline /var/lib/driftline /run/driftline /run/activator /releases

WORKDIR /src
COPY pyproject.toml README.md constraints.txt ./
COPY stream stream
COPY models models
RUN pip install --no-cache-dir --constraint constraints.txt .
COPY --chmod=755 deploy/probe.py /usr/local/bin/driftline-probe

# A number: Kubernetes' runAsNonRoot cannot tell who a name is.
USER 10001
WORKDIR /var/lib/driftline
VOLUME /var/lib/driftline
ENTRYPOINT ["driftline"]
CMD ["worker"]
