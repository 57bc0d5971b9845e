FROM python:3.11-slim

RUN useradd --uid 10001 --create-home driftline \
 && install --directory --owner driftline --group driftline /var/lib/driftline

WORKDIR /src
COPY pyproject.toml README.md constraints.txt ./
COPY stream stream
COPY models models
RUN pip install --no-cache-dir --constraint constraints.txt .

USER driftline
WORKDIR /var/lib/driftline
VOLUME /var/lib/driftline
ENTRYPOINT ["driftline"]
CMD ["worker"]
