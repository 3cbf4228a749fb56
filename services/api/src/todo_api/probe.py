"""`python -m todo_api.probe`: exits with 0 while the API of this container can serve, else with 1.

Docker's health check runs it, in place of curl: it asks `/readyz` (`health.py`). It imports next to nothing, because it
is started every few seconds.
"""

import http.client
import sys

_PORT = 8000
_SECONDS = 4.0


def main(port: int = _PORT) -> int:
    """Ask `/readyz`; say on standard error what is wrong."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_SECONDS)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        if answer.status == http.HTTPStatus.OK:
            return 0
        print(answer.read().decode("utf-8", "replace"), file=sys.stderr)
    except (OSError, http.client.HTTPException) as error:
        print(f"/readyz does not answer: {error}", file=sys.stderr)
    finally:
        connection.close()
    return 1


if __name__ == "__main__":
    sys.exit(main())
