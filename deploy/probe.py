#!/usr/bin/env python3
"""Ask the worker in this container whether it is well: ``driftline-probe healthz`` or ``readyz``.

Exit code 0 is yes. Health checks run this inside the container, since the endpoint wants the bearer token, which no
manifest should hold.
"""

import os
import sys
import urllib.request
from pathlib import Path


def main() -> int:
    """The exit code; what the worker answered, or why it did not, goes to stderr."""
    request = urllib.request.Request(f"http://127.0.0.1:{os.environ['DRIFTLINE_METRICS_PORT']}/{sys.argv[1]}")
    if token := os.environ.get("DRIFTLINE_METRICS_TOKEN_FILE"):
        request.add_header("Authorization", f"Bearer {Path(token).read_text(encoding='utf-8').strip()}")
    try:
        with urllib.request.urlopen(request, timeout=4):
            return 0
    except OSError as error:  # urllib.error.HTTPError, so every status but 200, is one
        sys.stderr.write(f"{sys.argv[1]}: {error}\n")
        return 1


if __name__ == "__main__":
    raise SystemExit(main())
